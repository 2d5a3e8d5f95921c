"""Expectation suites as JSON: made from data, rebased, read, written. Does not need Great Expectations itself."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ridgeway.artifacts import Column, KeyRule
from ridgeway.data_gate.samples import ColumnSample, repeated_rows
from ridgeway.errors import UsageError
from ridgeway.rules import distribution

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = 1
PROFILED = {"ridgeway": "profile"}
"""The mark of an expectation that ``rebase`` replaces; one written by hand has none and is kept."""

CLOSED_VALUES = 20
CLOSED_WHOLE_VALUES = 10
CLOSED_ROWS = 10
"""A column is a closed set of categories if it shows few values (fewer still for whole numbers, which may be counts),
and each of them at least so often that another one, if it existed, would hardly have stayed unseen."""


class SuiteError(UsageError):
    """A suite that cannot be read, or that cannot be evaluated as it is written."""


def profile(frame: pd.DataFrame, columns: tuple[Column, ...], *, name: str, label: str, key: KeyRule) -> dict[str, Any]:
    """A first expectation suite from good data, ready for JSON.

    Args:
        frame: The rows, in declared types.
        columns: Name and type of each column that is expected from now on.
        name: The suite's name.
        label: The column to predict.
        key: What a row's identity is made of. Its holdout share is a setting and not written.

    Returns:
        ``{"name", "expectations", "meta"}`` as Great Expectations reads it; what else Ridgeway must know is under
        ``meta.ridgeway``: schema, label, columns, key, reference, history.
    """
    key_record = {"columns": [asdict(column) for column in key.columns], "entity": key.entity}
    meta = {"schema": SCHEMA, "label": label, "key": key_record, "history": []}
    return _suite(frame, columns, name, meta, kept=[])


def rebase(
    suite: dict[str, Any], frame: pd.DataFrame, columns: tuple[Column, ...], *, reason: str, at: str
) -> dict[str, Any]:
    """The suite with this data as its new reference, and why in its history.

    The key stays, so that no row changes sides of the holdout, whatever columns are added. Only if a key column is no
    longer there, the key becomes all columns but the label; and if its values are now of another kind (texts in place
    of numbers), the key says so. The history tells it: models made before cannot be compared with models made after.
    Expectations added by hand stay, except those on columns that are gone.

    Args:
        suite: The suite so far; not changed.
        frame: The rows to take as reference.
        columns: Name and type of each column.
        reason: Why, in a person's words.
        at: When, ISO 8601.
    """
    check_schema(suite)
    own, present = suite["meta"]["ridgeway"], {column.name for column in columns}
    entry: dict[str, Any] = {"at": at, "reason": reason, "rows": len(frame)}
    key = own["key"]
    if gone := sorted(column["name"] for column in key["columns"] if column["name"] not in present):
        features = sorted((column for column in columns if column.name != own["label"]), key=lambda column: column.name)
        key = {"columns": [asdict(column) for column in features], "entity": ""}
        entry["key"] = (
            f"changed, because {', '.join(gone)} is gone: models made before cannot be compared with models made after"
        )
    elif changed := _changed_kinds(key["columns"], columns):
        key = {
            **key,
            "columns": [{**column, "type": changed.get(column["name"], column["type"])} for column in key["columns"]],
        }
        entry["key"] = (
            f"changed, because {', '.join(sorted(changed))} is of another type: models made before cannot be compared "
            "with models made after"
        )
    by_hand = [entry for entry in suite["expectations"] if entry.get("meta") != PROFILED]
    kept = [expectation for expectation in by_hand if mentioned(expectation) <= present]
    if len(kept) < len(by_hand):
        entry["dropped"] = [expectation["type"] for expectation in by_hand if expectation not in kept]
    meta = {**own, "key": key, "history": [*own["history"], entry]}
    return _suite(frame, columns, suite["name"], meta, kept)


def _changed_kinds(key: list[dict[str, str]], columns: tuple[Column, ...]) -> dict[str, str]:
    """Key columns whose rows would get other identities, with their new type; among numbers every type is the same."""
    now = {column.name: column.type for column in columns}
    return {
        column["name"]: now[column["name"]] for column in key if _kind(column["type"]) != _kind(now[column["name"]])
    }


def _kind(declared: str) -> str:
    return declared if declared in ("string", "datetime") else "number"


def _suite(
    frame: pd.DataFrame, columns: tuple[Column, ...], name: str, own: dict[str, Any], kept: list[dict[str, Any]]
) -> dict[str, Any]:
    made = [
        {"type": kind, "kwargs": kwargs, "meta": PROFILED}
        for kind, kwargs in (
            *_of_table(frame, columns),
            *(pair for column in columns for pair in _of_column(frame, column)),
        )
    ]
    described = {
        "schema": own["schema"],
        "label": own["label"],
        "columns": [asdict(column) for column in columns],
        "key": own["key"],
        "reference": {"rows": len(frame)},
        "history": own["history"],
    }
    version = importlib.metadata.version("great-expectations")
    return {
        "name": name,
        "expectations": [*made, *kept],
        "meta": {"great_expectations_version": version, "ridgeway": described},
    }


def _of_table(frame: pd.DataFrame, columns: tuple[Column, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    names = [column.name for column in columns]
    yield "expect_table_columns_to_match_set", {"column_set": names, "exact_match": True}
    repeats = repeated_rows(frame[names])
    yield (
        "expect_table_rows_not_to_repeat",
        {
            "column_list": names,
            "reference": {"rows": len(frame), "pairs": repeats.pairs},
            "limits": {"$PARAMETER": "limits"},
        },
    )


def _of_column(frame: pd.DataFrame, column: Column) -> Iterator[tuple[str, dict[str, Any]]]:
    sample, on = ColumnSample(frame[column.name]), {"column": column.name}
    limits = {"limits": {"$PARAMETER": "limits"}}
    yield "expect_column_to_have_declared_type", {**on, "declared": column.type}
    if sample.missing:
        reference = {"rows": sample.rows, "missing": sample.missing}
        yield "expect_column_missing_share_to_hold", {**on, "reference": reference, **limits}
    else:
        yield "expect_column_values_to_not_be_null", on
    if sample.present == 0 or column.type == "datetime":
        return  # times move on by themselves: neither their range nor their distribution is expected to stay
    if closed := _closed_set(sample, column):
        yield "expect_column_values_to_be_in_set", {**on, "value_set": closed}
    elif column.type in ("number", "integer") and sample.distinct > 1:
        yield "expect_column_values_to_be_between", {**on, **_range(sample, column)}
    if sample.distinct > 1:
        reference = {"rows": sample.present, "most_frequent": int(sample.counts.max())}
        yield "expect_column_not_to_become_constant", {**on, "reference": reference, **limits}
    yield "expect_column_distribution_to_hold", {**on, "reference": _reference(sample, column, bool(closed)), **limits}


def _closed_set(sample: ColumnSample, column: Column) -> list[Any]:
    """The categories, sorted, if the column shows few and each often; else empty."""
    most = {"string": CLOSED_VALUES, "integer": CLOSED_WHOLE_VALUES}.get(column.type, 0)
    if not 1 < sample.distinct <= most or sample.counts.min() < CLOSED_ROWS:
        return []
    return sorted(sample.values)


def _range(sample: ColumnSample, column: Column) -> dict[str, float | int]:
    low, high = distribution.plausible_range(sample.numbers)
    if column.type == "integer":
        return {"min_value": int(np.floor(low)), "max_value": int(np.ceil(high))}
    return {"min_value": low, "max_value": high}


def _reference(sample: ColumnSample, column: Column, closed: bool) -> dict[str, Any]:
    """A constant is one category; so are the values of a closed set, strings and booleans. All else is a number."""
    if column.type in ("string", "boolean") or closed or sample.distinct == 1:
        return {"kind": "categories", **_plain(distribution.category_reference(sample.values, sample.counts.tolist()))}
    return {"kind": "numbers", **_plain(distribution.number_reference(sample.numbers))}


def _plain(reference: distribution.NumberReference | distribution.CategoryReference) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(reference).items()}


def mentioned(expectation: dict[str, Any]) -> set[str]:
    """The columns that an expectation needs in order to be evaluated at all.

    Example:
        >>> mentioned({"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "bmi"}})
        {'bmi'}
    """
    kwargs = expectation.get("kwargs") or {}
    single = (kwargs.get(name) for name in ("column", "column_A", "column_B"))
    listed = kwargs.get("column_list") or ()
    return {name for name in (*single, *listed) if isinstance(name, str)}


def check_schema(suite: dict[str, Any], where: str = "") -> None:
    """Nothing, if the suite can be used here.

    Raises:
        SuiteError: It has no expectations, none of our meta data, or a newer schema.
    """
    advice = "ridgeway profile FILE"
    own = (suite.get("meta") or {}).get("ridgeway") if isinstance(suite.get("meta"), dict) else None
    if not isinstance(own, dict) or not isinstance(suite.get("expectations"), list):
        raise SuiteError(
            "the expectation suite cannot be used",
            where=where,
            problem="expectations or meta.ridgeway is missing",
            next_step=advice,
        )
    if own.get("schema") != SCHEMA:
        raise SuiteError(
            "the expectation suite cannot be used",
            where=where,
            problem=f"meta.ridgeway.schema is {own.get('schema')!r}",
            expected=f"schema {SCHEMA}",
            next_step="use the version of ridgeway that wrote it, or a newer one",
        )
    if not suite["expectations"]:
        raise SuiteError(
            "the expectation suite is empty",
            where=where,
            problem="no expectations: anything would pass",
            next_step=advice,
        )


def read_suite(text: str, *, where: str = "") -> dict[str, Any]:
    """The suite that a file's text holds.

    Args:
        text: JSON.
        where: The file's name, for the message.

    Raises:
        SuiteError: It is not JSON, not a suite, empty, or newer than this version.
    """
    try:
        suite = json.loads(text)
    except json.JSONDecodeError as error:
        raise SuiteError(
            "the expectation suite cannot be read",
            where=f"{where} line {error.lineno}, column {error.colno}".strip(),
            problem=f"not JSON: {error.msg}",
            next_step="mend the file, take it from version control, or: ridgeway profile FILE",
        ) from error
    if not isinstance(suite, dict):
        raise SuiteError(
            "the expectation suite cannot be used",
            where=where,
            problem="the file holds no JSON object",
            next_step="ridgeway profile FILE",
        )
    check_schema(suite, where)
    return suite


def suite_text(suite: dict[str, Any]) -> str:
    """The suite as a file's text: indented, a list of numbers or names on one line, equal for equal suites.

    Example:
        >>> print(suite_text({"expectations": [{"type": "expect_something"}], "meta": {"points": [1.5, 2.0]}}), end="")
        {
          "expectations": [
            {"type": "expect_something"}
          ],
          "meta": {"points": [1.5, 2.0]}
        }
    """
    rows = [f"  {json.dumps(name)}: {_text(item, '  ')}" for name, item in suite.items()]
    return "{\n" + ",\n".join(rows) + "\n}\n"


def _text(value: Any, indent: str) -> str:
    deeper = indent + "  "
    if isinstance(value, dict) and len(json.dumps(value)) > 80:
        rows = [f"{deeper}{json.dumps(name)}: {_text(item, deeper)}" for name, item in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return "[\n" + ",\n".join(deeper + _text(item, deeper) for item in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def suite_digest(suite: dict[str, Any]) -> str:
    """``sha256:`` and 64 hex digits, equal for suites of equal content."""
    text = json.dumps(suite, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
