from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Command


def test_a_run_and_one_of_its_steps(project: Path, ended: str, ridgeway: Command) -> None:
    for arguments in (["runs:/abab"], ["abab", "--only", "load_data"]):
        code, out, _ = ridgeway("logs", *arguments)
        assert code == 0
        assert "442 rows" in out


def test_as_json(project: Path, ended: str, ridgeway: Command) -> None:
    code, out, _ = ridgeway("logs", "runs:/abab", "--only", "load_data", "--json")
    record = json.loads(out)
    assert (code, record["schema"], record["step"]) == (0, 1, "load_data")
    assert any("442 rows" in line for line in record["lines"])
