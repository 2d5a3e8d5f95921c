"""What every command says and how: results to stdout, the story to stderr, errors as one message and an exit code."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import click

from ridgeway.ci.outputs import harmless
from ridgeway.errors import BadData, ModelError, RidgewayError, StorageError, Transient, UsageError

SOFT_CODES = (3, 4, 5)
"""Outcomes that are no failures of a CI job: with ``--ci`` they end with 0."""
INTERRUPTED = 130
DEBUG = "ridgeway.debug"
"""Where click's context keeps whether ``--debug`` was given."""
RECORD = "ridgeway.record"
"""Where it keeps what ``--json`` prints, for whoever tells a CI system."""


class EnoughRead(Exception):
    """Whoever reads our output, such as ``head``, has had enough."""


def say(text: str = "") -> None:
    """A line of the story, to stderr."""
    click.echo(harmless(text, os.environ), err=True)


def result(text: str, record: Any = None, *, as_json: bool = False) -> None:
    """The result, to stdout: ``text``, or with ``--json`` the record."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[RECORD] = record
    shown = json.dumps(record, ensure_ascii=False, indent=2, default=str) if as_json else text
    try:
        click.echo(harmless(shown, os.environ))
    except BrokenPipeError:
        raise EnoughRead from None  # click would make an exit code of 1 of it


def width() -> int:
    """Columns of the terminal; 100 where there is none."""
    return shutil.get_terminal_size((100, 24)).columns


def colour(stream: Any = None) -> bool:
    """Whether to colour what goes to the stream (stdout by default): a terminal, and no NO_COLOR."""
    stream = sys.stdout if stream is None else stream
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def soften(code: int, *, ci: bool) -> int:
    """The exit code as a CI job should see it."""
    return 0 if ci and code in SOFT_CODES else code


class StoryHandler(logging.Handler):
    """Shows the log lines of ``ridgeway.*`` as they come: the part's name, then the message."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line to stderr; a closed pipe is nobody's error.

        What the run's log says of an error is left out: the error itself is shown at the end, once.
        """
        if record.name == "ridgeway.run_log":
            return
        with contextlib.suppress(OSError, ValueError):
            part = record.name.removeprefix("ridgeway").lstrip(".")
            mark = "! " if record.levelno >= logging.WARNING else "  "
            text = harmless(record.getMessage(), os.environ).replace("\n", "\n" + " " * 20)
            sys.stderr.write(f"{mark}{part:<17} {text}\n")
            sys.stderr.flush()


@contextlib.contextmanager
def story() -> Iterator[None]:
    """Within it, what the parts log is shown on stderr; with ``--debug`` all of it."""
    logger = logging.getLogger("ridgeway")
    context = click.get_current_context(silent=True)
    debug = bool(context and context.meta.get(DEBUG))
    handler = StoryHandler(logging.DEBUG if debug else logging.INFO)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextlib.contextmanager
def signals() -> Iterator[None]:
    """Within it, SIGTERM ends a command the way Ctrl-C does: everything is put away, exit code 130."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: someone runs commands from a test or a server
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def report(error: BaseException, *, debug: bool) -> int:
    """Says what went wrong, in one message on stderr, and returns the exit code."""
    if debug and not isinstance(error, click.exceptions.Exit):
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        say("interrupted: what was finished is kept; the same command goes on from there")
        return INTERRUPTED
    if isinstance(error, click.ClickException):
        return _usage(error)
    if isinstance(error, EnoughRead | SystemExit | click.exceptions.Exit):
        return _left(error)
    known = error if isinstance(error, RidgewayError) else _storage(error)
    if known is not None:
        say(f"error: {known}")
        if not known.next_step:
            say(f"  next      {_usual_next_step(known)}")
        return known.exit_code
    say(f"error: unexpected {type(error).__name__}: {error}\n  next      the same command with --debug shows where")
    return 1


def _left(error: BaseException) -> int:
    """The exit code of a command that was left on purpose."""
    if isinstance(error, EnoughRead):
        # A second error at shutdown would only confuse.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    code = error.exit_code if isinstance(error, click.exceptions.Exit) else getattr(error, "code", 1)
    return code if isinstance(code, int) else 1


def _usage(error: click.ClickException) -> int:
    say(f"error: {error.format_message()}")
    context = getattr(error, "ctx", None)
    if context is not None:
        say(f"  next      {context.command_path} --help")
    return 2 if isinstance(error, click.UsageError) else error.exit_code


USUAL_NEXT_STEPS: tuple[tuple[type[RidgewayError], str], ...] = (
    (BadData, "mend the data, then run the same command again"),
    (ModelError, "mend steps/make_model.py, then run the same command again"),
    (StorageError, "make room, or give yourself the right to write there; then run the same command again"),
    (UsageError, "correct it, then run the same command again"),
    (Transient, "run the same command again later"),
    (RidgewayError, "the same command with --debug shows where"),
)
"""What to do after an error that knows no better; the first kind that fits counts."""


def _usual_next_step(error: RidgewayError) -> str:
    return next(text for kind, text in USUAL_NEXT_STEPS if isinstance(error, kind))


def _storage(error: BaseException) -> StorageError | None:
    """A full or read-only disk, wherever it was met, as an error of ours."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES}:
        return StorageError(
            "cannot write",
            where=str(error.filename or ""),
            problem=error.strerror or str(error),
            expected="space, and the right to write",
            next_step="make room, then the same command goes on from there",
        )
    return None
