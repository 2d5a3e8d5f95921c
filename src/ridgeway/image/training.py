"""The image that a job runs: the project at a commit, with Ridgeway and all that is installed here to run it.

Made as scoring images are: put together here, stored over HTTP, found again by its inputs. No Docker engine, and no
network inside a build.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ridgeway.artifacts import Image
from ridgeway.errors import NotFound, UsageError
from ridgeway.image import base_image, training_source, wheels
from ridgeway.image.base_image import BaseImage, Inside
from ridgeway.image.layers import Layer, folder_files, write_layer
from ridgeway.image.needs import OwnWheel
from ridgeway.image.reference import parse_image
from ridgeway.image.registry_client import Registry
from ridgeway.image.stack import (
    NOTE,
    Stack,
    as_oci,
    find_stack,
    put_layers,
    put_stack,
    room_for_layers,
    take_base,
    with_layers,
)
from ridgeway.image.training_inputs import TrainingInputs, TrainingRequest, framework_files, gather
from ridgeway.settings import QUIET_ENVIRONMENT

Say = Callable[[str], None]
USER = 65532
"""Neither root nor anyone with a name in the image."""
PROJECT = f"/{training_source.PROJECT}"
ENTRY = "ridgeway.cli.run.inside"
"""The module that a job runs."""
_PAGES = ("mlflow/server/js", "prefect/server/ui", "prefect/server/ui-v2", "prefect/server/ui_build",
          "prefect/server/ui_v2_build")  # fmt: skip
"""Pages for a browser: nobody opens one inside a job. 60 MB."""
_PYTHON_NOTE = "python"


def find(request: TrainingRequest) -> Image | None:
    """The image, if the registry has one of just these inputs. Two questions over HTTP.

    Raises:
        NotFound: There is no such base image.
        Unreachable: A registry does not answer.
        UsageError: A setting is wrong, or something that the project needs is not installed here.
    """
    parts = _inputs(request)
    with Registry(request.target) as registry:
        return _look_up(parts, registry)


def build(request: TrainingRequest, *, say: Say) -> Image:
    """The image: the one that the registry has of just these inputs, or a new one, stored there.

    Raises:
        NotFound: There is no such base image, or no such wheel.
        Permanent: The registry refuses us, or a wheel is not what the lock says.
        StorageError: The registry or this machine's disk is full.
        Unreachable: A registry, or the package index where it is needed, does not answer.
        UsageError: A setting is wrong, or something that the project needs is not installed here.
    """
    parts = _inputs(request)
    with Registry(request.target) as registry:
        found = _look_up(parts, registry)
        if found is not None:
            say(f"there already: {found.handle}")
            return found
        with room_for_layers() as folder:
            framework = _framework(parts, registry, say, folder)
            image = _project(parts, framework, registry, folder)
        say(f"stored {image.handle} ({registry.sent_bytes / 2**20:.1f} MiB sent)")
        return image


def size_bytes(image: Image) -> int:
    """What a node pulls that has nothing of the image: the sum of its compressed layers.

    Raises:
        NotFound: The registry has it no longer.
    """
    with Registry(parse_image(image.handle, setting="image")) as registry:
        found = registry.manifest(image.digest)
    if found is None:
        raise NotFound(f"there is no image {image.handle}")
    return sum(int(layer["size"]) for layer in found.content["layers"])


def _inputs(request: TrainingRequest) -> TrainingInputs:
    return gather(request, base_image.resolve_base(request.base, architecture=request.architecture))


def _look_up(parts: TrainingInputs, registry: Registry) -> Image | None:
    found = registry.manifest(parts.tag)
    notes = (found.content.get("annotations") or {}) if found else {}
    if found is None or notes.get(f"{NOTE}inputs") != parts.whole:
        return None
    return _noun(parts, found.digest, str(notes.get(f"{NOTE}runtime", "")))


def _noun(parts: TrainingInputs, digest: str, below: str) -> Image:
    repository = parts.request.repository
    return Image(
        repository, digest, "", "", "", parts.whole, f"{repository}@{below}" if below else "",
        parts.base.reference.handle,
    )  # fmt: skip


# ---- level by level, from the top down to what is there --------------------------------------------------------------


def _project(parts: TrainingInputs, below: Stack, registry: Registry, folder: Path) -> Image:
    source = parts.request.source
    layer = write_layer(folder / "project.tar.gz", training_source.unpack(source, folder / "project"))
    put_layers([layer], registry)
    config = with_layers(below.config, [layer], f"COPY {source.commit[:12]} {PROJECT}")
    labels = {
        **(config["config"].get("Labels") or {}),
        "org.opencontainers.image.revision": source.commit,
        f"{NOTE}clean": str(source.clean).lower(),
        f"{NOTE}inputs": parts.whole,
    }
    config = {**config, "config": {**config["config"], "Labels": labels}}
    notes = {"inputs": parts.whole, "runtime": below.digest}
    return _noun(
        parts, put_stack(parts.tag, config, [*below.layers, layer.descriptor], notes, registry).digest, below.digest
    )


def _framework(parts: TrainingInputs, registry: Registry, say: Say, folder: Path) -> Stack:
    found = find_stack(parts.framework_tag, parts.framework, registry)
    if found is not None:
        return found
    below = _environment(parts, registry, say, folder)
    layer = write_layer(folder / "ridgeway.tar.gz", _own_files(_inside(below), folder / "ridgeway"))
    put_layers([layer], registry)
    config = with_layers(below.config, [layer], "COPY ridgeway /app")
    notes = {"inputs": parts.framework}
    return put_stack(parts.framework_tag, config, [*below.layers, layer.descriptor], notes, registry)


def _own_files(inside: Inside, folder: Path) -> Mapping[str, Path | bytes]:
    for name, content in framework_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    wheels.compile_files(folder, inside)
    return folder_files(folder, "app")


def _environment(parts: TrainingInputs, registry: Registry, say: Say, folder: Path) -> Stack:
    return find_stack(parts.environment_tag, parts.environment, registry) or _make_environment(
        parts, registry, say, folder
    )


def _make_environment(parts: TrainingInputs, registry: Registry, say: Say, folder: Path) -> Stack:
    command = wheels.installer(parts.request.state.parent)
    with Registry(parts.base.reference) as source:
        base = base_image.read_base(parts.base, source)
        inside = take_base(base, source, registry, parts.request.state, folder)
    _refuse_other_python(parts, inside)
    say(f"fetching {len(parts.pins)} dependencies for Python {inside.python} on {inside.machine}, once for these")
    for pin in parts.pins:
        if not pin.hashes:
            say(f"{pin.short} is in no lock: taken as the package index has it")
    target = folder / "dependencies"
    wheels.unpack(parts.pins, parts.wheels, inside, target, command=command)
    for pages in _PAGES:
        shutil.rmtree(target / pages, ignore_errors=True)
    _describe(parts.wheels, target)
    layer = write_layer(folder / "dependencies.tar.gz", folder_files(target, "app"), hidden=inside.installers)
    say(f"dependencies: {layer.unpacked_bytes / 2**20:.0f} MiB, {layer.size / 2**20:.0f} MiB compressed")
    put_layers([layer], registry)
    config = _configuration(parts, base, inside, [layer])
    layers = [*(as_oci(one) for one in base.layers), layer.descriptor]
    notes = {"inputs": parts.environment, "bytes-above-base": str(layer.unpacked_bytes)}
    return put_stack(parts.environment_tag, config, layers, notes, registry)


def _refuse_other_python(parts: TrainingInputs, inside: Inside) -> None:
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if inside.python != own:
        raise UsageError(
            f"{parts.base.reference.handle} cannot be the base of a training image here",
            where="image.base",
            problem=f"it has Python {inside.python}, and the project was tried with {own}",
            expected=f"a base with Python {own}: the dependencies are those of this environment",
            next_step=f"--set image.base=python:{own}-slim-bookworm",
        )


def _describe(own: Sequence[OwnWheel], folder: Path) -> None:
    """Leaves word of which build of a project's own wheel was installed: its version alone does not tell."""
    for wheel in own:
        for info in folder.glob(f"{wheel.name.replace('-', '_')}-*.dist-info"):
            (info / "direct_url.json").write_text(json.dumps({"url": wheel.path.name, "archive_info": {}}))
            (info / "RECORD").write_text(f"{wheel.path.name},{wheel.digest},\n")


def _inside(stack: Stack) -> Inside:
    """What the environment noted of its base."""
    facts = json.loads(stack.config["config"]["Labels"][f"{NOTE}{_PYTHON_NOTE}"])
    return Inside(facts["python"], facts["executable"], facts["machine"])


def _configuration(parts: TrainingInputs, base: BaseImage, inside: Inside, layers: Sequence[Layer]) -> dict[str, Any]:
    config = with_layers(base.config, layers, "COPY dependencies /app")
    own = dict(base.config.get("config") or {})
    environment = dict(line.partition("=")[::2] for line in own.get("Env") or []) | _VARIABLES
    for name in ("Cmd", "Healthcheck", "OnBuild", "Image", "Hostname", "ExposedPorts"):
        own.pop(name, None)
    facts = {"python": inside.python, "executable": inside.executable, "machine": inside.machine}
    settings = {
        **own,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Entrypoint": [inside.executable, "-m", ENTRY],
        "WorkingDir": PROJECT,
        "User": f"{USER}:{USER}",
        "StopSignal": "SIGTERM",
        "Labels": {
            **(own.get("Labels") or {}),
            "org.opencontainers.image.base.name": parts.base.reference.repository,
            "org.opencontainers.image.base.digest": parts.base.reference.digest,
            f"{NOTE}{_PYTHON_NOTE}": json.dumps(facts, sort_keys=True),
        },
    }
    return {**config, "config": settings}


_VARIABLES = {
    "PYTHONPATH": "/app",
    "PYTHONSAFEPATH": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "HOME": "/tmp",  # noqa: S108 - with the state's folder all that is writable
    "MPLBACKEND": "agg",
    **QUIET_ENVIRONMENT,
}
