"""Published artifacts of a run: a folder for each, filled once, read by other jobs."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from ridgeway.ci.execution.folders import writing


class NotPublished(Exception):
    """What is wrong with a request to publish or download, in one sentence."""


class Shelf:
    """The artifacts of one run.

    Args:
        folder: Holds a folder for each.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()

    def names(self) -> tuple[str, ...]:
        """What has been published."""
        return tuple(sorted(found.name for found in self.folder.iterdir() if not found.name.startswith(".")))

    def publish(self, name: str, source: Path, *, adds: bool = False) -> int:
        """Copies a file, or what is in a folder, as an artifact; the number of files.

        Args:
            name: The artifact's.
            source: A file or folder.
            adds: Whether an artifact of that name may be there already.

        Raises:
            NotPublished: There is no such file, the name cannot be a folder's, or it is taken.
            StorageError: The disk is full.
        """
        if not name or re.search(r'[\\/:"<>|*?]', name) or name.startswith("."):
            raise NotPublished(f"an artifact cannot be called {name!r}")
        if not source.exists():
            raise NotPublished(f"{source} is not there")
        place = self.folder / name
        # Whoever is killed meanwhile leaves a hidden folder, not half an artifact.
        partial = self.folder / f".{name}"
        with self._lock, writing(f"cannot keep the artifact {name}", place):
            if place.exists() and not adds:
                raise NotPublished(f"the artifact {name} exists already in this run")
            shutil.rmtree(partial, ignore_errors=True)
            if place.exists():
                shutil.copytree(place, partial, symlinks=True)
            _copy(source, partial)
            shutil.rmtree(place, ignore_errors=True)
            partial.rename(place)
        files = [source] if source.is_file() else [one for one in source.rglob("*") if one.is_file()]
        return len(files)

    def fetch(self, name: str, place: Path, patterns: Iterable[str] = ()) -> int:
        """Copies the files of an artifact to a place; their number.

        Args:
            name: The artifact's.
            place: A folder, made if it is not there.
            patterns: Which files, all without; ``!`` before a pattern leaves out what it matches.

        Raises:
            NotPublished: There is no such artifact.
            StorageError: The disk is full.
        """
        artifact = self.folder / name
        if not name or not artifact.is_dir() or artifact.parent != self.folder:
            published = ", ".join(self.names()) or "nothing"
            raise NotPublished(f"no artifact {name!r} in this run; published so far: {published}")
        chosen = [one for one in sorted(artifact.rglob("*")) if one.is_file() or one.is_symlink()]
        wanted = [*patterns] or ["**"]
        with self._lock, writing(f"cannot download the artifact {name}", place):
            place.mkdir(parents=True, exist_ok=True)
            count = 0
            for one in chosen:
                if matches(one.relative_to(artifact).as_posix(), wanted):
                    target = place / one.relative_to(artifact)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(one, target, follow_symlinks=False)
                    count += 1
        return count


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Whether the last pattern that says anything of a path includes it.

    Example:
        >>> matches("a/b.xml", ["**/*.xml"]), matches("a/b.xml", ["**", "!a/**"]), matches("b.txt", ["*.xml"])
        (True, False, False)
    """
    chosen = False
    for pattern in patterns:
        include = not pattern.startswith("!")
        if _glob(pattern.removeprefix("!").strip()).fullmatch(path):
            chosen = include
    return chosen


def found(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """The files below a folder whose paths in it match, sorted; git's own aside."""
    wanted = [*patterns]
    every = (one for one in sorted(folder.rglob("*")) if one.is_file() and ".git" not in one.parts)
    return [one for one in every if matches(one.relative_to(folder).as_posix(), wanted)]


@lru_cache(256)
def _glob(pattern: str) -> re.Pattern[str]:
    """``**`` is any folders, ``*`` any characters of a name, ``?`` one."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern.removeprefix("./"))
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(known.get(part, re.escape(part)) for part in parts))


def _copy(source: Path, place: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, place, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git"))
    else:
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, place / source.name)
