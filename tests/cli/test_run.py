from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from ridgeway.actions import unchanged
from ridgeway.artifacts import Verdict
from tests.actions.conftest import Yard
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
            "  expected  one of build, retraining, release\n"
            "  next      correct it, then run the same command again\n"
        ),
    )


@pytest.mark.parametrize("options", [[], ["--plan"], ["--plan", "--json"]])
def test_ci_refuses_a_registry_on_this_machine(project: Path, options: list[str], ridgeway: Command) -> None:
    before = sorted(project.rglob("*"))
    code, out, err = ridgeway("run", "retraining", "--ci", *options)
    assert (code, out) == (2, "")
    assert err.startswith("error: a registry on this machine cannot be used with --ci\n")
    # Nothing but the summary that the run's page shows.
    assert sorted(path for path in project.rglob("*") if ".ridgeway" not in path.parts) == before
    assert sorted(path.name for path in project.glob(".ridgeway/*")) in ([], ["ci"])


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


# ---- release ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["release"], "run release: which model?"),
        (["release", "models:/churn/1", "--data", "x.csv"], "run release takes no --data"),
        (["retraining", "models:/churn/1"], "run retraining takes no MODEL"),
        (["retraining", "--until", "qa"], "run retraining takes no --until"),
        (["retraining", "--plan", "--format", "text"], "run retraining takes no --format"),
        (["release", "models:/churn/1", "--format", "manifests"], "--format is a way to print a plan"),
    ],
)
def test_what_does_not_belong_together(project: Path, arguments: list[str], error: str, ridgeway: Command) -> None:
    code, out, err = ridgeway("run", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {error}\n")
    assert not (project / ".ridgeway").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["models:/churn/1"], 2, "there is no models:/churn/1"),
        (["models:/churn/1", "--until", "prod"], 2, "--until prod: no such stage"),
        (["models:/churn/1", "--set", "release.started_by=ci"], 2, "releases of churn are started by ci"),
        (["models:/churn/1", "--ci"], 2, "a registry on this machine cannot be used with --ci"),
        (["churn/1"], 2, "'churn/1' is not a handle"),
    ],
)
def test_what_cannot_be_planned(project: Path, arguments: list[str], code: int, error: str, ridgeway: Command) -> None:
    ended, out, err = ridgeway("run", "release", *arguments, "--plan")
    assert (ended, out) == (code, "")
    assert err.startswith(f"error: {error}")
    assert not (project / ".ridgeway" / "mlflow.db").exists()


def test_a_plan_of_a_release(yard: Yard, ridgeway: Command) -> None:
    code, out, _ = ridgeway("run", "release", "models:/diabetes/1", "--plan")
    steps = [line.split()[0] for line in out.splitlines()]
    assert code == 0
    assert steps == [
        "build_image",
        "deploy_endpoint",
        "probe_endpoint",
        "ask_approval",
        "roll_out",
        "probe_endpoint",
        "champion",
    ]
    assert "deploy_endpoint  qa: create place diabetes" in out
    _, out, _ = ridgeway("run", "release", "models:/diabetes/1", "--plan", "--until", "qa", "--json")
    record = json.loads(out)
    assert [line["step"] for line in record["plan"]] == ["build_image", "deploy_endpoint", "probe_endpoint"]
    assert yard.place("qa").deployment is None
    assert ridgeway("list", "releases")[1] == "nothing was ever released\n"


def test_manifests_need_a_cluster(yard: Yard, ridgeway: Command) -> None:
    code, out, err = ridgeway("run", "release", "models:/diabetes/1", "--plan", "--format", "manifests")
    assert (code, out) == (2, "")
    assert err.startswith("error: there are no manifests: no stage is of kind kubernetes\n")


@pytest.mark.parametrize(("outcome", "code", "soft"), [("waiting", 5, 0), ("released", 0, 0), ("refused", 3, 0)])
def test_how_a_release_ended(
    project: Path, monkeypatch: pytest.MonkeyPatch, outcome: str, code: int, soft: int, ridgeway: Command
) -> None:
    """The flow itself is left out."""
    summary = {
        "schema": 1,
        "run": "runs:/ab",
        "outcome": outcome,
        "sentence": "it came to this",
        "next_step": "ridgeway list" if outcome == "waiting" else "",
        "handle": "releases:/churn/3",
        "model": "models:/churn/1",
        "image": "",
        "exit_code": code,
    }
    monkeypatch.setattr(importlib.import_module("ridgeway.cli.run.release"), "carry_out", lambda _: summary)
    ended, out, err = ridgeway("run", "release", "models:/churn/1")
    assert (ended, out) == (code, "releases:/churn/3\n")
    following = "  next      ridgeway list\n" if outcome == "waiting" else ""
    assert err == f"\nit came to this\n{following}  more      ridgeway show releases:/churn/3\n"
    ended, out, _ = ridgeway("run", "release", "models:/churn/1", "--json", "--ci")
    assert (ended, json.loads(out)) == (soft, summary)
