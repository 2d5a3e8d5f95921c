"""Our own expectations, written as Great Expectations wants them: a metric per column, and classes that judge it.

Great Expectations names an expectation by its class: ``ExpectColumnDistributionToHold`` is
``expect_column_distribution_to_hold`` in a suite. Importing this module registers them. Sizes and error probability
come from settings, not from the suite: ``"limits": {"$PARAMETER": "limits"}`` is filled in on evaluation.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from great_expectations.compatibility import pydantic
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation, ColumnAggregateExpectation
from great_expectations.expectations.metrics.column_aggregate_metric_provider import (
    ColumnAggregateMetricProvider,
    column_aggregate_value,
)
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider
from great_expectations.types import SerializableDictDot

from ridgeway.artifacts import Severity
from ridgeway.data_gate.samples import ColumnSample, Repeats, repeated_rows, row_numbers
from ridgeway.rules import distribution
from ridgeway.rules.distribution import CategoryReference, Finding, Limits, NumberReference

SAMPLE = "column.ridgeway_sample"
REPEATS = "table.ridgeway_repeated_rows"

RowMask = npt.NDArray[np.bool_]


class Whole(SerializableDictDot):  # type: ignore[misc]
    """An argument that Great Expectations hands on as one value, and can still write as JSON.

    It copies nested dicts and lists dozens of times for each expectation, which took a third of the time.
    """

    def __init__(self, value: Any, record: dict[str, Any]) -> None:
        self.value = value
        self.record = record

    def to_json_dict(self) -> dict[str, Any]:
        """As it stands in the suite."""
        return self.record

    def __deepcopy__(self, memo: object) -> Whole:
        return self  # frozen values inside


class ColumnSampleMetric(ColumnAggregateMetricProvider):  # type: ignore[misc]
    """A column as our expectations look at it, made once however many of them do."""

    metric_name = SAMPLE

    @column_aggregate_value(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, column: pd.Series, **_: Any) -> ColumnSample:  # noqa: N805 - it is given the class
        return ColumnSample(column)


class RepeatedRowsMetric(TableMetricProvider):  # type: ignore[misc]
    """Rows that are equal to an earlier one in the listed columns."""

    metric_name = REPEATS
    value_keys = ("column_list",)

    @metric_value(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(
        cls,  # noqa: N805 - it is given the class
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        **_: Any,
    ) -> Repeats:
        frame, _, _ = execution_engine.get_compute_domain(metric_domain_kwargs, domain_type=MetricDomainTypes.TABLE)
        return repeated_rows(frame[list(metric_value_kwargs["column_list"])])


class ColumnExpectation(ColumnAggregateExpectation):  # type: ignore[misc]
    """An expectation on one column's sample; a subclass says in ``judge`` what it amounts to."""

    metric_dependencies: ClassVar[tuple[str, ...]] = (SAMPLE,)

    def judge(self, sample: ColumnSample) -> tuple[Finding, RowMask | None]:
        """What the sample amounts to, and which rows are at fault if that can be said."""
        raise NotImplementedError

    def _validate(self, metrics: dict[str, Any], **_: Any) -> dict[str, Any]:
        finding, rows = self.judge(metrics[SAMPLE])
        if rows is None:
            return answer(finding)
        return answer(finding, int(np.count_nonzero(rows)), row_numbers(rows))


def answer(finding: Finding, unexpected: int = 0, first_rows: tuple[int, ...] = ()) -> dict[str, Any]:
    """A finding as Great Expectations hands it on; our own words travel under ``details``."""
    details = {
        "severity": finding.severity,
        "expected": finding.expected,
        "reason": finding.reason,
        "unexpected_rows": unexpected,
        "first_rows": list(first_rows),
    }
    return {"success": finding.severity == "pass", "result": {"observed_value": finding.observed, "details": details}}


class ExpectColumnToHaveDeclaredType(ColumnExpectation):
    """Values are of their declared type. Whole numbers are numbers too; a column without values fits any type."""

    declared: str
    success_keys: ClassVar[tuple[str, ...]] = ("declared",)

    def judge(self, sample: ColumnSample) -> tuple[Finding, RowMask | None]:
        """Rows at fault are those with decimals where whole numbers are expected."""
        observed = type_of(sample)
        if observed == self.declared or not sample.present or (observed, self.declared) == ("integer", "number"):
            return Finding("pass", observed, self.declared), None
        rows = None
        if (observed, self.declared) == ("number", "integer"):
            rows = np.asarray((sample.column % 1 != 0) & ~sample.is_missing)
        reason = f"values are of type {observed}, expected {self.declared}"
        return Finding("fail", observed, self.declared, reason), rows


def type_of(sample: ColumnSample) -> str:
    """The type of a column's values, in the words of a Dataset's columns; pandas' word for anything else.

    Example:
        >>> type_of(ColumnSample(pd.Series([1.0, None, 3.0])))
        'integer'
    """
    dtype = sample.column.dtype
    if pd.api.types.is_bool_dtype(dtype):
        return "boolean"
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "datetime"
    if pd.api.types.is_integer_dtype(dtype):
        return "integer"
    if pd.api.types.is_numeric_dtype(dtype):
        values = sample.numbers
        # The first thousand settle it for most columns, without another array as long as the data.
        return "integer" if bool((values[:1000] % 1 == 0).all() and (values % 1 == 0).all()) else "number"
    return str(pd.api.types.infer_dtype(sample.column, skipna=True))


class ReferencedExpectation(ColumnExpectation):
    """An expectation that compares with a reference from the suite, under limits from settings."""

    reference: Any
    limits: Any
    """The whole of a ``Shared`` when evaluated; in a suite ``{"$PARAMETER": "limits"}``."""
    success_keys: ClassVar[tuple[str, ...]] = ("reference", "limits")

    @pydantic.validator("reference", pre=True)  # type: ignore[untyped-decorator]
    def _read(cls, value: Any) -> Any:  # noqa: N805 - it is given the class
        return Whole(cls.read_reference(value), value) if isinstance(value, dict) else value

    @classmethod
    def read_reference(cls, record: dict[str, Any]) -> Any:
        """The reference as the rules want it.

        Raises:
            ValueError: It is not of the form that ``profile`` writes.
        """
        raise NotImplementedError


def counts_of(record: dict[str, Any], *names: str) -> tuple[int, ...]:
    """The named whole numbers of a reference.

    Raises:
        ValueError: One is missing or not a count.
    """
    counts = tuple(record.get(name) for name in names)
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise ValueError(f"reference must hold the counts {', '.join(names)}")
    return counts  # type: ignore[return-value]


class ExpectColumnMissingShareToHold(ReferencedExpectation):
    """About as many values are missing as in the reference; for a column in which some were missing then."""

    @classmethod
    def read_reference(cls, record: dict[str, Any]) -> tuple[int, ...]:
        """Missing values, and rows."""
        return counts_of(record, "missing", "rows")

    def judge(self, sample: ColumnSample) -> tuple[Finding, RowMask | None]:
        """Rows at fault are those without a value."""
        shift = distribution.missing_shift((sample.missing, sample.rows), self.reference.value)
        finding = distribution.judge([shift], self.limits.value)
        return finding, sample.is_missing if finding.severity != "pass" else None


class ExpectColumnNotToBecomeConstant(ReferencedExpectation):
    """A column that varied still does, unless there are so few rows that chance explains it."""

    @classmethod
    def read_reference(cls, record: dict[str, Any]) -> tuple[int, ...]:
        """Rows with the most frequent value, and rows with any."""
        return counts_of(record, "most_frequent", "rows")

    def judge(self, sample: ColumnSample) -> tuple[Finding, RowMask | None]:
        """No single row is at fault."""
        expected = "more than one value, in enough rows to show it"
        if not sample.is_constant:
            return Finding("pass", "values vary" if sample.present else "no values", expected), None
        observed = f"{sample.first} in all {sample.present} rows that have a value"
        most_frequent, rows = self.reference.value
        if distribution.constancy_p_value(most_frequent, rows, sample.present) > self.limits.value.error_rate:
            return Finding("pass", observed, expected), None
        return Finding("fail", observed, expected, f"the column varied and is constant now: {observed}"), None


class ExpectColumnDistributionToHold(ReferencedExpectation):
    """The column is distributed as in the reference, as far as this many rows can tell and as far as it matters."""

    @classmethod
    def read_reference(cls, record: dict[str, Any]) -> NumberReference | CategoryReference:
        """Of the kind that the record names."""
        kinds: dict[Any, type] = {"numbers": NumberReference, "categories": CategoryReference}
        if (kind := kinds.get(record.get("kind"))) is None:
            raise ValueError(f"reference.kind must be one of {', '.join(kinds)}")
        fields = {name: value for name, value in record.items() if name != "kind"}
        reference: NumberReference | CategoryReference = kind(
            **{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
        )
        return reference

    def judge(self, sample: ColumnSample) -> tuple[Finding, RowMask | None]:
        """No single row is at fault."""
        if isinstance(self.reference.value, CategoryReference):
            shifts = distribution.category_shifts(self.reference.value, sample.values, sample.counts.tolist())
        else:
            shifts = distribution.number_shifts(self.reference.value, sample.numbers)
        return distribution.judge(shifts, self.limits.value), None


class ExpectTableRowsNotToRepeat(BatchExpectation):  # type: ignore[misc]
    """No more rows repeat an earlier one than the reference explains: a delivery is not in the file twice."""

    column_list: list[str] = pydantic.Field(min_items=1)
    reference: dict[str, int]
    limits: Any
    metric_dependencies: ClassVar[tuple[str, ...]] = (REPEATS, "table.row_count")
    success_keys: ClassVar[tuple[str, ...]] = ("column_list", "reference", "limits")

    def _validate(self, metrics: dict[str, Any], **_: Any) -> dict[str, Any]:
        repeats, rows = metrics[REPEATS], metrics["table.row_count"]
        finding = self.judge(repeats, rows)
        return answer(finding, repeats.rows, repeats.first_rows)

    def judge(self, repeats: Repeats, rows: int) -> Finding:
        """What the repeated rows amount to."""
        limits: Limits = self.limits.value.limits
        excess = distribution.excess_duplicates((repeats.rows, rows), *counts_of(self.reference, "pairs", "rows"))
        severity: Severity = "warn" if excess > limits.warn_share else "pass"
        if excess >= limits.refuse_share:
            severity = "fail"
        reason = f"{repeats.rows} of {rows} rows repeat an earlier one in all columns: is a delivery in the file twice?"
        return Finding(severity, f"{repeats.rows} repeated rows", "no more repeated rows than chance explains", reason)


OWN = (ColumnExpectation, ExpectTableRowsNotToRepeat)
"""What brings its own words along."""
