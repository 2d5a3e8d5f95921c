"""The proof that a compiled model is the estimator: rows to compare on, the estimator's answers, and the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ridgeway.artifacts import Column
from ridgeway_server.answers import Answer
from ridgeway_server.models import Model
from ridgeway_server.signature import Column as ServerColumn
from ridgeway_server.signature import Table

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-9
"""|a − b| ≤ 1e-9 · max(1, |b|): a thousand times what reordering float64 sums costs, far below what anyone can see."""
_MOST_ROWS = 2000
_RANDOM_ROWS = 64
_UNSEEN = "a value that was never seen"


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """An estimator with all that is known about its input and output."""

    estimator: Any
    columns: tuple[Column, ...]
    task: str
    classes: tuple[Any, ...]
    rows: pd.DataFrame
    """Held-out rows, features only, in the order of ``columns``."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """How far a compiled model is from its estimator."""

    holdout_rows: int
    extreme_rows: int
    largest_error: float
    """|a − b| / max(1, |b|), the largest over all rows (and classes)."""
    labels_equal: bool
    first_difference: str = ""

    @property
    def exact(self) -> bool:
        """True if it is within the tolerance in every row, and every label is the same."""
        return self.labels_equal and self.largest_error <= TOLERANCE


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Rows and the estimator's own answers for them."""

    frame: pd.DataFrame
    holdout_rows: int
    numbers: Any
    """Values, or probabilities (rows × classes); None for a classifier without them."""
    labels: Any = None
    missing: dict[str, bool] = field(default_factory=dict)

    def server_columns(self, columns: Sequence[Column]) -> list[ServerColumn]:
        """The columns as the server's signature has them."""
        return [ServerColumn(column.name, column.type, self.missing[column.name]) for column in columns]


def make_reference(subject: Subject) -> Reference:
    """The rows on which forms of this model are compared, with the estimator's answers."""
    import pandas as pd

    holdout = subject.rows.head(_MOST_ROWS).reset_index(drop=True)
    missing = {column.name: _takes_missing(subject, column, holdout) for column in subject.columns}
    extreme = _accepted(subject, _extreme_rows(subject, holdout, missing))
    frame = pd.concat([holdout, extreme], ignore_index=True) if len(extreme) else holdout
    numbers, labels = answers(subject, frame)
    return Reference(frame, len(holdout), numbers, labels, missing)


def answers(subject: Subject, frame: pd.DataFrame) -> tuple[Any, Any]:
    """The estimator's values, or probabilities and labels."""
    estimator = subject.estimator
    if subject.task == "regression":
        return np.asarray(estimator.predict(frame), np.float64).reshape(-1), None
    labels = np.asarray(estimator.predict(frame), object)
    if not hasattr(estimator, "predict_proba"):
        return None, labels
    return np.asarray(estimator.predict_proba(frame), np.float64), labels


def to_table(frame: pd.DataFrame, columns: Sequence[Column]) -> Table:
    """A frame as the server sees it: float64 and NaN, text and None."""
    arrays: list[Any] = []
    for column in columns:
        values = frame[column.name]
        if column.type == "string":
            cells = np.empty(len(values), object)
            cells[:] = [None if gap else str(value) for value, gap in zip(values, values.isna(), strict=True)]
            arrays.append(cells)
        else:
            arrays.append(values.to_numpy(dtype=np.float64, na_value=np.nan))
    if any(column.type == "string" for column in columns):
        return Table(len(frame), None, arrays)
    return Table(len(frame), np.column_stack(arrays))


def compare(model: Model, subject: Subject, reference: Reference) -> Evidence:
    """How far a loaded package is from the estimator, on all rows of the reference."""
    answer = model.predict(to_table(reference.frame, subject.columns))
    largest, place = 0.0, 0
    own = answer.values if answer.values is not None else answer.probabilities
    if reference.numbers is not None and own is not None:
        errors = np.abs(own - reference.numbers) / np.maximum(1.0, np.abs(reference.numbers))
        errors = errors.reshape(len(errors), -1).max(axis=1)
        largest, place = float(errors.max()), int(errors.argmax())
    equal = _labels_equal(model, answer, reference)
    rows = len(reference.frame)
    where = "" if largest <= TOLERANCE else f"row {place + 1} of {rows} differs by {largest:.2g}"
    return Evidence(reference.holdout_rows, rows - reference.holdout_rows, largest, equal, where)


def row_wise(model: Model, table: Table) -> bool:
    """True if each row's prediction depends on that row alone: 16 rows, together and one by one."""
    step = max(1, table.rows // 16)
    for start in range(0, table.rows, step):
        alone, together = (
            model.predict(table.part(start, start + 1)),
            model.predict(table.part(start, min(start + 5, table.rows))),
        )
        first, second = (a.values if a.values is not None else a.probabilities for a in (alone, together))
        if first is not None and second is not None and not np.allclose(first[0], second[0], rtol=1e-9, atol=1e-12):
            return False
    return True


def _labels_equal(model: Model, answer: Answer, reference: Reference) -> bool:
    if reference.labels is None:
        return True
    labels: list[Any] = reference.labels.tolist()
    return model.labels(answer) == labels


# ---- rows -----------------------------------------------------------------------------------------------------------


def _takes_missing(subject: Subject, column: Column, holdout: pd.DataFrame) -> bool:
    """True if the estimator predicts a finite number for a row without this value."""
    if holdout[column.name].isna().any():
        return True
    probe = holdout.head(1).copy()
    probe[column.name] = _as_column([None], column, holdout)
    return len(_accepted(subject, probe)) == 1


def _accepted(subject: Subject, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows for which the estimator gives a finite answer; a whole frame at once if it takes all of them."""
    import warnings

    def takes(rows: pd.DataFrame) -> bool:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                numbers, _ = answers(subject, rows)
        except Exception:  # noqa: BLE001 - an estimator may refuse a row in any way; such rows are not compared
            return False
        return numbers is None or bool(np.isfinite(numbers).all())

    if len(frame) == 0 or takes(frame):
        return frame
    return frame[[takes(frame.iloc[[place]]) for place in range(len(frame))]].reset_index(drop=True)


def _extreme_rows(subject: Subject, holdout: pd.DataFrame, missing: dict[str, bool]) -> pd.DataFrame:
    """Rows far from the data: each column alone at and beyond its ends, missing or unseen; then all at random."""
    import pandas as pd

    usual = {column.name: _usual(holdout[column.name]) for column in subject.columns}
    records = []
    for column in subject.columns:
        values = _extremes(column, holdout[column.name], missing=missing[column.name])
        records += [{**usual, column.name: value} for value in values]
    choices = {c.name: _extremes(c, holdout[c.name], missing=missing[c.name]) for c in subject.columns}
    random = np.random.default_rng(0)
    records += [
        {name: values[random.integers(len(values))] for name, values in choices.items()} for _ in range(_RANDOM_ROWS)
    ]
    columns = {c.name: _as_column([record[c.name] for record in records], c, holdout) for c in subject.columns}
    return pd.DataFrame(columns)


def _usual(values: pd.Series[Any]) -> Any:
    known = values.dropna()
    return None if known.empty else known.iloc[len(known) // 2]


def _extremes(column: Column, values: pd.Series[Any], *, missing: bool) -> list[Any]:
    known = values.dropna()
    gap: list[Any] = [None] if missing else []
    if column.type == "string":
        return [*known.astype(str).unique().tolist()[:50], _UNSEEN, "", *gap]
    if column.type == "boolean":
        return [True, False, *gap]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    span = max(high - low, abs(high), 1.0)
    numbers = [
        0.0,
        1.0,
        -1.0,
        low,
        high,
        low - span,
        high + span,
        low - 1e3 * span,
        high + 1e6 * span,
        (low + high) / 2,
    ]
    if column.type == "integer":
        return [*(float(round(number)) for number in numbers), *gap]
    return [*numbers, 1e-300, -1e-9, *gap]


def _as_column(values: list[Any], column: Column, holdout: pd.DataFrame) -> Any:
    """Values with the type that the column had in training, or the nearest that can hold them."""
    import pandas as pd

    dtype = holdout[column.name].dtype
    if column.type in ("number", "integer"):
        series = pd.Series(values, dtype="float64")
        whole = pd.api.types.is_integer_dtype(dtype) and bool((series.dropna() % 1 == 0).all())
        return series.astype(dtype) if whole and not series.isna().any() else series
    series = pd.Series(values, dtype=object)
    return series if series.isna().any() and pd.api.types.is_bool_dtype(dtype) else series.astype(dtype)
