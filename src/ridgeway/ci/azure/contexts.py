"""What conditions and runtime expressions see of other stages and jobs, while planning and while running."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from typing import Any, Final

from ridgeway.ci.azure.evaluation import Status
from ridgeway.ci.azure.graph import ancestors
from ridgeway.ci.azure.pipeline import Hook, Job, Pipeline, Stage, Step
from ridgeway.ci.azure.values import Later, Members

SUCCEEDED: Final = "Succeeded"
WITH_ISSUES: Final = "SucceededWithIssues"
FAILED: Final = "Failed"
CANCELED: Final = "Canceled"
SKIPPED: Final = "Skipped"
RESULTS: Final = (SUCCEEDED, WITH_ISSUES, FAILED, CANCELED, SKIPPED)
GOOD: Final = frozenset({SUCCEEDED, WITH_ISSUES})

Key = tuple[str, str]
"""A stage's and a job's name, in lower case."""


@dataclass
class World:
    """What has become of stages and jobs so far; while planning, results are ``Later`` unless a skip is certain.

    Attributes:
        pipeline: The pipeline.
        stages: Results by the stage's name, in lower case.
        jobs: Results by stage and job.
        outputs: Output variables by stage and job.
        canceled: Whether the run was cancelled.
        stopped: The stages that were going on when it was, in lower case: their jobs see it in all status functions,
            while a stage that begins later, since its condition does not ask, carries out its jobs as usual.
    """

    pipeline: Pipeline
    stages: dict[str, str | Later] = field(default_factory=dict)
    jobs: dict[Key, str | Later] = field(default_factory=dict)
    outputs: dict[Key, Members] = field(default_factory=dict)
    canceled: bool = False
    stopped: frozenset[str] = frozenset()

    def stage_dependencies(self, stage: Stage) -> Members:
        """``dependencies`` as a stage's condition sees it: outputs are called ``job.step.variable``."""
        made = Members()
        for name in stage.depends_on:
            other = self.pipeline.stage(name)
            outputs = [(job.written, self._outputs(other, job)) for job in other.jobs]
            result = self.stages.get(name.lower(), SKIPPED)
            made[other.name] = Members(
                {"result": result, "outputs": _merged([_below(job, part) for job, part in outputs])}
            )
        return made

    def jobs_of_stages(self, stage: Stage) -> Members:
        """``stageDependencies``, with the jobs of the stages that this one depends on."""
        made = Members()
        for name in stage.depends_on:
            other = self.pipeline.stage(name)
            made[other.name] = Members({job: self._family(other, copies) for job, copies in other.families.items()})
        return made

    def job_dependencies(self, stage: Stage, job: Job) -> Members:
        """``dependencies`` as a job sees it: jobs of its stage, outputs are called ``step.variable``."""
        families = stage.families
        names = dict.fromkeys(stage.job(name).written for name in job.depends_on)
        return Members({name: self._family(stage, families[name]) for name in names})

    def _family(self, stage: Stage, copies: tuple[Job, ...]) -> Members:
        results = [self.jobs.get(key(stage, job), SKIPPED) for job in copies]
        known = [result for result in results if isinstance(result, str)]
        result = worst(known) if len(known) == len(results) else Later(copies[0].written)
        outputs = [self._outputs(stage, job) for job in copies]
        # Only copies of a matrix come in numbers, and their outputs begin with the copy's name.
        return Members({"result": result, "outputs": outputs[0] if len(outputs) == 1 else _merged(outputs)})

    def _outputs(self, stage: Stage, job: Job) -> Members:
        return self.outputs.get(key(stage, job), Members())

    def stage_status(self, stage: Stage) -> Status:
        """The status functions of a stage's condition."""
        edges = {other.name.lower(): [name.lower() for name in other.depends_on] for other in self.pipeline.stages}
        return self._status("stage", stage.name, edges, self.stages, stopped=self.canceled)

    def job_status(self, stage: Stage, job: Job) -> Status:
        """The status functions of a job's condition."""
        edges = {other.name.lower(): [name.lower() for name in other.depends_on] for other in stage.jobs}
        results = {name: self.jobs.get((stage.name.lower(), name), SKIPPED) for name in edges}
        return self._status("job", job.name, edges, results, stopped=stage.name.lower() in self.stopped)

    def _status(
        self, word: str, name: str, edges: Map[str, list[str]], results: Map[str, str | Later], *, stopped: bool
    ) -> Callable[[str, tuple[str, ...]], Any]:
        before = ancestors(name.lower(), edges)

        def status(function: str, names: tuple[str, ...]) -> Any:
            chosen = [] if names else before
            for given in names:
                copies = [one for one in before if one == given.lower() or one.startswith(f"{given.lower()}.")]
                if not copies:
                    raise LookupError(f"{given} is no {word} that {name} depends on")
                chosen = [*chosen, *copies]
            canceled = self.canceled if function == "canceled" else stopped
            return judged(function, {one: results.get(one, SKIPPED) for one in chosen}, canceled=canceled)

        return status


def key(stage: Stage, job: Job) -> Key:
    """How a job is looked up."""
    return stage.name.lower(), job.name.lower()


def judged(function: str, results: Map[str, str | Later], *, canceled: bool) -> Any:
    """What a status function comes to.

    Args:
        function: Its name.
        results: Results of those it asks about: the ones named, or all before.
        canceled: Whether the run was cancelled.

    Returns:
        A boolean, or a ``Later`` where an open result decides.

    Example:
        >>> judged("succeeded", {"a": "Skipped"}, canceled=False), judged("failed", {"a": "Failed"}, canceled=False)
        (False, True)
    """
    if function == "always":
        return True
    if function == "canceled":
        return canceled
    if function == "failed":
        return _any(function, results, {FAILED})
    if canceled:
        return False
    good = GOOD if function == "succeeded" else GOOD | {FAILED}
    known = [result for result in results.values() if isinstance(result, str)]
    if any(result not in good for result in known):
        return False
    return True if len(known) == len(results) else _open(function, results)


def _any(function: str, results: Map[str, str | Later], wanted: Iterable[str]) -> Any:
    if any(result in wanted for result in results.values() if isinstance(result, str)):
        return True
    return _open(function, results) if any(isinstance(result, Later) for result in results.values()) else False


def _open(function: str, results: Map[str, str | Later]) -> Later:
    names = [result.what for result in results.values() if isinstance(result, Later)]
    return Later(f"{function}() of {', '.join(dict.fromkeys(names))}")


def worst(results: Sequence[str]) -> str:
    """The result of parts taken together; those that were skipped do not count unless all were."""
    counted = [result for result in results if result != SKIPPED]
    if not counted:
        return SKIPPED if results else SUCCEEDED
    return next((bad for bad in (CANCELED, FAILED, WITH_ISSUES) if bad in counted), SUCCEEDED)


def _below(name: str, part: Members) -> Members:
    """Outputs with a job's name before theirs."""
    if isinstance(part, Promised):
        return Promised(tuple(f"{name}.{prefix}" for prefix in part.prefixes), part.what.rsplit(".", 1)[0], part.missed)
    return Members({f"{name}.{variable}": value for variable, value in part.items()})


def _merged(parts: list[Members]) -> Members:
    promises = [part for part in parts if isinstance(part, Promised)]
    if promises:
        prefixes = {prefix: None for part in promises for prefix in part.prefixes}
        return Promised(tuple(prefixes), promises[0].what, promises[0].missed)
    return Members({variable: value for part in parts for variable, value in part.items()})


class Promised(Members):
    """Output variables that steps may set: known by the step's name, open in value.

    Args:
        prefixes: The steps that are there, as outputs call them.
        what: Whose outputs these are.
        missed: Called with a name that no step can set.
    """

    def __init__(self, prefixes: tuple[str, ...], what: str, missed: Callable[[str, str], None] | None = None) -> None:
        super().__init__()
        self.prefixes = prefixes
        self.what = what
        self.missed = missed

    def find(self, name: str) -> Any:
        """``Later`` where a step of this name exists, else nothing."""
        folded = name.lower()
        if any(folded.startswith(f"{prefix.lower()}.") for prefix in self.prefixes):
            return Later(f"output {name} of {self.what}")
        if self.missed:
            self.missed(name, self.what)
        return None


def output_prefix(job: Job, hook: Hook, step: Step) -> str:
    """How outputs of a step are called for others, without the variable: the rules of the page "Deployment jobs".

    For jobs it is the step, with the copy's name before it where a matrix made copies; for the deploy hook of a
    deployment the job and the step, or ``Deploy_resource`` and the step where the environment names a resource; for
    other hooks the hook and the step.
    """
    if not job.deployment:
        return f"{job.leg}.{step.name}" if job.leg else step.name
    if hook.name == "deploy":
        resource = job.environment.resource if job.environment else ""
        return f"Deploy_{resource}.{step.name}" if resource else f"{job.name}.{step.name}"
    return f"{hook.name}.{step.name}"


def promises(stage: Stage, job: Job, missed: Callable[[str, str], None] | None) -> Promised:
    """The outputs that a job may set."""
    prefixes = tuple(output_prefix(job, hook, step) for hook in job.hooks for step in hook.steps if step.name)
    return Promised(prefixes, f"{stage.name}.{job.written}", missed)
