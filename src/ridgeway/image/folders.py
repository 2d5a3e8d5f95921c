"""An image for processes of this machine: a package's folder, with server and dependencies as they are installed."""

from __future__ import annotations

from pathlib import Path

from ridgeway.artifacts import Image
from ridgeway.image import needs
from ridgeway.image.request import package_manifest, prove, server_digest
from ridgeway.project import digest_of


def folder_image(package: Path, *, name: str, model: str, model_digest: str) -> Image:
    """An image that is a folder: nothing is made, its digest is over all that a process would run.

    Args:
        package: Folder of the compiled package.
        name: The project's.
        model: Handle of the model.
        model_digest: Its digest.

    Raises:
        ModelError: The package is not as it was compiled.
        UsageError: Something that the model needs is not installed.
    """
    manifest = package_manifest(package)
    prove(package)
    facts = {
        "package": manifest["digest"],
        "server": server_digest(),
        "dependencies": [pin.short for pin in needs.pins(needs.wanted(manifest), ())],
    }
    inputs = digest_of(facts)
    return Image(f"folder/{name}", inputs, model, model_digest, str(manifest["digest"]), inputs)
