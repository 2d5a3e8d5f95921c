"""One step of a job, carried out: scripts, checkouts, artifacts; ``tasks`` has what stands for tasks."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ridgeway.ci.azure.contexts import FAILED, GOOD, SUCCEEDED, WITH_ISSUES
from ridgeway.ci.azure.logging_commands import Command, change
from ridgeway.ci.azure.pipeline import Hook, Step
from ridgeway.ci.azure.values import Members
from ridgeway.ci.execution import agent
from ridgeway.ci.execution.checkout import Wish, clone
from ridgeway.ci.execution.folders import writing
from ridgeway.ci.execution.processes import Program
from ridgeway.ci.execution.shelf import NotPublished
from ridgeway.ci.execution.stream import Stream
from ridgeway.ci.execution.telling import NOT_EXECUTED
from ridgeway.errors import UsageError

if TYPE_CHECKING:
    from ridgeway.ci.execution.job import JobRun

ISSUES_SHOWN: Final = 10
"""So many of a step's own errors and warnings are repeated in the summary."""


class StepFailed(Exception):
    """Why a step has failed, in one sentence."""


@dataclass
class StepRun:
    """A step that is going on.

    Attributes:
        job: Its job.
        hook: The part of the job that it belongs to.
        step: The step.
        deadline: When it is ended, on the clock of ``time.monotonic``.
        notes: What its end tells.
        result: What ``task.complete`` said, or nothing.
    """

    job: JobRun
    hook: Hook
    step: Step
    deadline: float | None = None
    notes: list[str] = field(default_factory=list)
    result: str = ""
    stream: Stream = field(init=False)

    def text(self, text: str) -> str:
        """A text with its macros replaced."""
        with self.job.session.lock:
            return self.job.session.run.text(self.job.running, text)

    def setting(self, name: str, default: str = "") -> str:
        """One of the step's fields, macros replaced."""
        return self.text(str(self.step.setting(name, default)))

    def folder(self, text: str) -> Path:
        """A path as the step means it: relative to the default working folder."""
        return Path(self.job.running.variables["System.DefaultWorkingDirectory"]) / text

    def environment(self) -> dict[str, str]:
        """What its script finds."""
        own = [(name, self.text(value)) for name, value in self.step.env]
        with self.job.session.lock:
            return agent.environment(self.job.running, self.job.session.machine.environment, own, self.job.ahead)

    def spawn(self, arguments: tuple[str, ...], folder: str = "", *, strict: bool = False) -> int:
        """The exit code of a program of this step.

        Args:
            arguments: The program and its arguments.
            folder: Its working folder, as the step says it.
            strict: Whether what it prints to stderr makes the step fail.

        Raises:
            StepFailed: There is no such folder, it cannot be started, or it printed to stderr.
            TimeUp: It did not end in time.
            Stopped: The run is being stopped.
        """
        place, complaints = self.folder(folder), [0]

        def complain(piece: bytes) -> None:
            complaints[0] += len(piece)
            self.stream.feed(piece)

        if not place.is_dir():
            raise StepFailed(f"there is no folder {folder}")
        environment = self.environment()
        if shutil.which(arguments[0], path=environment.get("PATH")) is None:
            raise StepFailed(f"{arguments[0]} is not installed")
        program = Program(arguments, place, environment)
        errors = complain if strict else None
        try:
            code = self.job.processes.run(program, self.stream.feed, errors=errors, deadline=self.deadline)
        except OSError as error:
            raise StepFailed(f"{arguments[0]} cannot be started: {error.strerror}") from None
        if strict and complaints[0] and not code:
            raise StepFailed("it printed to stderr, and failOnStderr is set")
        return code

    def script(self, text: str, suffix: str = ".sh") -> Path:
        """A file with a script, macros replaced, in the job's temporary folder."""
        place = self.job.workspace.temporary / f"{self.step.label}-{time.monotonic_ns()}{suffix}"
        with writing(f"cannot write the script of step {self.step.label}", place):
            place.write_text(self.text(text), encoding="utf-8")
        return place

    # --- commands to the agent

    def obey(self, found: Command) -> None:
        """Does what a logging command says; one that is not known is noted and nothing else."""
        with self.job.session.lock:
            asked = _COMMANDS.get(found.name)
            if asked is None:
                self.note(f"##vso[{found.name}] is shown, not obeyed")
            else:
                asked(self, found)

    def note(self, text: str) -> None:
        """One more thing that its end tells, once."""
        if text not in self.notes:
            self.notes.append(text)

    def inputs(self) -> Members:
        """A task's inputs by name, letter case aside; macros replaced."""
        pairs = self.step.setting("inputs", ())
        return Members({name: self.text(value) for name, value in pairs})


# --- kinds of steps


def carry_out(step: StepRun) -> str:
    """Does what a step says; its result.

    Raises:
        TimeUp: It did not end in time.
        Stopped: The run is being stopped.
        StorageError: The disk is full.
    """
    from ridgeway.ci.execution.tasks import carry_out_task

    kinds: dict[str, Callable[[StepRun], int | None]] = {**_KINDS, "task": carry_out_task}
    try:
        code = kinds[step.step.kind](step)
        step.stream.settle()
    except (StepFailed, NotPublished) as error:
        step.note(str(error))
        return FAILED
    if code:
        step.note(f"exit code {code}" if code > 0 else f"ended by signal {-code}")
        return FAILED
    missing = any(note.startswith(NOT_EXECUTED) for note in step.notes)
    return _worse(WITH_ISSUES if missing else SUCCEEDED, step.result)


def _worse(one: str, other: str) -> str:
    order = [SUCCEEDED, WITH_ISSUES, FAILED]
    return max(one, other or SUCCEEDED, key=order.index)


def shell(step: StepRun, text: str, folder: str, *, strict: bool) -> int:
    """A script for bash, as behind ``script`` and ``bash``: without ``-e``, the last command counts."""
    return step.spawn(("bash", "--noprofile", "--norc", str(step.script(text))), folder, strict=strict)


def _script(step: StepRun) -> int:
    strict = step.setting("failOnStderr").strip().lower() == "true"
    return shell(step, step.step.value, step.setting("workingDirectory"), strict=strict)


def _powershell(step: StepRun) -> int | None:
    if shutil.which("pwsh", path=step.environment().get("PATH")) is None:
        step.note(f"{NOT_EXECUTED}: {step.step.kind} needs PowerShell, and there is no pwsh here")
        return None
    preference = step.setting("errorActionPreference", "stop")
    text = f"$ErrorActionPreference = '{preference}'\n{step.step.value}\n"
    if step.setting("ignoreLASTEXITCODE").strip().lower() != "true":
        text += "if ((Test-Path -LiteralPath variable:\\LASTEXITCODE)) { exit $LASTEXITCODE }\n"
    arguments = ("pwsh", "-NoLogo", "-NoProfile", "-NonInteractive", "-File", str(step.script(text, ".ps1")))
    return step.spawn(arguments, step.setting("workingDirectory"))


def _checkout(step: StepRun) -> None:
    if step.step.value == "none":
        return
    job, path = step.job, step.setting("path")
    place = job.workspace.root / (path or "s")
    if not place.resolve().is_relative_to(job.workspace.root.resolve()):
        raise StepFailed(f"the path {path} is outside of the job's folder")
    depth = step.setting("fetchDepth", "0").strip() or "0"
    if not depth.isdecimal():
        raise StepFailed(f"fetchDepth must be a number: {depth}")
    if place.exists() and any(place.iterdir()):
        shutil.rmtree(place)
    wish = Wish(int(depth), step.setting("submodules").strip().lower(), step.setting("fetchTags", "true") != "false")
    source = job.session.source
    try:
        for line in clone(source, place, wish).splitlines():
            step.stream.say(line)
    except UsageError as error:
        raise StepFailed(f"{error.summary}: {error.problem}") from None
    step.stream.say(f"{source.commit[:12]} {source.message}")
    if path:
        with job.session.lock:
            for name in ("Build.SourcesDirectory", "Build.Repository.LocalPath", "System.DefaultWorkingDirectory"):
                job.running.variables[name] = str(place)


def _publish(step: StepRun) -> None:
    name = step.setting("artifact") or f"{step.job.path.replace('/', '.')}.{step.step.label}"
    publish(step, step.text(step.step.value), name)


def publish(step: StepRun, path: str, name: str) -> None:
    """Publishes a file or folder as an artifact, and says so."""
    source = step.folder(path)
    if (source / ".artifactignore").is_file():
        step.note(".artifactignore is not read here: all files are published")
    count = step.job.session.shelf.publish(name, source)
    step.stream.say(f"artifact {name}: {count} file{'s' if count != 1 else ''}")


def _download(step: StepRun) -> None:
    which = step.text(step.step.value)
    if which == "none":
        return
    if which != "current":
        step.note(f"{NOT_EXECUTED}: download of {which}, artifacts of another pipeline")
        return
    patterns = tuple(step.setting("patterns").split("\n")) if step.step.setting("patterns") else ()
    download(step, step.setting("artifact"), step.setting("path"), patterns)


def download(step: StepRun, artifact: str, path: str, patterns: tuple[str, ...]) -> None:
    """Downloads one artifact of this run, or all: each into a folder of its name, unless a path is given for one."""
    root = step.job.workspace.root
    for name in [artifact] if artifact else step.job.session.shelf.names():
        place = root / path if path else root / name
        count = step.job.session.shelf.fetch(name, place if artifact or not path else place / name, patterns)
        step.stream.say(f"artifact {name}: {count} file{'s' if count != 1 else ''} to {place.relative_to(root)}"
                        if place.is_relative_to(root) else f"artifact {name}: {count} files to {place}")  # fmt: skip


_KINDS: Final[Map[str, Callable[[StepRun], int | None]]] = {
    "script": _script,
    "bash": _script,
    "pwsh": _powershell,
    "powershell": _powershell,
    "checkout": _checkout,
    "publish": _publish,
    "download": _download,
}


# --- logging commands


def _set_variable(step: StepRun, found: Command) -> None:
    made = change(found)
    if made is None:
        step.note("a task.setvariable without a name is shown, not obeyed")
        return
    if made.secret:
        step.job.session.secrets.add(made.value)
    if not step.job.session.run.set_variable(step.job.running, step.hook, step.step, made):
        step.note(f"{made.name} is read-only and was not set")


def _set_secret(step: StepRun, found: Command) -> None:
    step.job.session.secrets.add(found.value)


def _complete(step: StepRun, found: Command) -> None:
    result = _property(found, "result") or SUCCEEDED
    known = next((one for one in (SUCCEEDED, WITH_ISSUES, FAILED) if one.lower() == result.lower()), "")
    if not known:
        step.note(f"task.complete with the result {result} is shown, not obeyed")
        return
    step.result = _worse(step.result or SUCCEEDED, known)
    if found.value and known not in GOOD:
        step.note(found.value)


def _log_issue(step: StepRun, found: Command) -> None:
    if sum(note.startswith(("error: ", "warning: ")) for note in step.notes) < ISSUES_SHOWN:
        kind = "error" if _property(found, "type").lower() == "error" else "warning"
        place = ":".join(filter(None, [_property(found, "sourcepath"), _property(found, "linenumber")]))
        step.note(f"{kind}: {f'{place}: ' if place else ''}{found.value}")


def _prepend_path(step: StepRun, found: Command) -> None:
    step.job.ahead.append(found.value)


def _build_number(step: StepRun, found: Command) -> None:
    step.job.session.number(found.value)


def _upload_summary(step: StepRun, found: Command) -> None:
    _keep(step, found.value, "summaries")


def _upload_file(step: StepRun, found: Command) -> None:
    _keep(step, found.value, "files")


def _keep(step: StepRun, path: str, folder: str) -> None:
    source = step.folder(path)
    if not source.is_file():
        step.note(f"there is no file {path} to keep")
        return
    name = f"{step.job.path.replace('/', '.')}.{step.step.label}.{source.name}"
    kept = step.job.session.keep(source, folder, name)
    step.note(f"{folder.removesuffix('s').replace('summarie', 'summary')}: {kept}")


def _upload_artifact(step: StepRun, found: Command) -> None:
    name = _property(found, "artifactname") or _property(found, "containerfolder")
    try:
        step.job.session.shelf.publish(name, step.folder(found.value), adds=True)
    except NotPublished as error:
        step.result = FAILED
        step.note(str(error))


def _nothing(step: StepRun, found: Command) -> None:
    """For what only changes how a page looks."""


def _property(found: Command, name: str) -> str:
    assert isinstance(found.properties, Members)
    return str(found.properties.find(name) or "")


_COMMANDS: Final[Map[str, Callable[[StepRun, Command], None]]] = {
    "task.setvariable": _set_variable,
    "task.setsecret": _set_secret,
    "task.complete": _complete,
    "task.logissue": _log_issue,
    "task.prependpath": _prepend_path,
    "task.setprogress": _nothing,
    "task.logdetail": _nothing,
    "task.debug": _nothing,
    "task.uploadsummary": _upload_summary,
    "task.uploadfile": _upload_file,
    "build.updatebuildnumber": _build_number,
    "build.addbuildtag": _nothing,
    "build.uploadlog": _upload_file,
    "artifact.upload": _upload_artifact,
}
