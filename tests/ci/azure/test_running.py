"""The state machine as an executor uses it."""

from __future__ import annotations

from ridgeway.ci.azure import Change, Inputs, Run, StepOutcome, plan, simulate
from ridgeway.ci.azure.variables import environment

TEXT = """\
variables: {a: 1, s.key: hidden}
stages:
- stage: One
  jobs:
  - job: A
    steps: [{bash: a, name: s}]
  - job: B
    steps: [{bash: b}]
- stage: Two
  dependsOn: []
  jobs: [{job: C}]
- stage: Three
  dependsOn: [One, Two]
  jobs: [{job: D, steps: [{bash: d}]}]
"""


def started(text: str = TEXT, **inputs: object) -> Run:
    return Run(plan("a.yml", Inputs(**inputs), {"a.yml": text}))  # type: ignore[arg-type]


def test_what_is_ready_follows_what_has_ended() -> None:
    run = started()
    one, two = run.ready_stages()
    assert (one.name, two.name) == ("One", "Two")
    assert run.begin_stage(one)
    assert [stage.name for stage in run.ready_stages()] == ["Two"]
    a, b = run.ready_jobs(one)
    running = run.begin_job(one, a)
    assert running is not None
    assert [job.name for job in run.ready_jobs(one)] == ["B"]
    assert run.end_job(running) == "Succeeded"
    other = run.begin_job(one, b)
    assert other is not None
    run.end_job(other)
    assert run.end_stage(one) == "Succeeded"
    assert [stage.name for stage in run.ready_stages()] == ["Two"]
    assert run.begin_stage(two)
    empty = run.begin_job(two, two.jobs[0])
    assert empty is not None
    run.end_job(empty)
    run.end_stage(two)
    assert [stage.name for stage in run.ready_stages()] == ["Three"]


def test_a_refused_approval_fails_its_stage() -> None:
    run = started()
    one, two = run.ready_stages()
    for stage in (one, two):
        run.begin_stage(stage)
    assert run.end_stage(one, "Failed") == "Failed"
    assert run.world.jobs["one", "a"] == "Skipped"
    run.end_stage(two)
    assert not run.begin_stage(run.ready_stages()[0])
    assert run.ready_stages() == []


def test_secrets_stay_out_of_the_environment() -> None:
    run = started(secrets=frozenset({"S.Key"}))
    one = run.ready_stages()[0]
    run.begin_stage(one)
    running = run.begin_job(one, one.jobs[0])
    assert running is not None
    hook = running.job.hooks[0]
    run.set_variable(running, hook, hook.steps[1], Change("token", "t", secret=True))
    run.set_variable(running, hook, hook.steps[1], Change("out", "o", output=True))
    made = environment(running.variables, running.secrets)
    assert made["A"] == "1"
    assert made["S_OUT"] == "o"
    assert "S_KEY" not in made
    assert "TOKEN" not in made
    assert run.text(running, "$(token) $(s.key) $(s.out)") == "t hidden o"


def test_a_yes_or_no_may_come_from_a_variable() -> None:
    text = "variables: {may: true}\nsteps:\n- bash: a\n  continueOnError: $(may)\n- bash: b\n"
    run = simulate(plan("a.yml", Inputs(), {"a.yml": text}), {"__default/Job/1": StepOutcome("Failed")})
    assert run.results["__default/Job"] == "SucceededWithIssues"
    assert run.results["__default/Job/2"] == "Succeeded"


def test_a_stage_whose_jobs_are_all_skipped_is_skipped() -> None:
    text = "stages:\n- stage: A\n  jobs: [{job: B, condition: false}]\n- stage: C\n  jobs: [{job: D}]\n"
    run = simulate(plan("a.yml", Inputs(), {"a.yml": text}), {})
    assert run.results == {"A": "Skipped", "A/B": "Skipped", "C": "Skipped", "C/D": "Skipped"}


def test_read_only_variables_are_reported() -> None:
    text = "variables: [{name: a, value: b, readonly: true}]\nsteps: [{bash: a}]\n"
    outcome = StepOutcome(sets=(Change("A", "c"),))
    run = simulate(plan("a.yml", Inputs(), {"a.yml": text}), {"__default/Job/1": outcome})
    assert [str(warned) for warned in run.warnings] == ["a.yml:2:9: A is read-only, so step 1 cannot set it"]
    assert run.variables["__default/Job"]["a"] == "b"


def test_copies_of_a_matrix_wait_for_room() -> None:
    run = started(
        "jobs: [{job: A, strategy: {maxParallel: 2, matrix: {x: {}, y: {}, z: {}}}, steps: [{script: a}]}, {job: B}]"
    )
    stage = run.pipeline.stages[0]
    run.begin_stage(stage)
    assert [job.name for job in run.ready_jobs(stage)] == ["A.x", "A.y", "B"]
    first = run.begin_job(stage, stage.job("A.x"))
    assert first is not None
    assert [job.name for job in run.ready_jobs(stage)] == ["A.y", "B"]
    run.begin_job(stage, stage.job("A.y"))
    assert [job.name for job in run.ready_jobs(stage)] == ["B"]
    run.end_job(first)
    assert [job.name for job in run.ready_jobs(stage)] == ["A.z", "B"]
