from __future__ import annotations

import json
from pathlib import Path

from ridgeway.cli.list import table
from tests.cli.conftest import Command


def test_nothing_yet(project: Path, ridgeway: Command) -> None:
    assert ridgeway("list") == (0, "nothing is running\n", "")
    assert ridgeway("list", "models") == (0, "no model is registered\n", "")
    assert ridgeway("list", "runs") == (0, "nothing has run yet\n", "")


def test_runs_with_what_came_of_them(project: Path, ended: str, ridgeway: Command) -> None:
    code, out, _ = ridgeway("list", "runs")
    head, line = out.splitlines()
    assert code == 0
    assert head.split() == ["run", "flow", "state", "started", "what", "came", "of", "it"]
    assert line.startswith("runs:/abababababab  retraining  finished  ")
    assert line.endswith("accepted")
    assert ridgeway("list")[1] == "nothing is running\n"


def test_flows_with_their_first_line(project: Path, ridgeway: Command) -> None:
    code, out, _ = ridgeway("list", "flows", "--json")
    assert code == 0
    assert json.loads(out) == {
        "schema": 1,
        "flows": [{"flow": "retraining", "file": "flows/retraining.py", "about": "Retraining: data to model."}],
    }


def test_an_unknown_noun(project: Path, ridgeway: Command) -> None:
    code, _, err = ridgeway("list", "model")
    assert code == 2
    assert "did you mean models?" in err


def test_long_lines_are_cut_and_not_wrapped() -> None:
    assert table([{"a": "1", "b": "a long sentence"}], 12) == "a  b\n1  a long s…"
