"""Folders with code in them, and the tools let loose on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ridgeway.code_gate import Place

Writes = Callable[..., Path]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty folder to look at. Plugins of pytest that nobody asked for would only make it start later."""
    folder = tmp_path / "project"
    folder.mkdir()
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return Place(folder, tmp_path / "run" / "gates", tmp_path / "cache", 120, environment)


@pytest.fixture
def write(place: Place) -> Writes:
    """Writes a file of the folder."""

    def write(name: str, text: str) -> Path:
        path = place.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write
