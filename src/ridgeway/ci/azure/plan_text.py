"""A plan as text for people, as a tree with the reason behind each part, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ridgeway.ci.azure.inputs import early
from ridgeway.ci.azure.pipeline import Filter, Hook, Job, Pipeline, Pool, Stage, Step, Trigger
from ridgeway.ci.azure.planning import Decision, Known, Plan

_MARKS = {True: "runs", False: "skipped", None: "decided then"}


def plan_text(plan: Plan, executes: Callable[[str], bool] = lambda _: False) -> str:
    r"""The plan as a tree.

    Args:
        plan: The plan.
        executes: Whether a task, by name and version, can be executed here.

    Example:
        >>> from ridgeway.ci.azure.planning import plan
        >>> from ridgeway.ci.azure.inputs import Inputs
        >>> print(plan_text(plan("ci.yml", Inputs(), {"ci.yml": "trigger: none\nsteps:\n- script: make all\n"})))
        ci.yml  Manual of refs/heads/main
          starts on  no push, every pull request
        stage __default  runs: nothing comes before it
          job Job  runs: nothing comes before it
            checkout  checkout self (of itself)
            1  script make all
    """
    return "\n".join(_lines(plan, executes))


def _lines(plan: Plan, executes: Callable[[str], bool]) -> Iterator[str]:
    facts = early(plan.inputs)
    yield f"{plan.pipeline.file}  {facts.find('Build.Reason')} of {facts.find('Build.SourceBranch')}"
    for name, value in plan.pipeline.parameters:
        yield f"  parameter  {name} = {_short(value)}"
    yield f"  starts on  {', '.join(_starts(plan.pipeline))}"
    yield from _variables(plan.variables.get("", ()), "  ")
    for stage in plan.pipeline.stages:
        yield from _stage(plan, stage, executes)
    yield from (f"warning  {warned}" for warned in plan.warnings)


def _starts(pipeline: Pipeline) -> Iterator[str]:
    yield _push(pipeline.trigger, "push", "every push")
    yield _push(pipeline.pull_request, "pull request", "every pull request")
    yield from (f"schedule {schedule.cron} UTC{_filter(' on', schedule.branches)}" for schedule in pipeline.schedules)
    for upstream in pipeline.upstream:
        if upstream.trigger is not None:
            yield f"end of {upstream.source}{_filter(' on', upstream.trigger.branches)}"


def _push(trigger: Trigger | None, word: str, always: str) -> str:
    if trigger is None:
        return always
    if not trigger.enabled:
        return f"no {word}"
    return f"{word}{_filter(' to', trigger.branches)}{_filter(' with changes of', trigger.paths)}"


def _filter(word: str, chosen: Filter) -> str:
    include = f"{word} {' '.join(chosen.include)}" if chosen.include else ""
    return include + (f" except {' '.join(chosen.exclude)}" if chosen.exclude else "")


def _variables(variables: tuple[Known, ...], indent: str) -> Iterator[str]:
    for known in variables:
        if known.origin == "group":
            yield f"{indent}variables  of group {known.name}"
        else:
            yield f"{indent}variable   {known.name} = {'at run time: ' if known.later else ''}{_short(known.value)}"


def _stage(plan: Plan, stage: Stage, executes: Callable[[str], bool]) -> Iterator[str]:
    after = f"  after {', '.join(stage.depends_on)}" if stage.depends_on else ""
    yield f"stage {stage.name}{after}  {_decision(plan.decisions[stage.name])}"
    yield from _variables(plan.variables.get(stage.name, ()), "  ")
    for job in stage.jobs:
        yield from _job(plan, f"{stage.name}/{job.name}", job, executes)


def _job(plan: Plan, path: str, job: Job, executes: Callable[[str], bool]) -> Iterator[str]:
    word = "deployment" if job.deployment else "job"
    after = f"  after {', '.join(job.depends_on)}" if job.depends_on else ""
    yield f"  {word} {job.name}{after}  {_decision(plan.decisions[path])}"
    if job.environment:
        resource = f".{job.environment.resource}" if job.environment.resource else ""
        yield f"    environment {job.environment.name}{resource}: its approvals and checks come first"
    if job.pool:
        yield f"    pool {_pool(job.pool)}"
    yield from _variables(plan.variables.get(path, ()), "    ")
    for hook in job.hooks:
        yield from _hook(plan, path, hook, executes)


def _pool(pool: Pool) -> str:
    demands = f" with {', '.join(pool.demands)}" if pool.demands else ""
    return (pool.vm_image or pool.name) + demands


def _hook(plan: Plan, path: str, hook: Hook, executes: Callable[[str], bool]) -> Iterator[str]:
    indent = "    "
    if hook.name:
        yield f"    {hook.name}"
        indent += "  "
    for step in hook.steps:
        decision = plan.decisions[f"{path}/{step.label}"]
        yield f"{indent}{step.label}  {_step(step, executes)}{_unusual(step, decision)}"


def _step(step: Step, executes: Callable[[str], bool]) -> str:
    of_itself = " (of itself)" if step.implicit else ""
    not_here = " (not executed here)" if step.kind == "task" and not executes(step.value) else ""
    name = f"{step.display}: " if step.display else ""
    return f"{name}{step.kind} {_short(step.value)}{of_itself}{not_here}"


def _unusual(step: Step, decision: Decision) -> str:
    """What is said of a step's condition: nothing where it is the usual one."""
    if step.condition is None and decision.runs is not False:
        return ""
    return f"  {_decision(decision)}"


def _decision(decision: Decision) -> str:
    return f"{_MARKS[decision.runs]}: {' '.join(decision.why.split())}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    line = text.strip().split("\n")[0]
    return f"{line[:77]}..." if len(line) > 80 else f"{line} ..." if line != text.strip() else line


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON-like values; ``runs`` is null where only the run can tell."""
    return {
        "file": plan.pipeline.file,
        "files": list(plan.pipeline.files),
        "parameters": dict(plan.pipeline.parameters),
        "starts_on": list(_starts(plan.pipeline)),
        "variables": _known(plan.variables.get("", ())),
        "stages": [_stage_json(plan, stage) for stage in plan.pipeline.stages],
        "warnings": [{"place": str(warned.place), "text": warned.text} for warned in plan.warnings],
    }


def _known(variables: tuple[Known, ...]) -> list[dict[str, Any]]:
    return [
        {"name": known.name, "value": known.value, "at_run_time": known.later, "origin": known.origin}
        for known in variables
    ]


def _decision_json(decision: Decision) -> dict[str, Any]:
    return {"runs": decision.runs, "condition": decision.condition, "why": decision.why}


def _stage_json(plan: Plan, stage: Stage) -> dict[str, Any]:
    return {
        "stage": stage.name,
        "display": stage.display,
        "depends_on": list(stage.depends_on),
        **_decision_json(plan.decisions[stage.name]),
        "variables": _known(plan.variables.get(stage.name, ())),
        "jobs": [_job_json(plan, f"{stage.name}/{job.name}", job) for job in stage.jobs],
    }


def _job_json(plan: Plan, path: str, job: Job) -> dict[str, Any]:
    return {
        "job": job.name,
        "deployment": job.deployment,
        "display": job.display,
        "depends_on": list(job.depends_on),
        **_decision_json(plan.decisions[path]),
        "environment": job.environment.name if job.environment else None,
        "pool": _pool(job.pool) if job.pool else None,
        "timeout_minutes": job.timeout_minutes,
        "variables": _known(plan.variables.get(path, ())),
        "steps": [
            {
                "step": step.label,
                "hook": hook.name,
                "kind": step.kind,
                "value": step.value,
                "display": step.display,
                "place": str(step.place),
                **_decision_json(plan.decisions[f"{path}/{step.label}"]),
            }
            for hook in job.hooks
            for step in hook.steps
        ],
    }
