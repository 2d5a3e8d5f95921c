"""One job, from its folders to the end of the last process that it has left."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from collections.abc import Mapping as Map
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ridgeway.ci.azure import Plan, Run
from ridgeway.ci.azure.contexts import CANCELED, FAILED, GOOD, SKIPPED
from ridgeway.ci.azure.masking import masked
from ridgeway.ci.azure.pipeline import Hook, Job, Stage, Step
from ridgeway.ci.azure.problems import refuse
from ridgeway.ci.azure.running import Running
from ridgeway.ci.execution import agent
from ridgeway.ci.execution.caches import Caches, Wanted
from ridgeway.ci.execution.checkout import Source
from ridgeway.ci.execution.folders import RunFolder, Workspace, writing
from ridgeway.ci.execution.processes import Processes, Stopped, TimeUp
from ridgeway.ci.execution.shelf import Shelf
from ridgeway.ci.execution.steps import StepRun, carry_out
from ridgeway.ci.execution.stream import Secrets, Stream
from ridgeway.ci.execution.telling import Ended, Watcher
from ridgeway.errors import StorageError

MOST_RETRIES: Final = 10
"""As Azure Pipelines has it."""


@dataclass(frozen=True)
class Machine:
    """What this machine gives to a run.

    Attributes:
        environment: What scripts inherit; see ``agent.inherited``.
        system: As Python names it: ``linux`` or ``darwin``.
        python: The interpreter that stands for the tool UsePythonVersion.
        jobs: How many jobs run side by side, from 1.
        keep: Whether the folders of jobs are kept.
        secure_files: Files of this machine that stand for secure files, by their names there.
        retry_seconds: Wait before the first retry of a step; doubled for each further one.
    """

    environment: dict[str, str]
    system: str
    python: Path
    jobs: int = 2
    keep: bool = False
    secure_files: Map[str, Path] = field(default_factory=dict)
    retry_seconds: float = 1.0


@dataclass
class Session:
    """What the jobs of a run share.

    Attributes:
        plan: The plan.
        run: The state machine; used under the lock.
        machine: This machine.
        source: What is checked out.
        folder: The run's folder.
        watcher: Who is told; called under the lock.
        secrets: What is masked.
        ends: By path.
        stopping: Set when all is to end.
    """

    plan: Plan
    run: Run
    machine: Machine
    source: Source
    folder: RunFolder
    watcher: Watcher
    secrets: Secrets
    shelf: Shelf
    ends: dict[str, Ended] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def ended(self, end: Ended) -> None:
        """Notes an end and tells it, without secrets."""
        with self.lock:
            notes = tuple(masked(" ".join(note.split()), self.secrets.values) for note in end.notes if note)
            end = Ended(end.path, end.result, end.seconds, notes, end.log)
            self.ends[end.path] = end
            self.watcher.ends(end)

    def begins(self, path: str, what: str) -> None:
        """Tells a beginning."""
        with self.lock:
            self.watcher.begins(path, masked(what, self.secrets.values))

    def says(self, path: str, line: str) -> None:
        """Tells a line that is masked already."""
        with self.lock:
            self.watcher.says(path, line)

    def number(self, number: str) -> None:
        """Changes the run's number, as ``build.updatebuildnumber`` asks for."""
        with self.lock:
            self.run.base["Build.BuildNumber"] = number
            for running in self.run.jobs.values():
                running.variables["Build.BuildNumber"] = number

    def keep(self, source: Path, folder: str, name: str) -> str:
        """Keeps a file of a job, secrets masked, and returns its place in the run's folder."""
        place = self.folder.path / folder / name
        with writing(f"cannot keep {name}", place):
            place.parent.mkdir(exist_ok=True)
            data = source.read_bytes()
            with suppress(UnicodeDecodeError):
                data = masked(data.decode(), self.secrets.values).encode()
            place.write_bytes(data)
        return f"{folder}/{name}"


@dataclass
class JobRun:
    """A job that is going on, on a thread of its own.

    Attributes:
        session: The run.
        stage: Its stage.
        running: Its state.
        workspace: Its folders.
        processes: What it has started.
        ahead: Folders that steps have put before the path.
        to_keep: Folders that become caches if the job goes well.
    """

    session: Session
    stage: Stage
    running: Running
    workspace: Workspace
    processes: Processes
    ahead: list[str] = field(default_factory=list)
    to_keep: list[Wanted] = field(default_factory=list)
    _streams: list[Stream] = field(default_factory=list)
    _places: Iterator[int] = field(default_factory=lambda: iter(range(1, 1_000_000)))

    @property
    def path(self) -> str:
        """``Stage/Job``."""
        return f"{self.stage.name}/{self.running.job.name}"

    @property
    def caches(self) -> Caches:
        """One place for all branches and pipelines of the repository, where Azure Pipelines has one for each."""
        return Caches(self.session.folder.path.parent / "caches")


def begin(session: Session, stage: Stage, job: Job, running: Running) -> JobRun:
    """A job whose variables are all there; under the lock."""
    workspace = Workspace(session.folder.work / f"{stage.name}.{job.name}")
    made = agent.job_variables(stage, job, workspace, session.source, system=session.machine.system)
    for name, value in made.items():
        running.variables[name] = value
    mark = f"ridgeway-{uuid.uuid4()}"
    running.variables.setdefault("System.AccessToken", "")  # Azure Pipelines makes one for each job
    running.variables["System.JobId"] = mark.removeprefix("ridgeway-")
    return JobRun(session, stage, running, workspace, Processes(mark, session.stopping))


def carry_out_job(job: JobRun) -> None:
    """Runs the steps of a job, then ends what they have left and removes its folders.

    Raises:
        StorageError: The disk is full.
        PipelineError: A condition is wrong.
    """
    began = time.monotonic()
    notes: list[str] = []
    try:
        job.workspace.make()
        notes = _steps(job, began)
    except BaseException:
        job.to_keep.clear()
        raise
    finally:
        left = job.processes.end()
        for stream in job._streams:  # noqa: SLF001 - of this file
            stream.close()
        notes += _keep_caches(job)
        if not job.session.machine.keep:
            job.workspace.remove()
    if left:
        notes.append(f"ended what steps had left: {', '.join(left)}")
    with job.session.lock:
        for step in job.running.job.steps:
            path = f"{job.path}/{step.label}"
            if path not in job.session.ends:
                job.session.ended(Ended(path, SKIPPED, notes=("not reached",)))
        result = job.session.run.end_job(job.running)
        job.session.ended(Ended(job.path, result, time.monotonic() - began, tuple(notes)))


def _keep_caches(job: JobRun) -> list[str]:
    """What a job hands to later ones; it costs no job its success that there is no room for it."""
    if job.running.status not in GOOD or job.session.stopping.is_set():
        return []
    notes = []
    for wanted in job.to_keep:
        try:
            job.caches.keep(wanted, moves=not job.session.machine.keep)
        except StorageError as error:
            notes.append(f"warning: {error.summary}: {error.problem}")
    return notes


def _steps(job: JobRun, began: float) -> list[str]:
    limit = _minutes(job, job.running.job.timeout_minutes, job.running.job)
    deadline = began + limit * 60 if limit else None
    notes: list[str] = []
    for hook in job.session.run.hooks(job.running):
        with job.session.lock:
            for name, value in agent.hook_variables(hook).items():
                job.running.variables[name] = value
        for step in hook.steps:
            if job.session.stopping.is_set():
                with job.session.lock:
                    job.running.status = CANCELED
                return notes
            if _one(job, hook, step, deadline) and job.running.status == CANCELED and not notes:
                notes.append(f"the job's limit of {limit:g} minutes was reached")
                rest = _minutes(job, job.running.job.cancel_timeout_minutes, job.running.job)
                deadline = time.monotonic() + rest * 60
    return notes


def _minutes(job: JobRun, value: float | str, of: Job | Step) -> float:
    if not isinstance(value, str):
        return float(value)
    with job.session.lock:
        text = job.session.run.text(job.running, value)
    try:
        return float(text)
    except ValueError:
        raise refuse(of.place, "a number is needed here", problem=f"{value} is {text[:60]!r}") from None


def _one(job: JobRun, hook: Hook, step: Step, job_deadline: float | None) -> bool:
    """One step with its retries; whether the job's limit was reached in it."""
    path, session = f"{job.path}/{step.label}", job.session
    with session.lock:
        runs = session.run.begin_step(job.running, hook, step)
        why = session.run.decisions[path].why
    if not runs:
        session.ended(Ended(path, SKIPPED, notes=(why,)))
        return False
    log = session.folder.log(path, next(job._places))  # noqa: SLF001 - of this file
    made = StepRun(job, hook, step)
    session.begins(path, _title(made))
    began = time.monotonic()
    made.stream = Stream(log, session.secrets, lambda line: session.says(path, line), made.obey)
    job._streams.append(made.stream)  # noqa: SLF001 - of this file
    result, over = _tried(made, job_deadline)
    made.stream.settle()
    made.stream.mute()
    with session.lock:
        if over:
            job.running.status = CANCELED
        result = session.run.end_step(job.running, step, result)
    place = log.relative_to(session.folder.path).as_posix()
    session.ended(Ended(path, result, time.monotonic() - began, tuple(made.notes), place))
    return over


def _title(step: StepRun) -> str:
    value = step.step.value.strip().partition("\n")[0]
    return step.text(step.step.display) or f"{step.step.kind} {value}"


def _tried(step: StepRun, job_deadline: float | None) -> tuple[str, bool]:
    retries = min(int(_minutes(step.job, step.step.retries, step.step)), MOST_RETRIES)
    limit = _minutes(step.job, step.step.timeout_minutes, step.step)
    wait = step.job.session.machine.retry_seconds
    for tried in range(retries + 1):
        own = time.monotonic() + limit * 60 if limit else None
        step.deadline = min((one for one in (own, job_deadline) if one is not None), default=None)
        step.result = ""
        try:
            result = carry_out(step)
        except Stopped:
            step.note("stopped")
            result = CANCELED
        except TimeUp:
            if own is None or step.deadline != own:
                return CANCELED, True
            step.note(f"its limit of {limit:g} minutes was reached")
            result = FAILED
        if result != FAILED or tried == retries or step.job.session.stopping.wait(min(wait * 2**tried, 60)):
            break
        step.note(f"tried again after: {step.notes[-1] if step.notes else result}")
    return result, False
