"""Evaluates a suite with Great Expectations and proves that nothing was left out.

Great Expectations fails open in three places: an expectation it cannot build is dropped with a log line, an empty suite
passes, and an expectation that raises is one failure among others, without a word on the data. Here each expectation carries
a number, and the numbers that come back must be those that went in.
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
from great_expectations.exceptions import GreatExpectationsError
from great_expectations.expectations import registry

from ridgeway.artifacts import DataReport, Expectation
from ridgeway.data_gate import expectations as own
from ridgeway.data_gate import lines
from ridgeway.data_gate.samples import FIRST_ROWS
from ridgeway.data_gate.suite import SuiteError, check_schema, mentioned, suite_digest
from ridgeway.rules.distribution import Limits

Entry = dict[str, Any]


def evaluate(
    frame: pd.DataFrame, handle: str, suite: dict[str, Any], *, limits: Limits, ignore: tuple[str, ...]
) -> DataReport:
    """The report; see ``ridgeway.data_gate.check``."""
    check_schema(suite)
    entries = [_without(entry, set(ignore)) for entry in suite["expectations"] if not mentioned(entry) & set(ignore)]
    if not entries:
        raise SuiteError(
            "the expectation suite is empty",
            problem="data.ignore leaves no expectation",
            next_step="ridgeway settings data.ignore",
        )
    for position, entry in enumerate(entries):
        _check_type(entry, position)
    absent = [mentioned(entry) - set(frame.columns) for entry in entries]
    there = [position for position, missing in enumerate(absent) if not missing]
    results = _results(_Batch(frame), entries, there, _parameters(suite, entries, limits))
    report = [
        lines.missing_line(entry, absent[position]) if absent[position] else results[position]
        for position, entry in enumerate(entries)
    ]
    return DataReport(handle, suite_digest(suite), tuple(report))


def _without(entry: Entry, ignored: set[str]) -> Entry:
    """The expectation, with ignored columns taken out of the set that it expects the table to have."""
    kwargs = entry.get("kwargs") if isinstance(entry, dict) else None
    if not isinstance(kwargs, dict) or "type" not in entry:
        raise SuiteError("an expectation cannot be read", problem=f"{entry!r}", expected='{"type": …, "kwargs": {…}}')
    if isinstance(kwargs.get("column_set"), list):
        kwargs = {**kwargs, "column_set": [name for name in kwargs["column_set"] if name not in ignored]}
    return {**entry, "kwargs": kwargs}


def _check_type(entry: Entry, position: int) -> None:
    known = registry.list_registered_expectation_implementations()
    if entry["type"] in known:
        return
    near = difflib.get_close_matches(entry["type"], known, n=1)
    raise SuiteError(
        "the expectation suite cannot be evaluated",
        where=f"expectations[{position}].type",
        problem=f"there is no expectation {entry['type']!r}",
        expected=f"did you mean {near[0]}?" if near else "a type of Great Expectations, or of docs/data-gate.md",
        next_step="edit the suite",
    )


def _parameters(suite: dict[str, Any], entries: list[Entry], limits: Limits) -> dict[str, Any]:
    """What ``{"$PARAMETER": …}`` stands for: the suite's own parameters, and our limits with the number of columns."""
    tested = {column for entry in entries if "limits" in entry["kwargs"] for column in mentioned(entry)}
    return {
        **(suite.get("suite_parameters") or {}),
        "limits": {"sizes": asdict(limits), "columns": max(1, len(tested))},
    }


class _Batch:
    """The rows as Great Expectations holds them: in memory, by reference, in a context that writes no file."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame.reset_index(drop=True)
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False, "metric_calculations": False}
        asset = context.data_sources.add_pandas("data").add_dataframe_asset("rows")
        definition = asset.add_batch_definition_whole_dataframe("all")
        self._batch = definition.get_batch({"dataframe": self.frame})

    def validate(self, entries: list[Entry], parameters: dict[str, Any], result_format: dict[str, Any]) -> list[Any]:
        """One result per expectation, in their order.

        Raises:
            SuiteError: One was dropped, has wrong arguments, or raised.
        """
        numbered = [{**entry, "id": str(position)} for position, entry in enumerate(entries)]
        with _silence():
            try:
                suite = gx.ExpectationSuite(name="suite", expectations=numbered)
                answered = self._batch.validate(suite, expectation_parameters=parameters, result_format=result_format)
            except (GreatExpectationsError, ValueError, TypeError) as error:
                raise _unusable(numbered, error) from error
        return _in_order(entries, answered.results)


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
    for position, entry in enumerate(entries):
        try:
            registry.get_expectation_impl(entry["type"])(**entry["kwargs"])
        except (GreatExpectationsError, ValueError, TypeError) as alone:
            return _entry_error(entry, position, "has arguments that it cannot use", alone)
    return SuiteError("the expectation suite cannot be evaluated", problem=str(error), next_step="edit the suite")


def _entry_error(entry: Entry, position: int | str, what: str, problem: object) -> SuiteError:
    return SuiteError(
        "the expectation suite cannot be evaluated",
        where=f"expectations[{position}]: {entry['type']} on {lines.subject_of(entry)}",
        problem=f"it {what}: {str(problem).strip().splitlines()[-1] if str(problem).strip() else 'no reason given'}",
        next_step="edit or remove it in the suite",
    )


def _in_order(entries: list[Entry], results: list[Any]) -> list[Any]:
    """The results, each at its expectation's place: as many as went in, of the same type, and none that raised.

    Raises:
        SuiteError: Fewer or others came back, or one raised.
    """
    by_number = {result.expectation_config.id: result for result in results}
    for position, entry in enumerate(entries):
        result = by_number.get(str(position))
        if result is None or result.expectation_config.type != entry["type"]:
            raise _entry_error(
                entry, position, "was not evaluated", f"{len(results)} of {len(entries)} expectations were"
            )
        if problem := _raised(result.exception_info or {}):
            raise _entry_error(entry, position, "cannot be evaluated on this data", problem)
    if len(results) != len(entries):
        raise SuiteError(
            "the expectation suite cannot be evaluated",
            problem=f"{len(results)} answers to {len(entries)} expectations",
        )
    return [by_number[str(position)] for position in range(len(entries))]


def _raised(information: dict[str, Any]) -> str:
    """The message of what an expectation raised, or nothing. There are two forms: flat, and one per metric."""
    for record in (information, *(value for value in information.values() if isinstance(value, dict))):
        if record.get("raised_exception"):
            return str(record.get("exception_message") or "an error without a message")
    return ""


def _results(
    batch: _Batch, entries: list[Entry], there: list[int], parameters: dict[str, Any]
) -> dict[int, Expectation]:
    """The line of each expectation that could be evaluated, by its place in the suite."""
    if not there:
        return {}
    asked = [entries[position] for position in there]
    short = {"result_format": "BASIC", "partial_unexpected_count": 3}
    return {
        position: _line(batch, entry, result, parameters)
        for position, entry, result in zip(there, asked, batch.validate(asked, parameters, short), strict=True)
    }


def _line(batch: _Batch, entry: Entry, result: Any, parameters: dict[str, Any]) -> Expectation:
    answer = result.result or {}
    if issubclass(registry.get_expectation_impl(entry["type"]), own.OWN):
        return lines.own_line(entry, answer)
    failed = not result.success and answer.get("unexpected_count")
    rows = _first_rows(batch, entry, parameters) if failed else ()
    return lines.foreign_line(entry, bool(result.success), answer, rows)


def _first_rows(batch: _Batch, entry: Entry, parameters: dict[str, Any]) -> tuple[int, ...]:
    """Numbers of the first unexpected rows, counted from 1.

    Asked in ever longer beginnings of the data, because Great Expectations makes a list of all of them, and in ten million
    rows of a wrong unit that would take gigabytes. What is unique can only be told from all rows.
    """
    rows = len(batch.frame) if "unique" in entry["type"] else 10_000
    listing = {"result_format": "COMPLETE", "partial_unexpected_count": 3}
    while True:
        part = batch if rows >= len(batch.frame) else _Batch(batch.frame.head(rows))
        [result] = part.validate([entry], parameters, listing)
        found = (result.result or {}).get("unexpected_index_list") or []
        if len(found) >= FIRST_ROWS or part is batch:
            return tuple(int(index) + 1 for index in found[:FIRST_ROWS] if isinstance(index, int))
        rows *= 10
