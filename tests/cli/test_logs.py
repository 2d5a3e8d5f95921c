from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Command, deployed
from tests.cli.test_keys import Places


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


def test_of_a_target(places: Places, ridgeway: Command) -> None:
    deployed(places["qa"], "qa")
    code, out, err = ridgeway("logs", "qa")
    assert (code, err) == (0, "")
    assert out.startswith("create place churn: image sha256:11111111")
    assert json.loads(ridgeway("logs", "qa", "--json")[1])["lines"] == out.splitlines()


def test_a_target_has_no_steps_and_a_stream_is_no_json(places: Places, ridgeway: Command) -> None:
    code, out, err = ridgeway("logs", "qa", "--only", "build_image")
    assert (code, out) == (2, "")
    assert "qa is a target" in err
    code, out, err = ridgeway("logs", "qa", "-f", "--json")
    assert (code, out) == (2, "")
    assert err.startswith("error: logs: --follow has no end, and JSON needs one\n")


def test_where_nothing_ran(places: Places, ridgeway: Command) -> None:
    code, out, err = ridgeway("logs", "qa")
    assert (code, out) == (2, "")
    assert err.startswith("error: nothing runs on qa\n")
    code, out, err = ridgeway("logs", "releases:/churn/1")
    assert (code, out) == (2, "")
    assert err.startswith("error: this machine has no log of releases:/churn/1\n")
