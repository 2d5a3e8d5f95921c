"""Where data come from, and how to tell cheaply that they may have changed: files, folders, http(s) addresses."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from ridgeway.errors import Unreachable, UsageError
from ridgeway.project import Project, file_digest
from ridgeway.rules.triggers import ABSENT

TIMEOUT_SECONDS = 5.0


class Source(Protocol):
    """Something that holds data."""

    name: str
    """By which it is remembered."""

    def sign(self) -> str:
        """Cheap, and another one whenever the content may be another; ``ABSENT`` where nothing is there."""

    def digest(self) -> str:
        """Of the content."""

    def parameters(self) -> dict[str, str]:
        """What a retraining of just this content is told."""


def source_of(project: Project) -> Source:
    """What is watched in this project: ``triggers.watch``, or else the living file or folder of ``data.source``.

    Raises:
        UsageError: It is an address of another kind than http(s).
    """
    named = project.settings.triggers.watch
    if "://" not in named:
        own = project.root / (named or project.settings.data.source)
        return FileSource(own, is_data=not named)
    if urlsplit(named).scheme not in ("http", "https"):
        raise UsageError(
            "cannot watch for new data",
            where=f"triggers.watch = {named!r}",
            expected="a file, a folder, or an address that begins with http:// or https://",
            next_step="ridgeway settings triggers.watch",
        )
    return AddressSource(named)


class FileSource:
    """A file, or a folder of Parquet files.

    Args:
        path: Absolute.
        is_data: Whether the flow reads it; otherwise it only tells of data elsewhere.
    """

    def __init__(self, path: Path, *, is_data: bool = True) -> None:
        self.path = path
        self.name = str(path)
        self._is_data = is_data

    def sign(self) -> str:
        """Size, time and number of the file; of a folder, over all of its Parquet files."""
        try:
            found = self.path.stat()
        except OSError:
            return ABSENT
        if not self.path.is_dir():
            return _sign(found)
        digest = hashlib.sha256()
        for name, entry in sorted(_parquet(str(self.path))):
            digest.update(f"{name}\0{entry}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:32]

    def digest(self) -> str:
        """Over the bytes; an empty one where the file is gone meanwhile."""
        try:
            return file_digest(self.path)
        except OSError:
            return ABSENT

    def parameters(self) -> dict[str, str]:
        """The path: a clone of the published commit would look for it in itself."""
        return {"source": str(self.path)} if self._is_data else {}


def _sign(found: os.stat_result) -> str:
    return f"{found.st_size}:{found.st_mtime_ns}:{found.st_ino}"


def _parquet(folder: str) -> Iterator[tuple[str, str]]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    yield from _parquet(entry.path)
                elif entry.name.endswith(".parquet"):
                    yield entry.path, _sign(entry.stat())
    except OSError:
        return  # removed while it was looked at: the next look sees what is left


def without_query(address: str) -> str:
    """An address without what may be a secret in it: the query of a signed one, user and password.

    Example:
        >>> without_query("https://me:river-9@store.example/d.parquet?signature=5f1c")
        'https://store.example/d.parquet'
        >>> without_query("sqlite:///.ridgeway/mlflow.db")
        'sqlite:///.ridgeway/mlflow.db'
    """
    scheme, mark, rest = address.partition("://")
    place = rest.partition("?")[0]
    host, slash, path = place.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"


class AddressSource:
    """An address whose server tells, without sending the content, whether it is another."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = without_query(url)

    def sign(self) -> str:
        """ETag, else date and length, as the server tells them.

        Raises:
            Unreachable: It does not answer, or with an error.
            UsageError: It tells neither.
        """
        headers = self._head()
        if headers is None:
            return ABSENT
        if tag := headers.get("ETag"):
            return tag
        if date := headers.get("Last-Modified"):
            return f"{date} {headers.get('Content-Length', '')}"
        raise UsageError(
            "cannot watch for new data",
            where=f"triggers.watch = {self.name!r}",
            problem="its server tells neither an ETag nor a date of change",
            expected="one of the two; to read all of it every few seconds would not be cheap",
            next_step="ridgeway settings triggers.watch",
        )

    def _head(self) -> dict[str, str] | None:
        request = urllib.request.Request(self.url, method="HEAD")  # noqa: S310 - source_of lets only http(s) pass
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
                return {name.title().replace("Etag", "ETag"): value for name, value in answer.headers.items()}
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (404, 410):
                    return None
                raise self._unreachable(f"status {error.code}") from error
        except OSError as error:
            raise self._unreachable(str(getattr(error, "reason", error))) from error

    def digest(self) -> str:
        """The same: a server that tells an ETag vouches for it."""
        return f"sha256:{hashlib.sha256(self.sign().encode()).hexdigest()}"

    def parameters(self) -> dict[str, str]:
        """None: the project's own load_data reads it."""
        return {}

    def _unreachable(self, problem: str) -> Unreachable:
        return Unreachable("cannot watch for new data", where=f"triggers.watch = {self.name!r}", problem=problem)
