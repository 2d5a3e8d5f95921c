"""The runner against the documentation of Azure Pipelines: each file in conformance/ checks one documented rule.

``rule`` says it in our words, ``page`` names the page of the documentation, ``example`` marks the documentation's own
printed examples with their printed results, in YAML of ours.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from ridgeway.ci.azure import (
    Change,
    Counters,
    Inputs,
    PipelineError,
    Plan,
    StepOutcome,
    plan,
    plan_json,
    plan_text,
    simulate,
)
from ridgeway.ci.azure.evaluation import Scope, evaluate
from ridgeway.ci.azure.scopes import pipeline_variable
from ridgeway.ci.azure.syntax import ExpressionError
from ridgeway.ci.azure.values import kind, to_text
from ridgeway.ci.azure.variables import start

FOLDER = Path(__file__).parent / "conformance"
CASES = sorted(FOLDER.glob("*.yml"))
KEYS = {"rule", "page", "example", "file", "files", "inputs", "outcomes", "counters", "chain", "values", "expect"}


def loaded(path: Path) -> dict[str, Any]:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(case) <= KEYS, set(case) - KEYS
    assert case["rule"].endswith(".")
    assert case["page"]
    return case


def inputs_of(case: dict[str, Any]) -> Inputs:
    given = dict(case.get("inputs") or {})
    if "started" in given:
        given["started"] = datetime.fromisoformat(given["started"])
    return Inputs(**given)


def outcomes_of(case: dict[str, Any]) -> dict[str, StepOutcome]:
    made = {}
    for path, told in (case.get("outcomes") or {}).items():
        outputs = [Change(name, value, output=True) for name, value in told.pop("outputs", {}).items()]
        sets = [Change(name, value) for name, value in told.pop("sets", {}).items()]
        made[path] = StepOutcome(sets=(*outputs, *sets), **told)
    return made


def files_of(case: dict[str, Any]) -> dict[str, str]:
    files = dict(case["files"])
    for level in range(1, case.get("chain", 0) + 1):
        files[f"t{level}.yml"] = f"steps:\n- template: t{level + 1}.yml\n"
    return files


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_rule(path: Path) -> None:
    case = loaded(path)
    if "values" in case:
        check_values(case)
        return
    file = case.get("file", "azure-pipelines.yml")
    expect = case["expect"]
    if "error" in expect:
        with pytest.raises(PipelineError) as caught:
            plan(file, inputs_of(case), files_of(case))
        message = str(caught.value)
        assert [part for part in expect["error"] if part not in message] == [], message
        return
    made = plan(file, inputs_of(case), files_of(case))
    check_plan(made, expect)
    check_run(made, case, expect)
    assert plan_text(made)
    assert plan_json(made)


def check_values(case: dict[str, Any]) -> None:
    view = start(inputs_of(case))
    scope = pipeline_variable(view, inputs_of(case).started, lambda prefix, seed: None)
    scope = Scope(scope.names, "a variable")
    for text, expected in case["values"].items():
        if expected == "error":
            with pytest.raises(ExpressionError):
                evaluate(text, scope)
            continue
        value = evaluate(text, scope)
        assert [kind(value), to_text(value)] == expected, text


PLAN_KEYS = {"runs", "whys", "steps", "all_steps", "depends", "pools", "timeouts", "env", "inputs", "warnings"}
RUN_KEYS = {"results", "texts", "variables"}


def check_plan(made: Plan, expect: dict[str, Any]) -> None:
    assert set(expect) <= PLAN_KEYS | RUN_KEYS
    for path, runs in expect.get("runs", {}).items():
        assert (path, made.decisions[path].runs) == (path, runs), made.decisions[path].why
    for path, why in expect.get("whys", {}).items():
        assert made.decisions[path].why == why
    jobs = {f"{stage.name}/{job.name}": job for stage in made.pipeline.stages for job in stage.jobs}
    parts = {**jobs, **{stage.name: stage for stage in made.pipeline.stages}}
    steps = {f"{path}/{step.label}": step for path, job in jobs.items() for step in job.steps}
    facts = {
        "steps": lambda path: [f"{step.kind} {step.value}" for step in jobs[path].steps if not step.implicit],
        "all_steps": lambda path: [f"{step.kind} {step.value}" for step in jobs[path].steps],
        "depends": lambda path: list(parts[path].depends_on),
        "timeouts": lambda path: jobs[path].timeout_minutes,
        "env": lambda path: dict(steps[path].env),
        "inputs": lambda path: dict(steps[path].setting("inputs")),
    }
    for fact, found in facts.items():
        for path, expected in expect.get(fact, {}).items():
            assert found(path) == expected
    stages = {stage["stage"]: stage for stage in plan_json(made)["stages"]}
    for path, expected in expect.get("pools", {}).items():
        stage, job = path.split("/")
        assert next(one for one in stages[stage]["jobs"] if one["job"] == job)["pool"] == expected
    shown = [str(warned) for warned in made.warnings]
    for expected in expect.get("warnings", []):
        assert any(expected in text for text in shown), shown


def check_run(made: Plan, case: dict[str, Any], expect: dict[str, Any]) -> None:
    run = simulate(made, outcomes_of(case), Counters(dict(case.get("counters") or {})))
    for path, result in expect.get("results", {}).items():
        assert (path, run.results[path]) == (path, result), run.whys
    for path, text in expect.get("texts", {}).items():
        assert run.texts[path] == text
    for path, expected in expect.get("variables", {}).items():
        assert {name: run.variables[path][name] for name in expected} == expected
    for path, decision in made.decisions.items():
        # A plan may be unsure, but it is never wrong about a run in which all goes well.
        if decision.runs is False and not case.get("outcomes"):
            assert run.results[path] == "Skipped", path
        parents = [made.decisions[path[:place]] for place, character in enumerate(path) if character == "/"]
        # A stage that runs has been skipped all the same where all of its jobs are.
        certain = parents and decision.runs and all(parent.runs for parent in parents)
        if certain and not case.get("outcomes"):
            assert run.results[path] != "Skipped", path


def test_there_are_enough_rules() -> None:
    cases = [loaded(path) for path in CASES]
    assert len(cases) >= 60
    assert sum(bool(case.get("example")) for case in cases) >= 20
