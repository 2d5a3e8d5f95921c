"""A run as a state machine: who may start, whether it does, what its end means for the others. No clock, no processes.

An executor asks what is ready, begins it, carries out the steps and reports their ends; ``simulation`` reports ends
that a test makes up. Every rule of conditions, results, outputs and variables is here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Map
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from ridgeway.ci.azure import scopes
from ridgeway.ci.azure.contexts import (
    CANCELED,
    FAILED,
    GOOD,
    SKIPPED,
    SUCCEEDED,
    WITH_ISSUES,
    World,
    judged,
    key,
    output_prefix,
    worst,
)
from ridgeway.ci.azure.evaluation import Counter, Scope, evaluate, expanded, truth
from ridgeway.ci.azure.pipeline import Condition, Hook, Job, Stage, Step, Variable
from ridgeway.ci.azure.planning import Decision, Plan
from ridgeway.ci.azure.problems import Warned
from ridgeway.ci.azure.syntax import ExpressionError
from ridgeway.ci.azure.templates import failed
from ridgeway.ci.azure.values import Members, to_boolean
from ridgeway.ci.azure.variables import View, expand, layered, start


@dataclass
class Running:
    """A job that has begun.

    Attributes:
        stage: Its stage.
        job: The job.
        variables: As the next step finds them.
        status: ``Agent.JobStatus``.
        results: Ends of its steps by label.
        readonly: Names, in lower case, that steps may not set.
        secrets: Names of variables that must not be shown.
    """

    stage: Stage
    job: Job
    variables: View
    status: str = SUCCEEDED
    results: dict[str, str] = field(default_factory=dict)
    readonly: frozenset[str] = frozenset()
    secrets: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Change:
    """A variable that a step sets.

    Attributes:
        name: Its name.
        value: Its text.
        output: Whether other jobs can read it, and later steps under the step's name.
        secret: Whether it must not be shown.
    """

    name: str
    value: str
    output: bool = False
    secret: bool = False


@dataclass(frozen=True)
class Counters:
    """Counters of a pipeline: the last number by prefix.

    Example:
        >>> counters = Counters({"1": 100})
        >>> [int(counters.next(prefix, 100)) for prefix in ("1", "2", "2")]
        [101, 100, 101]
    """

    last: dict[str, int] = field(default_factory=dict)

    def next(self, prefix: str, seed: int) -> Any:
        """The next number: the seed for a prefix that was never counted."""
        self.last[prefix] = self.last[prefix] + 1 if prefix in self.last else seed
        return Decimal(self.last[prefix])


class Run:
    """One run of a planned pipeline.

    Args:
        plan: The plan.
        counters: Its counters; they are counted on.
    """

    def __init__(self, plan: Plan, counters: Counters | None = None) -> None:
        self.plan = plan
        self.pipeline = plan.pipeline
        self.world = World(self.pipeline)
        self.decisions: dict[str, Decision] = {}
        self.jobs: dict[tuple[str, str], Running] = {}
        self.warnings: list[Warned] = []
        self.variables: dict[str, View] = {}
        self._open: set[str] = set()
        self._count = (counters or Counters()).next
        self.base = layered(
            start(plan.inputs, live=True), self.pipeline.variables, plan.inputs.groups, self._value_of(self._at_root)
        )

    # --- what may begin

    def ready_stages(self) -> list[Stage]:
        """The stages that have not begun, and whose dependencies have ended."""
        begun = self._open | set(self.world.stages)
        return [
            stage
            for stage in self.pipeline.stages
            if stage.name.lower() not in begun and all(name.lower() in self.world.stages for name in stage.depends_on)
        ]

    def ready_jobs(self, stage: Stage) -> list[Job]:
        """The jobs of a begun stage that have not begun, and whose dependencies have ended."""
        ready = [
            job
            for job in stage.jobs
            if key(stage, job) not in self.world.jobs
            and key(stage, job) not in self.jobs
            and all((stage.name.lower(), name.lower()) in self.world.jobs for name in job.depends_on)
        ]
        return [job for place, job in enumerate(ready) if self._has_room(stage, job, ready[:place])]

    def _has_room(self, stage: Stage, job: Job, before: list[Job]) -> bool:
        """Whether one more copy of a matrix may go on beside those that do, and those that are ready before it."""
        if not job.max_parallel:
            return True
        going = [other for other in stage.jobs if key(stage, other) in self.jobs.keys() - self.world.jobs.keys()]
        return sum(other.written == job.written for other in (*going, *before)) < job.max_parallel

    # --- stages

    def begin_stage(self, stage: Stage) -> bool:
        """Evaluates a stage's condition; where it is False the stage and its jobs are skipped.

        Returns:
            Whether the stage runs.
        """
        view = _static(self.base, stage.variables)
        decision = self._decide(stage.condition, scopes.stage_condition(self.world, stage, view))
        self.decisions[stage.name] = decision
        if not decision.runs:
            for job in stage.jobs:
                self.world.jobs[key(stage, job)] = SKIPPED
            self.world.stages[stage.name.lower()] = SKIPPED
            return False
        self._open.add(stage.name.lower())
        return True

    def end_stage(self, stage: Stage, result: str = "") -> str:
        """The end of a stage whose jobs have all ended.

        Args:
            stage: The stage.
            result: Its result where something else than its jobs decides, such as a refused approval.
        """
        for job in stage.jobs:
            self.world.jobs.setdefault(key(stage, job), SKIPPED)
        made = result or worst([str(self.world.jobs[key(stage, job)]) for job in stage.jobs])
        self.world.stages[stage.name.lower()] = made
        self._open.discard(stage.name.lower())
        return made

    # --- jobs

    def begin_job(self, stage: Stage, job: Job) -> Running | None:
        """Evaluates a job's condition, then its variables.

        Returns:
            The begun job, or nothing where it is skipped.
        """
        outer = self._stage_view(stage)
        condition_view = _static(outer, job.variables)
        decision = self._decide(job.condition, scopes.job_condition(self.world, stage, job, condition_view))
        self.decisions[f"{stage.name}/{job.name}"] = decision
        if not decision.runs:
            self.world.jobs[key(stage, job)] = SKIPPED
            return None
        variables = (*job.variables, *job.matrix)
        view = layered(outer, variables, self.plan.inputs.groups, self._value_of(self._at_job(stage, job)))
        view["System.StageName"], view["System.JobName"] = stage.name, job.leg or job.name
        readonly = frozenset(
            variable.name.lower()
            for variable in (*self.pipeline.variables, *stage.variables, *job.variables)
            if variable.readonly
        )
        secrets = {name.lower() for name in self.plan.inputs.secrets}
        made = Running(stage, job, view, readonly=readonly, secrets=secrets)
        self.jobs[key(stage, job)] = made
        self.world.outputs[key(stage, job)] = Members()
        return made

    def end_job(self, running: Running) -> str:
        """The end of a job: its status, or success with issues where its failure may be passed over."""
        result = running.status
        if result == FAILED and to_boolean_text(running.job.continue_on_error, running.variables):
            result = WITH_ISSUES
        self.world.jobs[key(running.stage, running.job)] = result
        return result

    def hooks(self, running: Running) -> Iterator[Hook]:
        """The parts of a job in their order, decided as they come: after a failure only ``on.failure`` is left."""
        for hook in running.job.hooks:
            wanted = running.status in GOOD if hook.name != "on.failure" else running.status not in GOOD
            if wanted or not hook.name:
                yield hook

    # --- steps

    def begin_step(self, running: Running, hook: Hook, step: Step) -> bool:
        """Evaluates a step's condition.

        Within ``on.failure`` the job's failure is the reason to run, so its steps see a status of their own.
        """
        status = SUCCEEDED if hook.name == "on.failure" and running.status == FAILED else running.status
        if hook.name == "on.failure" and any(running.results.get(other.label) == FAILED for other in hook.steps):
            status = FAILED
        running.variables["Agent.JobStatus"] = status

        def answer(function: str, names: tuple[str, ...]) -> bool:
            if names:
                raise LookupError(f"{function}() of a step takes no names")
            return _step_status(function, status)

        path = f"{running.stage.name}/{running.job.name}/{step.label}"
        if not step.enabled:
            decision = Decision(False, "enabled: false", "enabled: false")
        else:
            decision = self._decide(step.condition, scopes.step_condition(running.variables, answer))
        self.decisions[path] = decision
        if not decision.runs:
            running.results[step.label] = SKIPPED
        return bool(decision.runs)

    def end_step(self, running: Running, step: Step, result: str) -> str:
        """The end of a step, and what it makes of the job's status.

        Args:
            running: The job.
            step: The step.
            result: ``Succeeded``, ``SucceededWithIssues``, ``Failed`` or ``Canceled``.
        """
        if result == FAILED and to_boolean_text(step.continue_on_error, running.variables):
            result = WITH_ISSUES
        running.results[step.label] = result
        running.status = worst([running.status, result])
        return result

    def set_variable(self, running: Running, hook: Hook, step: Step, change: Change) -> bool:
        """A variable that a step sets by a logging command: later steps see it, outputs other jobs too.

        Returns:
            Whether it was set: read-only variables are not.
        """
        name, value = change.name, change.value
        if name.lower() in running.readonly:
            self.warnings.append(Warned(step.place, f"{name} is read-only, so step {step.label} cannot set it"))
            return False
        known = f"{step.name or step.label}.{name}" if change.output else name
        running.variables[known] = value
        if change.secret:
            running.secrets.add(known.lower())
        if change.output:
            prefix = output_prefix(running.job, hook, step) or step.label
            self.world.outputs[key(running.stage, running.job)][f"{prefix}.{name}"] = value
        return True

    def text(self, running: Running, text: str) -> str:
        """A text of a step with its macros replaced, as the step gets it."""
        return expand(text, running.variables)

    def cancel(self, running: Running | None = None) -> None:
        """Cancels the run; the job that is running right now ends as cancelled."""
        self.world.canceled = True
        self.world.stopped = frozenset(self._open)
        if running is not None:
            running.status = CANCELED

    # --- helpers

    def _stage_view(self, stage: Stage) -> View:
        return layered(self.base, stage.variables, self.plan.inputs.groups, self._value_of(self._at_stage(stage)))

    def _at_root(self, view: View) -> Scope:
        return scopes.pipeline_variable(view, self.plan.inputs.started, self._count)

    def _at_stage(self, stage: Stage) -> Any:
        return lambda view: scopes.stage_variable(self.world, stage, view, self.plan.inputs.started, self._count)

    def _at_job(self, stage: Stage, job: Job) -> Any:
        counter: Counter = self._count
        return lambda view: replace(
            scopes.job_variable(self.world, stage, job, view, self.plan.inputs.started), counter=counter
        )

    def _value_of(self, scope: Any) -> Any:
        def value(variable: Variable, so_far: View) -> Any:
            assert variable.expression is not None
            assert variable.scalar is not None
            try:
                return evaluate(variable.expression, scope(so_far))
            except ExpressionError as error:
                raise failed(variable.scalar, variable.scalar.text.index("$[") + 2, error) from None

        return value

    def _decide(self, condition: Condition | None, scope: Scope) -> Decision:
        text = condition.text if condition else "succeeded()"
        try:
            return Decision(to_boolean(truth(text, scope)), text, expanded(text, scope))
        except ExpressionError as error:
            assert condition is not None
            raise failed(condition.scalar, 0, error) from None


def _static(view: View, variables: tuple[Variable, ...]) -> View:
    """A view as a condition sees it: what is computed inside of its own part is not there yet."""
    made = view.copy()
    for variable in variables:
        if not variable.group and variable.expression is None:
            made[variable.name] = variable.value
    return made


def _step_status(function: str, status: str) -> bool:
    if function == "canceled":
        return status == CANCELED
    return bool(judged(function, {"": status}, canceled=status == CANCELED))


def to_boolean_text(value: bool | str, view: Map[str, Any]) -> bool:
    """A yes or no that a macro may decide."""
    if isinstance(value, bool):
        return value
    return expand(value, view).strip().lower() == "true"
