from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from ridgeway.actions import unchanged
from ridgeway.artifacts import Verdict
from tests.cli.conftest import Command


def test_help(ridgeway: Command) -> None:
    code, out, err = ridgeway("run", "--help")
    assert (code, err) == (0, "")
    for option in ("--data FILE", "--plan", "--ci", "--json", "--set KEY=VALUE", "--debug"):
        assert option in out


def test_an_unknown_flow(project: Path, ridgeway: Command) -> None:
    assert ridgeway("run", "retrainig") == (
        2,
        "",
        (
            "error: no flow 'retrainig'\n"
            "  problem   did you mean retraining?\n"
            "  expected  one of retraining\n"
            "  next      correct it, then run the same command again\n"
        ),
    )


@pytest.mark.parametrize("options", [[], ["--plan"], ["--plan", "--json"]])
def test_ci_refuses_a_registry_on_this_machine(project: Path, options: list[str], ridgeway: Command) -> None:
    before = sorted(project.rglob("*"))
    code, out, err = ridgeway("run", "retraining", "--ci", *options)
    assert (code, out) == (2, "")
    assert err.startswith("error: a registry on this machine cannot be used with --ci\n")
    assert sorted(project.rglob("*")) == before


def test_a_plan_without_a_suite(project: Path, ridgeway: Command) -> None:
    assert ridgeway("run", "retraining", "--plan") == (
        2,
        "",
        (
            "error: no expectation suite\n"
            "  where     data.suite = data/suite.json\n"
            "  problem   there is no such file\n"
            "  next      ridgeway profile data/data.csv\n"
        ),
    )


def test_the_quick_answer_has_the_keys_of_the_long_one(
    project: Path, monkeypatch: pytest.MonkeyPatch, ridgeway: Command
) -> None:
    verdict = Verdict("accept", "beats_mean", "better", "", "runs:/ab/model", "c", "mean", "o", "k", "loss")
    monkeypatch.setattr(unchanged, "find", lambda *_: unchanged.Earlier(verdict, "runs:/ab", 7))
    code, out, err = ridgeway("run", "retraining", "--json")
    assert code == 0
    assert json.loads(out) == {
        "schema": 1,
        "run": "runs:/ab",
        "outcome": "unchanged",
        "sentence": "unchanged: models:/churn/7 is this very model (better)",
        "handle": "models:/churn/7",
        "exit_code": 0,
        "next_step": "",
    }
    assert err == (
        "unchanged: models:/churn/7 is this very model (better)\n  more      ridgeway show models:/churn/7\n"
    )


def test_a_verdict_is_no_failure_of_a_job(project: Path, monkeypatch: pytest.MonkeyPatch, ridgeway: Command) -> None:
    """With a tracking server; the flow itself is left out."""
    summary = {"run": "runs:/ab", "exit_code": 3, "sentence": "no", "next_step": "", "handle": "runs:/ab/model"}
    module = importlib.import_module("ridgeway.cli.run.retraining")
    monkeypatch.setattr(module, "_flow", lambda *_: summary)
    monkeypatch.setattr(module, "_remember", lambda *_: None)
    monkeypatch.setattr(unchanged, "find", lambda *_: None)
    options = ["--set", "registry.uri=https://mlflow.example.org"]
    assert ridgeway("run", "retraining", *options)[0] == 3
    assert ridgeway("run", "retraining", "--ci", *options)[0] == 0
