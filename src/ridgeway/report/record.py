"""The record of one retraining: everything that terminal, page and Markdown show, as one JSON value."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ridgeway.artifacts import SCHEMA, Candidate, DataReport, Dataset, ModelVersion, Verdict, from_json, to_json
from ridgeway.errors import UsageError

KIND = "RetrainingRecord"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the run, with its wall time in seconds."""

    name: str
    seconds: float
    outcome: str = "done"
    """``done``, ``reused`` (an earlier result was found), ``skipped`` or ``failed``."""
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What is known of the run itself, apart from what it found."""

    run_id: str
    flow: str
    project: str
    started_at: str
    """ISO 8601, UTC; so is ``ended_at``."""
    ended_at: str
    outcome: str
    """``accept``, ``reject``, ``hold``, ``unchanged``, ``bad_data``, ``failed`` or ``interrupted``."""
    sentence: str
    """The plain sentence that heads every rendering."""
    next_step: str = ""
    """The command or edit that leads on."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Of a run that an error ended: what it says under ``where``, ``problem`` and ``expected``."""
    commit: str = ""
    clean: bool | None = None
    """Whether the source tree equalled the commit; None where that is unknown."""
    environment: str = ""
    """Digest of the installed packages."""
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Full path of the setting to value; whatever looks like a secret is replaced in the record."""
    steps: tuple[Step, ...] = ()
    build_url: str = ""
    """Address of the CI build, where there is one."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What the run found and made, as far as it came."""

    dataset: Dataset | None = None
    data_report: DataReport | None = None
    candidate: Candidate | None = None
    verdict: Verdict | None = None
    version: ModelVersion | None = None


def build_record(run: RunInfo, findings: Findings, *, plots: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The record of one retraining: plain JSON values only, equal to itself after a round trip through a file. Pure.

    Args:
        run: The run.
        findings: The nouns it produced; None for what was not reached (after bad data: no candidate, no verdict).
        plots: What ``plot_data`` returned, or None where there was nothing to plot.

    Returns:
        A dict with ``schema`` 1 and ``kind`` ``RetrainingRecord``. Numbers that are not finite become None (JSON has
        no word for them); settings whose name or value looks like a secret become ``(hidden)``.

    Example:
        >>> run = RunInfo("ab12", "retraining", "diabetes", "2026-03-02T04:00:00Z", "2026-03-02T04:00:09Z",
        ...               "bad_data", "data/diabetes.csv is refused", settings={"registry.password": "x"})
        >>> record = build_record(run, Findings())
        >>> record["run"]["seconds"], record["settings"], record["verdict"]
        (9.0, {'registry.password': '(hidden)'}, None)
    """
    nouns = {
        "dataset": findings.dataset,
        "data_report": findings.data_report,
        "candidate": findings.candidate,
        "verdict": findings.verdict,
        "model_version": findings.version,
    }
    plain: dict[str, Any] = _plain(
        {
            "schema": SCHEMA,
            "kind": KIND,
            "outcome": {
                "code": run.outcome,
                "sentence": run.sentence,
                "next_step": run.next_step,
                "details": {key: text for key, text in run.details.items() if text},
            },
            "run": _run_facts(run),
            "lineage": {"commit": run.commit, "clean": run.clean, "environment": run.environment, "seed": run.seed},
            "settings": {key: _without_secrets(key, value) for key, value in run.settings.items()},
            "steps": [
                {"name": step.name, "seconds": step.seconds, "outcome": step.outcome, "attempts": step.attempts}
                for step in run.steps
            ],
            **{key: None if noun is None else to_json(noun) for key, noun in nouns.items()},
            "plots": None if plots is None else dict(plots),
        }
    )
    return plain


def findings_of(record: Mapping[str, Any]) -> Findings:
    """The nouns that a record holds.

    Raises:
        UsageError: It is not a record of a retraining that this version can read.

    Example:
        >>> run = RunInfo("ab12", "retraining", "d", "", "", "failed", "stopped")
        >>> findings_of(build_record(run, Findings())) == Findings()
        True
    """
    _require(record)
    keys = ("dataset", "data_report", "candidate", "verdict", "model_version")
    return Findings(*(None if record.get(key) is None else from_json(record[key]) for key in keys))


def read_record(path: Path) -> dict[str, Any]:
    """The record that ``write_report`` wrote.

    Raises:
        UsageError: The file is missing, is not JSON, or is not a record that this version can read.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError("cannot read the record of a retraining", where=str(path), problem=str(error)) from error
    _require(record)
    return dict(record)


def _require(record: Any) -> None:
    schema, kind = (record.get("schema"), record.get("kind")) if isinstance(record, Mapping) else (None, None)
    if (schema, kind) != (SCHEMA, KIND):
        raise UsageError(
            "cannot read the record of a retraining",
            problem=f"schema {schema!r}, kind {kind!r}",
            expected=f"schema {SCHEMA}, kind {KIND!r}",
            next_step="use the version of ridgeway that wrote it, or a newer one",
        )


def _run_facts(run: RunInfo) -> dict[str, Any]:
    return {
        "id": run.run_id,
        "flow": run.flow,
        "project": run.project,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "seconds": _seconds_between(run.started_at, run.ended_at),
        "build_url": run.build_url,
    }


def _seconds_between(start: str, end: str) -> float | None:
    try:
        return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    except (ValueError, TypeError):
        return None


_HIDDEN = "(hidden)"
_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|credential|(api|access|private|signing)_?key$", re.IGNORECASE
)
_SECRET_IN_URL = re.compile(r"(?<=://)[^/\s@]*:[^/\s@]*(?=@)")


def _without_secrets(name: str, value: Any) -> Any:
    """Reports are mailed and attached; settings are declared without secrets, and this is the second lock."""
    if isinstance(value, Mapping):
        return {key: _without_secrets(str(key), item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_secrets(name, item) for item in value]
    if _SECRET_NAME.search(name) and value not in (None, "", 0, False):
        return _HIDDEN
    return _SECRET_IN_URL.sub(_HIDDEN, value) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """``value`` in the types that JSON knows: a record in memory equals the record read back."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    # numpy scalars, without importing numpy here
    return _plain(value.item()) if hasattr(value, "item") else str(value)
