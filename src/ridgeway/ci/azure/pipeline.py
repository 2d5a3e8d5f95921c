"""The parts of a pipeline after its templates are expanded: what a plan shows and a run carries out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from ridgeway.ci.azure.document import Scalar
from ridgeway.ci.azure.problems import Place

IMPLICIT_STAGE: Final = "__default"
IMPLICIT_JOB: Final = "Job"
HOOKS: Final = ("preDeploy", "deploy", "routeTraffic", "postRouteTraffic")
"""What a runOnce deployment runs, in this order; then ``on.success`` or ``on.failure``."""


@dataclass(frozen=True)
class Variable:
    """A variable that the file defines, or a group that it names.

    Attributes:
        name: Its name, or the group's.
        value: Its text; macros and ``$[ ]`` are not evaluated.
        origin: The scope: ``pipeline``, ``stage S``, ``job J``.
        readonly: Whether no step may change it.
        group: Whether this is a group, whose members are kept elsewhere.
        place: Where it stands.
        scalar: The value's own place, for errors in its expression.
    """

    name: str
    value: str
    origin: str
    place: Place
    readonly: bool = False
    group: bool = False
    scalar: Scalar | None = field(default=None, compare=False, repr=False)

    @property
    def expression(self) -> str | None:
        """The expression of ``$[ … ]``, which must be the whole value; nothing for other values."""
        text = self.value.strip()
        return text[2:-1] if text.startswith("$[") and text.endswith("]") else None


@dataclass(frozen=True)
class Condition:
    """A written condition.

    Attributes:
        text: The expression.
        scalar: Where it stands.
    """

    text: str
    scalar: Scalar = field(compare=False, repr=False)


@dataclass(frozen=True)
class Pool:
    """Where a job runs: an image of hosted agents, or a pool of one's own with demands."""

    name: str = ""
    vm_image: str = ""
    demands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Environment:
    """What a deployment deploys to; checks such as approvals hang on it."""

    name: str
    resource: str = ""
    resource_type: str = ""
    tags: str = ""


@dataclass(frozen=True)
class Step:
    """A step.

    Attributes:
        kind: ``script``, ``bash``, ``checkout``, ``publish``, ``download``, ``task`` and so on.
        value: What stands behind that word: the script, the repository, the task's name.
        name: Its identifier, for outputs; may be empty.
        label: How a plan and messages call it: the name, or its number in the job.
        display: Its name for people.
        place: Where it stands.
        condition: Its condition, or nothing: then ``succeeded()``.
        enabled: Whether it runs at all.
        continue_on_error: Whether its failure lets the job go on; a text where a macro decides.
        env: Environment variables of its own.
        settings: All other fields: ``workingDirectory``, ``inputs`` and so on.
        timeout_minutes: 0 for the job's own limit; a text where a macro decides.
        retries: How often it is tried again; a text where a macro decides.
        implicit: Whether no line of the file says it, such as the checkout at the start of a job.
        texts: The scalars in it that may hold macros.
    """

    kind: str
    value: str
    label: str
    place: Place
    name: str = ""
    display: str = ""
    condition: Condition | None = None
    enabled: bool = True
    continue_on_error: bool | str = False
    env: tuple[tuple[str, str], ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()
    timeout_minutes: float | str = 0
    retries: float | str = 0
    implicit: bool = False
    texts: tuple[Scalar, ...] = field(default=(), compare=False, repr=False)

    def setting(self, name: str, default: Any = "") -> Any:
        """One of the other fields."""
        return next((value for key, value in self.settings if key == name), default)


@dataclass(frozen=True)
class Hook:
    """The steps of a job, or of one part of a deployment's life.

    Attributes:
        name: Empty for jobs; else ``preDeploy``, ``deploy``, …, ``on.failure``, ``on.success``.
        steps: In their order.
        pool: A pool of its own, or nothing: the job's.
    """

    name: str
    steps: tuple[Step, ...]
    pool: Pool | None = None


@dataclass(frozen=True)
class Job:
    """A job or deployment.

    Attributes:
        name: Its identifier.
        display: Its name for people.
        place: Where it stands.
        depends_on: Jobs of the same stage.
        condition: Its condition, or nothing: then ``succeeded()``.
        continue_on_error: Whether its failure counts as success with issues.
        timeout_minutes: 60 unless the file says otherwise; 0 means as long as the agent may.
        cancel_timeout_minutes: What steps that run when all is cancelled have left.
        variables: Of its own scope.
        pool: Where it runs, or nothing: the stage's or the pipeline's.
        environment: What it deploys to; nothing for jobs that are no deployments.
        hooks: Its steps.
        workspace: What is cleaned before it starts.
        deployment: Whether it is one.
        leg: For a copy that a matrix made: the copy's name. The job is then called ``job.leg``.
        matrix: The variables of that copy.
        max_parallel: How many copies may go on at once; 0 for all.
    """

    name: str
    display: str
    place: Place
    depends_on: tuple[str, ...] = ()
    condition: Condition | None = None
    continue_on_error: bool | str = False
    timeout_minutes: float | str = 60
    cancel_timeout_minutes: float | str = 5
    variables: tuple[Variable, ...] = ()
    pool: Pool | None = None
    environment: Environment | None = None
    hooks: tuple[Hook, ...] = ()
    workspace: str = ""
    deployment: bool = False
    leg: str = ""
    matrix: tuple[Variable, ...] = ()
    max_parallel: int = 0

    @property
    def written(self) -> str:
        """The name in the file, which all copies of a matrix have."""
        return self.name.removesuffix(f".{self.leg}") if self.leg else self.name

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps of all hooks."""
        return tuple(step for hook in self.hooks for step in hook.steps)


@dataclass(frozen=True)
class Stage:
    """A stage: jobs, and the stages that come before it."""

    name: str
    display: str
    place: Place
    depends_on: tuple[str, ...] = ()
    condition: Condition | None = None
    variables: tuple[Variable, ...] = ()
    jobs: tuple[Job, ...] = ()
    pool: Pool | None = None
    lock_behavior: str = ""

    def job(self, name: str) -> Job:
        """The job of a name, letter case aside.

        Raises:
            KeyError: There is none.
        """
        for job in self.jobs:
            if job.name.lower() == name.lower():
                return job
        raise KeyError(name)

    @property
    def families(self) -> dict[str, tuple[Job, ...]]:
        """The jobs by their names in the file: one job each, or all copies that a matrix made of it."""
        made: dict[str, tuple[Job, ...]] = {}
        for job in self.jobs:
            made[job.written] = (*made.get(job.written, ()), job)
        return made


@dataclass(frozen=True)
class Filter:
    """Names to include and to exclude, with wildcards.

    Attributes:
        include: Patterns; empty for all.
        exclude: Patterns that win over the included ones.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trigger:
    """Which pushes or pull requests start the pipeline.

    Attributes:
        enabled: Whether any does.
        branches: Filter of branches.
        paths: Filter of changed files.
        tags: Filter of tags; pushes only.
        batch: Whether pushes that come during a run are taken together.
        drafts: Whether draft pull requests count.
        auto_cancel: Whether a new push to a pull request cancels its run.
    """

    enabled: bool = True
    branches: Filter = Filter()
    paths: Filter = Filter()
    tags: Filter | None = None
    batch: bool = False
    drafts: bool = True
    auto_cancel: bool = True


@dataclass(frozen=True)
class Schedule:
    """A time table: a cron line in UTC and the branches it runs for."""

    cron: str
    display: str = ""
    branches: Filter = Filter()
    always: bool = False
    batch: bool = False


@dataclass(frozen=True)
class Upstream:
    """Another pipeline whose runs this one uses or is started by."""

    alias: str
    source: str
    project: str = ""
    trigger: Trigger | None = None
    settings: tuple[tuple[str, str], ...] = ()
    stages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pipeline:
    """A pipeline with all its templates expanded.

    Attributes:
        file: Its file.
        name: The format of its run number.
        parameters: Values by name, as texts or JSON-like structures.
        trigger: Pushes; nothing where the file says nothing, and then every push counts.
        pull_request: Pull requests; nothing where the file says nothing.
        schedules: Time tables.
        upstream: Pipeline resources.
        variables: Of the whole pipeline.
        stages: In the order of the file.
        files: All files that belong to it.
    """

    file: str
    name: str = ""
    parameters: tuple[tuple[str, Any], ...] = ()
    trigger: Trigger | None = None
    pull_request: Trigger | None = None
    schedules: tuple[Schedule, ...] = ()
    upstream: tuple[Upstream, ...] = ()
    variables: tuple[Variable, ...] = ()
    stages: tuple[Stage, ...] = ()
    files: tuple[str, ...] = ()

    def stage(self, name: str) -> Stage:
        """The stage of a name, letter case aside.

        Raises:
            KeyError: There is none.
        """
        for stage in self.stages:
            if stage.name.lower() == name.lower():
                return stage
        raise KeyError(name)
