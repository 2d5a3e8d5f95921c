from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.actions.conftest import Yard
from tests.cli.conftest import Command

HANDLE = "releases:/diabetes/1"


def test_help(ridgeway: Command) -> None:
    code, out, err = ridgeway("refuse", "--help")
    assert (code, err) == (0, "")
    assert "[required]" in out


def test_a_no_needs_a_reason(project: Path, ridgeway: Command) -> None:
    code, out, err = ridgeway("refuse", "releases:/churn/1")
    assert (code, out) == (2, "")
    assert err == "error: Missing option '--reason'.\n  next      ridgeway refuse --help\n"


@pytest.mark.parametrize("options", [[], ["--plan"]])
def test_what_is_not_there_cannot_be_refused(project: Path, options: list[str], ridgeway: Command) -> None:
    code, out, err = ridgeway("refuse", "releases:/churn/1", "--reason", "no", *options)
    assert (code, out) == (2, "")
    assert err.startswith("error: there is no releases:/churn/1\n")
    assert not (project / ".ridgeway" / "mlflow.db").exists()


def test_a_release_that_waits(yard: Yard, ridgeway: Command) -> None:
    yard.released()
    no = ("refuse", HANDLE, "--reason", "the older patients")
    assert ridgeway(*no, "--plan") == (0, f"{HANDLE} would end as refused: the older patients\n", "")
    assert yard.releases().read(1).state == "waiting"
    code, out, err = ridgeway(*no, "--json")
    record = json.loads(out)
    assert code == 0
    assert {key: record[key] for key in ("schema", "handle", "outcome")} == {
        "schema": 1,
        "handle": HANDLE,
        "outcome": "refused",
    }
    assert "the older patients" in record["sentence"]
    assert record["sentence"] in err
    code, out, err = ridgeway(*no)
    assert (code, out) == (3, "")
    assert err.startswith(f"error: {HANDLE} has ended: refused\n")
