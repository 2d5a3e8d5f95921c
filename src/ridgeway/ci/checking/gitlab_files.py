"""GitLab CI files: what they do, with what they include and the pipelines that they start."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from ridgeway.ci.checking.calls import calls
from ridgeway.ci.checking.github_files import read
from ridgeway.ci.checking.graph import Node, Part, nodes, started
from ridgeway.ci.checking.places import CiFile

_NO_JOBS: Final = frozenset(
    {"default", "include", "stages", "variables", "workflow", "spec", "image", "services", "cache", "before_script",
     "after_script", "pages"}
)  # fmt: skip
_BRANCH: Final = re.compile(r"\$CI_COMMIT_BRANCH\s*==\s*(?:\$CI_DEFAULT_BRANCH|\"main\")")


def roots(files: Iterable[CiFile]) -> list[CiFile]:
    """The files that no other one includes or starts."""
    known = {file.path: file for file in files}
    used = {
        path
        for file in known.values()
        for name in [*_includes(read(file.text)), *_started(read(file.text))]
        if (path := _beside(name, file, known))
    }
    return [file for path, file in known.items() if path not in used]


def scripts(file: CiFile) -> Iterator[str]:
    """All scripts of a file."""
    for job in read(file.text).values():
        if isinstance(job, dict):
            yield from _script(job)


def graph(file: CiFile, files: Mapping[str, CiFile]) -> frozenset[Node]:
    """What a pipeline does, with those that it starts.

    Args:
        file: What GitLab reads first.
        files: All of them by path.
    """
    return frozenset(nodes(_parts(file, files, ())))


def _parts(file: CiFile, files: Mapping[str, CiFile], inside: tuple[str, ...]) -> dict[str, Part]:
    merged = _merged(file, files, ())
    stages = _texts(merged.get("stages")) or ["build", "test", "deploy"]
    jobs = {
        name: _extended(name, merged)
        for name, job in merged.items()
        if isinstance(job, dict) and name not in _NO_JOBS and not name.startswith(".")
    }
    made: dict[str, Part] = {}
    for name, job in jobs.items():
        own = replace(_part(job), after=tuple(_after(job, jobs, stages)))
        path = _beside(next(_started({name: job}), ""), file, files)
        if path is None or path in inside:
            made[name] = own
            continue
        inner = _parts(files[path], files, (*inside, file.path))
        known = {
            key: replace(part, condition=_known(part.condition, job.get("variables"))) for key, part in inner.items()
        }
        made |= started(name, own, known)
    return made


def _merged(file: CiFile, files: Mapping[str, CiFile], inside: tuple[str, ...]) -> dict[str, Any]:
    own = read(file.text)
    made: dict[str, Any] = {}
    for name in _includes(own):
        path = _beside(name, file, files)
        if path and path not in inside:
            made |= _merged(files[path], files, (*inside, file.path))
    return made | own


def _includes(made: Mapping[str, Any]) -> Iterator[str]:
    include = made.get("include", [])
    for one in include if isinstance(include, list) else [include]:
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict) and "local" in one:
            yield str(one["local"])


def _started(made: Mapping[str, Any]) -> Iterator[str]:
    for job in made.values():
        trigger = job.get("trigger") if isinstance(job, dict) else None
        if isinstance(trigger, dict) and "include" in trigger:
            yield from _includes(trigger)


def _beside(name: str, file: CiFile, files: Mapping[str, CiFile]) -> str | None:
    """A file as it will be called in a project: at its place, or for templates beside the one that names it."""
    if not name:
        return None
    beside = posixpath.join(posixpath.dirname(file.path), posixpath.basename(name))
    return next((path for path in (name.lstrip("/"), beside) if path in files), None)


def _extended(name: str, jobs: Mapping[str, Any]) -> dict[str, Any]:
    job: dict[str, Any] = jobs[name]
    made: dict[str, Any] = {}
    for base in _texts(job.get("extends")):
        if base != name and isinstance(jobs.get(base), dict):
            made |= _extended(base, jobs)
    return made | job


def _after(job: Mapping[str, Any], jobs: Mapping[str, Any], stages: list[str]) -> Iterator[str]:
    needs = job.get("needs")
    if needs is None:
        own = str(job.get("stage", "test"))
        before = stages[: stages.index(own)] if own in stages else []
        earlier = [name for name, other in jobs.items() if other.get("stage", "test") in before]
        yield from (name for name in earlier if not _excludes(jobs[name], job))
        return
    for need in needs if isinstance(needs, list) else [needs]:
        if isinstance(need, str):
            yield need
        elif isinstance(need, dict) and need.get("optional") != "true":
            yield str(need.get("job", ""))


def _excludes(other: Mapping[str, Any], job: Mapping[str, Any]) -> bool:
    """Whether another job never runs where this one does: each of this one's conditions is a ``never`` of the other."""
    rules = [rule for rule in other.get("rules") or [] if isinstance(rule, dict) and rule.get("when") == "never"]
    never = {part.strip() for rule in rules for part in str(rule.get("if", "")).split("||")}
    own = [str(rule.get("if", "")).strip() for rule in job.get("rules") or [] if rule.get("when") != "never"]
    return bool(own) and all(one in never for one in own)


def _part(job: Mapping[str, Any]) -> Part:
    rules = [rule for rule in job.get("rules") or [] if isinstance(rule, dict) and rule.get("when") != "never"]
    texts = [f"{rule.get('if', '')} {rule.get('when', '')}" for rule in rules]
    only_main = bool(rules) and all(_BRANCH.search(str(rule.get("if", ""))) for rule in rules)
    condition = _BRANCH.sub("", " ".join([*texts, str(job.get("when", ""))]))
    found = tuple(words for text in _script(job) for words in calls(text))
    # GitLab has no conditions on what a job of the same pipeline printed: scripts ask for that themselves.
    asked = " ".join(text for text in _script(job) if not [*calls(text)] and re.search(r"\b(if|case|test)\b|\[ ", text))
    manual = job.get("when") == "manual" or any(rule.get("when") == "manual" for rule in rules)
    whole = f"{condition} {asked if found else ''} {'main' if only_main else ''}"
    return Part(commands=found, condition=whole, asks=manual)


def _known(condition: str, variables: Any) -> str:
    """A condition without what the starting job's own variables decide."""
    for name, value in (variables if isinstance(variables, dict) else {}).items():
        if "$" not in str(value):
            condition = re.sub(rf"\${re.escape(name)}\s*==\s*[\"']{re.escape(str(value))}[\"']", "", condition)
    return condition


def _script(job: Mapping[str, Any]) -> list[str]:
    return _texts(job.get("script"))


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
