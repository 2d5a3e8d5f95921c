from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.cli.test_keys import Places


def test_help(ridgeway: Command) -> None:
    code, out, err = ridgeway("preflight", "--help")
    assert (code, err) == (0, "")
    assert "ridgeway preflight production --json" in out


def test_all_is_well_or_worth_a_word(places: Places, ridgeway: Command) -> None:
    code, out, err = ridgeway("preflight")
    assert (code, err) == (0, "")
    assert re.sub(r"\d[\d.,]*", "N", out) == (
        "ok    python             N\n"
        "ok    disk               N MiB are free\n"
        "warn  model registry     sqlite:///.ridgeway/mlflow.db holds no model yet\n"
        "                         next: ridgeway run retraining\n"
        "ok    qa: place          qa is in this process\n"
        "ok    production: place  production is in this process\n"
    )


def test_one_target_and_what_stands_in_the_way(places: Places, ridgeway: Command) -> None:
    places["qa"].unreachable = True
    assert ridgeway("preflight", "production")[0] == 0
    code, out, _ = ridgeway("preflight", "qa")
    assert code == 7
    assert out.endswith("FAIL  qa: place       qa does not answer\n                      next: ridgeway preflight qa\n")


def test_as_json(places: Places, ridgeway: Command) -> None:
    places["qa"].unreachable = True
    code, out, _ = ridgeway("preflight", "qa", "--json")
    record = json.loads(out)
    assert (code, record["schema"]) == (7, 1)
    last = record["findings"][-1]
    assert last.pop("seconds") >= 0
    assert last == {
        "check": "qa: place",
        "outcome": "fail",
        "sentence": "qa does not answer",
        "next_step": "ridgeway preflight qa",
    }


def test_on_a_narrow_terminal_lines_are_wrapped(
    places: Places, monkeypatch: pytest.MonkeyPatch, ridgeway: Command
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    _, out, _ = ridgeway("preflight")
    assert max(map(len, out.splitlines())) <= 60


def test_an_unknown_target(places: Places, project: Path, ridgeway: Command) -> None:
    code, out, err = ridgeway("preflight", "prod")
    assert (code, out) == (2, "")
    assert err.startswith("error: there is no target 'prod'\n")
    assert not (project / ".ridgeway").exists()
