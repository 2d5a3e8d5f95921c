"""What a run in a cluster tells the command that watches it: one JSON object in a line of the pod's log. Pure.

Whoever reads the pod's log by other means sees structured lines with time, level, step and message. The last line is
also left with the pod itself, shortened, so that its outcome is known where the log is lost.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ridgeway import errors
from ridgeway.errors import RidgewayError
from ridgeway.run_log import StepRecord

MARK = "ridgeway"
"""The key that tells our lines from what libraries print."""
LEFT_BYTES = 4096
"""What a pod may leave behind as its last word."""


@dataclass(frozen=True, slots=True)
class Said:
    """A log line."""

    time: float
    """Seconds since 1970."""
    level: str
    part: str
    """Name of the logger."""
    step: str
    """Empty outside of one."""
    message: str


@dataclass(frozen=True, slots=True)
class Steps:
    """The run's steps as they are now."""

    steps: tuple[StepRecord, ...]


@dataclass(frozen=True, slots=True)
class Begun:
    """Under which names the run is known."""

    run: str
    """Id of the run in the registry."""
    flow_run_id: str = ""
    flow_run_url: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended: with what the flow returned, or with an error."""

    exit_code: int
    summary: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, str] = field(default_factory=dict)
    run: str = ""
    """Id of the run in the registry, where it came to have one."""
    steps: tuple[StepRecord, ...] = ()
    """As they were at the end."""


Event = Said | Steps | Begun | Ended
_KINDS: dict[str, type[Any]] = {"log": Said, "steps": Steps, "begun": Begun, "ended": Ended}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def write(event: Event) -> str:
    """The event in one line.

    Example:
        >>> write(Begun("3f2a"))
        '{"ridgeway": "begun", "run": "3f2a", "flow_run_id": "", "flow_run_url": ""}'
    """
    content = dataclasses.asdict(event)
    if isinstance(event, Said):
        content["time"] = _moment(event.time)
    return json.dumps({MARK: _NAMES[type(event)], **content}, ensure_ascii=False, default=str)


def read(line: str) -> Event | None:
    """The event in a line; None for a line that somebody else has written.

    Example:
        >>> read(write(Ended(3, {"outcome": "reject"}))).exit_code, read("Killed")
        (3, None)
    """
    if not line.startswith("{"):
        return None
    try:
        content = json.loads(line)
        kind = _KINDS[content.pop(MARK)]
        if kind is Said:
            content["time"] = datetime.datetime.fromisoformat(content["time"]).timestamp()
        if "steps" in content:
            content["steps"] = tuple(StepRecord(**one) for one in content["steps"])
        event: Event = kind(**content)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return event


def last_word(event: Ended) -> str:
    """The end in as much room as a pod has for it; long texts are cut.

    Example:
        >>> len(last_word(Ended(1, error={"kind": "Permanent", "problem": "x" * 9000})).encode()) <= LEFT_BYTES
        True
    """
    for longest in (2000, 500, 150, 40):
        short = dataclasses.replace(event, summary=_cut(event.summary, longest), error=_cut(event.error, longest))
        for kept in (short, dataclasses.replace(short, steps=())):
            if len(write(kept).encode()) <= LEFT_BYTES:
                return write(kept)
    return write(Ended(event.exit_code, run=event.run))


def _cut(content: Mapping[str, Any], longest: int) -> dict[str, Any]:
    return {
        key: f"{value[:longest]}…" if isinstance(value, str) and len(value) > longest else value
        for key, value in content.items()
    }


_KEPT = re.compile(r"(?P<time>\S+Z) (?P<level>[A-Z]+) +(?P<step>[\w.-]+): (?P<message>.*)")
_INDENT = " " * 26


def read_kept(text: str) -> list[Said]:
    """The log lines in a run's ``run.log``, as the registry keeps it.

    Example:
        >>> [(said.step, said.message) for said in read_kept("2026-01-01T00:00:00.000Z INFO    load_data: 3 rows")]
        [('load_data', '3 rows')]
    """
    found: list[Said] = []
    for line in text.splitlines():
        match = _KEPT.fullmatch(line)
        if match:
            moment = datetime.datetime.fromisoformat(match["time"]).timestamp()
            step = match["step"] if match["step"] != "-" else ""
            found.append(Said(moment, match["level"], f"ridgeway.{step or 'job'}", step, match["message"]))
        elif found and line.startswith(_INDENT):
            last = found[-1]
            found[-1] = dataclasses.replace(last, message=f"{last.message}\n{line[len(_INDENT) :]}")
    return found


def unheard(kept: Iterable[Said], heard: Iterable[Said]) -> list[Said]:
    """The lines that were kept and did not arrive: a node may lose some of a log, and its registry does not.

    Libraries' warnings outside of steps are left out: they are not sent either.

    Example:
        >>> lines = [Said(0, "INFO", "ridgeway.job", "", text) for text in ("a", "b", "b")]
        >>> [said.message for said in unheard(lines, lines[:2])]
        ['b']
    """
    left = Counter((said.step, said.message.rstrip()) for said in heard)
    found = []
    for said in kept:
        key = (said.step, said.message.rstrip())
        left[key] -= 1
        if left[key] < 0 and (said.step or said.level == "INFO"):
            found.append(said)
    return found


def record_of(said: Said) -> logging.LogRecord:
    """The log line as if it had been logged here."""
    level = logging.getLevelNamesMapping().get(said.level, logging.INFO)
    record = logging.LogRecord(said.part, level, "", 0, said.message, (), None)
    record.created, record.msecs = said.time, said.time % 1 * 1000
    return record


def said_by(record: logging.LogRecord, step: str) -> Said:
    """A log record of this process as an event."""
    message = record.getMessage()
    if record.exc_info:
        message = f"{message}\n{logging.Formatter().formatException(record.exc_info)}"
    return Said(record.created, record.levelname, record.name, step, message)


def _moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds")


# ---- errors ----------------------------------------------------------------------------------------------------------


def facts_of(error: BaseException) -> dict[str, str]:
    """An error of ours as texts; one that nobody foresaw by its kind and message."""
    if isinstance(error, RidgewayError):
        rows = {name: getattr(error, name) for name in ("summary", "where", "problem", "expected", "next_step")}
        return {"kind": _kind(type(error)), **rows}
    return {"kind": "", "summary": f"unexpected {type(error).__name__}", "problem": str(error)}


def _kind(kind: type[RidgewayError]) -> str:
    """The nearest kind that is known everywhere: some parts have kinds of their own."""
    return str(next(one.__name__ for one in kind.__mro__ if getattr(errors, one.__name__, None) is one))


def error_of(ended: Ended) -> RidgewayError:
    """The error that a run ended with, as it was raised there.

    Example:
        >>> error_of(Ended(65, error=facts_of(errors.BadData("no rows")))).exit_code
        65
    """
    facts = dict(ended.error)
    kind = getattr(errors, facts.pop("kind", "") or "Permanent", errors.Permanent)
    summary = facts.pop("summary", "") or f"the job ended with exit code {ended.exit_code}"
    found: RidgewayError = kind(summary, **facts)
    return found


def steps_of(steps: Sequence[StepRecord], before: Sequence[StepRecord]) -> tuple[StepRecord, ...]:
    """The steps of this machine's record with those of the job after them."""
    names = {step.name for step in steps}
    return (*(step for step in before if step.name not in names), *steps)
