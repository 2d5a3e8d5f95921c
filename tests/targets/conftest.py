"""Container images of toy models, in the registry that the engine pulls from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ridgeway.artifacts import Image
from ridgeway.image import ImageRequest, build
from tests.targets.contract import toy_packages

REPOSITORY = f"{os.environ.get('LAB_REGISTRY', '127.0.0.1:5000')}/ridgeway-test-docker"
BASE = os.environ.get("LAB_BASE_IMAGE", "127.0.0.1:5000/python:3.11-slim-bookworm")


@pytest.fixture(scope="session")
def toy_images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Image, Image]:
    """Images of toy models 1 and 2; those of an earlier session are found again."""
    root: Path = tmp_path_factory.mktemp("images")
    (root / ".ridgeway").mkdir()
    first, second = (
        build(
            ImageRequest(
                folder, REPOSITORY, BASE, f"models:/toy/{number}", f"sha256:{number:064x}", state=root / ".ridgeway"
            ),
            say=print,
        )
        for number, folder in enumerate(toy_packages(root / "models"), 1)
    )
    return first, second
