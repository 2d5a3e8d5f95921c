"""What a training image is made of: base, dependencies, Ridgeway itself, the project. Identities, known before making.

Each level stands on the one below and is looked up by a digest of all that is in it: a new commit makes one thin layer,
a new version of Ridgeway two, and only other dependencies make the large one anew.
"""

from __future__ import annotations

import base64
import hashlib
import platform
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

import ridgeway
import ridgeway_server
from ridgeway.errors import UsageError
from ridgeway.image import needs
from ridgeway.image.base_image import Base
from ridgeway.image.needs import OwnWheel, Pin
from ridgeway.image.reference import Reference, parse_repository
from ridgeway.image.request import LOOPBACK_REGISTRY, own_wheel
from ridgeway.image.training_source import Source
from ridgeway.project import Project, digest_of

RECIPE = 1
"""Raised with every change to how training images are made of inputs."""
NOT_NEEDED = ("circus", "cyclonedx-python-lib", "docker", "kubernetes")
"""What Ridgeway needs to make and run images, and to reach clusters: a job does neither. 130 MB."""
_LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """A training image that is wanted."""

    source: Source
    """The project's files."""
    repository: str
    """With the registry's address."""
    base: str
    """Image with Python, by tag or digest."""
    requirements: tuple[str, ...] = ()
    """What the project itself needs, as its pyproject.toml has it."""
    wheels: tuple[Path, ...] = ()
    """The project's own."""
    locks: tuple[Path, ...] = ()
    """Requirements files with hashes."""
    state: Path = Path(".ridgeway")
    """Where notes on base images are kept."""
    architecture: str = ""
    """``amd64`` or ``arm64``; empty: this machine's."""

    @property
    def target(self) -> Reference:
        """The repository, taken apart."""
        return parse_repository(self.repository)


@dataclass(frozen=True)
class TrainingInputs:
    """All that goes into a training image."""

    request: TrainingRequest
    base: Base
    pins: tuple[Pin, ...]
    wheels: tuple[OwnWheel, ...]

    @cached_property
    def environment(self) -> str:
        """Identity of base and dependencies."""
        return digest_of(
            {
                "recipe": RECIPE,
                "base": self.base.key,
                "pins": [pin.line for pin in self.pins],
                "wheels": [[wheel.path.name, wheel.digest] for wheel in self.wheels],
            }
        )

    @cached_property
    def framework(self) -> str:
        """Identity of these with Ridgeway."""
        return digest_of({"below": self.environment, "ridgeway": files_digest(framework_files())})

    @cached_property
    def whole(self) -> str:
        """Identity of the image."""
        return digest_of({"below": self.framework, "source": self.request.source.key})

    @property
    def environment_tag(self) -> str:
        """What the lowest level is looked up by."""
        return f"training-environment-{self.environment.removeprefix('sha256:')}"

    @property
    def framework_tag(self) -> str:
        """What the level above it is looked up by."""
        return f"training-ridgeway-{self.framework.removeprefix('sha256:')}"

    @property
    def tag(self) -> str:
        """What the image is looked up by."""
        return f"training-{self.whole.removeprefix('sha256:')}"


def training_request(project: Project, source: Source) -> TrainingRequest:
    """The request for a project's training image, with the project's settings.

    Raises:
        UsageError: Its pyproject.toml cannot be read.
    """
    settings = project.settings.image
    return TrainingRequest(
        source,
        settings.repository or f"{LOOPBACK_REGISTRY}/{project.name}",
        settings.base,
        project_requirements(project.root / "pyproject.toml"),
        tuple(project.root / path for path in settings.packages),
        needs.locks_of(project.root),
        project.state,
    )


def project_requirements(file: Path) -> tuple[str, ...]:
    """What a project declares to need at run time; nothing where there is no such file.

    Raises:
        UsageError: It is no TOML.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file.name}", where=str(file), problem=str(error), expected="TOML") from None
    return tuple(content.get("project", {}).get("dependencies") or ())


def gather(request: TrainingRequest, base: Base) -> TrainingInputs:
    """All that goes into the image, read from this machine alone.

    Raises:
        NotFound: A wheel of the project's own is not there.
        UsageError: Such a wheel is none, or something that the project needs is not installed here.
    """
    wheels = tuple(sorted(own_wheel(path) for path in request.wheels))
    own = {wheel.name for wheel in wheels}
    wanted = [one for one in metadata.requires("ridgeway") or () if _name(one) not in NOT_NEEDED]
    wanted += [*request.requirements, *(one for wheel in wheels for one in wheel.requires)]
    versions = closure(wanted, without=own, locked=needs.locked_versions(request.locks))
    return TrainingInputs(request, base, needs.hashed(versions, request.locks), wheels)


def closure(
    requirements: Iterable[str], *, without: Iterable[str] = (), locked: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Distributions that requirements lead to, with the versions installed here; Ridgeway itself is not among them.

    Args:
        requirements: As pyproject.toml has them, extras and markers included.
        without: Names that are not looked for, nor what they need.
        locked: Versions of what only other patch levels of this Python need, and is therefore not installed here.

    Raises:
        UsageError: One is not installed here, or is no requirement.

    Example:
        >>> sorted(closure(["click>=8", "colorama; sys_platform == 'win32'", "ridgeway"]))
        ['click']
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    left_out = {canonicalize_name(name) for name in without}
    waiting = list(_needed(requirements, frozenset(), here=True))
    while waiting:
        one, here = waiting.pop()
        name, extras = canonicalize_name(one.name), frozenset(one.extras)
        if (name, extras) in seen or name in left_out:
            continue
        seen.add((name, extras))
        version, needed = _installed(one, locked or {}, here=here)
        if name != "ridgeway":
            found[name] = version
        elif not extras:
            continue  # what it needs is asked for already
        waiting += _needed(needed, extras, here=here)
    return {name: version for name, version in found.items() if version}


def _needed(requirements: Iterable[str], extras: frozenset[str], *, here: bool) -> Iterator[tuple[Requirement, bool]]:
    """Those that hold for any patch level of this Python on Linux, and whether they do for the one that runs here."""
    for one in map(_parsed, requirements):
        minor = f"{sys.version_info.major}.{sys.version_info.minor}"
        levels = (platform.python_version(), f"{minor}.0", f"{minor}.99")
        holds = [_holds(one, extras, level) for level in levels]
        if any(holds):
            yield one, here and holds[0]


def _holds(one: Requirement, extras: frozenset[str], level: str) -> bool:
    known = [{**_LINUX, "extra": extra, "python_full_version": level} for extra in ("", *extras)]
    return one.marker is None or any(one.marker.evaluate(facts) for facts in known)


def _installed(one: Requirement, locked: Mapping[str, str], *, here: bool) -> tuple[str, tuple[str, ...]]:
    """Version and requirements; of what is only needed by other patch levels, the lock's version or none."""
    name = canonicalize_name(one.name)
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        if not here:
            return locked.get(name, ""), ()
        raise UsageError(
            f"cannot make a training image: {name} is not installed here",
            where=f"pyproject.toml: {one}",
            problem="the image takes the versions that the project was tried with here, and there is none",
            expected=f"{name} in this environment",
            next_step="make setup",
        ) from None
    return distribution.version, tuple(distribution.requires or ())


def _parsed(text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise UsageError(
            f"{text!r} is no requirement", where="pyproject.toml", problem=str(error), expected='such as "lightgbm>=4"'
        ) from None


def _name(requirement: str) -> str:
    return canonicalize_name(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0])


# ---- Ridgeway itself -------------------------------------------------------------------------------------------------


def framework_files() -> dict[str, Path | bytes]:
    """Ridgeway's own files as they run here, by their path in an environment, with what tells its version.

    Taken as they are rather than from a wheel: what runs here runs there, and no build is needed where there is an
    editable installation. What `ridgeway new` copies out is left out.
    """
    found: dict[str, Path | bytes] = {}
    for package in (ridgeway, ridgeway_server):
        folder = Path(package.__file__).parent  # type: ignore[arg-type]
        for file in sorted(folder.rglob("*")):
            place = file.relative_to(folder.parent)
            if file.is_file() and not {"__pycache__", "_scaffold"} & set(place.parts):
                found[place.as_posix()] = file
    return {**found, **_description(found)}


def _description(files: Mapping[str, Path | bytes]) -> dict[str, Path | bytes]:
    """``ridgeway-VERSION.dist-info``: its list of files is what tells one build of a version from another."""
    info = f"ridgeway-{ridgeway.__version__}.dist-info"
    lines = [f"{name},sha256={_record_digest(content)},{len(_bytes(content))}" for name, content in files.items()]
    text = f"Metadata-Version: 2.1\nName: ridgeway\nVersion: {ridgeway.__version__}\n"
    return {f"{info}/METADATA": text.encode(), f"{info}/RECORD": "\n".join([*lines, ""]).encode()}


def _record_digest(content: Path | bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(_bytes(content)).digest()).decode().rstrip("=")


def _bytes(content: Path | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def files_digest(files: Mapping[str, Path | bytes]) -> str:
    """``sha256:…`` over names and contents."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        body = _bytes(content)
        digest.update(f"{name}\0{len(body)}\0".encode() + body)
    return f"sha256:{digest.hexdigest()}"
