"""Layers of an image, written so that the same files give the same bytes on any machine and any day.

Every file belongs to root and is readable by all, every time is one fixed moment, names are sorted, and the compressed
form has no header of its own. So a layer that a registry has is recognised by its digest and never sent twice.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

MOMENT = 315_532_800
"""1980-01-01: the time of every file. Some tools cannot hold an earlier one."""
MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
_LEVEL = 5
"""Of compression: 9 would take four times as long for 1 % less."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer as a file of this machine."""

    path: Path
    digest: str
    """Of the compressed file, ``sha256:…``: how a registry knows it."""
    diff_id: str
    """Of the plain archive: how an image's configuration knows it."""
    size: int
    """Of the compressed file, in bytes."""
    unpacked_bytes: int
    """Of all the files in it."""

    @property
    def descriptor(self) -> dict[str, object]:
        """How a manifest names it."""
        return {"mediaType": MEDIA_TYPE, "size": self.size, "digest": self.digest}


def write_layer(path: Path, files: Mapping[str, Path | bytes], *, hidden: Iterable[str] = ()) -> Layer:
    """Writes a layer.

    Args:
        path: The file to write.
        files: Path in the image (without a leading ``/``) → content, or the file that holds it.
        hidden: Paths of the layers below that shall no longer be there.
    """
    marks = {_whiteout(name): b"" for name in hidden}
    entries: dict[str, Path | bytes] = {**files, **marks}
    unpacked = 0
    with path.open("wb") as target:
        outer = _Hashing(target)
        with gzip.GzipFile(
            filename="", fileobj=cast(BinaryIO, outer), mode="wb", compresslevel=_LEVEL, mtime=0
        ) as zipped:
            inner = _Hashing(cast(BinaryIO, zipped))
            with tarfile.open(fileobj=cast(BinaryIO, inner), mode="w|", format=tarfile.PAX_FORMAT) as archive:
                for folder in _folders(entries):
                    archive.addfile(_member(folder, 0o755, kind=tarfile.DIRTYPE))
                for name, content in sorted(entries.items()):
                    unpacked += _add(archive, name, content)
    return Layer(path, outer.digest, inner.digest, outer.size, unpacked)


def folder_files(folder: Path, into: str) -> dict[str, Path | bytes]:
    """All files of a folder, by their path in the image below ``into``."""
    return {
        f"{into}/{file.relative_to(folder).as_posix()}": file for file in sorted(folder.rglob("*")) if file.is_file()
    }


def _add(archive: tarfile.TarFile, name: str, content: Path | bytes) -> int:
    member = _member(name, 0o644)
    if isinstance(content, bytes):
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    else:
        member.size = content.stat().st_size
        with content.open("rb") as file:
            archive.addfile(member, file)
    return member.size


def _member(name: str, mode: int, *, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode, member.type, member.mtime = mode, kind, MOMENT
    return member


def _folders(names: Iterable[str]) -> list[str]:
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    # Folders of the image below keep their own modes; only those that the layer brings itself are named in it.
    return sorted(folder for folder in folders if folder.split("/")[0] in ("app", "models", "project"))


def _whiteout(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(f".wh.{path.name}"))


class _Hashing:
    """A file that is written through, with the digest and size of what went by."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._sha256 = hashlib.sha256()
        self.size = 0

    def write(self, block: bytes) -> int:
        self._sha256.update(block)
        self.size += len(block)
        return self._target.write(block)

    def flush(self) -> None:
        self._target.flush()

    @property
    def digest(self) -> str:
        return f"sha256:{self._sha256.hexdigest()}"
