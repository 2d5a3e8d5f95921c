"""Deliveries made from good rows: one that a suite must let pass, and some that it must refuse. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

LEAST_ROWS = 30
"""Below, a moved mean is not significant whatever it moved by."""
_UNDERSTOOD = {"column", "column_list", "min_value", "max_value", "value_set", "reference", "limits"}
"""Arguments of expectations; one with any other may mean something else."""
FAR = 3
"""A column is moved by so many times what data.refuse_deviations allows."""

Demand = tuple[str, str]
"""A column (empty: the table) and the type of an expectation."""


@dataclass(frozen=True)
class Spoiled:
    """Rows that must be refused, and the expectations that must refuse them."""

    name: str
    frame: pd.DataFrame
    demands: tuple[Demand, ...]


def good(frame: pd.DataFrame) -> pd.DataFrame:
    """Every second row: as much from the same population as all of them.

    Example:
        >>> good(pd.DataFrame({"a": [1, 2, 3]}))["a"].tolist()
        [1, 3]
    """
    return frame.iloc[::2].reset_index(drop=True)


def spoiled(
    frame: pd.DataFrame, suite: Mapping[str, Any], *, refuse_deviations: float, ignore: tuple[str, ...] = ()
) -> Iterator[Spoiled]:
    """Copies of good rows, each with one kind of damage in every column that an expectation guards against it.

    Only what the suite itself forbids is asked of it: an expectation that a person took out is not missed.

    Args:
        frame: Rows that the suite accepts, in their declared types.
        suite: As ``profile`` made it, possibly edited.
        refuse_deviations: ``data.refuse_deviations``.
        ignore: Columns that are not looked at.

    Example:
        >>> rows = pd.DataFrame({"a": [1.0, 2.0]})
        >>> entry = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "a"}}
        >>> [(each.name, each.demands) for each in spoiled(rows, {"expectations": [entry]}, refuse_deviations=1)]
        [('a missing value', (('a', 'expect_column_values_to_not_be_null'),))]
    """
    entries = [entry for entry in suite.get("expectations", ()) if _is_strict(entry, frame, ignore)]
    shift = FAR * refuse_deviations
    ways: tuple[tuple[str, str, Callable[[pd.Series, Mapping[str, Any]], pd.Series | None]], ...] = (
        ("a missing value", "expect_column_values_to_not_be_null", _with_gap),
        ("a value out of range", "expect_column_values_to_be_between", _out_of_range),
        ("an unknown value", "expect_column_values_to_be_in_set", _unknown),
        (
            "every value moved",
            "expect_column_distribution_to_hold",
            lambda column, kwargs: _moved(column, kwargs, shift),
        ),
    )
    for name, kind, damage in ways:
        changed, demands = {}, []
        for entry in entries:
            if entry["type"] == kind:
                column = entry["kwargs"]["column"]
                damaged = damage(frame[column], entry["kwargs"])
                if damaged is not None:
                    changed[column] = damaged
                    demands.append((column, kind))
        if demands:
            yield Spoiled(name, frame.assign(**changed), tuple(demands))
    yield from _twice(frame, entries)


def _is_strict(entry: Mapping[str, Any], frame: pd.DataFrame, ignore: tuple[str, ...]) -> bool:
    """Whether its failure refuses, and for nothing but its values: no ``mostly``, no condition, no mere warning."""
    kwargs = entry.get("kwargs") or {}
    column = kwargs.get("column")
    is_there = column is None or (column in frame.columns and column not in ignore)
    return is_there and kwargs.keys() <= _UNDERSTOOD and entry.get("severity", "critical") == "critical"


def _with_gap(column: pd.Series, _: Mapping[str, Any]) -> pd.Series:
    return _with_first(column.astype(object), None)


def _out_of_range(column: pd.Series, kwargs: Mapping[str, Any]) -> pd.Series | None:
    high, low = kwargs.get("max_value"), kwargs.get("min_value")
    if column.dtype.kind not in "iuf" or (high is None and low is None):
        return None
    beyond = high + abs(high) + 1 if high is not None else (low or 0) - abs(low or 0) - 1
    return _with_first(column, beyond)


def _unknown(column: pd.Series, kwargs: Mapping[str, Any]) -> pd.Series | None:
    known = kwargs.get("value_set") or ()
    if column.dtype.kind == "b":
        return None  # there is no third one
    if column.dtype.kind in "iuf":
        numbers = [value for value in known if isinstance(value, int | float)]
        return _with_first(column, max(numbers) + 1) if len(numbers) == len(known) and numbers else None
    return _with_first(column.astype(object), "".join(map(str, known)) + "?")


def _moved(column: pd.Series, kwargs: Mapping[str, Any], deviations: float) -> pd.Series | None:
    is_number = column.dtype.kind in "iuf" and (kwargs.get("reference") or {}).get("kind") == "numbers"
    spread = float(column.std()) if is_number and len(column) >= LEAST_ROWS else 0.0
    if not spread > 0:
        return None
    moved = column + deviations * spread
    return moved.round().astype(column.dtype) if column.dtype.kind in "iu" else moved


def _twice(frame: pd.DataFrame, entries: list[Mapping[str, Any]]) -> Iterator[Spoiled]:
    kind = "expect_table_rows_not_to_repeat"
    # Where rows repeat by themselves, twice as many may be as it should be.
    kept = [entry for entry in entries if entry["type"] == kind and not entry["kwargs"]["reference"]["pairs"]]
    if kept:
        yield Spoiled("every row twice", pd.concat([frame, frame], ignore_index=True), (("", kind),))


def _with_first(column: pd.Series, value: Any) -> pd.Series:
    """The column with its first value replaced, in a type that can hold it."""
    values = column.tolist()
    return pd.Series([value, *values[1:]], index=column.index, dtype=object if value is None else None)
