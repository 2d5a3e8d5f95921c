"""The image that a runtime stands on: which one exactly, which Python is in it, and what of it must not be left in."""

from __future__ import annotations

import json
import platform
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ridgeway.errors import NotFound, UsageError
from ridgeway.image.reference import Reference, parse_image
from ridgeway.image.registry_client import Manifest, Registry

PYTHONS = ("3.11", "3.12", "3.13")
"""What the scoring server runs on."""
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Kinds of machine as images name them, and as wheels do."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PYTHON = re.compile(r"(?:.*/)?bin/python(3\.\d+)")
_INSTALLERS = re.compile(
    r".*/(?:site|dist)-packages/(?:pip|setuptools|wheel|pkg_resources|_distutils_hack)(?:-[^/]+)?"
    r"|.*/(?:site|dist)-packages/distutils-precedence\.pth"
    r"|.*/lib/python3\.\d+/ensurepip|(?:.*/)?bin/(?:pip|easy_install|wheel)[\d.]*"
)
"""Whatever installs packages: a server has no use for it, and an intruder has."""
_COMPILERS = re.compile(r"(?:.*/)?bin/(?:cc|gcc|g\+\+|clang|tcc)")
_MUSL = re.compile(r"(?:usr/)?lib/ld-musl-.*")


@dataclass(frozen=True, slots=True)
class Base:
    """A base image by digest."""

    reference: Reference
    """With the digest that its tag had; recorded with the image."""
    architecture: str
    """Which of its variants; empty where it has one only."""

    @property
    def key(self) -> str:
        """What of it goes into an image's identity: its content, not where it was found."""
        return f"{self.reference.digest} {self.architecture}".strip()


@dataclass(frozen=True, slots=True)
class Inside:
    """What was found in a base image."""

    python: str
    """Such as ``3.11``."""
    executable: str
    """Path of its interpreter, with a leading ``/``."""
    machine: str
    """As wheels name it, such as ``x86_64``."""
    installers: tuple[str, ...] = ()
    """Paths that the runtime hides."""
    compilers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BaseImage:
    """A base image's manifest and configuration."""

    base: Base
    manifest: dict[str, Any]
    config: dict[str, Any]

    @property
    def layers(self) -> list[dict[str, Any]]:
        """Its layers, lowest first."""
        return list(self.manifest["layers"])


def resolve_base(text: str, *, architecture: str = "") -> Base:
    """The base image by digest. One question to its registry; none where it is given by digest.

    Args:
        text: The setting ``image.base``.
        architecture: ``amd64`` or ``arm64``; empty: this machine's.

    Raises:
        NotFound: Its registry has no such image.
        Unreachable: Its registry does not answer.
        UsageError: It is not the name of an image.
    """
    reference = parse_image(text)
    own = architecture or _own_architecture()
    if reference.digest:
        return Base(reference, own)
    with Registry(reference) as registry:
        found = registry.digest(reference.tag)
    if found is None:
        raise _missing(reference)
    digest, media_type = found
    return Base(reference.at(digest), own if media_type.endswith(("index.v1+json", "list.v2+json")) else "")


def read_base(base: Base, registry: Registry) -> BaseImage:
    """Its manifest and configuration, of the variant for our kind of machine.

    Raises:
        NotFound: The registry has it no longer.
        UsageError: It has no variant for our kind of machine, or is of a form that is too old.
    """
    manifest = _variant(base, registry)
    content = manifest.content
    if content.get("schemaVersion") != 2 or "layers" not in content:
        raise _unfit(base, "its manifest is of an old form", "an image with a manifest of version 2")
    config = json.loads(registry.read_blob(content["config"]["digest"]))
    if config.get("os", "linux") != "linux" or config.get("architecture") not in ARCHITECTURES:
        found = f"it is for {config.get('os')}/{config.get('architecture')}"
        raise _unfit(base, found, "linux on amd64 or arm64")
    return BaseImage(base, content, config)


def look_inside(image: BaseImage, layers: Iterable[Path]) -> Inside:
    """Which Python there is, and what must be hidden, from the names of all files in it.

    Raises:
        UsageError: There is no Python that the server runs on, or the C library is not glibc.
    """
    names = _names(layers)
    if any(_MUSL.fullmatch(name) for name in names):
        raise _unfit(
            image.base, "it is built on musl (Alpine)", "one with glibc, such as Debian's: published wheels need it"
        )
    python, executable = _python(image, names)
    installers = tuple(sorted(name for name in names if _INSTALLERS.fullmatch(name)))
    topmost = tuple(name for name in installers if not any(name.startswith(f"{other}/") for other in installers))
    compilers = tuple(sorted(name for name in names if _COMPILERS.fullmatch(name)))
    return Inside(python, executable, ARCHITECTURES[image.config["architecture"]], topmost, compilers)


def remember(inside: Inside, base: Base, state: Path) -> None:
    """Notes what was found, so that a base is read once only."""
    file = _note(base, state)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkstemp(dir=file.parent)[1])
    partial.write_text(json.dumps(asdict(inside)), encoding="utf-8")
    partial.replace(file)


def recall(base: Base, state: Path) -> Inside | None:
    """What an earlier look found."""
    try:
        facts = json.loads(_note(base, state).read_text(encoding="utf-8"))
        inside = Inside(**facts)
    except (OSError, ValueError, TypeError):
        return None
    return replace(inside, installers=tuple(inside.installers), compilers=tuple(inside.compilers))


def _note(base: Base, state: Path) -> Path:
    return state / "images" / f"base-{base.key.replace(':', '-').replace(' ', '-')}.json"


def _own_architecture() -> str:
    return {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(
        platform.machine().lower(), "amd64"
    )


def _variant(base: Base, registry: Registry) -> Manifest:
    manifest = registry.manifest(base.reference.digest)
    if manifest is None:
        raise _missing(base.reference)
    if not manifest.is_index:
        return manifest
    wanted = base.architecture or _own_architecture()
    variants = [
        one["digest"]
        for one in manifest.content["manifests"]
        if (one.get("platform", {}).get("os"), one.get("platform", {}).get("architecture")) == ("linux", wanted)
    ]
    found = registry.manifest(variants[0]) if variants else None
    if found is None:
        raise _unfit(base, f"it has no variant for linux/{wanted}", "one for this kind of machine")
    return found


def _names(layers: Iterable[Path]) -> set[str]:
    """Paths of all files that a stack of layers leaves, without a leading ``/``."""
    names: set[str] = set()
    for layer in layers:
        added = set()
        for name in _members(layer):
            path = PurePosixPath(name)
            if path.name == ".wh..wh..opq":
                names -= {one for one in names if one.startswith(f"{path.parent}/")}
            elif path.name.startswith(".wh."):
                gone = str(path.with_name(path.name[4:]))
                names -= {one for one in names if one == gone or one.startswith(f"{gone}/")}
            else:
                # Archives need not name the folders that their files lie in.
                added |= {name, *(str(parent) for parent in path.parents)}
        names |= added
    return names


def _members(layer: Path) -> Iterator[str]:
    try:
        with tarfile.open(layer, mode="r|*") as archive:
            for member in archive:
                yield member.name.removeprefix("./").rstrip("/")
    except tarfile.TarError as error:
        raise UsageError(
            "cannot read a layer of the base image",
            where="image.base",
            problem=str(error),
            expected="layers compressed with gzip",
            next_step="--set image.base=…",
        ) from error


def _python(image: BaseImage, names: set[str]) -> tuple[str, str]:
    environment = dict(line.partition("=")[::2] for line in image.config.get("config", {}).get("Env") or [])
    found = {name: match[1] for name in names if (match := _PYTHON.fullmatch(name))}
    for folder in environment.get("PATH", _PATH).split(":"):
        for name, version in sorted(found.items(), reverse=True):
            if str(PurePosixPath(name).parent) == folder.strip("/") and version in PYTHONS:
                return version, f"/{name}"
    has = ", ".join(sorted({f"Python {version}" for version in found.values()})) or "no Python"
    raise _unfit(image.base, f"it has {has} on its PATH", f"Python {', '.join(PYTHONS)}")


def _missing(reference: Reference) -> NotFound:
    return NotFound(
        f"there is no base image {reference.handle}",
        where="image.base",
        problem="its registry has none of this name (an image that only a local Docker engine has is not in it)",
        expected="an image with Python in a registry",
        next_step=f"docker push {reference.handle}     or     --set image.base=…",
    )


def _unfit(base: Base, problem: str, expected: str) -> UsageError:
    return UsageError(
        f"{base.reference.handle} cannot be a base image",
        where="image.base",
        problem=problem,
        expected=expected,
        next_step="--set image.base=python:3.11-slim-bookworm     or a copy of it in a registry of yours",
    )
