"""A run with made-up ends of its steps: what would be skipped, and which values would arrive. Pure."""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass, field

from ridgeway.ci.azure.contexts import CANCELED, SUCCEEDED
from ridgeway.ci.azure.pipeline import Hook, Job, Stage, Step
from ridgeway.ci.azure.planning import Plan
from ridgeway.ci.azure.problems import Warned, did_you_mean
from ridgeway.ci.azure.running import Change, Counters, Run, Running
from ridgeway.errors import UsageError


@dataclass(frozen=True)
class StepOutcome:
    """What happens in a step.

    Attributes:
        result: ``Succeeded``, ``SucceededWithIssues`` or ``Failed``.
        sets: Variables that it sets.
        cancels: Whether somebody cancels the run while it is going on.
    """

    result: str = SUCCEEDED
    sets: tuple[Change, ...] = ()
    cancels: bool = False


@dataclass(frozen=True)
class Simulated:
    """What came of it.

    Attributes:
        results: By path: ``Stage``, ``Stage/Job``, ``Stage/Job/step``.
        texts: What each step that ran got as its script or value, macros replaced.
        whys: Conditions with their values, by path.
        variables: Of each job at its end.
        warnings: What the run complains of.
    """

    results: Map[str, str]
    texts: Map[str, str]
    whys: Map[str, str]
    variables: Map[str, Map[str, str]]
    warnings: tuple[Warned, ...]


def simulate(plan: Plan, outcomes: Map[str, StepOutcome], counters: Counters | None = None) -> Simulated:
    r"""A run of a plan in which each step ends as told; all others succeed.

    Args:
        plan: The plan.
        outcomes: What happens in a step, by its path.
        counters: Counters of the pipeline; they are counted on.

    Raises:
        UsageError: An outcome is for a step that is not there.
        PipelineError: A condition or variable is wrong.

    Example:
        >>> from ridgeway.ci.azure.planning import plan
        >>> from ridgeway.ci.azure.inputs import Inputs
        >>> made = plan("ci.yml", Inputs(), {"ci.yml": "steps:\n- script: a\n- script: b\n"})
        >>> simulate(made, {"__default/Job/1": StepOutcome("Failed")}).results["__default/Job/2"]
        'Skipped'
    """
    paths = list(plan.decisions)
    for path in outcomes:
        if path not in plan.decisions:
            raise UsageError(f"there is no step {path}", expected=did_you_mean(path, paths))
    simulation = _Simulation(plan, outcomes, counters)
    simulation.go()
    return simulation.made()


@dataclass
class _Simulation:
    plan: Plan
    outcomes: Map[str, StepOutcome]
    counters: Counters | None
    results: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.run = Run(self.plan, self.counters)

    def go(self) -> None:
        while ready := self.run.ready_stages():
            for stage in ready:
                self._stage(stage)

    def _stage(self, stage: Stage) -> None:
        if not self.run.begin_stage(stage):
            self.results[stage.name] = "Skipped"
            for job in stage.jobs:
                self._skipped(stage, job)
            return
        while ready := self.run.ready_jobs(stage):
            for job in ready:
                self._job(stage, job)
        self.results[stage.name] = self.run.end_stage(stage)

    def _skipped(self, stage: Stage, job: Job) -> None:
        path = f"{stage.name}/{job.name}"
        self.results[path] = "Skipped"
        self.results.update({f"{path}/{step.label}": "Skipped" for step in job.steps})

    def _job(self, stage: Stage, job: Job) -> None:
        running = self.run.begin_job(stage, job)
        if running is None:
            self._skipped(stage, job)
            return
        path = f"{stage.name}/{job.name}"
        for hook in self.run.hooks(running):
            for step in hook.steps:
                self._step(f"{path}/{step.label}", running, hook, step)
        for step in job.steps:
            self.results.setdefault(f"{path}/{step.label}", "Skipped")
        self.results[path] = self.run.end_job(running)

    def _step(self, path: str, running: Running, hook: Hook, step: Step) -> None:
        if not self.run.begin_step(running, hook, step):
            self.results[path] = "Skipped"
            return
        self.texts[path] = self.run.text(running, step.value)
        outcome = self.outcomes.get(path, StepOutcome())
        for change in outcome.sets:
            self.run.set_variable(running, hook, step, change)
        if outcome.cancels:
            self.run.cancel(running)
        self.results[path] = self.run.end_step(running, step, CANCELED if outcome.cancels else outcome.result)

    def made(self) -> Simulated:
        variables = {
            f"{running.stage.name}/{running.job.name}": {
                name: self.run.text(running, value)
                for name, value in running.variables.items()
                if isinstance(value, str)
            }
            for running in self.run.jobs.values()
        }
        whys = {path: decision.why for path, decision in self.run.decisions.items()}
        ordered = {path: self.results[path] for path in self.plan.decisions}
        return Simulated(ordered, self.texts, whys, variables, tuple(self.run.warnings))
