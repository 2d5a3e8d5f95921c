"""The plan of a run: what will run, what will not and why, and what only the run can tell. Pure: it touches nothing."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Map
from dataclasses import dataclass, replace
from typing import Any, Final

from ridgeway.ci.azure import scopes
from ridgeway.ci.azure.contexts import SKIPPED, SUCCEEDED, World, judged, key, promises
from ridgeway.ci.azure.document import Scalar
from ridgeway.ci.azure.evaluation import Scope, evaluate, expanded, truth
from ridgeway.ci.azure.graph import ordered
from ridgeway.ci.azure.inputs import Inputs, is_predefined
from ridgeway.ci.azure.masking import masked
from ridgeway.ci.azure.pipeline import Condition, Job, Pipeline, Stage, Step, Variable
from ridgeway.ci.azure.problems import Place, Warned
from ridgeway.ci.azure.reading import read_pipeline
from ridgeway.ci.azure.syntax import ExpressionError
from ridgeway.ci.azure.templates import failed
from ridgeway.ci.azure.values import Later, Members
from ridgeway.ci.azure.variables import View, expand, layered, macros, set_by, start


@dataclass(frozen=True)
class Decision:
    """Whether something runs.

    Attributes:
        runs: True or False where that is certain (unless the run is cancelled), nothing where the run decides.
        condition: What decides: the written condition, or ``succeeded()``.
        why: The condition with values in the place of names, or another reason.
    """

    runs: bool | None
    condition: str
    why: str


@dataclass(frozen=True)
class Known:
    """A variable's value as far as a plan can tell.

    Attributes:
        name: Its name.
        value: Its text, macros expanded where they are known; or what it waits for.
        later: Whether only the run knows it.
        origin: The scope or group it comes from.
    """

    name: str
    value: str
    later: bool
    origin: str


@dataclass(frozen=True)
class Plan:
    """What would run.

    Attributes:
        pipeline: The pipeline, with templates expanded.
        inputs: The circumstances it was planned for.
        decisions: By path: ``Stage``, ``Stage/Job``, ``Stage/Job/step``.
        variables: By the same paths of stages and jobs, and ``""`` for the pipeline: those of that scope.
        warnings: What runs, but probably not as meant.
    """

    pipeline: Pipeline
    inputs: Inputs
    decisions: Map[str, Decision]
    variables: Map[str, tuple[Known, ...]]
    warnings: tuple[Warned, ...]


def plan(file: str, inputs: Inputs, files: Map[str, str]) -> Plan:
    r"""What a run of a pipeline would do.

    Args:
        file: Path of the pipeline's file from the repository's root.
        inputs: What is known of the run.
        files: Texts of the repository's files by path; only those that belong to the pipeline are asked for.

    Raises:
        PipelineError: A file is wrong.
        Unsupported: A feature outside the grammar is used.

    Example:
        >>> made = plan("ci.yml", Inputs(), {"ci.yml": "steps:\n- script: make\n  condition: failed()\n"})
        >>> made.decisions["__default/Job"].runs, made.decisions["__default/Job/1"].runs
        (True, False)
    """
    read = read_pipeline(file, inputs, files)
    return _Planner(read.pipeline, inputs, read.warnings).plan()


class _Planner:
    """Goes through stages, jobs and steps in their order, knowing of each what is certain."""

    def __init__(self, pipeline: Pipeline, inputs: Inputs, warnings: Iterable[Warned]) -> None:
        self.pipeline = pipeline
        self.inputs = inputs
        self.warnings = dict.fromkeys(warnings)
        self.decisions: dict[str, Decision] = {}
        self.variables: dict[str, tuple[Known, ...]] = {}
        self.world = World(pipeline)
        self.secrets = secret_values(inputs)
        self.at: Place = Place(pipeline.file, 1, 1)  # what is being evaluated, for warnings

    def plan(self) -> Plan:
        view = start(self.inputs)
        view.missed = self._missed_variable
        view = self._layered("", view, self.pipeline.variables, self._pipeline_scope)
        stages = self.pipeline.stages
        for name in ordered({stage.name.lower(): [other.lower() for other in stage.depends_on] for stage in stages}):
            self._stage(self.pipeline.stage(name), view)
        made = {path: self.decisions[path] for path in _paths(self.pipeline) if path in self.decisions}
        return Plan(self.pipeline, self.inputs, made, self.variables, tuple(self.warnings))

    def warn(self, text: str, at: Place | None = None) -> None:
        self.warnings.setdefault(Warned(at or self.at, text))

    def _missed_variable(self, name: str) -> None:
        self.warn(f"variables['{name}'] is defined nowhere, and is empty")

    def _missed_output(self, name: str, of: str) -> None:
        self.warn(f"no step of {of} can set the output {name}, so it is empty")

    def _missed_name(self, context: str, name: str) -> None:
        if context.lower() in {"dependencies", "stagedependencies"}:
            self.warn(f"{context}.{name} is empty: {name} is not in dependsOn")

    def _pipeline_scope(self, view: View) -> Scope:
        return scopes.pipeline_variable(view, self.inputs.started, _counting)

    # --- variables

    def _layered(self, path: str, view: View, variables: tuple[Variable, ...], scope: Any) -> View:
        def value(variable: Variable, so_far: View) -> Any:
            return self._runtime(variable, scope(so_far))

        made = layered(view, variables, self.inputs.groups, value)
        self.variables[path] = tuple(_known(variable, made, self.secrets) for variable in variables)
        for variable in variables:
            self._check_variable(variable, made)
        return made

    def _runtime(self, variable: Variable, scope: Scope) -> Any:
        assert variable.expression is not None
        assert variable.scalar is not None
        self.at = variable.scalar.place
        try:
            return evaluate(variable.expression, replace(scope, missed=self._missed_name))
        except ExpressionError as error:
            raise failed(variable.scalar, variable.scalar.text.index("$[") + 2, error) from None

    def _check_variable(self, variable: Variable, view: View) -> None:
        if variable.group:
            if variable.name not in self.inputs.groups:
                self.warn(f"the members of group {variable.name} are not known here", variable.place)
            return
        if "$[" in variable.value and variable.expression is None:
            self.warn(f"$[ ] must be the whole value of {variable.name}, and stays a text here", variable.place)
        if variable.name.lower().startswith(("endpoint", "input", "secret", "securefile")):
            self.warn(f"{variable.name} begins with a reserved word: scripts do not see it", variable.place)
        if variable.scalar is not None:
            self._check_macros(variable.scalar, view, frozenset(), shell=False)

    def _check_macros(self, scalar: Scalar, view: View, may_be_set: frozenset[str], *, shell: bool) -> None:
        for name, offset in macros(scalar.text):
            folded = name.lower()
            if name in view or is_predefined(name) or view.groups or folded in may_be_set:
                continue
            if shell and (folded in COMMANDS or " " in name):
                continue
            hint = "Azure Pipelines leaves it as text" + (", unless a step before sets it" if view.settable else "")
            self.warn(f"$({name}) is defined nowhere: {hint}", scalar.place_of(offset))

    # --- stages, jobs, steps

    def _stage(self, stage: Stage, view: View) -> None:
        scope = scopes.stage_condition(self.world, stage, _without_expressions(view, stage.variables))
        decision = self._decided(stage.condition, scope, stage.depends_on)
        self.decisions[stage.name] = decision
        surely_not = decision.runs is False
        self.world.stages[stage.name.lower()] = SKIPPED if surely_not else Later(stage.name)
        inner = self._layered(
            stage.name,
            view,
            stage.variables,
            lambda so_far: scopes.stage_variable(self.world, stage, so_far, self.inputs.started, _counting),
        )
        edges = {job.name.lower(): [other.lower() for other in job.depends_on] for job in stage.jobs}
        for name in ordered(edges):
            self._job(stage, stage.job(name), inner, skipped=surely_not)

    def _job(self, stage: Stage, job: Job, view: View, *, skipped: bool) -> None:
        path = f"{stage.name}/{job.name}"
        scope = scopes.job_condition(self.world, stage, job, _without_expressions(view, job.variables))
        decision = self._decided(job.condition, scope, job.depends_on)
        if skipped:
            decision = replace(decision, runs=False, why=f"stage {stage.name} is skipped")
        self.decisions[path] = decision
        surely_not = decision.runs is False
        self.world.jobs[key(stage, job)] = SKIPPED if surely_not else Later(job.name)
        self.world.outputs[key(stage, job)] = Members() if surely_not else promises(stage, job, self._missed_output)

        def variable_scope(so_far: View) -> Scope:
            made = scopes.job_variable(self.world, stage, job, so_far, self.inputs.started)
            return replace(made, counter=_counting)

        inner = self._layered(path, view, (*job.variables, *job.matrix), variable_scope)
        self._steps(path, job, inner, skipped=surely_not)

    def _steps(self, path: str, job: Job, view: View, *, skipped: bool) -> None:
        inner = view.copy()
        set_before: set[str] = set()
        for hook in job.hooks:
            first = hook.name in {"", "preDeploy"} or (hook.name == "deploy" and job.hooks[0] is hook)
            for step in hook.steps:
                self.decisions[f"{path}/{step.label}"] = self._step(step, inner, first=first, skipped=skipped)
                first = first and step.implicit
                self._check_step(step, inner, frozenset(set_before))
                inner.settable = inner.settable or step.kind in _SETTING
                for name in _may_set(step):
                    inner[name] = Later(f"variables['{name}'], set by step {step.label}")
                    set_before.add(name.lower())

    def _step(self, step: Step, view: View, *, first: bool, skipped: bool) -> Decision:
        before: str | Later = SUCCEEDED if first else Later("the steps before")
        scope = scopes.step_condition(view, lambda function, _: judged(function, {"": before}, canceled=False))
        decision = self._decided(step.condition, scope, () if first else ("the steps before",))
        if skipped:
            return replace(decision, runs=False, why="its job is skipped")
        return decision if step.enabled else replace(decision, runs=False, why="enabled: false")

    def _check_step(self, step: Step, view: View, may_be_set: frozenset[str]) -> None:
        shell = step.kind in SHELLS
        for place, scalar in enumerate(step.texts):
            self._check_macros(scalar, view, may_be_set, shell=shell and place == 0)

    def _decided(self, condition: Condition | None, scope: Scope, waits_for: tuple[str, ...]) -> Decision:
        if condition is None:
            result = truth("succeeded()", scope)
            if isinstance(result, Later):
                return Decision(None, "succeeded()", result.what)
            why = "succeeded()" if result else f"succeeded() is False: skipped before: {', '.join(waits_for)}"
            return Decision(result, "succeeded()", why if waits_for else "nothing comes before it")
        self.at = condition.scalar.place
        for name, offset in macros(condition.text):
            text = f"$({name}) stays a text in a condition: variables['{name}'] is the variable"
            self.warn(text, condition.scalar.place_of(offset))
        scope = replace(scope, missed=self._missed_name)
        try:
            result = truth(condition.text, scope)
            why = masked(expanded(condition.text, replace(scope, missed=None)), self.secrets)
        except ExpressionError as error:
            raise failed(condition.scalar, 0, error) from None
        return Decision(None if isinstance(result, Later) else result, condition.text, why)


SHELLS: Final = frozenset({"script", "bash", "pwsh", "powershell"})
_SETTING: Final = SHELLS | {"task"}
"""Steps that may set variables."""
COMMANDS: Final = frozenset(
    {"pwd", "date", "whoami", "nproc", "uname", "hostname", "id", "mktemp", "arch", "tty", "logname", "ls"}
)
"""Commands that bash scripts call as ``$(command)``; no warning says that these are unknown variables."""


def _counting(prefix: str, seed: int) -> Later:
    return Later(f"counter('{prefix}', {seed})")


def secret_values(inputs: Inputs) -> list[str]:
    """The values that must not be shown."""
    hidden = {name.lower() for name in inputs.secrets}
    kept = [inputs.variables, *inputs.groups.values(), inputs.predefined]
    return [value for values in kept for name, value in values.items() if name.lower() in hidden]


def _known(variable: Variable, view: View, secrets: list[str]) -> Known:
    if variable.group:
        return Known(variable.name, "", True, "group")
    value = Members.find(view, variable.name)
    if isinstance(value, Later):
        return Known(variable.name, value.what, True, variable.origin)
    return Known(variable.name, masked(expand(str(value), view), secrets), False, variable.origin)


def _without_expressions(view: View, variables: tuple[Variable, ...]) -> View:
    """A view as a condition of the same scope sees it: its static variables are there, its runtime ones are not yet."""
    made = view.copy()
    for variable in variables:
        if not variable.group and variable.expression is None:
            made[variable.name] = variable.value
    return made


def _may_set(step: Step) -> Iterable[str]:
    task = step.value.lower().partition("@")[0] if step.kind == "task" else ""
    if task == "downloadsecurefile" and step.name:
        yield f"{step.name}.secureFilePath"
    if task == "cache":
        inputs = dict(step.setting("inputs", ()) or ())
        yield from (str(value) for name, value in inputs.items() if name.lower() == "cachehitvar")
    texts = [scalar.text for scalar in step.texts]
    for text in texts:
        for name in set_by(text):
            yield f"{step.name}.{name}" if step.name else name
            yield name


def _paths(pipeline: Pipeline) -> Iterable[str]:
    """The paths of all parts, in the order of the file."""
    for stage in pipeline.stages:
        yield stage.name
        for job in stage.jobs:
            yield f"{stage.name}/{job.name}"
            yield from (f"{stage.name}/{job.name}/{step.label}" for step in job.steps)
