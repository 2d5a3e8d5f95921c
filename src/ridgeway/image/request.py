"""What an image is asked for with, and its identity: a digest of all that goes into it, known before anything is made.

Two images are one where their inputs are: no time, no path of this machine and no name of a release is among them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ridgeway_server
from ridgeway.errors import ModelError, NotFound
from ridgeway.image import needs
from ridgeway.image.base_image import Base
from ridgeway.image.needs import OwnWheel, Pin
from ridgeway.image.reference import Reference, parse_repository
from ridgeway.places import living
from ridgeway.project import Project, digest_of
from ridgeway_server.errors import PackageError
from ridgeway_server.packages import read_manifest, read_package

RECIPE = 1
"""Raised with every change to how images are made of inputs: those of before are then not taken for new ones."""
LOOPBACK_REGISTRY = "127.0.0.1:5000"


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """An image that is wanted.

    Example:
        >>> request = ImageRequest(Path("package"), "127.0.0.1:5000/d", "python:3.11-slim-bookworm", "models:/d/1", "")
        >>> request.target.handle
        '127.0.0.1:5000/d'
    """

    package: Path
    """Folder of the compiled package."""
    repository: str
    """With the registry's address."""
    base: str
    """Image with Python, by tag or digest."""
    model: str
    """Handle of the model."""
    model_digest: str
    facts: Mapping[str, str] = field(default_factory=dict)
    """What is known of the model, for the image's labels: commit, dataset, source, run. Nothing of a release: what
    differs from one release of the model to the next would make an image of its own."""
    wheels: tuple[Path, ...] = ()
    """The project's own, with transformers."""
    locks: tuple[Path, ...] = ()
    """Requirements files with hashes."""
    state: Path = Path(".ridgeway")
    """Where bills of material and notes are kept."""
    architecture: str = ""
    """``amd64`` or ``arm64``; empty: this machine's."""

    @property
    def target(self) -> Reference:
        """The repository, taken apart."""
        return parse_repository(self.repository)


@dataclass(frozen=True, slots=True)
class Ingredients:
    """All that goes into an image."""

    request: ImageRequest
    manifest: dict[str, Any]
    """Of the package."""
    base: Base
    pins: tuple[Pin, ...]
    wheels: tuple[OwnWheel, ...]
    server: str
    """Digest of the server's sources."""

    @property
    def runtime_inputs(self) -> str:
        """Identity of the runtime image."""
        facts = {
            "recipe": RECIPE,
            "base": self.base.key,
            "server": self.server,
            "pins": [pin.line for pin in self.pins],
            "wheels": [[wheel.path.name, wheel.digest] for wheel in self.wheels],
        }
        return digest_of(facts)

    @property
    def inputs(self) -> str:
        """Identity of the model image."""
        request = self.request
        facts = {
            "recipe": RECIPE,
            "runtime": self.runtime_inputs,
            "package": self.manifest["digest"],
            "model": [request.model, request.model_digest],
            "facts": dict(request.facts),
        }
        return digest_of(facts)

    @property
    def runtime_tag(self) -> str:
        """What the runtime image is looked up by."""
        return f"runtime-{self.runtime_inputs.removeprefix('sha256:')}"

    @property
    def tag(self) -> str:
        """What the model image is looked up by."""
        return f"model-{self.inputs.removeprefix('sha256:')}"


def request_for(
    project: Project, package: Path, *, model: str, model_digest: str, facts: Mapping[str, str] | None = None
) -> ImageRequest:
    """The request for a model's image with the project's settings."""
    settings = project.settings.image
    return ImageRequest(
        package,
        settings.repository or f"{LOOPBACK_REGISTRY}/{project.name}",
        settings.base,
        model,
        model_digest,
        dict(facts or {}),
        tuple(living(project.root, path) for path in settings.packages),
        needs.locks_of(project.root),
        project.state,
    )


def gather(request: ImageRequest, base: Base) -> Ingredients:
    """All that goes into the image, read from this machine alone.

    Raises:
        ModelError: The package is not whole.
        NotFound: A wheel of the project's own is not there.
        UsageError: Such a wheel is none, or something that the model needs is not installed.
    """
    manifest = package_manifest(request.package)
    # Forms that need no code of the project's run without its wheels.
    wheels = tuple(sorted(own_wheel(path) for path in request.wheels)) if manifest["kind"] == "skops" else ()
    own = {wheel.name for wheel in wheels}
    further = [name for wheel in wheels for name in needs.requirement_names(wheel.requires) if name not in own]
    found = needs.pins([*needs.wanted(manifest), *further], request.locks)
    return Ingredients(
        request, manifest, base, tuple(pin for pin in found if pin.name not in own), wheels, server_digest()
    )


def package_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a package.

    Raises:
        ModelError: It is missing, or was altered.
    """
    try:
        return read_manifest(folder)
    except PackageError as error:
        raise _untrue(folder, error) from error


def prove(folder: Path) -> None:
    """Proves that every file of a package is the one that was compiled.

    Raises:
        ModelError: One is missing, cut short or altered.
    """
    try:
        read_package(folder)
    except PackageError as error:
        raise _untrue(folder, error) from error


def server_files() -> dict[str, Path]:
    """The scoring server's own files, by their path below the folder it is imported from."""
    folder = Path(ridgeway_server.__file__).parent
    files = sorted(file for file in folder.rglob("*.py") if "__pycache__" not in file.parts)
    return {file.relative_to(folder.parent).as_posix(): file for file in files}


def server_digest() -> str:
    """``sha256:…`` over names and contents of the server's files."""
    digest = hashlib.sha256()
    for name, file in server_files().items():
        content = file.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return f"sha256:{digest.hexdigest()}"


def own_wheel(path: Path) -> OwnWheel:
    """A wheel of the project's own, from the setting ``image.packages``.

    Raises:
        NotFound: There is no such file.
        UsageError: It is not a wheel.
    """
    try:
        digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    except OSError as error:
        raise NotFound(
            f"there is no wheel {path.name}",
            where="image.packages",
            problem=error.strerror or str(error),
            expected="a wheel with the model's own transformers, as a path relative to the project",
            next_step="uv build --wheel     or     ridgeway settings image.packages",
        ) from error
    return needs.read_wheel(path, digest)


def _untrue(folder: Path, error: PackageError) -> ModelError:
    return ModelError(
        "no image is made of a package that is not as it was compiled",
        where=str(folder),
        problem=str(error),
        expected="a package whose files have the digests of its model.json",
        next_step="remove that folder and run the same command again: the model is then compiled anew",
    )
