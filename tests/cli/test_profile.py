from __future__ import annotations

import json
from pathlib import Path

import pytest

from ridgeway import scaffold
from tests.cli.conftest import Command


@pytest.fixture
def own(project: Path) -> Path:
    """The project with a step that reads files, and a file without a suite."""
    (project / "steps").mkdir()
    step = scaffold.template_root() / "steps/load_data.py"
    (project / "steps/load_data.py").write_bytes(step.read_bytes())
    (project / "rows.csv").write_text("age,label\n" + "".join(f"{n},{n % 7}.5\n" for n in range(60)), encoding="utf-8")
    return project


def test_help(ridgeway: Command) -> None:
    code, out, err = ridgeway("profile", "--help")
    assert (code, err) == (0, "")
    for option in ("--rebase", "--reason TEXT", "--plan", "--json", "--set KEY=VALUE"):
        assert option in out


def test_a_reference_is_not_changed_without_a_reason(project: Path, ridgeway: Command) -> None:
    assert ridgeway("profile", "rows.csv", "--rebase") == (
        2,
        "",
        'error: --rebase needs --reason "why the reference changes"\n  next      ridgeway profile --help\n',
    )


def test_a_plan_and_a_first_suite(own: Path, ridgeway: Command) -> None:
    before = {path: path.stat().st_mtime_ns for path in own.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    code, out, err = ridgeway("profile", "rows.csv", "--plan")
    assert (code, out) == (0, "data/suite.json\n")
    assert err.endswith(" expectations from 60 rows (nothing written)\n")
    after = {path: path.stat().st_mtime_ns for path in own.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert after == before
    code, out, err = ridgeway("profile", "rows.csv", "--json")
    assert code == 0
    assert json.loads(out) == json.loads((own / "data/suite.json").read_text(encoding="utf-8"))
    code, out, err = ridgeway("profile", "rows.csv")
    assert (code, out) == (2, "")
    assert err.startswith("error: data/suite.json is there already\n")


def test_a_file_that_is_not_there(own: Path, ridgeway: Command) -> None:
    code, out, err = ridgeway("profile", "gone.csv")
    assert (code, out) == (65, "")
    assert "gone.csv" in err
    assert "Traceback" not in err
