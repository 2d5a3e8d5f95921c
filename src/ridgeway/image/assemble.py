"""Images, put together layer by layer and stored in the registry: the runtime below, the model on top of it.

Each is looked up by a tag that is the digest of its inputs, and from then on known by its own digest only. The tag is
written last: an image that is found is whole, and one whose making was interrupted is simply made again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ridgeway_server
from ridgeway.artifacts import Image
from ridgeway.errors import NotFound
from ridgeway.image import base_image, bill, wheels
from ridgeway.image.base_image import BaseImage, Inside
from ridgeway.image.layers import Layer, folder_files, write_layer
from ridgeway.image.reference import parse_image
from ridgeway.image.registry_client import OCI_INDEX, OCI_MANIFEST, Manifest, Registry, sha256
from ridgeway.image.request import ImageRequest, Ingredients, gather, prove, server_files
from ridgeway.image.stack import (
    NOTE,
    Stack,
    as_oci,
    canonical,
    find_stack,
    manifest_body,
    put_layers,
    put_stack,
    room_for_layers,
    take_base,
    with_layers,
)
from ridgeway.project import write_atomically

Say = Callable[[str], None]
USER = 65532
"""Neither root nor anyone with a name in the image."""
PORT, HEALTH_PORT = 8080, 8081
MODELS = "/models"
_EMPTY = "application/vnd.oci.empty.v1+json"


def find(request: ImageRequest) -> Image | None:
    """The image, if the registry has one of just these inputs. Two questions over HTTP; no Docker engine is needed.

    Raises:
        ModelError: The package's manifest was altered.
        NotFound: There is no such base image.
        Unreachable: A registry does not answer.
        UsageError: A setting is wrong.
    """
    with Registry(request.target) as registry:
        return _look_up(_ingredients(request), registry)


def build(request: ImageRequest, *, say: Say) -> Image:
    """The image: the one that the registry has of just these inputs, or a new one, stored there.

    Nothing is made or sent that the registry has already. The bill of materials goes with it: attached to the image in
    the registry, and as a file ``images/sha256-….cdx.json`` of the project's state.

    Raises:
        ModelError: The package is not as it was compiled.
        NotFound: There is no such base image, or no such wheel.
        Permanent: The registry refuses us, or a wheel is not what the lock says.
        StorageError: The registry or this machine's disk is full.
        Unreachable: A registry, or the package index where it is needed, does not answer.
        UsageError: A setting is wrong.
    """
    prove(request.package)
    parts = _ingredients(request)
    with Registry(request.target) as registry:
        image = _look_up(parts, registry)
        if image is None:
            image = _make(parts, registry, say)
        _keep_bill(image, request.state, registry)
        return image


def sbom(image: Image) -> bytes:
    """The bill of materials of an image (CycloneDX, JSON), from the registry that keeps it beside the image.

    Raises:
        NotFound: The image has none.
    """
    with Registry(parse_image(image.handle, setting="image")) as registry:
        return _read_bill(image, registry)


def _ingredients(request: ImageRequest) -> Ingredients:
    return gather(request, base_image.resolve_base(request.base, architecture=request.architecture))


def _look_up(parts: Ingredients, registry: Registry) -> Image | None:
    found = registry.manifest(parts.tag)
    notes = (found.content.get("annotations") or {}) if found else {}
    # A tag can be moved by anyone who may write; what it leads to says itself what it was made of.
    if found is None or notes.get(f"{NOTE}inputs") != parts.inputs:
        return None
    return _noun(parts, found.digest, str(notes.get(f"{NOTE}runtime", "")))


def _noun(parts: Ingredients, digest: str, runtime: str) -> Image:
    request = parts.request
    return Image(
        request.repository, digest, request.model, request.model_digest, str(parts.manifest["digest"]), parts.inputs,
        f"{request.repository}@{runtime}", parts.base.reference.handle,
    )  # fmt: skip


# ---- making ----------------------------------------------------------------------------------------------------------


def _make(parts: Ingredients, registry: Registry, say: Say) -> Image:
    with room_for_layers() as folder:
        runtime = find_stack(parts.runtime_tag, parts.runtime_inputs, registry)
        runtime = runtime or _make_runtime(parts, registry, say, folder)
        digest, body = _model_manifest(parts, runtime, registry, folder)
        image = _noun(parts, digest, runtime.digest)
        _attach(parts, image, len(body), registry)
        registry.put_manifest(parts.tag, body, OCI_MANIFEST)
    say(f"stored {image.handle} ({registry.sent_bytes / 2**20:.1f} MiB sent)")
    return image


def _make_runtime(parts: Ingredients, registry: Registry, say: Say, folder: Path) -> Stack:
    command = wheels.installer(parts.request.state.parent)
    with Registry(parts.base.reference) as source:
        base = base_image.read_base(parts.base, source)
        say(f"runtime image on {parts.base.reference.handle}")
        inside = take_base(base, source, registry, parts.request.state, folder)
    if inside.compilers:
        say(f"the base image has a compiler ({', '.join(inside.compilers)}): a slim one would not")
    for pin in parts.pins:
        if not pin.hashes:
            say(f"{pin.short} is in no lock: taken as the package index has it")
    say(f"fetching {', '.join(pin.short for pin in parts.pins)} for Python {inside.python} on {inside.machine}")
    wheels.unpack(parts.pins, parts.wheels, inside, folder / "dependencies", command=command)
    below = write_layer(
        folder / "dependencies.tar.gz",
        folder_files(folder / "dependencies", "app"),
        hidden=inside.installers,
    )
    above = write_layer(folder / "server.tar.gz", _server(inside, folder / "server"))
    put_layers([below, above], registry)
    config = _runtime_config(parts, base, inside, [below, above])
    layers = [as_oci(layer) for layer in base.layers] + [below.descriptor, above.descriptor]
    notes = {"inputs": parts.runtime_inputs, "bytes-above-base": str(below.unpacked_bytes + above.unpacked_bytes)}
    return put_stack(parts.runtime_tag, config, layers, notes, registry)


def _server(inside: Inside, folder: Path) -> Mapping[str, Path | bytes]:
    for name, file in server_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(file.read_bytes())
    wheels.compile_files(folder, inside)
    return folder_files(folder, "app")


def _model_manifest(parts: Ingredients, runtime: Stack, registry: Registry, folder: Path) -> tuple[str, bytes]:
    """Digest and body of the model image's manifest; its layer and configuration are stored, itself it is not yet."""
    name, version = str(parts.manifest["name"]), str(parts.manifest["version"])
    # Nothing but what the manifest names: a stray file in the folder is no part of the model.
    names = ["model.json", *parts.manifest["files"]]
    files: dict[str, Path | bytes] = {
        f"{MODELS.strip('/')}/{name}/{version}/{file}": parts.request.package / file for file in names
    }
    layer = write_layer(folder / "model.tar.gz", files)
    put_layers([layer], registry)
    config = with_layers(runtime.config, [layer], f"COPY {name}/{version} {MODELS}")
    labels = {**config["config"].get("Labels", {}), **_labels(parts, runtime.digest)}
    config = {**config, "config": {**config["config"], "Labels": labels}}
    notes = {"inputs": parts.inputs, "runtime": runtime.digest, "model": parts.request.model}
    body = manifest_body(config, [*runtime.layers, layer.descriptor], notes, registry)
    return sha256(body), body


# ---- configuration ---------------------------------------------------------------------------------------------------


def _runtime_config(parts: Ingredients, base: BaseImage, inside: Inside, layers: list[Layer]) -> dict[str, Any]:
    config = with_layers(base.config, layers, "COPY dependencies and server /app")
    own = dict(base.config.get("config") or {})
    environment = dict(line.partition("=")[::2] for line in own.get("Env") or [])
    environment |= _variables(parts)
    for name in ("Cmd", "Healthcheck", "OnBuild", "Image", "Hostname"):
        own.pop(name, None)
    settings = {
        **own,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Entrypoint": [inside.executable, "-m", "ridgeway_server"],
        "WorkingDir": "/app",
        "User": f"{USER}:{USER}",
        "ExposedPorts": {f"{PORT}/tcp": {}, f"{HEALTH_PORT}/tcp": {}},
        "StopSignal": "SIGTERM",
        "Labels": {
            **(own.get("Labels") or {}),
            "org.opencontainers.image.base.name": parts.base.reference.repository,
            "org.opencontainers.image.base.digest": parts.base.reference.digest,
            f"{NOTE}server": ridgeway_server.__version__,
            f"{NOTE}dependencies": " ".join(pin.short for pin in parts.pins),
        },
    }
    return {**config, "config": settings}


def _variables(parts: Ingredients) -> dict[str, str]:
    """What the container runs with; whoever deploys it may set any of them otherwise, and adds keys or says none."""
    modules = sorted({module for wheel in parts.wheels for module in wheel.modules})
    return {
        "PYTHONPATH": "/app",
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "HOME": "/tmp",  # noqa: S108 - the only folder that may be writable
        # Threads beyond the processor share of a container wait for it by spinning, and use it up.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "JOBLIB_MULTIPROCESSING": "0",
        # onnxruntime reports the models that it loads to its maker unless it is told not to.
        "ORT_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "RIDGEWAY_SERVER_MODELS": MODELS,
        "RIDGEWAY_SERVER_HOST": "0.0.0.0",  # noqa: S104 - inside a container
        "RIDGEWAY_SERVER_PORT": str(PORT),
        "RIDGEWAY_SERVER_HEALTH_PORT": str(HEALTH_PORT),
        **({"RIDGEWAY_SERVER_TRUST": ",".join(modules)} if modules else {}),
    }


def _labels(parts: Ingredients, runtime: str) -> dict[str, str]:
    request, facts = parts.request, parts.request.facts
    labels = {
        "org.opencontainers.image.title": str(parts.manifest["name"]),
        "org.opencontainers.image.version": str(parts.manifest["version"]),
        "org.opencontainers.image.revision": facts.get("commit", ""),
        "org.opencontainers.image.source": facts.get("source", ""),
        f"{NOTE}model": request.model,
        f"{NOTE}model-digest": request.model_digest,
        f"{NOTE}package": str(parts.manifest["digest"]),
        f"{NOTE}kind": str(parts.manifest["kind"]),
        f"{NOTE}runtime": runtime,
        f"{NOTE}inputs": parts.inputs,
        **{f"{NOTE}{name}": value for name, value in facts.items() if name not in ("commit", "source")},
    }
    return {name: value for name, value in labels.items() if value}


# ---- the bill of materials -------------------------------------------------------------------------------------------


def _attach(parts: Ingredients, image: Image, size: int, registry: Registry) -> None:
    """Stores the bill as an artifact that refers to the image (OCI 1.1), found also where a registry lists none.

    Such registries are asked for an index tagged ``sha256-…``; writing it is what the standard asks of a client.
    """
    content = bill.write_bill(parts, image=image.handle, runtime=image.runtime)
    registry.put_blob(sha256(content), content, len(content))
    registry.put_blob(sha256(b"{}"), b"{}", 2)
    body = canonical(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": bill.MEDIA_TYPE,
            "config": {"mediaType": _EMPTY, "size": 2, "digest": sha256(b"{}")},
            "layers": [{"mediaType": bill.MEDIA_TYPE, "size": len(content), "digest": sha256(content)}],
            "subject": {"mediaType": OCI_MANIFEST, "size": size, "digest": image.digest},
        }
    )
    digest = registry.put_manifest(sha256(body), body, OCI_MANIFEST)
    entry = {"mediaType": OCI_MANIFEST, "size": len(body), "digest": digest, "artifactType": bill.MEDIA_TYPE}
    known = _referrers(image, registry)
    others = [one for one in (known.content["manifests"] if known else []) if one["digest"] != digest]
    index = canonical({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*others, entry]})
    registry.put_manifest(image.digest.replace(":", "-"), index, OCI_INDEX)


def _referrers(image: Image, registry: Registry) -> Manifest | None:
    return registry.manifest(image.digest.replace(":", "-"))


def _read_bill(image: Image, registry: Registry) -> bytes:
    index = _referrers(image, registry)
    entries = index.content.get("manifests", []) if index else []
    for entry in entries:
        if entry.get("artifactType") == bill.MEDIA_TYPE and (artifact := registry.manifest(entry["digest"])):
            return registry.read_blob(artifact.content["layers"][0]["digest"])
    raise NotFound(
        f"there is no bill of materials for {image.handle}",
        problem="nothing of that kind refers to it in the registry",
        next_step="remove the image there, and release again: both are then made anew",
    )


def bill_file(image: Image, state: Path) -> Path:
    """Where the bill of an image is kept on this machine."""
    return state / "images" / f"{image.digest.replace(':', '-')}.cdx.json"


def _keep_bill(image: Image, state: Path, registry: Registry) -> None:
    path = bill_file(image, state)
    if path.is_file():
        return
    try:
        write_atomically(path, _read_bill(image, registry))
    except NotFound:
        # Someone has removed it there. The image is as good as before: nothing to stop a release for.
        return
