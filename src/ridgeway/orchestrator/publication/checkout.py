"""The clone of a commit that published runs work in: made once, held while it is used, removed when it is old.

It lies in ``.ridgeway/published/COMMIT/`` of the project's home. A clone, not a worktree: home may be moved on, dirty,
rebased or at another commit, and nothing of it changes. Where home's disk allows, git's objects are hard links.
"""

from __future__ import annotations

import dataclasses
import fcntl
import logging
import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from ridgeway.artifacts import Origin
from ridgeway.errors import Permanent, StorageError, UsageError
from ridgeway.orchestrator.publication import git
from ridgeway.places import HOME_NOTE, PUBLISHED, STATE, state_of
from ridgeway.run_log import exclusive

_logger = logging.getLogger("ridgeway.publish")

LOCK = "published clones"
NEWEST = 3
"""So many clones are kept beside those in use."""
_PARTIAL = ".partial-"
_EXCLUDED = f"{STATE}\n__pycache__/\n"
_held: dict[Path, int] = {}
"""Clone → descriptor whose lock says that this process uses it; the kernel gives it back when the process ends."""


# ---- which commit ----------------------------------------------------------------------------------------------------


def origin_of(home: Path, commit: str = "HEAD") -> Origin:
    """Where the project's code at ``commit`` comes from.

    Args:
        home: The project's working folder, absolute.
        commit: Anything that git understands as one: ``HEAD``, a branch, a tag, the beginning of a hash.

    Raises:
        UsageError: There is no git, no repository, no such commit, or the commit does not hold the project.
    """
    top = git.ask(home, "rev-parse", "--show-toplevel")
    if not top:
        raise UsageError(
            "the project is in no git repository",
            where=str(home),
            problem="what is published is a commit: without one, nobody could tell later what ran",
            expected="a repository with at least one commit",
            next_step="git init && git add . && git commit -m 'First'",
        )
    found = git.ask(home, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    if not found:
        raise _no_commit(home, commit)
    folder = home.resolve().relative_to(Path(top).resolve()).as_posix()
    origin = Origin(top, found, "" if folder == "." else folder, str(home))
    if git.ask(home, "cat-file", "-e", f"{found}:{_inside(origin, 'ridgeway.toml')}") is None:
        raise UsageError(
            f"commit {found[:12]} does not hold the project",
            where=top,
            problem=f"it has no {_inside(origin, 'ridgeway.toml')}",
            next_step="git add ridgeway.toml && git commit",
        )
    return origin


def shared(origin: Origin) -> Origin:
    """The same for workers on other machines: from the repository's remote, in whatever home the worker has.

    Raises:
        UsageError: The repository has no remote.
    """
    address = git.ask(Path(origin.repository), "remote", "get-url", "origin")
    if not address:
        raise UsageError(
            "the repository has no remote",
            where=origin.repository,
            problem="a job of CI publishes for workers on other machines, which clone it from there",
            next_step="git remote add origin ADDRESS     or, for workers of this machine, without --ci",
        )
    return Origin(_without_credentials(address), origin.commit, origin.folder, "")


def _without_credentials(address: str) -> str:
    """CI systems write a token into the address; workers have credentials of their own.

    Example:
        >>> _without_credentials("https://token:s3cret@git.example/team/diabetes")
        'https://git.example/team/diabetes'
        >>> _without_credentials("ssh://git@git.example/team/diabetes")
        'ssh://git@git.example/team/diabetes'
    """
    scheme, mark, rest = address.partition("://")
    if not mark or scheme == "ssh":
        return address
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _no_commit(home: Path, commit: str) -> UsageError:
    if commit == "HEAD":
        return UsageError(
            "there is no commit yet", where=str(home), next_step="git add . && git commit -m 'First'     then again"
        )
    return UsageError(
        f"no commit {commit!r}",
        where=str(home),
        expected="HEAD, a branch, a tag, or the beginning of exactly one hash",
        next_step="git log --oneline",
    )


def _inside(origin: Origin, name: str) -> str:
    return f"{origin.folder}/{name}" if origin.folder else name


def unsaved(home: Path, living: Collection[str] = ()) -> tuple[str, ...]:
    """Files of the project that differ from HEAD, or are not under version control at all; relative to home.

    Args:
        home: The project's working folder.
        living: Paths below which files that are not under version control are meant to be so, such as growing data.
    """
    prefix = git.ask(home, "rev-parse", "--show-prefix") or ""
    told = git.ask(home, "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all", "--", ".") or ""
    found = []
    for entry in filter(None, told.split("\0")):
        state, name = entry[:2], entry[3:].removeprefix(prefix)
        if state == "??" and any(Path(name).is_relative_to(one) for one in (STATE, *living)):
            continue
        found.append(name)
    return tuple(found)


# ---- the clone -------------------------------------------------------------------------------------------------------


def checkout(origin: Origin) -> Path:
    """The project's folder in a clone of its commit, made if there is none; held until this process ends.

    Any number of processes may ask at once. Its ``.ridgeway`` is a link to home's.

    Raises:
        UsageError: Home, the repository or the commit is not there.
        StorageError: The disk is full, or the folder cannot be written.
        Permanent: Files of the clone were changed while another process works in it.
        Busy: Another process is making it, and does not come to an end.
    """
    home = Path(origin.home or os.environ.get("RIDGEWAY_HOME") or Path.cwd()).resolve()
    if not (home / STATE).is_dir():
        raise UsageError(
            "the project's folder is not on this machine",
            where=str(home),
            problem=f"it has no {STATE}: a published run keeps its record, locks and local registry there",
            expected="the project's working folder, as it was published, or as RIDGEWAY_HOME names it",
            next_step="run the worker where the project was published; or RIDGEWAY_HOME=FOLDER, for what CI publishes",
        )
    origin = dataclasses.replace(origin, home=str(home))
    place = state_of(home) / PUBLISHED / origin.commit
    if not (_hold(place) and _is_whole(place, origin)):
        _release(place)
        with exclusive(home, LOCK, wait_seconds=git.TIMEOUT_SECONDS):
            _make(place, origin)
            _hold(place)
    return place / origin.folder


def _make(place: Path, origin: Origin) -> None:
    """Makes the clone unless somebody has meanwhile; the caller holds the lock."""
    try:
        place.parent.mkdir(exist_ok=True)
        for leftover in place.parent.glob(f"{_PARTIAL}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if place.exists() and not _is_whole(place, origin):
            _logger.warning("the clone of %s was changed by somebody; it is made anew", origin.commit[:12])
            _discard(place)
        if not place.exists():
            partial = place.with_name(f"{_PARTIAL}{origin.commit[:12]}-{os.getpid()}")
            _clone(partial, origin)
            partial.rename(place)
    except OSError as error:
        raise StorageError(
            f"cannot make a clone of {origin.commit[:12]}",
            where=str(place),
            problem=error.strerror or str(error),
            expected="space, and the right to write",
            next_step="make room, or give yourself the right to write there",
        ) from error


def _clone(partial: Path, origin: Origin) -> None:
    doing = f"cannot make a clone of {origin.commit[:12]}"
    # What home has of a repository that is elsewhere need not be fetched.
    own = ("--reference-if-able", origin.home, "--dissociate") if not Path(origin.repository).is_dir() else ()
    git.do(doing, partial.parent, "clone", "--quiet", "--no-checkout", *own, origin.repository, str(partial))
    if git.ask(partial, "cat-file", "-e", f"{origin.commit}^{{commit}}") is None:
        # On no branch: a clone from an address does not bring it by itself.
        git.do(doing, partial, "fetch", "--quiet", "origin", origin.commit)
    git.do(doing, partial, "checkout", "--quiet", "--detach", origin.commit)
    exclude = partial / ".git" / "info" / "exclude"
    exclude.parent.mkdir(exist_ok=True)
    exclude.write_text(_EXCLUDED, encoding="utf-8")
    _link(partial / origin.folder, partial, origin)


def _link(project: Path, partial: Path, origin: Origin) -> None:
    """Leads the clone's state to home's; relative, so that home may be moved."""
    link, state = project / STATE, state_of(Path(origin.home))
    if link.is_symlink() or link.exists():
        raise UsageError(
            f"commit {origin.commit[:12]} holds {STATE}",
            where=origin.repository,
            problem="it is local state, and no part of the source",
            next_step=f"git rm -r --cached {STATE} && git commit",
        )
    # As seen from where the clone will be: beside the partial one.
    link.symlink_to(os.path.relpath(state, project))
    note = partial.with_name(HOME_NOTE)
    note.write_text(origin.home, encoding="utf-8")


def _is_whole(place: Path, origin: Origin) -> bool:
    """Whether the clone holds exactly the commit: not what a person, or a machine that lost power, made of it."""
    if not place.is_dir():
        return False
    told = git.ask(place, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    lines = (told or "").splitlines()
    changed = [line for line in lines if not line.startswith("#")]
    return f"# branch.oid {origin.commit}" in lines and not changed and (place / origin.folder / STATE).is_dir()


# ---- in use or not ---------------------------------------------------------------------------------------------------


def _hold(place: Path) -> bool:
    """Notes that this process uses the clone; False where there is none."""
    while place not in _held:
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        with suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == place.stat().st_ino:
                _held[place] = descriptor
                break
        os.close(descriptor)  # removed between the two lines
    with suppress(OSError):
        os.utime(place)
    return True


def _release(place: Path) -> None:
    if place in _held:
        os.close(_held.pop(place))


def _discard(place: Path) -> None:
    """Removes a clone that nobody uses.

    Raises:
        Permanent: Somebody does.
    """
    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        aside = place.with_name(f"{_PARTIAL}{place.name[:12]}-old-{os.getpid()}")
        place.rename(aside)
    except BlockingIOError:
        raise Permanent(
            f"files of the clone of {place.name[:12]} were changed while a run works in it",
            where=str(place),
            expected="the files of the commit: a clone is nobody's to edit",
            next_step=f"git -C {place} checkout .",
        ) from None
    finally:
        os.close(descriptor)
    shutil.rmtree(aside, ignore_errors=True)


def prune(home: Path, keep: Collection[str]) -> tuple[str, ...]:
    """Removes old clones; the commits whose clones are gone.

    Args:
        home: The project's working folder.
        keep: Commits whose clones stay. So do the newest three, and those that a process works in.
    """
    folder = state_of(home) / PUBLISHED
    with exclusive(home, LOCK, wait_seconds=git.TIMEOUT_SECONDS):
        clones = [path for path in folder.glob("[0-9a-f]*") if path.is_dir()]
        clones.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        removed = []
        for place in clones[NEWEST:]:
            if place.name not in keep:
                with suppress(Permanent, OSError):
                    _discard(place)
                    place.with_suffix(".json").unlink(missing_ok=True)  # what was found out about it
                    removed.append(place.name)
    return tuple(removed)
