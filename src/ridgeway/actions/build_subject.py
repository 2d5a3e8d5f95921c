"""What a build looks at: the working tree as it is, or a clone of a commit; and whether it can be published."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ridgeway.artifacts import Origin
from ridgeway.errors import UsageError
from ridgeway.orchestrator.publication import checkout, git, origin_of, unsaved
from ridgeway.project import Project, commit, open_project


@dataclass(frozen=True)
class Subject:
    """What is looked at."""

    project: Project
    """Its root is the working folder, or a clone of the commit."""
    origin: Origin | None
    """What would be published; None where nothing is."""
    commit: str
    """40 hex digits; empty outside a git repository."""
    clean: bool | None
    """Whether it is the commit and nothing else; None outside a git repository."""


def subject(home: Project, *, rev: str, repository: str, publishes: bool, overrides: Sequence[str]) -> Subject:
    """What a build looks at.

    Args:
        home: The project around the working directory; that of a clone, where a published build runs.
        rev: The commit to look at; empty: the tree as it is.
        repository: Of the commit, where it is not the project's own: an absolute path, or what git can clone.
        publishes: Whether it is to be published.
        overrides: ``KEY=VALUE`` settings over all others.

    Raises:
        UsageError: There is no such commit; or it is to be published, and the tree differs from it.
    """
    if rev or repository:
        origin = _elsewhere(home, rev, repository) if repository else origin_of(home.home, rev)
        return Subject(open_project(checkout(origin), overrides=overrides), origin, origin.commit, clean=True)
    source = commit(home.root)
    wanted = origin_of(home.home, source.id or "HEAD") if publishes else None
    if publishes:
        refuse_unsaved(home)
    return Subject(home, wanted, source.id, source.clean if source.id else None)


def refuse_unsaved(home: Project) -> None:
    """Nothing, if the tree is what its commit says; a clone always is.

    Raises:
        UsageError: Files differ: what would be published is not what was looked at.
    """
    files = unsaved(home.root, living=(home.settings.data.source,)) if home.root == home.home else ()
    if files:
        raise UsageError(
            "build: the working tree is not as in the commit",
            where=str(home.root),
            problem="\n".join([*files[:10], *([f"and {len(files) - 10} more"] if len(files) > 10 else [])]),
            expected="all of it committed: the commit is what is published",
            next_step="git commit -a     or, only to look at it:     ridgeway run build --only gates",
        )


def refuse_moved(looked: Subject) -> None:
    """Nothing, if the tree is still what was looked at.

    Raises:
        UsageError: Somebody has changed it meanwhile.
    """
    if looked.project.root != looked.project.home:
        return
    refuse_unsaved(looked.project)
    now = commit(looked.project.root).id
    if now != looked.commit:
        raise UsageError(
            "build: another commit was checked out meanwhile",
            where=str(looked.project.root),
            problem=f"looked at {looked.commit[:12]}, now it is {now[:12]}",
            next_step="the same command again",
        )


def _elsewhere(home: Project, rev: str, repository: str) -> Origin:
    """A commit of another repository, such as the bare one that was pushed to."""
    path = Path(repository)
    found = git.ask(path, "rev-parse", "--verify", "--quiet", f"{rev}^{{commit}}") if path.is_dir() else rev
    if not found or not re.fullmatch(r"[0-9a-f]{40}", found):
        raise UsageError(
            f"no commit {rev!r}",
            where=repository,
            expected="a commit of that repository; where it is not on this machine all 40 digits of its hash",
        )
    prefix = git.ask(home.home, "rev-parse", "--show-prefix") or ""
    return Origin(repository, found, prefix.rstrip("/"), str(home.home))
