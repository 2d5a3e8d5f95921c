from __future__ import annotations

import importlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ridgeway import orchestrator
from ridgeway.actions import build
from ridgeway.errors import GateFound
from tests.cli.conftest import Command

SETTINGS = "[project]\nname = 'churn'\n[build]\nchecks = ['ruff']\n"


@pytest.fixture
def code(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose build has ruff alone to run; the orchestrator is left out."""
    (project / "ridgeway.toml").write_text(SETTINGS, encoding="utf-8")
    monkeypatch.setattr(orchestrator, "ensure_server", lambda *_, **__: None)

    def run_flow(*_: Any, run: Any, **__: Any) -> dict[str, Any]:
        with build.start(build.Request()) as job:  # the one that the command has opened
            assert job.record is run
            with suppress(GateFound):
                job.check_code()
        return build.summary(job)

    monkeypatch.setattr(orchestrator, "run_flow", run_flow)
    return project


def test_findings_are_the_result_and_the_code_is_7(code: Path, ridgeway: Command) -> None:
    (code / "steps").mkdir()
    (code / "steps/a.py").write_text("import os\n")
    exit_code, out, err = ridgeway("run", "build", "--only", "gates")
    assert exit_code == 7
    lines = out.splitlines()
    assert lines[0] == "FOUND  build: 1 finding by ruff"
    assert "steps/a.py:1:8  F401  `os` imported but unused" in lines
    assert "Next  ruff check --fix ." in lines
    assert "build churn: starting" in err
    assert "! build             ruff: 1 finding in 1 file" in err
    run = json.loads(next((code / ".ridgeway/runs").glob("*/report/record.json")).read_text())["run"]["id"]
    assert ridgeway("show", f"runs:/{run[:12]}")[1].splitlines()[0] == lines[0]


def test_as_json(code: Path, ridgeway: Command) -> None:
    exit_code, out, _ = ridgeway("run", "build", "--only", "code", "--json")
    record = json.loads(out)
    assert exit_code == record["exit_code"] == 0
    assert (record["outcome"], record["published"]) == ("passed", None)
    assert [gate["gate"] for gate in record["gates"]] == ["ruff"]
    assert sorted(record) == [
        "commit",
        "exit_code",
        "gates",
        "handle",
        "next_step",
        "outcome",
        "published",
        "run",
        "schema",
        "sentence",
    ]


def test_a_plan_touches_nothing(project: Path, ridgeway: Command) -> None:
    before = sorted(project.rglob("*"))
    code, out, err = ridgeway("run", "build", "--only", "gates", "--tests", "all", "--plan")
    assert (code, err) == (0, "")
    assert out == (
        "check_code       lint and formatting, by ruff\n"
        "run_tests        all tests, by pytest; coverage at least 80 %\n"
        "check_examples   data/data.csv and examples, by data/suite.json\n"
    )
    assert json.loads(ridgeway("run", "build", "--only", "code", "--plan", "--json")[1]) == {
        "schema": 1,
        "plan": [{"step": "check_code", "what": "lint and formatting, by ruff"}],
    }
    assert sorted(project.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--only", "tets"], "error: build has no part 'tets'\n  problem   did you mean tests?\n"),
        (["models:/churn/1"], "error: run build takes no MODEL\n"),
        (["--data", "x.csv"], "error: run build takes no --data\n"),
        (["--until", "qa"], "error: run build takes no --until\n"),
        (["--plan"], "error: no server is up that lasts\n"),
        (["--ci"], "error: build: --ci would publish to a server on this machine\n"),
        (["--set", "build.checks=['tset']"], "error: setting build.checks has a wrong value\n"),
    ],
)
def test_what_makes_no_sense_is_refused(project: Path, arguments: list[str], error: str, ridgeway: Command) -> None:
    code, out, err = ridgeway("run", "build", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(error)
    assert not (project / ".ridgeway/runs").exists()


@pytest.mark.parametrize("option", ["--only", "--tests", "--commit"])
def test_its_options_are_its_own(project: Path, option: str, ridgeway: Command) -> None:
    value = "quick" if option == "--tests" else "x"
    code, _, err = ridgeway("run", "retraining", option, value)
    assert (code, err.splitlines()[0]) == (2, f"error: run retraining takes no {option}")


def test_it_can_be_asked_of_the_server(project: Path) -> None:
    detached = importlib.import_module("ridgeway.cli.run.detached")
    request = importlib.import_module("ridgeway.cli.run.request").Request(only="tests", tests="slow", ci=True)
    assert detached.parameters_of("build", request) == {"only": "tests", "tests": "slow"}
