from __future__ import annotations

import json
from pathlib import Path

import pytest

from ridgeway.actions import demand
from tests.cli.conftest import Command


def test_help(ridgeway: Command) -> None:
    code, out, err = ridgeway("judge", "--help")
    assert (code, err) == (0, "")
    for option in ("--against MODEL", "--plan", "--ci", "--json", "--set KEY=VALUE", "--debug"):
        assert option in out
    assert "counts as a look at the holdout" in " ".join(out.split())


@pytest.mark.parametrize("options", [[], ["--plan"], ["--plan", "--json"]])
def test_where_nothing_was_trained_nothing_is_made(project: Path, options: list[str], ridgeway: Command) -> None:
    before = sorted(project.rglob("*"))
    code, out, err = ridgeway("judge", "models:/churn/1", *options)
    assert (code, out) == (2, "")
    assert err == (
        "error: there is no models:/churn/1\n"
        f"  where     {project}/.ridgeway/mlflow.db\n"
        "  problem   nothing was ever trained here\n"
        "  next      ridgeway run retraining\n"
    )
    assert sorted(project.rglob("*")) == before


@pytest.mark.parametrize("options", [[], ["--plan"]])
def test_ci_refuses_a_registry_on_this_machine(project: Path, options: list[str], ridgeway: Command) -> None:
    code, out, err = ridgeway("judge", "models:/churn/1", "--ci", *options)
    assert (code, out) == (2, "")
    assert err.startswith("error: a registry on this machine cannot be used with --ci\n")


def test_a_plan_as_text_and_as_json(project: Path, monkeypatch: pytest.MonkeyPatch, ridgeway: Command) -> None:
    facts = {"candidate": "runs:/3f2a/model", "opponent": "mean"}
    monkeypatch.setattr(demand, "plan", lambda *_: facts)
    assert ridgeway("judge", "runs:/3f2a", "--plan") == (
        0,
        "candidate  runs:/3f2a/model\nopponent   mean\n",
        "",
    )
    code, out, _ = ridgeway("judge", "runs:/3f2a", "--plan", "--json")
    assert (code, json.loads(out)) == (0, {"schema": 1, "plan": facts})


def test_what_is_no_model(project: Path, ridgeway: Command) -> None:
    code, out, err = ridgeway("judge", "churn")
    assert (code, out) == (2, "")
    assert err == (
        "error: 'churn' is not a handle\n"
        "  expected  models:/NAME/7, models:/NAME@champion, runs:/ID, data://NAME@sha256:…, releases:/NAME/12\n"
        "  next      ridgeway list models\n"
    )
