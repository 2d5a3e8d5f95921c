"""Pipelines that others wrote: each is planned, or refused with the feature and the place named."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ridgeway.ci.azure import Folder, Inputs, PipelineError, Unsupported, plan
from ridgeway.ci.checking.azure_files import stand_ins, templates_of
from ridgeway.errors import NotFound


@dataclass(frozen=True)
class Tried:
    """What came of a file.

    Attributes:
        file: Path from the corpus's folder.
        outcome: ``plans``, ``unsupported`` (a feature outside of the grammar), ``refused`` (the file is not valid, or
            needs what is not there), ``template`` (for other files, cannot be planned alone).
        what: How many stages, jobs and steps; or the feature.
        place: File, line and column of what is refused.
        seconds: How long it took.
    """

    file: str
    outcome: str
    what: str
    place: str = ""
    seconds: float = 0.0


def look_at_corpus(folder: Path) -> Iterator[Tried]:
    """Tries all YAML files below a folder; each folder with a ``.git`` or directly below it is a repository's root.

    Raises:
        NotFound: There is no such folder.
    """
    if not folder.is_dir():
        raise NotFound(f"no folder {folder}", expected="a folder with pipelines")
    used: dict[Path, frozenset[str]] = {}
    for path in sorted([*folder.rglob("*.yml"), *folder.rglob("*.yaml")]):
        root = _root(path, folder)
        name = path.relative_to(root).as_posix()
        if _is_hidden(name):
            continue
        files = Folder(root)
        if root not in used:
            used[root] = frozenset(_used(files))
        began = time.perf_counter()
        outcome, what, place = _try(name, files, used[root])
        yield Tried(path.relative_to(folder).as_posix(), outcome, what, place, time.perf_counter() - began)


def _is_hidden(name: str) -> bool:
    """Files of other systems that lie in the same repository."""
    return name.startswith((".github/", ".gitlab")) or name == ".gitlab-ci.yml"


def _root(path: Path, folder: Path) -> Path:
    parents = [parent for parent in path.parents if parent.is_relative_to(folder)]
    marked = next((parent for parent in parents if (parent / ".git").exists()), None)
    return marked or (parents[-2] if len(parents) > 1 else folder)


def _used(files: Folder) -> Iterator[str]:
    """The files that others of the repository use as templates, as far as their paths are written out."""
    for name in files:
        try:
            text = files[name]
        except PipelineError:
            continue
        yield from templates_of(name, text)


def _try(name: str, files: Folder, used: frozenset[str]) -> tuple[str, str, str]:
    try:
        text = files[name]
        if name in used or _is_template(text):
            return "template", "for other files; planned where they use it", ""
        made = plan(name, Inputs(parameters=stand_ins(text)), files)
    except Unsupported as error:
        return "unsupported", error.summary.removesuffix(" is not in the runner's grammar"), _place(error)
    except PipelineError as error:
        return "refused", "; ".join(filter(None, [error.summary, error.problem])), _place(error)
    jobs = [job for stage in made.pipeline.stages for job in stage.jobs]
    steps = sum(len(job.steps) for job in jobs)
    return "plans", f"{len(made.pipeline.stages)} stages, {len(jobs)} jobs, {steps} steps", ""


def _place(error: PipelineError) -> str:
    return error.where.partition("\n")[0]


def _is_template(text: str) -> bool:
    """Whether a file says nothing of when it runs, and needs parameters or has only variables."""
    try:
        read: Any = yaml.load(text, yaml.BaseLoader)  # noqa: S506 - texts only
    except (yaml.YAMLError, RecursionError):
        return False
    if not isinstance(read, dict) or {"trigger", "pr", "schedules", "resources", "pool", "name"} & read.keys():
        return False
    parameters = read.get("parameters")
    needs = isinstance(parameters, list) and any("default" not in one for one in parameters if isinstance(one, dict))
    return needs or isinstance(parameters, dict) or set(read) == {"variables"}
