"""Door to images: a model's package with the server that answers for it, made once and known by content.

There are two, one on the other: a *runtime* (server and locked dependencies as files, on a base given by digest) and
the *model* image, which adds one small layer to it. Both are put together here and stored in the registry over HTTP: no
Docker engine, no network and no command of the image has a part in it, and equal inputs give equal images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ridgeway.image.assemble import HEALTH_PORT, MODELS, PORT, USER, bill_file, build, find, sbom
from ridgeway.image.folders import folder_image
from ridgeway.image.request import ImageRequest, request_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from ridgeway.artifacts import Finding, Image

__all__ = [
    "HEALTH_PORT",
    "MODELS",
    "PORT",
    "USER",
    "ImageRequest",
    "bill_file",
    "build",
    "check",
    "find",
    "folder_image",
    "request_for",
    "sbom",
    "serve_here",
]


def check(repository: str, base: str, *, root: Path, engine_needed: bool = False) -> Iterator[Finding]:
    """The preflight of images; see :func:`ridgeway.image.checks.check`."""
    # The Docker SDK is loaded only by what talks to an engine.
    from ridgeway.image import checks

    return checks.check(repository, base, root=root, engine_needed=engine_needed)


def serve_here(
    image: Image,
    *,
    port: int,
    say: Callable[[str], None],
    keys: Mapping[str, str] | None = None,
    ready: Callable[[str], None] | None = None,
) -> int:
    """Runs the very image on this machine until Ctrl-C; see :func:`ridgeway.image.local_run.serve_here`."""
    from ridgeway.image import local_run

    return local_run.serve_here(image, port=port, say=say, keys=keys, ready=ready)
