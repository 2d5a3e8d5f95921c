"""GitHub Actions workflows: what they do."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ridgeway.ci.checking.calls import calls
from ridgeway.ci.checking.graph import Node, Part, nodes, started
from ridgeway.ci.checking.places import CiFile


def read(text: str) -> dict[str, Any]:
    """A workflow or action with all scalars as texts; empty for what is none.

    Raises:
        yaml.YAMLError: It is no YAML.
    """
    made: Any = yaml.load(text, yaml.BaseLoader)  # noqa: S506 - texts only
    return made if isinstance(made, dict) else {}


def is_action(file: CiFile) -> bool:
    """Whether a file is an action, not a workflow."""
    return posixpath.basename(file.path) in {"action.yml", "action.yaml"}


def scripts(file: CiFile) -> Iterator[str]:
    """All scripts of a workflow or action."""
    made = read(file.text)
    bodies = [made.get("runs"), *_mapping(made.get("jobs")).values()]
    for body in bodies:
        for step in _listed(_mapping(body).get("steps")):
            yield str(_mapping(step).get("run", ""))


def graph(file: CiFile, files: Mapping[str, CiFile]) -> frozenset[Node]:
    """What a workflow does, with the workflows that it calls.

    Args:
        file: The workflow.
        files: All of them by path.
    """
    return frozenset(nodes(_parts(file, files, ())))


def _parts(file: CiFile, files: Mapping[str, CiFile], inside: tuple[str, ...]) -> dict[str, Part]:
    made: dict[str, Part] = {}
    for name, job in _mapping(read(file.text).get("jobs")).items():
        body = _mapping(job)
        called = _called(str(body.get("uses", "")), file, files)
        own = _part(body)
        if called is None or called.path in inside:
            made[name] = own
            continue
        made |= started(name, own, _parts(called, files, (*inside, file.path)))
    return made


def _called(uses: str, file: CiFile, files: Mapping[str, CiFile]) -> CiFile | None:
    if not uses.startswith("./"):
        return None
    # Templates are called by the place that they will have in a project.
    beside = posixpath.join(posixpath.dirname(file.path), posixpath.basename(uses))
    return files.get(uses[2:]) or files.get(beside)


def _part(body: Mapping[str, Any]) -> Part:
    needs = body.get("needs", [])
    environment = body.get("environment", "")
    return Part(
        commands=tuple(
            words for step in _listed(body.get("steps")) for words in calls(str(_mapping(step).get("run", "")))
        ),
        after=tuple([needs] if isinstance(needs, str) else needs),
        condition=str(body.get("if", "")),
        environment=str(environment.get("name", "") if isinstance(environment, dict) else environment),
    )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
