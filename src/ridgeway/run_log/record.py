"""What is kept of a run: its record as frozen values, and their JSON form."""

from __future__ import annotations

import dataclasses
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ridgeway.errors import StorageError
from ridgeway.run_log.process import Process

SCHEMA = 1

State = Literal["running", "finished", "failed", "interrupted", "crashed"]
"""``finished``: to its end, whatever the verdict. ``failed``: an error. ``crashed``: its process died before."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of a run: its state, its times and how often it was tried."""

    name: str
    state: State
    started_at: str
    ended_at: str = ""
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of a flow on this machine. Times are ISO 8601, UTC; empty means not yet, or none."""

    id: str
    """32 hex digits."""
    flow: str
    state: State
    started_at: str
    process: Process
    command: str = ""
    ended_at: str = ""
    exit_code: int | None = None
    sentence: str = ""
    """What came of it, as a person reads it; for an error its first line."""
    flow_run_id: str = ""
    """The orchestrator's id of the run; empty until it has one."""
    flow_run_url: str = ""
    """Where the orchestrator shows the run, as long as its server is up."""
    produced: tuple[str, ...] = ()
    """Handles of what the steps returned, in order."""
    steps: tuple[StepRecord, ...] = ()
    reported: bool = True
    """False while the orchestrator's server still has to be told that the run crashed."""


def now() -> str:
    """This moment as ISO 8601, UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_json(record: RunRecord) -> dict[str, Any]:
    """The JSON form of a record."""
    return {"schema": SCHEMA, **dataclasses.asdict(record)}


def from_json(content: dict[str, Any]) -> RunRecord:
    """The record that ``to_json`` wrote; fields of a later version are ignored.

    Raises:
        ValueError: It is none, or of another schema.

    Example:
        >>> record = RunRecord("0" * 32, "retraining", "running", now(), Process.current())
        >>> from_json(json.loads(json.dumps(to_json(record)))) == record
        True
    """
    if content.get("schema") != SCHEMA:
        raise ValueError(f"schema {content.get('schema')!r}, expected {SCHEMA}")
    known = {field.name for field in dataclasses.fields(RunRecord)}
    try:
        values = {key: value for key, value in content.items() if key in known}
        values["process"] = Process(**values["process"])
        values["produced"] = tuple(values.get("produced", ()))
        values["steps"] = tuple(StepRecord(**step) for step in values.get("steps", ()))
        return RunRecord(**values)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not the record of a run: {error}") from error


def read(path: Path) -> RunRecord | None:
    """The record in a file; None when there is none that can be read."""
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError):
        return None


def write(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON so that a crash, also of the machine, leaves the old content or the new, never half of it.

    Raises:
        StorageError: The disk is full or the place cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("w", encoding="utf-8") as stream:
            json.dump(content, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise StorageError(
            f"cannot write {path}", problem=error.strerror or str(error), expected="space, and the right to write"
        ) from error
