from __future__ import annotations

import json

from tests.actions.conftest import Yard
from tests.cli.conftest import Command

HANDLE = "releases:/diabetes/1"


def test_help(ridgeway: Command) -> None:
    code, out, err = ridgeway("cancel", "--help")
    assert (code, err) == (0, "")
    assert "RUN|RELEASE" in out


def test_what_has_ended(ended: str, ridgeway: Command) -> None:
    assert ridgeway("cancel", "runs:/abab") == (
        3,
        "",
        "error: runs:/abababababab has ended: finished\n  next      ridgeway show runs:/abababababab\n",
    )


def test_what_cannot_be_cancelled(ended: str, ridgeway: Command) -> None:
    code, out, err = ridgeway("cancel", "models:/churn/1")
    assert (code, out) == (2, "")
    assert err.startswith("error: models:/churn/1 cannot be cancelled\n  expected  runs:/ID or releases:/NAME/NUMBER\n")


def test_a_release_that_waits(yard: Yard, ridgeway: Command) -> None:
    yard.released()
    would = f"{HANDLE} of models:/diabetes/1, now waiting, would end as cancelled"
    assert ridgeway("cancel", HANDLE, "--plan") == (0, f"{would}\n", "")
    assert json.loads(ridgeway("cancel", HANDLE, "--plan", "--json")[1]) == {
        "schema": 1,
        "subject": HANDLE,
        "plan": would,
    }
    code, out, err = ridgeway("cancel", HANDLE, "--reason", "too early", "--json")
    record = json.loads(out)
    assert (code, err, set(record)) == (0, "", {"schema", "subject", "sentence"})
    assert record["sentence"].endswith(": too early")
    assert ridgeway("cancel", HANDLE)[0] == 3
