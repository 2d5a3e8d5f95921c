"""A clean clone of a commit for a job, and what git knows of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ridgeway.ci.execution.folders import writing
from ridgeway.errors import Transient, UsageError
from ridgeway.project import git_environment

GIT_SECONDS: Final = 600.0
"""How long git has for anything."""


@dataclass(frozen=True)
class Source:
    """What jobs work on.

    Attributes:
        root: The repository's folder.
        commit: The commit's id.
        branch: The branch that is checked out; empty for none.
        message: The commit's first line.
        author: Who wrote it.
        person: Who works here, as git knows them.
        unsaved: Files that differ from the commit or are not in git at all: the run does not see them so.
    """

    root: Path
    commit: str
    branch: str
    message: str
    author: str
    person: str
    unsaved: tuple[str, ...]


@dataclass(frozen=True)
class Wish:
    """How a step wants its checkout.

    Attributes:
        depth: Number of commits, 0 for all.
        submodules: ``true``, ``recursive`` or nothing.
        tags: Whether tags come with it.
    """

    depth: int = 0
    submodules: str = ""
    tags: bool = True


def source(folder: Path, commit: str = "HEAD") -> Source:
    """What git says of the repository around a folder.

    Args:
        folder: Any folder in the repository.
        commit: Anything that git understands as a commit.

    Raises:
        UsageError: There is no git, no repository, or no such commit.
    """
    top = _ask(folder, "rev-parse", "--show-toplevel")
    if not top:
        raise UsageError(
            "a pipeline runs in a clean clone of a commit",
            where=str(folder),
            problem="this folder is in no git repository",
            next_step="git init && git add . && git commit -m 'First'     or --plan, which runs nothing",
        )
    root = Path(top)
    found = _ask(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    if not found:
        raise UsageError(
            f"no commit {commit!r}" if commit != "HEAD" else "there is no commit yet",
            where=top,
            expected="HEAD, a branch, a tag, or the beginning of exactly one hash",
            next_step="git add . && git commit -m 'First'" if commit == "HEAD" else "git log --oneline",
        )
    branch = _ask(root, "symbolic-ref", "--short", "--quiet", "HEAD")
    message, _, author = _ask(root, "log", "-1", "--format=%s%x00%an", found).partition("\0")
    person = _ask(root, "config", "user.name")
    return Source(root, found, branch, message, author, person, _unsaved(root))


def _unsaved(root: Path) -> tuple[str, ...]:
    told = _ask(root, "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=normal")
    return tuple(entry[3:] for entry in told.split("\0") if entry)


class Committed(Mapping[str, str]):
    """The files of a commit by path, read when they are asked for.

    Args:
        source: The commit.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitem__(self, path: str) -> str:
        """The text of a file.

        Raises:
            KeyError: The commit has no such file.
        """
        name = f"{self.source.commit}:{path}"
        if _ask(self.source.root, "cat-file", "-t", name) != "blob":
            raise KeyError(path)
        return _do(self.source.root, "cat-file", "blob", name, out=True)

    def __iter__(self) -> Iterator[str]:
        """The paths of all YAML files."""
        names = _ask(self.source.root, "ls-tree", "-r", "-z", "--name-only", self.source.commit).split("\0")
        return iter([name for name in names if name.endswith((".yml", ".yaml"))])

    def __len__(self) -> int:
        return sum(1 for _ in self)


def clone(source: Source, place: Path, wish: Wish) -> str:
    """Makes a clone of the commit at a place that is empty or not there; what git says on the way.

    Raises:
        StorageError: The disk is full.
        UsageError: Git fails.
        Transient: Git does not come to an end.
    """
    with writing("cannot make a folder for the clone", place):
        place.mkdir(parents=True, exist_ok=True)
    address = source.root.as_uri()
    depth = (f"--depth={wish.depth}",) if wish.depth else ()
    tags = () if wish.tags else ("--no-tags",)
    if depth:
        # A depth means something over a transport only, not where files are linked.
        said = _do(place, "init", "--quiet") + _do(place, "remote", "add", "origin", address)
        said += _do(place, "fetch", "--quiet", *depth, *tags, "origin", source.commit)
    else:
        said = _do(place, "clone", "--quiet", "--no-checkout", *tags, str(source.root), ".")
        if _ask(place, "cat-file", "-t", source.commit) != "commit":
            said += _do(place, "fetch", "--quiet", address, source.commit)  # on no branch
    said += _do(place, "checkout", "--quiet", "--force", "--detach", source.commit)
    if wish.submodules in {"true", "recursive"}:
        recursive = ("--recursive",) if wish.submodules == "recursive" else ()
        said += _do(place, "submodule", "--quiet", "update", "--init", *recursive)
    return said


def _ask(folder: Path, *arguments: str) -> str:
    done = _git(folder, arguments)
    return done.stdout.rstrip("\n") if done.returncode == 0 else ""


def _do(folder: Path, *arguments: str, out: bool = False) -> str:
    with writing("cannot clone the commit", folder):
        done = _git(folder, arguments)
        if "No space left on device" in done.stderr:
            raise OSError(28, "No space left on device", str(folder))
    if done.returncode:
        summary = f"git {arguments[0]} failed"
        raise UsageError(summary, where=str(folder), problem=done.stderr.strip() or f"exit code {done.returncode}")
    return done.stdout if out else done.stderr


def _git(folder: Path, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - git with our own arguments
            # Hooks of the person's template would run in the clone.
            ["git", "-c", "core.hooksPath=/dev/null", *arguments],  # noqa: S607
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=GIT_SECONDS,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C of the terminal is answered by us
            env={**git_environment(), "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "PWD": os.fspath(folder)},
        )
    except FileNotFoundError:
        raise UsageError("git is not installed", expected="the program git on the path") from None
    except subprocess.TimeoutExpired:
        raise Transient(f"git {arguments[0]} does not come to an end", where=str(folder)) from None
