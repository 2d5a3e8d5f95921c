"""Azure Pipelines files: which are pipelines, whether they plan under every circumstance, what they do."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import yaml

from ridgeway.ci.azure import Inputs, Plan, plan
from ridgeway.ci.azure.pipeline import Job, Stage
from ridgeway.ci.azure.planning import SHELLS
from ridgeway.ci.checking.calls import calls
from ridgeway.ci.checking.graph import Node, Part, nodes
from ridgeway.ci.checking.places import CiFile

CIRCUMSTANCES: Final = (("push", "main"), ("pr", "feature"), ("manual", "main"), ("schedule", "main"))
"""What a pipeline must plan for: reason and branch."""
_TEMPLATE: Final = re.compile(r"""^[\s-]*template:\s*['"]?([^'"#@\s]+)(?:@self)?['"]?\s*(?:#.*)?$""", re.MULTILINE)
_STANDS: Final[Mapping[str, str]] = {"string": "placeholder", "number": "1", "boolean": "false", "object": "{}"}
_INSERTION: Final = re.compile(r"\s*\$\{\{\s*(if|elseif|else|each|insert)\b")
_KEPT_ELSEWHERE: Final = re.compile(r"the members of group .* are not known here|variables\['RIDGEWAY_|\$\(RIDGEWAY_")


def roots(files: Iterable[CiFile]) -> list[CiFile]:
    """The files that are no templates of others."""
    known = [*files]
    used = {name for file in known for name in templates_of(file.path, file.text)}
    return [file for file in known if file.path not in used and not _is_template(file)]


def templates_of(name: str, text: str) -> Iterator[str]:
    r"""The files of this repository that a file uses as templates, as far as their paths are written out.

    Example:
        >>> list(templates_of("ci/a.yml", "- template: b.yml\n- template: /c.yml\n- template: d.yml@other\n"))
        ['ci/b.yml', 'c.yml']
    """
    for match in _TEMPLATE.finditer(text):
        path = match[1].replace("\\", "/")
        folder = "" if path.startswith("/") or "@self" in match[0] else posixpath.dirname(name)
        yield posixpath.normpath(posixpath.join(folder, path.lstrip("/")))


def _is_template(file: CiFile) -> bool:
    """Whether nobody uses a file that is a template all the same, by the folder that it is in."""
    folders = posixpath.dirname(file.path).split("/")
    return folders[-1] in {"steps", "jobs", "stages", "variables", "templates"}


def stand_ins(text: str) -> dict[str, str]:
    """Values for the parameters that a pipeline asks for."""
    try:
        read: Any = yaml.load(text, yaml.BaseLoader)  # noqa: S506 - texts only
    except yaml.YAMLError:
        return {}
    declared = read.get("parameters") if isinstance(read, dict) else None
    made = {}
    for one in declared if isinstance(declared, list) else []:
        if isinstance(one, dict) and "default" not in one and isinstance(one.get("name"), str):
            values = one.get("values")
            kind = str(one.get("type", "string"))
            made[one["name"]] = str(values[0]) if isinstance(values, list) and values else _STANDS.get(kind, "[]")
    return made


def plans(file: CiFile, files: Mapping[str, str]) -> Iterator[Plan]:
    """The pipeline planned for each circumstance.

    Raises:
        PipelineError: It cannot be planned.
    """
    parameters = stand_ins(file.text)
    for reason, branch in CIRCUMSTANCES:
        pull_request = 1 if reason == "pr" else 0
        yield plan(file.path, Inputs(parameters, branch=branch, reason=reason, pull_request=pull_request), files)


def warnings(made: Iterable[Plan]) -> list[str]:
    """What the plans warn of, but for groups and for settings of Ridgeway: those are kept on the system's pages."""
    found = dict.fromkeys(str(warned) for one in made for warned in one.warnings)
    return [text for text in found if not _KEPT_ELSEWHERE.search(text)]


def graph(made: Plan) -> frozenset[Node]:
    """What a pipeline does."""
    parts: dict[str, Part] = {}
    for stage in made.pipeline.stages:
        for job in stage.jobs:
            parts[f"{stage.name}/{job.name}"] = _part(stage, job, made)
    return frozenset(nodes(parts))


def _part(stage: Stage, job: Job, made: Plan) -> Part:
    before = [f"{stage.name}/{name}" for name in job.depends_on]
    if not before:
        others = [made.pipeline.stage(name) for name in stage.depends_on]
        before = [f"{other.name}/{last.name}" for other in others for last in other.jobs]
    texts = [one.condition.text for one in (stage, job) if one.condition]
    return Part(
        commands=tuple(words for text in scripts(job) for words in calls(text)),
        after=tuple(before),
        condition=" ".join(texts),
        environment=job.environment.name if job.environment else "",
    )


def scripts(job: Job) -> Iterator[str]:
    """The scripts of a job."""
    for step in job.steps:
        if step.kind in SHELLS:
            yield step.value
        elif step.kind == "task":
            yield from (text for name, text in step.setting("inputs", ()) if name in {"script", "inlineScript"})


def without_insertions(text: str) -> str:
    r"""A file as a schema can judge it: what is inserted by ``${{ if }}`` and ``${{ each }}`` stands there itself.

    All scalars become texts, which is what the schema of Azure Pipelines takes them for.

    Raises:
        yaml.YAMLError: It is no YAML.

    Example:
        >>> without_insertions("steps:\n- ${{ if eq(1, 1) }}:\n  - script: a\n    enabled: true\n")
        "steps:\n- script: a\n  enabled: 'true'\n"
    """
    read: Any = yaml.load(text, yaml.BaseLoader)  # noqa: S506 - texts only
    made: str = yaml.safe_dump(_spread(read), sort_keys=False, allow_unicode=True, width=1000)
    return made


def _spread(node: Any) -> Any:
    if isinstance(node, list):
        return [one for item in node for one in _items(item)]
    if not isinstance(node, dict):
        return node
    made: dict[str, Any] = {}
    for key, value in node.items():
        inner = _spread(value)
        if not _INSERTION.match(key):
            made[key] = inner
        elif isinstance(inner, dict):
            made = inner | made
    return made


def _items(item: Any) -> list[Any]:
    if isinstance(item, dict) and len(item) == 1 and _INSERTION.match(next(iter(item))):
        inner = _spread(next(iter(item.values())))
        return inner if isinstance(inner, list) else [inner]
    return [_spread(item)]
