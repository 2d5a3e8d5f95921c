"""The project as an image holds it: the files of a commit, or with leave those of the working tree that git tracks."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ridgeway.errors import Permanent, UsageError
from ridgeway.project import SOURCE_NOTE, digest_of

PROJECT = "project"
"""Folder of the project in the image."""
_SHOWN = 5
"""As many changed files are named in a message."""
_TIMEOUT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Source:
    """Which files of a project go into its image."""

    root: Path
    commit: str
    """40 hex digits."""
    tree: str
    """Of the project's folder in that commit; empty where the working tree's files are taken."""
    changed: tuple[str, ...] = ()
    """Files that are not as in the commit, relative to the project."""
    untracked: tuple[str, ...] = ()
    """Files that git does not know: left out."""

    @property
    def clean(self) -> bool:
        """Whether all is as in the commit."""
        return not self.changed and not self.untracked

    @property
    def key(self) -> str:
        """``sha256:…``, equal where the same files would be taken; read are only those that differ from a commit's."""
        content = {"tree": self.tree} if self.tree else {"files": _digests(self.root)}
        return digest_of({"commit": self.commit, "clean": self.clean, **content})


def read_source(root: Path, *, allow_dirty: bool = False) -> Source:
    """What of the project goes into its image.

    Args:
        root: The project's root, in a git repository.
        allow_dirty: Take the working tree's tracked files as they are where they differ from the commit.

    Raises:
        UsageError: There is no commit, or files differ from it and ``allow_dirty`` is not given.
    """
    commit = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    if not commit:
        raise UsageError(
            "a job takes the project from a commit, and there is none",
            where=str(root),
            problem="the folder is in no git repository, or nothing was committed yet",
            next_step='git init && git add . && git commit -m "first"',
        )
    prefix = _git(root, "rev-parse", "--show-prefix")
    changed, untracked = _differences(root, prefix)
    if (changed or untracked) and not allow_dirty:
        raise _dirty(changed, untracked)
    tree = "" if changed else _git(root, "rev-parse", f"{commit}:{prefix}")
    return Source(root, commit, tree, changed, untracked)


def unpack(source: Source, folder: Path) -> Mapping[str, Path | bytes]:
    """The source's files, by their path in the image, with the note that says where they come from.

    Args:
        source: What to take.
        folder: A new one, where files of the commit are put meanwhile.

    Raises:
        Permanent: Git does not hand the commit out.
    """
    note = json.dumps({"schema": 1, "commit": source.commit, "clean": source.clean}).encode()
    files = _archived(source, folder) if source.tree else _tracked(source.root)
    found: dict[str, Path | bytes] = {f"{PROJECT}/{name}": file for name, file in files.items()}
    # The folder that a writable one is mounted on: the root file system of a job is read-only.
    return {**found, f"{PROJECT}/{SOURCE_NOTE}": note, f"{PROJECT}/.ridgeway/.gitignore": b"*\n"}


def holds(source: Source, file: str) -> bool:
    """Whether a file or folder, by its path relative to the project, is among the source's files."""
    return bool(_git(source.root, "ls-files", "--", file))


def _differences(root: Path, prefix: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Files that are changed, and those that git does not know and is not told to ignore."""
    # -z: nothing is quoted, and every path counts from the repository's root.
    said = _git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=normal", "--", ".", strip=False)
    entries = [entry for entry in said.split("\0") if entry]
    # A published commit's checkout has its state as a link, which a pattern for folders does not match.
    ours = [entry for entry in entries if entry[3:].rstrip("/").rpartition("/")[2] != ".ridgeway"]
    changed = tuple(entry[3:].removeprefix(prefix) for entry in ours if not entry.startswith("??"))
    return changed, tuple(entry[3:].removeprefix(prefix) for entry in ours if entry.startswith("??"))


def _dirty(changed: tuple[str, ...], untracked: tuple[str, ...]) -> UsageError:
    names = [*changed, *(f"{name} (not in git)" for name in untracked)]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return UsageError(
        "a job takes the project from a commit, and the working tree differs from it",
        problem=", ".join(names[:_SHOWN]) + more,
        expected="a clean tree: what a model was made from must be found again",
        next_step="git commit     or, for a try, --allow-dirty: takes the files that git tracks as they are now",
    )


def _archived(source: Source, folder: Path) -> dict[str, Path]:
    folder.mkdir(parents=True)
    archive = folder.with_suffix(".tar")
    # Run in the project's folder, git leaves out what lies beside it in the repository.
    _git(source.root, "archive", "--format=tar", f"--output={archive}", source.commit)
    found: dict[str, Path] = {}
    with tarfile.open(archive) as files:
        for number, member in enumerate(files):
            content = files.extractfile(member) if member.isfile() or member.issym() else None
            if content is not None:
                # Under a number: a name in an archive must not lead out of the folder.
                found[member.name] = folder / str(number)
                found[member.name].write_bytes(content.read())
    return found


def _tracked(root: Path) -> dict[str, Path]:
    names = _git(root, "ls-files", "-z", "--", ".", strip=False).split("\0")
    return {name: root / name for name in names if name and (root / name).is_file()}


def _digests(root: Path) -> list[tuple[str, str]]:
    return sorted((name, hashlib.sha256(path.read_bytes()).hexdigest()) for name, path in _tracked(root).items())


def _git(root: Path, *arguments: str, strip: bool = True) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - git with our own arguments
            ["git", "-C", str(root), *arguments],  # noqa: S607
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _no_git(str(error)) from error
    if done.returncode and arguments[0] not in ("rev-parse", "ls-files"):
        raise _no_git(done.stderr.decode(errors="replace").strip())
    text = done.stdout.decode(errors="surrogateescape") if done.returncode == 0 else ""
    return text.strip() if strip else text


def _no_git(problem: str) -> Permanent:
    return Permanent(
        "cannot take the project's files from git",
        problem=problem,
        expected="git on this machine, and a repository in good health",
        next_step="git status",
    )


def left_out(source: Source) -> Iterator[str]:
    """What a person has to know of a tree that is not clean, line by line."""
    if source.changed:
        yield f"not as in {source.commit[:12]}, taken as they are: {', '.join(source.changed[:_SHOWN])}" + _more(
            source.changed
        )
    if source.untracked:
        yield f"not in git, left out: {', '.join(source.untracked[:_SHOWN])}" + _more(source.untracked)


def _more(names: tuple[str, ...]) -> str:
    return f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
