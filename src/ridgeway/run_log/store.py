"""The runs of a project on this machine: written while they run, readable ever after."""

from __future__ import annotations

import dataclasses
import logging
import re
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from pathlib import Path
from threading import RLock
from typing import Any

from ridgeway.errors import NotFound, RidgewayError, StorageError, UsageError
from ridgeway.run_log.capture import Capture, log_file
from ridgeway.run_log.process import Process, is_alive
from ridgeway.run_log.record import RunRecord, State, StepRecord, now, read, to_json, write

_logger = logging.getLogger("ridgeway.run_log")
CANCELLED = "cancelled.json"
_CURRENT: ContextVar[Run | None] = ContextVar("ridgeway_run", default=None)


def new_run_id() -> str:
    """A new id: 32 random hex digits, the form of ``runs:/…`` handles.

    Example:
        >>> len(new_run_id())
        32
    """
    return uuid.uuid4().hex


def current_run() -> Run | None:
    """The run that this code is part of; None outside of one."""
    return _CURRENT.get()


class RunLog:
    """All runs of one project, in ``.ridgeway/runs/``, each in a folder with ``run.json``, ``run.log`` and ``logs/``.

    Args:
        root: The project's root.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".ridgeway" / "runs"
        # What is under way is marked here: looking for dead runs every second must not read thousands of records.
        self._active = self.folder / ".active"

    def start(self, flow: str, *, run_id: str = "", command: str = "") -> Run:
        """A new record in state ``running``, written by the process that asks; it belongs to this process from here on.

        Args:
            flow: The flow's name, such as ``retraining``.
            run_id: Its id; a new one by default.
            command: How it was started; by default the command line.

        Raises:
            StorageError: The folder cannot be written.
        """
        run_id = run_id or new_run_id()
        command = command or " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
        record = RunRecord(run_id, flow, "running", now(), Process.current(), command=command)
        try:
            (self.folder / run_id / "logs").mkdir(parents=True, exist_ok=True)
            self._active.mkdir(exist_ok=True)
            # First the mark, then the record: a crash between the two leaves a mark without a record, which is swept.
            (self._active / run_id).touch()
        except OSError as error:
            raise StorageError(
                "cannot keep the record of a run",
                where=str(self.folder),
                problem=error.strerror or str(error),
                expected="space, and the right to write",
            ) from error
        return Run(self, record)

    def records(self) -> list[RunRecord]:
        """All runs, newest first. A record that cannot be read is left out."""
        found = [read(path) for path in self.folder.glob("*/run.json")]
        return sorted((record for record in found if record), key=lambda record: record.started_at, reverse=True)

    def read(self, run_id: str) -> RunRecord | None:
        """The record with exactly this id."""
        return read(self.folder / run_id / "run.json")

    def find(self, prefix: str) -> RunRecord:
        """The one run whose id begins with ``prefix``, or that produced a ``runs:/…`` handle whose id does.

        Args:
            prefix: At least one hex digit; a whole ``runs:/…`` handle is taken too.

        Raises:
            NotFound: There is none.
            UsageError: There are several.
        """
        wanted = prefix.removeprefix("runs:/").partition("/")[0]
        records = self.records()
        found = [record for record in records if wanted and record.id.startswith(wanted)]
        # Where the same model is trained or met again, the newest run that speaks of it is meant.
        found = found or [record for record in records if wanted and _produced(record, wanted)][:1]
        if not found:
            raise NotFound(
                f"no run {prefix}",
                where=str(self.folder),
                problem="no run of this project on this machine has this id",
                next_step="ridgeway list runs",
            )
        if len(found) > 1:
            raise UsageError(
                f"{prefix} is not one run",
                problem=f"{len(found)} begin with it: " + ", ".join(record.id[:12] for record in found[:5]),
                expected="more digits",
                next_step="ridgeway list runs",
            )
        return found[0]

    def log_lines(self, run_id: str, step: str = "", *, follow: bool = False) -> Iterator[str]:
        """The lines of a run's log, or of one step's, without their newlines.

        Args:
            run_id: The run's id, or the beginning of it.
            step: The step's name; empty for the whole run.
            follow: Go on with what is yet to come, until the run ends or its process is gone.

        Raises:
            NotFound: There is no such run, or it has no such step.
        """
        record = self.find(run_id)
        if step and not follow:
            _check_step(record, step, self.folder / record.id)
        return self._lines(record.id, log_file(self.folder / record.id, step), follow=follow)

    def _lines(self, run_id: str, path: Path, *, follow: bool) -> Iterator[str]:
        offset = 0
        while True:
            # Asked before reading: what is written up to the end is then still read.
            goes_on = follow and self._goes_on(run_id)
            content = _read_from(path, offset)
            whole = content if not goes_on else content[: content.rfind(b"\n") + 1]
            offset += len(whole)
            yield from whole.decode("utf-8", errors="replace").removesuffix("\n").split("\n") if whole else ()
            if not goes_on:
                return
            time.sleep(0.2)

    def _goes_on(self, run_id: str) -> bool:
        record = self.read(run_id)
        return record is not None and record.state == "running" and is_alive(record.process)

    def active(self) -> list[RunRecord]:
        """Runs that are under way: in state ``running``, by a process that is there."""
        return [record for record in self._marked() if record.state == "running" and is_alive(record.process)]

    def dead(self) -> list[RunRecord]:
        """Runs that say ``running`` although their process is gone."""
        return [record for record in self._marked() if record.state == "running" and not is_alive(record.process)]

    def unreported(self) -> list[RunRecord]:
        """Crashed runs that the orchestrator's server still takes for running."""
        return [record for record in self._marked() if record.state == "crashed" and not record.reported]

    def _marked(self) -> list[RunRecord]:
        try:
            names = [mark.name for mark in self._active.iterdir()]
        except FileNotFoundError:
            return []
        return [record for record in map(self.read, names) if record]

    def bury(self, record: RunRecord) -> RunRecord:
        """The record of a dead run, now ``crashed``, as are its open steps. Its end is when its log was last written.

        Raises:
            StorageError: The record cannot be written.
        """
        folder = self.folder / record.id
        ended = _last_written([folder / "run.log", folder / "run.json"])
        steps = tuple(
            dataclasses.replace(step, state="crashed", ended_at=ended) if step.state == "running" else step
            for step in record.steps
        )
        open_steps = [step.name for step in steps if step.state == "crashed"]
        where = f"in {', '.join(open_steps)}" if open_steps else "between two steps"
        buried = dataclasses.replace(
            record,
            state="crashed",
            ended_at=ended,
            sentence=f"the process was gone without a word, {where}",
            steps=steps,
            reported=False,
        )
        self._save(buried)
        for partial in folder.glob(".run.json.*"):
            partial.unlink(missing_ok=True)
        return buried

    def cancel(self, record: RunRecord) -> None:
        """Notes that a person wants the run to end, for whoever looks after its process; ends nothing by itself.

        Raises:
            StorageError: It cannot be noted.
        """
        write(self.folder / record.id / CANCELLED, {"schema": 1, "at": now()})

    def is_cancelled(self, record: RunRecord) -> bool:
        """Whether a person wanted the run to end."""
        return (self.folder / record.id / CANCELLED).exists()

    def mark_reported(self, record: RunRecord) -> None:
        """Notes that the orchestrator's server knows of the crash.

        Raises:
            StorageError: The record cannot be written.
        """
        self._save(dataclasses.replace(record, reported=True))

    def _save(self, record: RunRecord) -> None:
        write(self.folder / record.id / "run.json", to_json(record))
        if record.state != "running" and record.reported:
            (self._active / record.id).unlink(missing_ok=True)


class Run:
    """The record of the run that this process carries out; made by ``RunLog.start``. Safe to use from several threads.

    As a context manager it ends itself: ``finished`` unless told otherwise, ``interrupted`` on Ctrl-C, else ``failed``.
    """

    def __init__(self, store: RunLog, record: RunRecord) -> None:
        self.store = store
        self.record = record
        self._lock = RLock()
        self._capture = Capture(store.folder / record.id)
        store._save(record)  # noqa: SLF001 - one module, two halves
        self._capture.start()
        self._token = _CURRENT.set(self)

    @property
    def id(self) -> str:
        """32 hex digits."""
        return self.record.id

    def note(self, **changes: Any) -> None:
        """Changes fields of the record, such as ``flow_run_id``, and writes it.

        Raises:
            StorageError: The record cannot be written.
        """
        with self._lock:
            self.record = dataclasses.replace(self.record, **changes)
            self.store._save(self.record)  # noqa: SLF001 - one module, two halves

    def produced(self, handle: str) -> None:
        """Notes the handle of something that a step returned."""
        with self._lock:
            if handle not in self.record.produced:
                self.note(produced=(*self.record.produced, handle))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Records the step's state and times, and what is logged meanwhile in ``logs/NAME.log``.

        An error is written into that log and goes on. A step of the same name again is the next attempt.

        Raises:
            UsageError: The name cannot be a file's.
        """
        if not re.fullmatch(r"[\w][\w.-]*", name):
            raise UsageError(f"{name!r} cannot be the name of a step", expected="letters, digits and _")
        self._set_step(name, "running")
        with self._capture.step(name):
            try:
                yield
            except BaseException as error:
                _tell(name, error)
                self._set_step(name, "failed" if _is_failure(error) else "interrupted")
                raise
        self._set_step(name, "finished")

    def _set_step(self, name: str, state: State) -> None:
        with self._lock:
            self.note(steps=_with_step(self.record.steps, name, state, now()))

    def end(self, state: State = "finished", *, exit_code: int = 0, sentence: str = "") -> None:
        """Writes the end of the run and stops listening. A second end changes nothing.

        Raises:
            StorageError: The record cannot be written.
        """
        with self._lock:
            if self.record.state != "running":
                return
            try:
                self.note(state=state, ended_at=now(), exit_code=exit_code, sentence=sentence)
            finally:
                self._capture.stop()
                if _CURRENT.get() is self:
                    _CURRENT.set(None)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        if error is None:
            self.end()
        elif isinstance(error, Exception):
            code = error.exit_code if isinstance(error, RidgewayError) else 1
            self.end("failed", exit_code=code, sentence=str(error).partition("\n")[0])
        else:
            self.end("interrupted", exit_code=130, sentence="interrupted")


def _with_step(steps: Iterable[StepRecord], name: str, state: State, moment: str) -> tuple[StepRecord, ...]:
    """The steps with one of them begun, begun again, or ended."""
    known = {step.name: step for step in steps}
    step = known.get(name)
    if state != "running":
        known[name] = dataclasses.replace(step or StepRecord(name, state, moment), state=state, ended_at=moment)
    elif step is None:
        known[name] = StepRecord(name, state, moment)
    else:
        known[name] = dataclasses.replace(step, state=state, ended_at="", attempts=step.attempts + 1)
    return tuple(known.values())


def _is_failure(error: BaseException) -> bool:
    """Whether the step failed, rather than a person wanting it to end.

    Who ends code from outside because it takes too long raises a ``CancelledError``; there are several, and importing
    them for a comparison takes longer than all else here.
    """
    return isinstance(error, Exception) or any(kind.__name__ == "CancelledError" for kind in type(error).__mro__)


def _tell(name: str, error: BaseException) -> None:
    """The error, into the step's log: ours as they are, those that nobody foresaw with their stack trace."""
    if isinstance(error, RidgewayError):
        _logger.error("%s", error)
    elif isinstance(error, Exception):
        _logger.error("%s: %s: %s", name, type(error).__name__, error, exc_info=error)
    else:
        _logger.error("%s: %s", name, "ended, it took too long" if _is_failure(error) else "interrupted")


def _produced(record: RunRecord, wanted: str) -> bool:
    return any(handle.startswith(f"runs:/{wanted}") for handle in record.produced)


def _check_step(record: RunRecord, step: str, folder: Path) -> None:
    names = [known.name for known in record.steps]
    if step in names or log_file(folder, step).is_file():
        return
    close = get_close_matches(step, names, n=1)
    raise NotFound(
        f"run {record.id[:12]} has no step {step}",
        problem=f"did you mean {close[0]}?" if close else "",
        expected=", ".join(names) or "a run that came to its first step",
        next_step=f"ridgeway logs runs:/{record.id[:12]}",
    )


def _last_written(paths: Iterable[Path]) -> str:
    times = [path.stat().st_mtime for path in paths if path.is_file()]
    moment = max(times, default=time.time())
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1000):03d}Z"


def _read_from(path: Path, offset: int) -> bytes:
    """What the file holds from ``offset`` on; nothing while there is no file."""
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            return stream.read()
    except FileNotFoundError:
        return b""
