"""The data gate of a build, in a process of its own: the project's data, deliveries it must take, and such it must not.

It runs the code of the folder it is started in, whatever commit the caller's own flow comes from.

    python -m ridgeway.actions.examples ANSWER OVERRIDES
"""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ridgeway import data_source, errors
from ridgeway.actions import data
from ridgeway.artifacts import BuildFinding, DataReport, Dataset, Expectation, GateReport, from_json, to_json
from ridgeway.data_gate import examples as made
from ridgeway.errors import BadData, ModelError, RidgewayError
from ridgeway.project import (
    Project,
    digest_of,
    environment_digest,
    folder_digest,
    load_step,
    open_project,
    read_suite,
    steps_digest,
    write_atomically,
)

GATE = "data"
KINDS = ("*.csv", "*.parquet")


class Delivery:
    """One delivery on its way through the gate: what the step check_data is handed."""

    def __init__(self, project: Project, source: Path) -> None:
        self.project = project
        self.source = source
        self.dataset: Dataset | None = None
        self.frame: pd.DataFrame | None = None
        self.report: DataReport | None = None

    def load(self) -> Dataset:
        """The rows, as the project's own step reads them."""
        read = load_step(self.project.root, "load_data")
        self.dataset, self.frame = data.read(self.project, read, self.source)
        return self.dataset

    def check(self, dataset: Dataset) -> DataReport:
        """What the gate finds in them.

        Raises:
            BadData: It refuses them.
        """
        assert self.frame is not None
        self.report = data.check(self.project, dataset, self.frame)
        if not self.report.ok:
            raise data.refusal(self.report, source=dataset.source)
        return self.report


@dataclass(frozen=True)
class Looked:
    """What was looked at, and what is to be said of it."""

    findings: tuple[BuildFinding, ...] = ()
    good: int = 0
    bad: int = 0


def look(project: Project) -> GateReport:
    """What the data gate finds in the project's data, and whether it tells good examples from bad ones.

    Raises:
        UsageError: There is no suite, or it cannot be used.
        Unreachable: The source of the data does not answer.
    """
    began = time.monotonic()
    delivery = Delivery(project, project.source)
    findings = _findings_in(delivery)
    if findings:
        return _report(Looked(findings), delivery, began)
    kept = _kept(project, delivery)
    earlier = _earlier(kept)
    if earlier is not None:
        return dataclasses.replace(earlier, seconds=time.monotonic() - began)
    files = _examples(project, delivery)
    report = _report(files, delivery, began)
    if report.ok:
        write_atomically(kept, json.dumps(to_json(report)).encode())
    return report


def _findings_in(delivery: Delivery) -> tuple[BuildFinding, ...]:
    """What stands against a delivery; nothing for a good one."""
    check = load_step(delivery.project.root, "check_data")
    try:
        check(delivery.load(), job=delivery)
    except BadData as error:
        failures = delivery.report.failures if delivery.report is not None else ()
        return tuple(_finding(line, delivery) for line in failures) or (_refused(error, delivery),)
    except ModelError as error:
        file, _, line = error.where.rpartition(":")
        place = (_shown(Path(file), delivery.project), int(line)) if line.isdigit() else ("steps/load_data.py", 0)
        return (BuildFinding(GATE, *place, 0, "load_data", f"{error.summary}: {error.problem}"),)
    return ()


def _finding(line: Expectation, delivery: Delivery) -> BuildFinding:
    words = line.reason or f"observed {line.observed}, expected {line.expected}"
    rows = f" (rows {', '.join(map(str, line.first_rows))})" if line.first_rows else ""
    # In a CSV file the first row stands in line 2, if no value spans lines.
    number = line.first_rows[0] + 1 if line.first_rows and delivery.source.suffix == ".csv" else 0
    message = f"{line.column}: {words}{rows}" if line.column else f"{words}{rows}"
    return BuildFinding(GATE, _shown(delivery.source, delivery.project), number, 0, line.name, message)


def _refused(error: BadData, delivery: Delivery) -> BuildFinding:
    words = "; ".join(text for text in (error.summary.removeprefix("load_data: "), error.where, error.problem) if text)
    return BuildFinding(GATE, _shown(delivery.source, delivery.project), 0, 0, "unreadable", words)


# ---- examples --------------------------------------------------------------------------------------------------------


def _examples(project: Project, delivery: Delivery) -> Looked:
    """Good and bad examples: the project's files, and made ones where it has none of a kind."""
    folder = project.root / project.settings.build.examples
    good, bad = _files(folder, "good"), _files(folder, "bad")
    findings = [one for file in good for one in _findings_in(Delivery(project, file))]
    findings += [one for file in bad for one in _not_refused(Delivery(project, file))]
    counts = [len(good), len(bad)]
    if not good:
        findings += _half(delivery)
        counts[0] = 1
    if not bad:
        found = [*_made(delivery)]
        findings += [one for each in found for one in each]
        counts[1] = len(found)
    return Looked(tuple(findings), *counts)


def _files(folder: Path, kind: str) -> list[Path]:
    return sorted(file for pattern in KINDS for file in folder.glob(f"{kind}{pattern}"))


def _not_refused(delivery: Delivery) -> tuple[BuildFinding, ...]:
    """The finding on a bad example that gets through; one that cannot even be read is refused too."""
    found = _findings_in(delivery)
    broken = [one for one in found if one.rule == "load_data"]
    if found:
        return tuple(broken)
    shown = _shown(delivery.source, delivery.project)
    return (BuildFinding(GATE, shown, 0, 0, "bad-example", "the data gate must refuse it, and lets it pass"),)


def _half(delivery: Delivery) -> Iterator[BuildFinding]:
    assert delivery.frame is not None
    for line in _tried(delivery, made.good(delivery.frame)).failures:
        yield BuildFinding(
            GATE,
            delivery.project.settings.data.suite,
            0,
            0,
            line.name,
            f"refuses every second row of good data: {line.column}: {line.reason or line.observed}",
        )


def _made(delivery: Delivery) -> Iterator[list[BuildFinding]]:
    """For each made example what is missing of its refusal."""
    assert delivery.frame is not None
    chosen = delivery.project.settings.data
    ways = made.spoiled(
        delivery.frame,
        read_suite(delivery.project),
        refuse_deviations=chosen.refuse_deviations,
        ignore=tuple(chosen.ignore),
    )
    for each in ways:
        refused = {(line.column, line.name) for line in _tried(delivery, each.frame).failures}
        yield [
            BuildFinding(
                GATE,
                chosen.suite,
                0,
                0,
                kind,
                f"lets {each.name} pass{f' in {column}' if column else ''}: nothing would be noticed",
            )
            for column, kind in each.demands
            if (column, kind) not in refused
        ]


def _tried(delivery: Delivery, frame: pd.DataFrame) -> DataReport:
    assert delivery.dataset is not None
    typed = data_source.conform(frame, delivery.dataset.columns, source="a made example")
    return data.try_out(delivery.project, delivery.dataset, typed, read_suite(delivery.project))


# ---- what came of it -------------------------------------------------------------------------------------------------


def _report(looked: Looked, delivery: Delivery, began: float) -> GateReport:
    rows = delivery.dataset.rows if delivery.dataset is not None else 0
    report = delivery.report
    figures = {
        "rows": float(rows),
        "expectations": float(len(report.expectations) if report else 0),
        "warnings": float(len(report.warnings) if report else 0),
        "good examples": float(looked.good),
        "bad examples": float(looked.bad),
    }
    taken = report is not None and report.ok
    if not taken:
        sentence = f"{_shown(delivery.source, delivery.project)} is refused"
    elif looked.findings:
        sentence = f"{rows:,} rows pass, but examples are not told apart"
    else:
        kinds = f"{looked.good} good and {looked.bad} bad example{'s' if looked.bad != 1 else ''}"
        sentence = f"{rows:,} rows pass, and {kinds} are told apart"
    outcome: Any = "found" if looked.findings else "passed"
    return GateReport(GATE, outcome, looked.findings, sentence, "", time.monotonic() - began, figures)


def _kept(project: Project, delivery: Delivery) -> Path:
    """Where the outcome for these very inputs is kept: what passed once need not be tried again."""
    assert delivery.dataset is not None
    facts = {
        "dataset": delivery.dataset.digest,
        "suite": read_suite(project),
        "data": project.settings.data.model_dump(mode="json"),
        "steps": steps_digest(project.root),
        "examples": folder_digest(project.root / project.settings.build.examples),
        "gate": environment_digest(),
    }
    return project.state / "reports" / f"examples-{digest_of(facts).replace(':', '-')}.json"


def _earlier(path: Path) -> GateReport | None:
    try:
        report: GateReport = from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    return report


def _shown(path: Path, project: Project) -> str:
    root = project.root
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


# ---- as a process ----------------------------------------------------------------------------------------------------


def answer(file: Path, overrides: Sequence[str]) -> None:
    """Writes what the gate of the project around the working directory came to, or the error that kept it from looking.

    Args:
        file: Where the JSON goes.
        overrides: ``KEY=VALUE`` settings over all others.
    """
    try:
        content = {"report": to_json(look(open_project(Path.cwd(), overrides=overrides)))}
    except RidgewayError as error:
        names = ("summary", "where", "problem", "expected", "next_step")
        kind = next(one.__name__ for one in type(error).__mro__ if one.__module__ == errors.__name__)
        content = {"error": {"kind": kind, **{name: getattr(error, name) for name in names}}}
    write_atomically(file, json.dumps(content).encode())


def read_answer(file: Path) -> GateReport | None:
    """What ``answer`` wrote; None where there is nothing.

    Raises:
        RidgewayError: That of the gate, where it could not look.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if told := content.get("error"):
        kind: Callable[..., RidgewayError] = getattr(errors, told.pop("kind"), errors.Permanent)
        raise kind(told.pop("summary"), **told)
    report: GateReport = from_json(content["report"])
    return report


if __name__ == "__main__":
    from ridgeway.settings import quiet_environment

    quiet_environment()
    logging.getLogger("ridgeway").addHandler(logging.NullHandler())
    logging.getLogger("ridgeway").propagate = False
    answer(Path(sys.argv[1]), json.loads(sys.argv[2]))
