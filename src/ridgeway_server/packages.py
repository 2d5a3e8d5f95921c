"""A model as a folder: ``model.json`` and the files it names, each checked by digest before anything in it is used.

``model.json`` (schema 1) holds::

    schema, name, version, kind, task         kind: linear | logistic | trees | onnx | skops
    signature    {"columns": [{"name", "type", "missing"}, …], "allow_infinity": false}
    classes      labels in the order of the probabilities; empty for a regression
    form         what this kind needs to know about its files
    files        file name → {"sha256", "bytes"}
    requires     distributions that must be installed to load it, with versions
    row_wise     true if a row's prediction depends on that row alone: then requests may be predicted together
    lineage      handed through untouched       parity   how the compiled form was compared with the estimator
    digest       of all of the above: the package's identity
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ridgeway_server.errors import PackageError
from ridgeway_server.signature import Column, Signature

SCHEMA = 1
MANIFEST = "model.json"
KINDS = ("linear", "logistic", "trees", "onnx", "skops")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""A model's name or version: safe in a path, a header line and a metric's label."""
_LARGEST_MANIFEST = 64 * 2**20


def manifest_digest(manifest: dict[str, Any]) -> str:
    """The package's identity: ``sha256:…`` over the manifest without its own digest, keys sorted.

    Example:
        >>> manifest_digest({"a": 1, "digest": "x"}) == manifest_digest({"a": 1})
        True
    """
    content = {key: value for key, value in manifest.items() if key != "digest"}
    return "sha256:" + hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True, slots=True)
class Package:
    """A package whose manifest is whole and whose files have been read and found true to their digests."""

    folder: Path
    manifest: dict[str, Any]
    files: dict[str, bytes]

    @property
    def signature(self) -> Signature:
        """The model's columns."""
        record = self.manifest["signature"]
        columns = [Column(c["name"], c["type"], bool(c.get("missing", False))) for c in record["columns"]]
        return Signature(columns, allow_infinity=bool(record.get("allow_infinity", False)))

    def array(self, name: str, *shape: int) -> NDArray[Any]:
        """The array in file ``name``, which must have ``shape`` (−1 fits any length) and plain numbers in it.

        Raises:
            PackageError: It is not there, not an array of numbers, or of another shape.
        """
        if name not in self.files:
            raise PackageError(f"{self.folder}: no file {name!r}, which a package of this kind must have")
        try:
            array: NDArray[Any] = np.load(io.BytesIO(self.files[name]), allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise PackageError(f"{self.folder}: {name} is not an array: {error}") from error
        fits = len(shape) == array.ndim and all(
            want in (-1, have) for want, have in zip(shape, array.shape, strict=True)
        )
        if array.dtype.kind not in "iufb" or not fits:
            raise PackageError(
                f"{self.folder}: {name} is {array.dtype}{array.shape}, expected numbers of shape {shape}"
            )
        return array


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a package, known to be unaltered and of a schema and kind that this server reads.

    Raises:
        PackageError: It is missing, unreadable, altered, or of a newer schema.
    """
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _LARGEST_MANIFEST:
            raise PackageError(f"{path} is larger than {_LARGEST_MANIFEST} bytes")
        manifest = orjson.loads(path.read_bytes())
    except OSError as error:
        raise PackageError(f"{path} cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise PackageError(f"{path} is not JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA or manifest.get("kind") not in KINDS:
        found = manifest if not isinstance(manifest, dict) else {key: manifest.get(key) for key in ("schema", "kind")}
        raise PackageError(f"{path}: {str(found)[:100]}; expected schema {SCHEMA} and a kind of {', '.join(KINDS)}")
    names = [manifest.get("name"), manifest.get("version")]
    if not all(isinstance(name, str) and NAME.fullmatch(name) for name in names):
        raise PackageError(f"{path}: name and version {names!r}; expected letters, digits, dots, dashes, underscores")
    if manifest.get("digest") != manifest_digest(manifest):
        raise PackageError(f"{path} was altered: its content does not match its digest")
    return manifest


def read_package(folder: Path) -> Package:
    """A package, read and checked: every file that the manifest names is there, whole and unaltered.

    Raises:
        PackageError: See ``read_manifest``; or a file is missing, cut short, altered, or named outside the folder.
    """
    manifest = read_manifest(folder)
    files: dict[str, bytes] = {}
    for name, record in manifest["files"].items():
        if Path(name).name != name:
            raise PackageError(f"{folder}: the file name {name!r} leads out of the folder")
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise PackageError(f"{folder / name} cannot be read: {error.strerror}") from error
        if len(content) != record["bytes"]:
            raise PackageError(f"{folder / name} has {len(content)} bytes, expected {record['bytes']}: cut short?")
        if hashlib.sha256(content).hexdigest() != record["sha256"]:
            raise PackageError(f"{folder / name} was altered: its content does not match its digest")
        files[name] = content
    return Package(folder, manifest, files)
