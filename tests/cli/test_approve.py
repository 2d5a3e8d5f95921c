from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ridgeway.cli.run import release as flow
from ridgeway.cli.run.request import Request
from tests.actions.conftest import Yard
from tests.cli.conftest import Command

HANDLE = "releases:/diabetes/1"


def test_help(ridgeway: Command) -> None:
    code, out, err = ridgeway("approve", "--help")
    assert (code, err) == (0, "")
    for option in ("--reason TEXT", "--evidence DIGEST", "--plan", "--ci", "--json"):
        assert option in out


@pytest.mark.parametrize("options", [[], ["--plan"]])
def test_what_is_not_there(project: Path, options: list[str], ridgeway: Command) -> None:
    code, out, err = ridgeway("approve", "releases:/churn/1", *options)
    assert (code, out) == (2, "")
    assert err.startswith("error: there is no releases:/churn/1\n")
    assert not (project / ".ridgeway" / "mlflow.db").exists()


def test_what_is_no_release(project: Path, ridgeway: Command) -> None:
    assert ridgeway("approve", "models:/churn/1") == (
        2,
        "",
        (
            "error: models:/churn/1 is no release here\n"
            "  expected  releases:/churn/NUMBER\n"
            "  next      correct it, then run the same command again\n"
        ),
    )


def test_ci_refuses_a_registry_on_this_machine(project: Path, ridgeway: Command) -> None:
    code, out, err = ridgeway("approve", "releases:/churn/1", "--ci")
    assert (code, out) == (2, "")
    assert err.startswith("error: a registry on this machine cannot be used with --ci\n")


def test_a_plan_says_nothing_to_anybody(yard: Yard, ridgeway: Command) -> None:
    yard.released()
    evidence = yard.releases().read(1).evidence[:19]
    code, out, err = ridgeway("approve", HANDLE, "--plan")
    assert (code, err) == (0, "")
    assert out.endswith(
        f" would approve {HANDLE} (models:/diabetes/1) on production as release-manager, on evidence {evidence}\n"
    )
    assert json.loads(ridgeway("approve", HANDLE, "--plan", "--json")[1]) == {"schema": 1, "plan": out.rstrip("\n")}
    assert yard.releases().approvals(yard.releases().read(1)) == ()


def test_where_another_yes_is_needed_it_still_waits(yard: Yard, ridgeway: Command) -> None:
    yard.edit("rollout = { bake_seconds = 0 }\n[approvers]", "approval = { count = 2 }\n[approvers]")
    yard.released()
    code, out, err = ridgeway("approve", HANDLE, "--json")
    record = json.loads(out)
    assert code == 5
    assert {**record, "sentence": ""} == {
        "schema": 1,
        "handle": HANDLE,
        "outcome": "waiting",
        "sentence": "",
        "exit_code": 5,
    }
    assert f" approves {HANDLE} as release-manager\n" in err
    assert record["sentence"] in err
    assert yard.place().deployment is None


def test_evidence_that_is_no_more_so(yard: Yard, ridgeway: Command) -> None:
    yard.released()
    code, out, err = ridgeway("approve", HANDLE, "--evidence", "0123456789abcdef")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: the evidence of {HANDLE} changed\n")
    assert f"next      ridgeway show {HANDLE}" in err


def test_the_last_yes_carries_it_on(yard: Yard, monkeypatch: pytest.MonkeyPatch, ridgeway: Command) -> None:
    """With all steps of the flow, and without Prefect around them."""

    def carried_on(request: Request) -> dict[str, Any]:
        return yard.released(request.subject)

    monkeypatch.setattr(flow, "carry_out", carried_on)
    yard.released()
    code, out, err = ridgeway("approve", HANDLE, "--reason", "good numbers")
    assert (code, out) == (0, f"{HANDLE}\n")
    assert err.endswith(
        "\nmodels:/diabetes/1 answers on production\n"
        "  next      ridgeway keys production\n"
        f"  more      ridgeway show {HANDLE}\n"
    )
    (word,) = yard.releases().approvals(yard.releases().read(1))
    assert (word.decision, word.reason) == ("yes", "good numbers")
