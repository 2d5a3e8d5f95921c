from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Command


def test_nothing_to_stop(project: Path, ridgeway: Command) -> None:
    code, _, err = ridgeway("down")
    assert (code, err) == (0, "nothing runs here\n")
