"""Whether an event starts a pipeline: its filters of branches, tags and changed files. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from ridgeway.ci.azure.inputs import full_branch
from ridgeway.ci.azure.pipeline import Filter, Pipeline, Trigger


@dataclass(frozen=True)
class Start:
    """Whether a pipeline starts.

    Attributes:
        starts: Yes or no.
        why: What decided.
    """

    starts: bool
    why: str


def on_push(pipeline: Pipeline, branch: str, changed: Iterable[str] = ()) -> Start:
    """Whether a push starts the pipeline; without a ``trigger`` every push does.

    Args:
        pipeline: The pipeline.
        branch: ``main``, ``refs/heads/main`` or ``refs/tags/v1``.
        changed: Paths of the changed files, from the repository's root; none are not asked about.
    """
    if full_branch(branch).startswith("refs/tags/"):
        tags = pipeline.trigger.tags if pipeline.trigger else None
        if tags is None:
            return Start(False, "no tags are named")
        return _chosen("tag", branch.removeprefix("refs/tags/"), tags, "refs/tags/")
    return _on(pipeline.trigger, "push", branch, changed)


def on_pull_request(pipeline: Pipeline, target: str, changed: Iterable[str] = (), *, draft: bool = False) -> Start:
    """Whether a pull request to a branch starts the pipeline; without a ``pr`` every pull request does."""
    if draft and pipeline.pull_request is not None and not pipeline.pull_request.drafts:
        return Start(False, "drafts do not count")
    return _on(pipeline.pull_request, "pull request", target, changed)


def _on(trigger: Trigger | None, word: str, branch: str, changed: Iterable[str]) -> Start:
    if trigger is None:
        return Start(True, f"every {word} does, since nothing is said of it")
    if not trigger.enabled:
        return Start(False, f"no {word} does")
    found = _chosen("branch", branch, trigger.branches, "refs/heads/")
    paths = sorted(changed)
    if not found.starts or not paths or trigger.paths == Filter():
        return found
    match = next((path for path in paths if path_chosen(path, trigger.paths)), None)
    if match is None:
        return Start(False, f"no changed file is among the paths: {', '.join(paths)}")
    return Start(True, f"{match} has changed")


def _chosen(word: str, name: str, chosen: Filter, prefix: str) -> Start:
    short = name.removeprefix(prefix)
    exclude = _matching(short, chosen.exclude, prefix)
    if exclude:
        return Start(False, f"{word} {short} is excluded by {exclude}")
    include = _matching(short, chosen.include, prefix) if chosen.include else "*"
    return Start(bool(include), f"{word} {short} is {'included' if include else 'not included'}")


def _matching(name: str, patterns: Iterable[str], prefix: str) -> str:
    return next((one for one in patterns if _branch(one.removeprefix(prefix)).fullmatch(name)), "")


@lru_cache(1024)
def _branch(pattern: str) -> re.Pattern[str]:
    """``*`` is any characters and ``?`` is one; letter case counts."""
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(character, re.escape(character)) for character in pattern))


def path_chosen(path: str, chosen: Filter) -> bool:
    """Whether a changed file is among the paths: the deepest pattern that matches it decides.

    Example:
        >>> chosen = Filter(include=("tools/trigger",), exclude=("tools",))
        >>> path_chosen("tools/trigger/a.py", chosen), path_chosen("tools/b.py", chosen), path_chosen("c.py", chosen)
        (True, False, False)
        >>> path_chosen("docs/a.md", Filter(exclude=("docs/*.md",)))
        False
    """
    name = path.lstrip("/")
    include = _depth(name, chosen.include) if chosen.include else 0
    exclude = _depth(name, chosen.exclude)
    return include >= 0 and include > exclude


def _depth(path: str, patterns: Iterable[str]) -> int:
    """Levels of the deepest pattern that matches the path or a folder above it; -1 where none does."""
    matching = [one.strip("/") for one in patterns if _path(one.strip("/")).fullmatch(path)]
    return max((1 + one.count("/") if one not in {"", "*", "**"} else 0 for one in matching), default=-1)


@lru_cache(1024)
def _path(pattern: str) -> re.Pattern[str]:
    """``**`` is any characters, ``*`` any within a level, ``?`` one; a folder stands for all below it."""
    text = ""
    for part in re.split(r"(\*\*/?|\*|\?)", pattern):
        text += {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part, re.escape(part))
    return re.compile(f"{text}(?:/.*)?" if text else ".*")
