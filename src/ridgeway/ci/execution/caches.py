"""Caches of jobs, as the task Cache@2 asks for them: folders that are kept on this machine from run to run, by key."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ridgeway.ci.execution.folders import writing
from ridgeway.ci.execution.shelf import found
from ridgeway.errors import StorageError

HIT: Final = "true"
"""What ``cacheHitVar`` says where there is one of exactly this key."""
INEXACT: Final = "inexact"
"""And where one of the other keys had to do."""
MISS: Final = "false"
"""And where there is none."""
KEPT_DAYS: Final = 7
"""So long is a cache kept that nobody uses, as on Azure Pipelines."""
_KEY: Final = "key.json"
_FILES: Final = "files"

Key = tuple[str, ...]
"""Segments, those of files as digests of what is in them."""


class NoSuchFile(Exception):
    """A segment of a key means files, and there are none."""


@dataclass(frozen=True)
class Wanted:
    """A folder that is to be kept when its job has gone well.

    Attributes:
        key: Under which.
        folder: The folder.
    """

    key: Key
    folder: Path


def key_of(text: str, folder: Path) -> Key:
    """A key as it is written, with digests in the place of files.

    Args:
        text: Segments between ``|``. One in quotes is a text; else what looks like a path or a pattern means files.
        folder: What paths are relative to.

    Raises:
        NoSuchFile: A path or pattern finds nothing.

    Example:
        >>> key_of('"a.b" | Linux', Path())
        ('a.b', 'Linux')
    """
    return tuple(_segment(one.strip(), folder) for one in text.split("|"))


def _segment(text: str, folder: Path) -> str:
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    if not any(sign in text for sign in "./*?") or text.endswith("."):
        return text
    files = [*_found(text, folder)]
    if not files:
        raise NoSuchFile(f"the cache's key names {text}, and there is no such file; in quotes it would be a text")
    digest = hashlib.sha256()
    for name, file in files:
        digest.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\0".encode())
    return digest.hexdigest()


def _found(text: str, folder: Path) -> Iterable[tuple[str, Path]]:
    patterns = [part.strip() for part in text.split(",")]
    if len(patterns) == 1 and not set(text) & set("*?"):
        file = folder / text
        return [(text, file)] if file.is_file() else []
    return [(one.relative_to(folder).as_posix(), one) for one in found(folder, patterns)]


class Caches:
    """What is kept, one folder for each key.

    Args:
        folder: Where; made when something is kept first.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def restore(self, key: Key, others: Sequence[Key], place: Path) -> str:
        """Copies what is kept to a place; ``HIT``, ``INEXACT`` or ``MISS``.

        Args:
            key: The one that is wanted.
            others: Beginnings of keys that would do as well, the best first; of several the newest is taken.
            place: A folder; made if something is found.

        Raises:
            StorageError: The disk is full or cannot be written.
        """
        exact = self._place(key)
        found = exact if (exact / _KEY).is_file() else self._like(others)
        if found is None:
            return MISS
        with suppress(OSError):
            (found / _KEY).touch()
        with writing("cannot bring a cache back", place):
            place.mkdir(parents=True, exist_ok=True)
            _copied(found / _FILES, place)
        return HIT if found == exact else INEXACT

    def keep(self, wanted: Wanted, *, moves: bool) -> bool:
        """Keeps a folder, unless something is kept under its key already; whether it was.

        Args:
            wanted: Which.
            moves: Whether nobody needs the folder any more: that is quicker.

        Raises:
            StorageError: The disk is full or cannot be written.
        """
        place = self._place(wanted.key)
        if place.exists() or not wanted.folder.is_dir():
            return False
        # Whoever is killed meanwhile leaves a hidden folder, not half a cache.
        partial = self.folder / f".{uuid.uuid4()}"
        try:
            with writing("cannot keep a cache", self.folder):
                partial.mkdir(parents=True)
                _moved(wanted.folder, partial / _FILES, moves=moves)
                (partial / _KEY).write_text(json.dumps(wanted.key), encoding="utf-8")
            with suppress(OSError):  # another job was quicker
                partial.rename(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._forget(time.time() - KEPT_DAYS * 86_400)
        return True

    def _place(self, key: Key) -> Path:
        return self.folder / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]

    def _like(self, others: Sequence[Key]) -> Path | None:
        kept = sorted(self.folder.glob(f"*/{_KEY}"), key=lambda one: one.stat().st_mtime, reverse=True)
        keys = {one.parent: tuple(json.loads(one.read_text(encoding="utf-8"))) for one in kept}
        for other in others:
            for place, key in keys.items():
                if key[: len(other)] == other:
                    return place
        return None

    def _forget(self, before: float) -> None:
        for one in self.folder.glob(f"*/{_KEY}"):
            with suppress(OSError):
                if one.stat().st_mtime < before:
                    shutil.rmtree(one.parent)


def _moved(source: Path, place: Path, *, moves: bool) -> None:
    if moves:
        with suppress(OSError):  # from another disk
            source.rename(place)
            return
    place.mkdir()
    _copied(source, place)


def _copied(source: Path, place: Path) -> None:
    """A copy, links as links: ten thousands of files, which Python would take thrice the time for."""
    done = subprocess.run(  # noqa: S603 - folders of ours
        ["cp", "-RPp", f"{source}/.", str(place)],  # noqa: S607 - of the system
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StorageError("cannot copy a cache", where=str(place), problem=done.stderr.strip()[-200:])
