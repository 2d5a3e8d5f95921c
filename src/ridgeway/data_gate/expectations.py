"""Our own expectations, written as Great Expectations wants them: a metric per column, and classes that judge it.

Great Expectations names an expectation by its class: ``ExpectColumnDistributionToHold`` is
``expect_column_distribution_to_hold`` in a suite. Importing this module registers them. Sizes and error probability come
from settings, not from the suite: ``"limits": {"$PARAMETER": "limits"}`` is filled in when a suite is evaluated.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
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

from ridgeway.data_gate.samples import ColumnSample, repeated_rows, row_numbers
from ridgeway.rules import distribution
from ridgeway.rules.distribution import Finding, Limits

SAMPLE = "column.ridgeway_sample"
REPEATS = "table.ridgeway_repeated_rows"


class ColumnSampleMetric(ColumnAggregateMetricProvider):  # type: ignore[misc]
    """A column as our expectations look at it, made once however many of them do."""

    metric_name = SAMPLE

    @column_aggregate_value(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, column: pd.Series, **_: Any) -> ColumnSample:  # noqa: N805 - Great Expectations passes the class
        return ColumnSample(column)


class RepeatedRowsMetric(TableMetricProvider):  # type: ignore[misc]
    """Rows that are equal to an earlier one in the listed columns."""

    metric_name = REPEATS
    value_keys = ("column_list",)

    @metric_value(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(
        cls,  # noqa: N805
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        metrics: dict[str, Any],  # noqa: ARG002
        runtime_configuration: dict[str, Any],  # noqa: ARG002
    ) -> Any:
        frame, _, _ = execution_engine.get_compute_domain(metric_domain_kwargs, domain_type=MetricDomainTypes.TABLE)
        return repeated_rows(frame[list(metric_value_kwargs["column_list"])])


class ColumnExpectation(ColumnAggregateExpectation):  # type: ignore[misc]
    """An expectation on one column's sample; a subclass says in ``judge`` what it amounts to."""

    metric_dependencies: ClassVar[tuple[str, ...]] = (SAMPLE,)

    def judge(self, sample: ColumnSample) -> tuple[Finding, np.ndarray | None]:
        """What the sample amounts to, and which rows are at fault if that can be said."""
        raise NotImplementedError

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: Any = None,
        execution_engine: Any = None,  # noqa: ARG002
    ) -> dict[str, Any]:
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
    """The column holds values of its declared type. Whole numbers are numbers; a column without values fits any type."""

    declared: str
    success_keys: ClassVar[tuple[str, ...]] = ("declared",)

    def judge(self, sample: ColumnSample) -> tuple[Finding, np.ndarray | None]:
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
    """The type of a column's values, in the words of a Dataset's columns.

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
        return "integer" if bool((values[:1000] % 1 == 0).all() and (values % 1 == 0).all()) else "number"
    return str(pd.api.types.infer_dtype(sample.column, skipna=True))


class ExpectColumnMissingShareToHold(ColumnExpectation):
    """About as many values are missing as in the reference; for a column in which some were missing then."""

    reference: dict[str, int]
    limits: dict[str, Any]
    success_keys: ClassVar[tuple[str, ...]] = ("reference", "limits")

    def judge(self, sample: ColumnSample) -> tuple[Finding, np.ndarray | None]:
        """Rows at fault are those without a value."""
        then = (self.reference["missing"], self.reference["rows"])
        shift = distribution.missing_shift((sample.missing, sample.rows), then)
        finding = _judged(self.limits, (shift,))
        return finding, sample.is_missing if finding.severity != "pass" else None


class ExpectColumnNotToBecomeConstant(ColumnExpectation):
    """A column that varied still does, unless there are so few rows that chance explains it."""

    reference: dict[str, int]
    limits: dict[str, Any]
    success_keys: ClassVar[tuple[str, ...]] = ("reference", "limits")

    def judge(self, sample: ColumnSample) -> tuple[Finding, np.ndarray | None]:
        """No single row is at fault."""
        if not sample.is_constant:
            return Finding("pass", "values vary", "values vary"), None
        then = (self.reference["most_frequent"], self.reference["rows"])
        p_value = distribution.constancy_p_value(*then, rows=sample.present)
        value = sample.column[~sample.is_missing].iloc[0]
        observed = f"{value} in all {sample.present} rows"
        if p_value > Limits(**self.limits["sizes"]).error_rate / self.limits["columns"]:
            return Finding("pass", observed, "values vary, in enough rows to show it"), None
        return Finding(
            "fail", observed, "values vary", f"the column varied before and is constant now: {observed}"
        ), None


class ExpectColumnDistributionToHold(ColumnExpectation):
    """The column is distributed as in the reference, as far as this many rows can tell and as far as it matters."""

    reference: dict[str, Any]
    limits: dict[str, Any]
    success_keys: ClassVar[tuple[str, ...]] = ("reference", "limits")

    def judge(self, sample: ColumnSample) -> tuple[Finding, np.ndarray | None]:
        """No single row is at fault."""
        fields = {name: tuple(value) if isinstance(value, list) else value for name, value in self.reference.items()}
        if fields.pop("kind") == "categories":
            reference = distribution.CategoryReference(**fields)
            shifts = distribution.category_shifts(reference, sample.values, sample.counts.tolist())
        else:
            shifts = distribution.number_shifts(distribution.NumberReference(**fields), sample.numbers)
        return _judged(self.limits, shifts), None


class ExpectTableRowsNotToRepeat(BatchExpectation):  # type: ignore[misc]
    """No more rows repeat an earlier one than the reference explains: a delivery is not in the file twice."""

    column_list: list[str] = pydantic.Field(min_items=1)
    reference: dict[str, int]
    limits: dict[str, Any]
    metric_dependencies: ClassVar[tuple[str, ...]] = (REPEATS, "table.row_count")
    success_keys: ClassVar[tuple[str, ...]] = ("column_list", "reference", "limits")

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: Any = None,
        execution_engine: Any = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        repeats, rows, sizes = metrics[REPEATS], metrics["table.row_count"], Limits(**self.limits["sizes"])
        excess = distribution.excess_duplicates((repeats.rows, rows), self.reference["pairs"], self.reference["rows"])
        severity = "fail" if excess >= sizes.refuse_share else "warn" if excess > sizes.warn_share else "pass"
        reason = f"{repeats.rows} of {rows} rows repeat an earlier one in all columns: is a delivery in the file twice?"
        finding = Finding(severity, f"{repeats.rows} repeated rows", "no more than chance explains", reason)
        return answer(finding, repeats.rows, repeats.first_rows)


OWN = (ColumnExpectation, ExpectTableRowsNotToRepeat)
"""What brings its own words along."""


def _judged(limits: dict[str, Any], shifts: tuple[distribution.Shift, ...]) -> Finding:
    return distribution.judge(shifts, Limits(**limits["sizes"]), limits["columns"])
