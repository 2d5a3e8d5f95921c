"""Evaluates a suite with Great Expectations and proves that nothing was left out.

Great Expectations fails open in three places: an expectation it cannot build is dropped with a log line, an empty suite
passes, and one that raises is a failure among others, without a word on the data. Here each expectation carries a
number, and the numbers that come back must be those that went in.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import pandas as pd

# Great Expectations reads this when it is imported; our default is that nothing phones home.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import great_expectations as gx
from great_expectations.compatibility import pydantic
from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults
from great_expectations.expectations import registry

from ridgeway.artifacts import DataReport, Expectation
from ridgeway.data_gate import expectations as own
from ridgeway.data_gate import lines
from ridgeway.data_gate.samples import FIRST_ROWS
from ridgeway.data_gate.suite import SuiteError, check_schema, mentioned, suite_digest
from ridgeway.rules.distribution import Limits, Shared

Entry = dict[str, Any]
"""One expectation of a suite: ``type``, ``kwargs`` and what else the suite says of it."""


def evaluate(
    frame: pd.DataFrame, handle: str, suite: dict[str, Any], *, limits: Limits, ignore: tuple[str, ...]
) -> DataReport:
    """The report; see ``ridgeway.data_gate.check``."""
    check_schema(suite)
    entries = _entries(suite, set(ignore))
    absent = [mentioned(entry) - set(frame.columns) for entry in entries]
    there = [entry for entry, missing in zip(entries, absent, strict=True) if not missing]
    found = iter(_Batch(frame, _parameters(suite, entries, limits)).lines(there) if there else [])
    report = [
        lines.missing_line(entry, missing) if missing else next(found)
        for entry, missing in zip(entries, absent, strict=True)
    ]
    return DataReport(handle, suite_digest(suite), tuple(report))


def _entries(suite: dict[str, Any], ignored: set[str]) -> list[Entry]:
    """The expectations that are to be evaluated, each with its place in the suite under ``id``.

    Raises:
        SuiteError: One has no type or arguments, or a type that does not exist; or none is left.
    """
    known = registry.list_registered_expectation_implementations()
    entries = []
    for position, entry in enumerate(suite["expectations"]):
        if not isinstance(entry, dict) or not isinstance(entry.get("kwargs"), dict) or "type" not in entry:
            raise _refused(position, f"{entry!r} is no expectation", '{"type": …, "kwargs": {…}}')
        if entry["type"] not in known:
            raise _refused(position, f"there is no expectation {entry['type']!r}", _near(str(entry["type"]), known))
        if not mentioned(entry) & ignored:
            entries.append({**entry, "kwargs": _without(entry["kwargs"], ignored), "id": str(position)})
    if not entries:
        raise SuiteError(
            "the expectation suite cannot be evaluated",
            where="data.ignore",
            problem="every expectation is on an ignored column: nothing would be checked",
            next_step="ridgeway settings data.ignore",
        )
    return entries


def _without(kwargs: dict[str, Any], ignored: set[str]) -> dict[str, Any]:
    """The arguments, with ignored columns taken out of the set of columns that the table is expected to have."""
    if not isinstance(kwargs.get("column_set"), list):
        return kwargs
    return {**kwargs, "column_set": [name for name in kwargs["column_set"] if name not in ignored]}


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else "a type of Great Expectations, or of docs/data-gate.md"


def _refused(position: int | str, problem: str, expected: str = "", name: str = "") -> SuiteError:
    return SuiteError(
        "the expectation suite cannot be evaluated",
        where=f"expectations[{position}]" + (f", {name}" if name else ""),
        problem=problem,
        expected=expected,
        next_step="edit or remove it in the suite",
    )


def _parameters(suite: dict[str, Any], entries: list[Entry], limits: Limits) -> dict[str, Any]:
    """What ``{"$PARAMETER": …}`` stands for: the suite's own parameters, and our limits with the number of columns."""
    tested = {column for entry in entries if "limits" in entry["kwargs"] for column in mentioned(entry)}
    shared = Shared(limits, max(1, len(tested)))
    return {**(suite.get("suite_parameters") or {}), "limits": own.Whole(shared, asdict(shared))}


class _Batch:
    """The rows as Great Expectations holds them: in memory, by reference, in a context that writes no file."""

    def __init__(self, frame: pd.DataFrame, parameters: dict[str, Any]) -> None:
        self.frame = frame.reset_index(drop=True)
        self.parameters = parameters
        # Told so, it makes no directory for a site that nobody asked for.
        nowhere = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
        config = DataContextConfig(
            store_backend_defaults=nowhere, analytics_enabled=False, progress_bars={"globally": False}
        )
        context = gx.get_context(mode="ephemeral", project_config=config)
        asset = context.data_sources.add_pandas("data").add_dataframe_asset("rows")
        self._rows = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": self.frame})

    def lines(self, entries: list[Entry]) -> list[Expectation]:
        """One line per expectation, in their order."""
        results = self.results(entries, {"result_format": "BASIC", "partial_unexpected_count": 3})
        mistyped = {
            entry["kwargs"]["column"]
            for entry, result in zip(entries, results, strict=True)
            if entry["type"] == own.ExpectColumnToHaveDeclaredType.expectation_type and not result.success
        }
        return [self._line(entry, result, mistyped) for entry, result in zip(entries, results, strict=True)]

    def results(self, entries: list[Entry], result_format: dict[str, Any]) -> list[Any]:
        """One result per expectation, in their order.

        Raises:
            SuiteError: One was dropped, or has arguments that it cannot use.
        """
        with _silence():
            try:
                suite = gx.ExpectationSuite(name="suite", expectations=entries)
                answered = self._rows.validate(
                    suite, expectation_parameters=self.parameters, result_format=result_format
                )
            except Exception as error:
                raise _unusable(entries, error) from error
        return _in_order(entries, answered.results)

    def _line(self, entry: Entry, result: Any, mistyped: set[str]) -> Expectation:
        if problem := _raised(result.exception_info or {}):
            if mentioned(entry) & mistyped:
                return lines.mistyped_line(entry)
            raise _refused(entry["id"], f"it cannot be evaluated on this data: {problem}", name=_name(entry))
        answer = result.result or {}
        if issubclass(registry.get_expectation_impl(entry["type"]), own.OWN):
            return lines.own_line(entry, answer)
        failed = not result.success and answer.get("unexpected_count")
        return lines.foreign_line(entry, bool(result.success), answer, self._first_rows(entry) if failed else ())

    def _first_rows(self, entry: Entry) -> tuple[int, ...]:
        """Numbers of the first unexpected rows, counted from 1.

        Asked in ever longer beginnings of the data, because Great Expectations lists all of them, and in ten million
        rows of a wrong unit that would take gigabytes. What is unique can only be told from all rows.
        """
        rows = len(self.frame) if "unique" in entry["type"] else 10_000
        while True:
            part = self if rows >= len(self.frame) else _Batch(self.frame.head(rows), self.parameters)
            [result] = part.results([entry], {"result_format": "COMPLETE", "partial_unexpected_count": 3})
            found = (result.result or {}).get("unexpected_index_list") or []
            if len(found) >= FIRST_ROWS or part is self:
                return tuple(index + 1 for index in found[:FIRST_ROWS] if isinstance(index, int))
            rows *= 10


@contextmanager
def _silence() -> Iterator[None]:
    """Great Expectations logs stack traces of what it catches; here each of them becomes one clear error."""
    logger = logging.getLogger("great_expectations")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _unusable(entries: list[Entry], error: Exception) -> SuiteError:
    """Which expectation it was that could not be built, found by building each alone."""
    for entry in entries:
        try:
            registry.get_expectation_impl(entry["type"])(**entry["kwargs"])
        except Exception as alone:  # noqa: BLE001 - as above
            return _refused(entry["id"], f"it cannot use its arguments: {_first_fault(alone)}", name=_name(entry))
    return SuiteError(
        "the expectation suite cannot be evaluated", problem=_last_line(error), next_step="edit the suite"
    )


def _name(entry: Entry) -> str:
    return f"{entry['type']} on {lines.subject_of(entry)}"


def _first_fault(error: Exception) -> str:
    """The first thing that is wrong with arguments, by the argument's name."""
    if not isinstance(error, pydantic.ValidationError):
        return _last_line(error)
    fault = error.errors()[0]
    return f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"


def _last_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def _in_order(entries: list[Entry], results: list[Any]) -> list[Any]:
    """The results, each at its expectation's place: for each one that went in, of the same type, and no others.

    One that raised is answered once for each way that it did, and then that it raised is the answer.

    Raises:
        SuiteError: Fewer or others came back.
    """
    by_number: dict[str, Any] = {}
    for result in sorted(results, key=lambda result: bool(_raised(result.exception_info or {}))):
        by_number[result.expectation_config.id] = result
    for entry in entries:
        answered = by_number.get(entry["id"])
        if answered is None or answered.expectation_config.type != entry["type"]:
            problem = f"it was not evaluated: {len(by_number)} of {len(entries)} expectations were"
            raise _refused(entry["id"], problem, name=_name(entry))
    if len(by_number) != len(entries):
        raise SuiteError(
            "the expectation suite cannot be evaluated",
            problem=f"{len(by_number)} answers to {len(entries)} expectations",
        )
    return [by_number[entry["id"]] for entry in entries]


def _raised(information: dict[str, Any]) -> str:
    """The message of what an expectation raised, or nothing. There are two forms: flat, and one per metric."""
    for record in (information, *(value for value in information.values() if isinstance(value, dict))):
        if record.get("raised_exception"):
            return _last_line(record.get("exception_message") or "an error without a message")
    return ""
