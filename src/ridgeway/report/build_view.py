"""The record of a build, and what there is to tell of it: each gate's outcome, and all findings by file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ridgeway.artifacts import SCHEMA, BuildFinding, GateReport, from_json, to_json
from ridgeway.errors import UsageError
from ridgeway.report import wording
from ridgeway.report.record import Findings, RunInfo, build_record

KIND = "BuildRecord"
WHOLE = "the whole project"
"""Where a finding is about no single file."""
OUTCOMES = {"passed": "passes", "found": "found", "broken": "could not look", "skipped": "nothing to do"}


@dataclass(frozen=True, slots=True)
class View:
    """What there is to tell."""

    facts: tuple[str, ...]
    """Project, run, time, commit."""
    gates: tuple[GateReport, ...]
    files: tuple[tuple[str, tuple[BuildFinding, ...]], ...]
    """File → findings in it, by line."""
    next_steps: tuple[str, ...]
    """Each of them once."""

    @property
    def count(self) -> int:
        """Of all findings."""
        return sum(len(found) for _, found in self.files)


def build_record_of_build(run: RunInfo, reports: Sequence[GateReport]) -> dict[str, Any]:
    """The record of one build: plain JSON values only. Pure.

    Args:
        run: The run.
        reports: Of the gates that looked, in the order in which they are told.

    Returns:
        A dict with ``schema`` 1 and ``kind`` ``BuildRecord``.

    Example:
        >>> run = RunInfo("ab12", "build", "diabetes", "", "", "found", "1 finding")
        >>> record = build_record_of_build(run, [GateReport("ruff", "found", (BuildFinding("ruff", "a.py", 3),))])
        >>> record["kind"], record["gates"][0]["findings"][0]["line"]
        ('BuildRecord', 3)
    """
    whole = build_record(run, Findings())
    gates = json.loads(json.dumps([to_json(report) for report in reports]))
    return {**{key: whole[key] for key in ("schema", "outcome", "run", "lineage")}, "kind": KIND, "gates": gates}


def is_build(record: Any) -> bool:
    """Whether this is the record of a build.

    Example:
        >>> is_build({"kind": "BuildRecord"}), is_build({"kind": "RetrainingRecord"})
        (True, False)
    """
    return isinstance(record, Mapping) and record.get("kind") == KIND


def view(record: Mapping[str, Any]) -> View:
    """What there is to tell of a build.

    Args:
        record: What ``build_record_of_build`` returned.

    Raises:
        UsageError: It is not a record of a build that this version can read.
    """
    if record.get("schema") != SCHEMA or not is_build(record):
        raise UsageError(
            "cannot read the record of a build",
            problem=f"schema {record.get('schema')!r}, kind {record.get('kind')!r}",
            expected=f"schema {SCHEMA}, kind {KIND!r}",
            next_step="use the version of ridgeway that wrote it, or a newer one",
        )
    gates: tuple[GateReport, ...] = tuple(from_json(gate) for gate in record["gates"])
    steps = [record["outcome"]["next_step"], *(gate.next_step for gate in gates)]
    return View(tuple(_facts(record)), gates, tuple(_by_file(gates)), tuple(dict.fromkeys(filter(None, steps))))


def _facts(record: Mapping[str, Any]) -> Iterator[str]:
    run, lineage = record["run"], record["lineage"]
    yield from (run["project"], run["flow"], f"run {run['id'][:12]}")
    if run["seconds"] is not None:
        yield wording.duration(run["seconds"])
    if lineage["commit"]:
        yield f"commit {lineage['commit'][:12]}{'' if lineage['clean'] else ' (with uncommitted changes)'}"


def _by_file(gates: Sequence[GateReport]) -> Iterator[tuple[str, tuple[BuildFinding, ...]]]:
    """The whole project comes last."""
    found = [one for gate in gates for one in gate.findings]
    found.sort(key=lambda one: (not one.file, one.file, one.line, one.column))
    for file, group in groupby(found, key=lambda one: one.file):
        yield file or WHOLE, tuple(group)
