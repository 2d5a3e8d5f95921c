"""What a run says, into files: one for the whole run and one per step."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from threading import Lock
from typing import TextIO

_STEP: ContextVar[str] = ContextVar("ridgeway_step", default="")

# The orchestrator's own records are about its bookkeeping and hold stack traces; it keeps them itself.
_LEFT_OUT = ("prefect", "httpx", "httpcore", "asyncio")


def current_step() -> str:
    """The step that this code is part of; empty outside of one."""
    return _STEP.get()


@contextmanager
def spoken_by(step: str) -> Iterator[None]:
    """What this thread logs meanwhile counts as said by ``step``, which runs elsewhere."""
    token = _STEP.set(step)
    try:
        yield
    finally:
        _STEP.reset(token)


class Capture(logging.Handler):
    """Writes log records to ``run.log`` and to the file of the step that they come from.

    From ``ridgeway`` everything at INFO and above is kept, from libraries (and of Python's warnings) what is at WARNING
    and above. A record of a thread that a library started carries no step and goes to every step that is open.

    Each record is handed to the system as soon as it is made, so that nothing is lost to ``kill -9``.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(logging.INFO)
        # Libraries that configure logging when they are imported leave the root alone if a handler has a formatter.
        self.setFormatter(logging.Formatter())
        self._folder = folder
        self._files: dict[str, TextIO] = {}
        self._open_steps: list[str] = []
        self._files_lock = Lock()
        self._listened: list[logging.Logger] = []
        self._level_before = logging.NOTSET

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record belongs into the files, and is not there already."""
        origin = record.name.partition(".")[0]
        wanted = origin == "ridgeway" or (record.levelno >= logging.WARNING and origin not in _LEFT_OUT)
        # One record can come twice, from its own logger and from the root.
        return wanted and self not in getattr(record, "captured_by", ())

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record; an error while writing is nothing that a run should die of."""
        record.captured_by = (*getattr(record, "captured_by", ()), self)  # of runs within runs, each keeps it once
        try:
            self._write(record, _STEP.get())
        except (OSError, ValueError):
            return

    def _write(self, record: logging.LogRecord, step: str) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{logging.Formatter().formatException(record.exc_info)}"
        message = message.rstrip().replace("\n", "\n" + " " * 26)
        with self._files_lock:
            self._line("", f"{moment} {record.levelname:<7} {step or '-'}: {message}\n")
            for name in [step] if step else self._open_steps:
                self._line(name, f"{moment} {record.levelname:<7} {message}\n")

    def _line(self, step: str, text: str) -> None:
        stream = self._files.get(step)
        if stream is None:
            path = log_file(self._folder, step)
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = self._files[step] = path.open("a", encoding="utf-8", errors="backslashreplace")
        stream.write(text)
        stream.flush()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Records of this thread, and of those that carry its context, belong to the step ``name`` meanwhile."""
        self.listen()
        token = _STEP.set(name)
        self._open_steps.append(name)
        try:
            yield
        finally:
            self._open_steps.remove(name)
            _STEP.reset(token)

    def start(self) -> None:
        """Begins to listen; Python's warnings become log records meanwhile."""
        ours = logging.getLogger("ridgeway")
        self._level_before = ours.level
        if ours.getEffectiveLevel() > logging.INFO:
            ours.setLevel(logging.INFO)
        logging.captureWarnings(True)
        self.listen()

    def listen(self) -> None:
        """Attaches itself to the root, to ``ridgeway`` and to each logger that keeps its records from the root."""
        known = [item for item in logging.root.manager.loggerDict.values() if isinstance(item, logging.Logger)]
        silent = [item for item in known if not item.propagate and item.name.partition(".")[0] not in _LEFT_OUT]
        for logger in (logging.root, logging.getLogger("ridgeway"), *silent):
            if self not in logger.handlers:
                logger.addHandler(self)
                self._listened.append(logger)

    def stop(self) -> None:
        """Detaches itself, closes the files and leaves logging as it was."""
        for logger in self._listened:
            logger.removeHandler(self)
        self._listened.clear()
        logging.captureWarnings(False)
        logging.getLogger("ridgeway").setLevel(self._level_before)
        with self._files_lock:
            for stream in self._files.values():
                stream.close()
            self._files.clear()


def log_file(folder: Path, step: str) -> Path:
    """Where a step's log is kept in a run's folder; of the whole run for an empty name."""
    return folder / "logs" / f"{step}.log" if step else folder / "run.log"
