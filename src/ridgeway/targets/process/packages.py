"""Copies of packages, so that no later change of the project alters what runs. Named for their content."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from ridgeway.artifacts import Deployment
from ridgeway.errors import Permanent, StorageError

_KEPT = 5
"""Copies that stay: the one that runs, those before it to go back to."""


def keep_copy(packages: Path, deployment: Deployment, package: Path | None) -> str:
    """Name of the copy to run: a sound one that is there already, or a new one of ``package``.

    What ``package`` holds is copied as it is: whether it may be served is for the server to say.

    Raises:
        Permanent: There is no sound copy, and no package was given.
        StorageError: It cannot be copied.
    """
    digest = deployment.image.package
    for folder in sorted(packages.glob("[0-9a-f]*")):
        if _is_sound(folder, digest):
            os.utime(folder)
            return folder.name
    if package is None:
        raise Permanent(
            f"cannot run {deployment.image.handle}",
            where=str(packages),
            problem=f"no copy of the package {digest} is kept here",
            expected="the folder of the package",
            next_step=f"ridgeway run release {deployment.image.model}",
        )
    return _copy(packages, package)


def prune(packages: Path, in_use: set[str]) -> None:
    """Removes what is neither in use nor among the latest copies."""
    folders = sorted(packages.glob("[0-9a-f]*"), key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in [folder for folder in folders[_KEPT:] if folder.name not in in_use] + list(packages.glob(".new-*")):
        shutil.rmtree(folder, ignore_errors=True)


def _copy(packages: Path, package: Path) -> str:
    try:
        name = _content(package)
        if not (packages / name).exists():
            new = packages / f".new-{os.getpid()}"
            shutil.rmtree(new, ignore_errors=True)
            shutil.copytree(package, new)
            new.rename(packages / name)
    except (OSError, shutil.Error) as error:
        raise StorageError(
            "cannot copy a package",
            where=str(package),
            problem=str(error),
            expected="a folder that can be read, and room for a copy",
            next_step="make room, then the same command again",
        ) from error
    return name


def _content(folder: Path) -> str:
    total = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(f"{file.relative_to(folder).as_posix()}\0{file.stat().st_size}\0".encode())
        total.update(file.read_bytes())
    return total.hexdigest()[:32]


def _is_sound(folder: Path, digest: str) -> bool:
    """Whether it is the package of this digest and all its files are still as its manifest says."""
    for manifest in folder.rglob("model.json"):
        try:
            record = json.loads(manifest.read_bytes())
            if record["digest"] == digest:
                return all(
                    hashlib.sha256((manifest.parent / name).read_bytes()).hexdigest() == facts["sha256"]
                    for name, facts in record["files"].items()
                )
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return False
