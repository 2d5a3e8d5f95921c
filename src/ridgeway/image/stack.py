"""Images as stacks: what is below is found in the registry or made once, and what is new is put on top of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ridgeway.errors import Permanent, StorageError
from ridgeway.image import base_image
from ridgeway.image.base_image import BaseImage, Inside
from ridgeway.image.layers import MEDIA_TYPE as LAYER
from ridgeway.image.layers import Layer
from ridgeway.image.registry_client import OCI_MANIFEST, Registry, sha256

NOTE = "dev.ridgeway."
"""Labels and annotations of our own begin so."""
_CONFIG = "application/vnd.oci.image.config.v1+json"


@dataclass(frozen=True, slots=True)
class Stack:
    """An image as the next one needs it: its layers and its configuration."""

    digest: str
    layers: list[dict[str, Any]]
    config: dict[str, Any]


def find_stack(tag: str, inputs: str, registry: Registry) -> Stack | None:
    """The image under a tag, if it says itself that it was made of these inputs: a tag can be moved by any writer."""
    found = registry.manifest(tag)
    if found is None or (found.content.get("annotations") or {}).get(f"{NOTE}inputs") != inputs:
        return None
    config = json.loads(registry.read_blob(found.content["config"]["digest"]))
    return Stack(found.digest, found.content["layers"], config)


def put_stack(
    tag: str, config: dict[str, Any], layers: list[dict[str, Any]], notes: Mapping[str, str], registry: Registry
) -> Stack:
    """Stores an image whose layers are stored; its tag last, so that what is found is whole."""
    body = manifest_body(config, layers, notes, registry)
    return Stack(registry.put_manifest(tag, body, OCI_MANIFEST), layers, config)


def manifest_body(
    config: dict[str, Any], layers: list[dict[str, Any]], notes: Mapping[str, str], registry: Registry
) -> bytes:
    """The body of a manifest whose configuration has been stored."""
    content = canonical(config)
    registry.put_blob(sha256(content), content, len(content))
    return canonical(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": _CONFIG, "size": len(content), "digest": sha256(content)},
            "layers": layers,
            "annotations": {f"{NOTE}{name}": value for name, value in notes.items()},
        }
    )


def put_layers(layers: Sequence[Layer], registry: Registry) -> None:
    """Stores layers that are not there."""
    for layer in layers:
        with layer.path.open("rb") as file:
            registry.put_blob(layer.digest, file, layer.size)


def canonical(content: Mapping[str, Any]) -> bytes:
    """JSON that is the same for equal content."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def with_layers(config: dict[str, Any], layers: Sequence[Layer], what: str) -> dict[str, Any]:
    """The configuration of an image that has these layers more."""
    created = config.get("created", "1980-01-01T00:00:00Z")
    history = [{"created": created, "created_by": what} for _ in layers]
    below = config.get("rootfs", {}).get("diff_ids", [])
    kinds: tuple[str, ...] = ("architecture", "os", "variant", "os.version")
    kept: dict[str, Any] = {name: config[name] for name in kinds if name in config}
    return {
        **kept,
        # No time of our own: equal inputs shall give equal images.
        "created": created,
        "config": dict(config.get("config") or {}),
        "rootfs": {"type": "layers", "diff_ids": [*below, *(layer.diff_id for layer in layers)]},
        "history": [*(config.get("history") or []), *history],
    }


def as_oci(layer: dict[str, Any]) -> dict[str, Any]:
    """A layer as OCI manifests name it: the bytes are the same, only the name of the form is Docker's own."""
    form = str(layer["mediaType"])
    return {**layer, "mediaType": LAYER if form.startswith("application/vnd.docker") else form}


# ---- the base --------------------------------------------------------------------------------------------------------


def take_base(base: BaseImage, source: Registry, target: Registry, state: Path, folder: Path) -> Inside:
    """What is in the base, whose layers are in the target's repository afterwards."""
    inside = base_image.recall(base.base, state)
    files = [] if inside else [_download(layer, source, folder) for layer in base.layers]
    same = source.reference.host == target.reference.host
    for layer in base.layers:
        digest = layer["digest"]
        if target.has_blob(digest) or (same and target.mount_blob(digest, source.reference.path)):
            continue
        file = folder / digest.replace(":", "-")
        with (file if file.is_file() else _download(layer, source, folder)).open("rb") as content:
            target.put_blob(digest, content, int(layer["size"]))
    if inside is None:
        inside = base_image.look_inside(base, files)
        base_image.remember(inside, base.base, state)
    return inside


def _download(layer: dict[str, Any], source: Registry, folder: Path) -> Path:
    path = folder / str(layer["digest"]).replace(":", "-")
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for block in source.stream_blob(layer["digest"]):
            digest.update(block)
            file.write(block)
    if f"sha256:{digest.hexdigest()}" != layer["digest"]:
        raise Permanent(
            "the base image was altered, or its transfer cut short",
            where=source.reference.url,
            problem=f"layer {layer['digest']} came as sha256:{digest.hexdigest()}",
            expected="content that has the digest it is stored under",
            next_step="run the same command again; if it stays so, have the registry's storage checked",
        )
    return path


@contextlib.contextmanager
def room_for_layers() -> Iterator[Path]:
    """A folder for layers while they are put together; a disk that is full is told as such."""
    try:
        with tempfile.TemporaryDirectory(prefix="ridgeway-image-") as folder:
            yield Path(folder)
    except OSError as error:
        if isinstance(error, StorageError | ConnectionError | Permanent):
            raise
        raise StorageError(
            "cannot write the image's files",
            where=tempfile.gettempdir(),
            problem=error.strerror or str(error),
            expected="room for twice the size of the image",
            next_step="make room, or let TMPDIR name a larger disk; then run the same command again",
        ) from error
