"""Dependencies as files: fetched as wheels for the image's machine, checked by hash, unpacked, stripped, precompiled.

Whatever installs packages on this machine does it, uv or pip; neither goes into the image. No source is ever built.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ridgeway.errors import Permanent, Unreachable, UsageError
from ridgeway.image.base_image import Inside
from ridgeway.image.needs import OwnWheel, Pin

_GLIBC = ("2_28", "2_27", "2_26", "2_24", "2_17", "2_12", "2_5")
"""Versions that wheels may ask for: every maintained distribution has 2.28 or newer."""
_LEFT_OUT = {".pyi", ".pyx", ".pxd", ".pxi", ".c", ".cc", ".cpp", ".h", ".hpp", ".a", ".f", ".f90", ".pyc"}
"""What is only there to compile against."""
_KEPT_FACTS = ("METADATA", "WHEEL", "entry_points.txt", "top_level.txt")
"""Of a distribution's own description; the rest tells where and when it was installed. Licences are kept, too."""
_TIMEOUT_SECONDS = 900


def installer(root: Path) -> list[str]:
    """The command that fetches wheels here: ``uv pip`` or ``python -m pip``.

    Raises:
        UsageError: This machine has neither.
    """
    for place in ("uv", str(root / ".tools/bin/uv"), str(root / ".tools/lib/bin/uv")):
        if (found := shutil.which(place)) and _runs([found, "--version"]):
            return [found, "pip"]
    for python in (sys.executable, "python3", "python"):
        if (found := shutil.which(python)) and _runs([found, "-m", "pip", "--version"]):
            return [found, "-m", "pip"]
    raise UsageError(
        "cannot fetch the dependencies of an image: there is neither uv nor pip here",
        problem=f"no uv on PATH, and {sys.executable} has no pip",
        expected="either of them; they stay on this machine",
        next_step="python -m ensurepip     or     install uv",
    )


def unpack(
    pins: Sequence[Pin], wheels: Sequence[OwnWheel], inside: Inside, folder: Path, *, command: Sequence[str]
) -> None:
    """Makes ``folder`` hold all distributions, ready to be imported by the base image's Python, and nothing else.

    Args:
        pins: From an index; those with hashes are taken only if they have one of them.
        wheels: The project's own.
        inside: The base image's Python and machine.
        folder: A new one.
        command: See :func:`installer`.

    Raises:
        Unreachable: No package index answers.
        Permanent: There is no such wheel, or it is not the one that the lock knows.
    """
    folder.mkdir(parents=True)
    locked = [pin.line for pin in pins if pin.hashes]
    own = [f"{wheel.path.absolute().as_uri()} --hash={wheel.digest}" for wheel in wheels]
    unlocked = [pin.short for pin in pins if not pin.hashes]
    for lines, hashes in ((locked + own, True), (unlocked, False)):
        if lines:
            _install(lines, inside, folder, command=command, hashes=hashes)
    _strip(folder)
    _precompile(folder, inside)


def compile_files(folder: Path, inside: Inside) -> None:
    """Adds bytecode to the Python files of a folder that becomes ``/app``, if our Python is that of the image."""
    _precompile(folder, inside)


def _install(lines: Sequence[str], inside: Inside, folder: Path, *, command: Sequence[str], hashes: bool) -> None:
    listing = folder.with_name(f"{folder.name}.txt")
    listing.write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = _uv_options(inside) if command[-1] == "pip" and command[-2] != "-m" else _pip_options(inside)
    arguments = [*command, "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target", str(folder)]
    arguments += [*options, *(["--require-hashes"] if hashes else []), "--requirement", str(listing)]
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments
            arguments, env=_environment(os.environ), capture_output=True, text=True, check=False,
            timeout=_TIMEOUT_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise _unreachable("it took longer than 15 minutes") from error
    if done.returncode:
        raise _failure(done.stderr.strip())


def _uv_options(inside: Inside) -> list[str]:
    return [
        "--python", sys.executable, "--python-version", inside.python, "--link-mode", "copy",
        "--python-platform", f"{inside.machine}-manylinux_2_28",
    ]  # fmt: skip


def _pip_options(inside: Inside) -> list[str]:
    platforms = [f"manylinux_{version}_{inside.machine}" for version in _GLIBC]
    platforms += [f"manylinux2014_{inside.machine}", f"manylinux1_{inside.machine}", f"linux_{inside.machine}"]
    tag = f"cp{inside.python.replace('.', '')}"
    given = [part for platform in platforms for part in ("--platform", platform)]
    abis = [part for abi in (tag, "abi3", "none") for part in ("--abi", abi)]
    return [*given, *abis, "--implementation", "cp", "--python-version", inside.python, "--no-compile",
            "--disable-pip-version-check", "--no-input", "--upgrade"]  # fmt: skip


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Ours, in which uv also finds what the machine has been told for pip, and the certificates of the system."""
    shared = {"UV_SYSTEM_CERTS": "true", "UV_NATIVE_TLS": "true"}
    if "PIP_CERT" in environ:
        shared["SSL_CERT_FILE"] = environ["PIP_CERT"]
    if "PIP_INDEX_URL" in environ and not {"UV_INDEX_URL", "UV_CONFIG_FILE"} & set(environ):
        shared["UV_DEFAULT_INDEX"] = environ["PIP_INDEX_URL"]
    # A folder that pip shall install to would contradict ours.
    kept = {name: value for name, value in environ.items() if name not in ("PIP_TARGET", "PIP_USER", "PIP_PREFIX")}
    return {**shared, **kept}


def _failure(said: str) -> Exception:
    lowered = said.lower()
    summary = "cannot fetch the dependencies of the image"
    last = "\n".join(said.splitlines()[-8:])
    if "hash" in lowered and ("mismatch" in lowered or "do not match" in lowered):
        return Permanent(
            summary,
            problem=last,
            expected="the very files that env/requirements.txt has the hashes of",
            next_step="do not go on before it is known why they differ: the index or the lock was altered",
        )
    if any(sign in lowered for sign in ("connection", "timed out", "dns", "error sending request", "network")):
        return _unreachable(last)
    return Permanent(
        summary,
        problem=last,
        expected="wheels of these versions for the base image's Python on Linux",
        next_step="--set image.base=… with the Python version of this environment",
    )


def _unreachable(problem: str) -> Unreachable:
    return Unreachable(
        "cannot fetch the dependencies of the image: no package index answers",
        problem=problem,
        expected="the index that this environment was installed from",
        next_step="try again later; an image that another machine has made is taken from the registry",
    )


# ---- stripping -------------------------------------------------------------------------------------------------------


def _strip(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        place = path.relative_to(folder)
        if path.is_dir() and not path.is_symlink():
            # Only below a package: a distribution whose own name is "tests" is its owner's business.
            unwanted = path.name == "__pycache__" or (path.name == "tests" and len(place.parts) > 1)
            if unwanted or place.parts == ("bin",):
                shutil.rmtree(path)
        elif path.suffix in _LEFT_OUT or _is_local_fact(place) or place.name in (".lock", ".gitignore"):
            path.unlink()


def _is_local_fact(place: Path) -> bool:
    info = place.parts[0].endswith(".dist-info")
    return info and len(place.parts) == 2 and place.name not in _KEPT_FACTS and not place.name.upper().startswith("LIC")


def _precompile(folder: Path, inside: Inside) -> None:
    """Bytecode that is taken as it is: on a read-only disk Python would else compile every file at every start."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" != inside.python:
        return
    # In a process of its own, with a fixed seed: then equal sources give equal bytes.
    subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, "-P", "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash",
         "-s", str(folder), "-p", "/app", str(folder)],
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": ""},
        check=False,
        capture_output=True,
        timeout=_TIMEOUT_SECONDS,
    )  # fmt: skip


def _runs(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False


def file_digest(path: Path) -> str:
    """``sha256:…`` of a file."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
