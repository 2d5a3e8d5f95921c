"""From what an expectation answered to a line that a person reads, and from failing lines to one error. Pure."""

from __future__ import annotations

from typing import Any

from ridgeway.artifacts import DataReport, Expectation, Severity
from ridgeway.errors import BadData

SEVERITIES: dict[str, Severity] = {"critical": "fail", "warning": "warn", "info": "warn"}
"""What a failed expectation of Great Expectations' own kind does, by the ``severity`` that its author gave it."""

NO_COLUMN = "no such column"

Rows = tuple[int, ...]


def failure(report: DataReport, *, source: str = "FILE") -> BadData:
    """The one error that a refused report ends in: each failure with column, expectation, numbers and rows.

    Args:
        report: With at least one failing line.
        source: The data file, for the command to run next.

    Example:
        >>> line = Expectation("expect_column_values_to_not_be_null", "bmi", "fail", "2 missing", "no missing value")
        >>> print(failure(DataReport("data://d@sha256:0", "sha256:1", (line,)), source="d.csv"))
        check_data: data://d@sha256:0 is refused
          where     column bmi
          problem   bmi: 2 missing (expect_column_values_to_not_be_null)
          expected  bmi: no missing value
          next      correct d.csv; or take it as the new reference: ridgeway profile d.csv --rebase --reason TEXT
    """
    # That a column is missing is said once, not by each expectation that cannot be looked at for it.
    shown = [line for line in report.failures if line.observed != NO_COLUMN] or list(report.failures)
    columns = list(dict.fromkeys(line.column for line in shown if line.column))
    return BadData(
        f"check_data: {report.dataset} is refused",
        where=f"column{'s' * (len(columns) > 1)} {', '.join(columns)}" if columns else "the whole table",
        problem="\n".join(_problem(line) for line in shown),
        expected="\n".join(f"{_subject(line)}: {line.expected}" for line in shown),
        next_step=f"correct {source}; or take it as the new reference: "
        f"ridgeway profile {source} --rebase --reason TEXT",
    )


def _subject(line: Expectation) -> str:
    return line.column or "table"


def _problem(line: Expectation) -> str:
    return f"{_subject(line)}: {line.reason or line.observed}{_rows(line)} ({line.name})"


def _rows(line: Expectation) -> str:
    if not line.first_rows:
        return ""
    more = "the first in rows" if len(line.first_rows) < line.unexpected_rows else "in rows"
    if line.unexpected_rows == 1:
        more = "in row"
    return f"; {more} {', '.join(str(row) for row in line.first_rows)}"


def own_line(entry: dict[str, Any], result: dict[str, Any]) -> Expectation:
    """The line of one of our own expectations, which bring their words with them."""
    details = result["details"]
    failed = details["severity"] != "pass"
    return Expectation(
        name=entry["type"],
        column=entry["kwargs"].get("column", ""),
        outcome=details["severity"],
        observed=str(result["observed_value"]),
        expected=details["expected"],
        unexpected_rows=details["unexpected_rows"] if failed else 0,
        first_rows=tuple(details["first_rows"]) if failed else (),
        reason=details["reason"] if failed else "",
    )


def mistyped_line(entry: dict[str, Any]) -> Expectation:
    """The line of an expectation that cannot be evaluated because the column is not of its declared type."""
    reason = "cannot be looked at: the values are not of the declared type"
    return Expectation(entry["type"], _column(entry["kwargs"]), "fail", "wrong type", _expected(entry), reason=reason)


def foreign_line(entry: dict[str, Any], success: bool, result: dict[str, Any], rows: Rows) -> Expectation:
    """The line of one of Great Expectations' own expectations, put into words from what it reports."""
    outcome: Severity = "pass" if success else SEVERITIES[entry.get("severity", "critical")]
    observed, expected = _observed(result), _expected(entry)
    return Expectation(
        name=entry["type"],
        column=_column(entry["kwargs"]),
        outcome=outcome,
        observed=observed,
        expected=expected,
        unexpected_rows=0 if success else int(result.get("unexpected_count") or 0),
        first_rows=() if success else rows,
        reason="" if success else _reason(entry, result, observed),
    )


def missing_line(entry: dict[str, Any], missing: set[str]) -> Expectation:
    """The line of an expectation whose column is not in the data."""
    reason = f"cannot be looked at: missing {', '.join(sorted(missing))}"
    return Expectation(entry["type"], _column(entry["kwargs"]), "fail", NO_COLUMN, _expected(entry), reason=reason)


def subject_of(entry: dict[str, Any]) -> str:
    """The column that an expectation is about, or ``the table``."""
    return _column(entry["kwargs"]) or "the table"


def _column(kwargs: dict[str, Any]) -> str:
    if isinstance(kwargs.get("column"), str):
        return str(kwargs["column"])
    return ", ".join(str(kwargs[name]) for name in ("column_A", "column_B") if name in kwargs)


def _observed(result: dict[str, Any]) -> str:
    if "unexpected_count" not in result:
        return _value(result.get("observed_value"))
    count, total = int(result["unexpected_count"] or 0), int(result.get("element_count") or 0)
    if not count:
        return f"all {total} rows as expected"
    examples = [_value(value) for value in result.get("partial_unexpected_list") or () if value is not None]
    shown = ", ".join(dict.fromkeys(examples))
    return f"{count} of {total} rows" + (f", such as {shown}" if shown else "")


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple | set):
        items = [_value(item) for item in value]
        return ", ".join(items[:20]) + (f" and {len(items) - 20} more" if len(items) > 20 else "")
    return str(value)


def _expected(entry: dict[str, Any]) -> str:
    kwargs = entry["kwargs"]
    if "column_set" in kwargs:
        return "columns " + _value(kwargs["column_set"])
    if "value_set" in kwargs:
        return "one of " + _value(kwargs["value_set"])
    if "min_value" in kwargs or "max_value" in kwargs:
        ends = [("at least", kwargs.get("min_value")), ("at most", kwargs.get("max_value"))]
        return " and ".join(f"{word} {_value(end)}" for word, end in ends if end is not None)
    if entry["type"] == "expect_column_values_to_not_be_null":
        return "no missing value"
    silent = ("column", "reference", "limits", "declared")
    words = entry["type"].removeprefix("expect_").replace("_", " ")
    options = ", ".join(f"{name} {_value(value)}" for name, value in kwargs.items() if name not in silent)
    return f"{words} {kwargs.get('declared', '')}".strip() + (f" ({options})" if options else "")


def _reason(entry: dict[str, Any], result: dict[str, Any], observed: str) -> str:
    sentences = {
        "expect_column_values_to_be_between": f"out of range in {observed}",
        "expect_column_values_to_be_in_set": f"not a known value in {observed}",
        "expect_column_values_to_not_be_null": f"missing in {observed}",
    }
    if entry["type"] == "expect_table_columns_to_match_set":
        return _columns_reason(result)
    return sentences.get(entry["type"], f"found {observed}")


def _columns_reason(result: dict[str, Any]) -> str:
    mismatched = (result.get("details") or {}).get("mismatched") or {}
    missing, extra = mismatched.get("missing") or [], mismatched.get("unexpected") or []
    parts = []
    if missing:
        parts.append(f"missing: {', '.join(missing)}")
    if extra:
        names = ", ".join(extra)
        left_out = ", ".join(f'"{name}"' for name in extra)
        parts.append(
            f"not in the suite: {names} (leave out by data.ignore = [{left_out}], or take up by "
            "ridgeway profile FILE --rebase --reason TEXT)"
        )
    return "; ".join(parts) or "the columns differ"
