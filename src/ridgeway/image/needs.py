"""What a model's runtime consists of: the fewest distributions that load it, each in one version, with its hashes.

Versions are those installed here: with them the compiled model was proven to answer as the trained one does. Hashes are
those of the project's lock, ``env/requirements.txt``, and of the one that Ridgeway itself carries.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

import ridgeway
from ridgeway.errors import UsageError

SERVER = ("httptools", "numpy", "orjson", "uvloop")
"""What the server itself imports."""
KINDS: dict[str, tuple[str, ...]] = {
    "linear": (),
    "logistic": (),
    "trees": (),
    "onnx": ("onnxruntime",),
    "skops": ("scikit-learn", "skops"),
}
"""What it needs besides, by the kind of package."""
_LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "extra": ""}
"""Where images run, whatever machine they are made on."""


@dataclass(frozen=True, slots=True, order=True)
class Pin:
    """A distribution in one version."""

    name: str
    """In its canonical form: small letters and dashes."""
    version: str
    hashes: tuple[str, ...] = ()
    """``sha256:…`` of every file of this version that is trusted; empty where no lock has it."""

    @property
    def line(self) -> str:
        """As requirements files write it."""
        return " ".join([f"{self.name}=={self.version}", *(f"--hash={one}" for one in self.hashes)])

    @property
    def short(self) -> str:
        """``NAME==VERSION``."""
        return f"{self.name}=={self.version}"


@dataclass(frozen=True, slots=True, order=True)
class OwnWheel:
    """A wheel of the project's own."""

    path: Path
    name: str
    version: str
    digest: str
    modules: tuple[str, ...]
    """Its importable modules, whose types a package may be built of."""
    requires: tuple[str, ...]


def wanted(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the distributions that a package needs directly. Pure.

    Example:
        >>> wanted({"kind": "linear"})
        ('httptools', 'numpy', 'orjson', 'uvloop')
        >>> wanted({"kind": "skops", "form": {"input": "frame"}})[4:]
        ('scikit-learn', 'skops', 'pandas')
    """
    kind = str(manifest["kind"])
    frame = ("pandas",) if kind == "skops" and manifest.get("form", {}).get("input") == "frame" else ()
    return (*SERVER, *KINDS[kind], *frame)


def pins(names: Sequence[str], locks: Iterable[Path]) -> tuple[Pin, ...]:
    """These distributions and all that they need, as installed here, sorted by name, with the hashes of the locks.

    Raises:
        UsageError: One is not installed.
    """
    return hashed(_closure(names), locks)


def hashed(versions: Mapping[str, str], locks: Iterable[Path]) -> tuple[Pin, ...]:
    """These versions by name, sorted, with the hashes that the locks have of them."""
    hashes: dict[str, set[str]] = {}
    for lock in locks:
        for short, found in _locked(lock, lock.stat().st_mtime_ns if lock.is_file() else 0).items():
            hashes.setdefault(short, set()).update(found)
    bare = [Pin(name, version) for name, version in versions.items()]
    return tuple(sorted(Pin(pin.name, pin.version, tuple(sorted(hashes.get(pin.short, ())))) for pin in bare))


def locked_versions(locks: Iterable[Path]) -> dict[str, str]:
    """Distribution → the version that the first of the locks that knows it has."""
    found: dict[str, str] = {}
    for lock in locks:
        for short in _locked(lock, lock.stat().st_mtime_ns if lock.is_file() else 0):
            name, _, version = short.partition("==")
            found.setdefault(name, version)
    return found


def drift(names: Sequence[str], locks: Sequence[Path]) -> tuple[str, ...]:
    """Those of :func:`pins` that no lock has in the version that is installed, as ``NAME==VERSION``."""
    return tuple(pin.short for pin in pins(names, locks) if not pin.hashes)


def locks_of(root: Path) -> tuple[Path, ...]:
    """The locks that hashes are taken from: the project's, and the one that Ridgeway carries."""
    package = Path(ridgeway.__file__).parent
    own = package / "_scaffold/env/requirements.txt"
    # An editable installation has its files where they live in the repository.
    carried = own if own.is_file() else package.parents[1] / "env/requirements.txt"
    return tuple(lock for lock in dict.fromkeys([root / "env/requirements.txt", carried]) if lock.is_file())


def read_wheel(path: Path, digest: str) -> OwnWheel:
    """What a wheel says about itself.

    Raises:
        UsageError: It is not a wheel.
    """
    try:
        name, version, _, _ = parse_wheel_filename(path.name)
        with ZipFile(path) as archive:
            names = archive.namelist()
            info = next(one for one in names if one.endswith(".dist-info/METADATA"))
            header = HeaderParser().parsestr(archive.read(info).decode())
    except (OSError, BadZipFile, InvalidWheelFilename, StopIteration, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path.name} is not a wheel",
            where="image.packages",
            problem=str(error),
            expected="a file NAME-VERSION-….whl in the project, as `uv build --wheel` makes it",
            next_step="ridgeway settings image.packages",
        ) from error
    tops = {one.split("/")[0].removesuffix(".py") for one in names if one.endswith(".py")}
    modules = tuple(sorted(top for top in tops if top.isidentifier()))
    return OwnWheel(path, name, str(version), digest, modules, tuple(header.get_all("Requires-Dist") or ()))


def is_installed(name: str) -> bool:
    """Whether a distribution is in this environment.

    Example:
        >>> is_installed("numpy"), is_installed("no-such-distribution")
        (True, False)
    """
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def requirement_names(requires: Iterable[str]) -> tuple[str, ...]:
    """Names of what requirements ask for on Linux, extras left out.

    Example:
        >>> requirement_names(["pandas>=2", "colorama; sys_platform == 'win32'", "pytest; extra == 'dev'"])
        ('pandas',)
    """
    parsed = [Requirement(text) for text in requires]
    return tuple(
        canonicalize_name(one.name) for one in parsed if one.marker is None or one.marker.evaluate(dict(_LINUX))
    )


def _closure(names: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    waiting: list[str] = [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name], requires = _installed(name)
        waiting.extend(requirement_names(requires))
    return found


@functools.cache
def _installed(name: str) -> tuple[str, tuple[str, ...]]:
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        extra = "pip install 'ridgeway[onnx]'" if name in ("onnxruntime", "flatbuffers", "protobuf") else "make setup"
        raise UsageError(
            f"cannot make an image: {name} is not installed here",
            problem="the image takes the versions that the model was proven with, and there is none",
            expected=f"{name} in this environment",
            next_step=extra,
        ) from None
    return distribution.version, tuple(distribution.requires or ())


@functools.lru_cache(maxsize=8)
def _locked(lock: Path, _changed: int) -> dict[str, frozenset[str]]:
    """``NAME==VERSION`` → hashes, of a requirements file."""
    found: dict[str, frozenset[str]] = {}
    try:
        text = lock.read_text(encoding="utf-8")
    except OSError:
        return found
    for entry in text.replace("\\\n", " ").splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", entry):
            short = f"{canonicalize_name(match[1])}=={match[2]}"
            found[short] = frozenset(re.findall(r"--hash=(sha256:[0-9a-f]{64})", entry)) | found.get(short, frozenset())
    return found
