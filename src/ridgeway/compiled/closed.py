"""Linear and logistic regression behind scalers, imputers and encoders: folded into one vector per score."""

from __future__ import annotations

from typing import Any

import numpy as np

from ridgeway.compiled.cells import Cell, Cells, code, split_pipeline, tables
from ridgeway.compiled.draft import Draft, Unsupported, array_bytes
from ridgeway.compiled.parity import Subject

_UNKNOWN = object()


def closed_form(subject: Subject) -> Draft:
    """A linear or logistic model as weights, offset, fill-in values and one table per encoded column.

    Raises:
        Unsupported: The estimator is not linear, or something before it is not columnwise.
    """
    cells, last = split_pipeline(subject.estimator, len(subject.columns))
    coefficients, intercept, kind = _coefficients(last, subject.task)
    if coefficients.shape[1] != len(cells):
        raise Unsupported(f"{coefficients.shape[1]} coefficients for {len(cells)} features")
    text = {i for i, column in enumerate(subject.columns) if column.type == "string"}
    if any(cell.position in text and cell.codes is None for cell in cells):
        raise Unsupported("a text column that is not encoded")
    numbers = [i for i in range(len(subject.columns)) if i not in text]
    slopes = np.array([cell.slope if cell.codes is None else 0.0 for cell in cells])
    weights = np.zeros((len(subject.columns), len(coefficients)))
    for cell, slope, column in zip(cells, slopes, coefficients.T, strict=True):
        weights[cell.position] += slope * column
    offset = intercept + coefficients @ np.array([cell.shift for cell in cells])
    files = {"weights.npy": array_bytes(weights[numbers]), "offset.npy": array_bytes(offset)}
    fill = _fill(cells, numbers)
    if fill is not None:
        files["fill.npy"] = array_bytes(fill)
    form = []
    for position, (values, unknown) in tables(cells).items():
        name = f"table_{position}.npy"
        files[name] = array_bytes(_rows(cells, coefficients, position, values))
        form.append({"column": position, "values": values, "unknown": unknown, "file": name})
    return Draft(kind, files, {"tables": form} if form else {})


def _coefficients(last: Any, task: str) -> tuple[Any, Any, str]:
    """Coefficients (scores × features), intercepts (scores), and the kind of package."""
    if (
        not type(last).__module__.startswith("sklearn.")
        or not hasattr(last, "coef_")
        or not hasattr(last, "intercept_")
    ):
        raise Unsupported(f"{type(last).__name__}, which is not a linear model")
    if task == "classification" and type(last).__name__ not in ("LogisticRegression", "LogisticRegressionCV"):
        raise Unsupported(f"{type(last).__name__}, which is not a logistic regression")
    coefficients = np.atleast_2d(np.asarray(last.coef_, np.float64))
    intercept = np.broadcast_to(np.asarray(last.intercept_, np.float64).ravel(), (len(coefficients),))
    if task == "regression" and len(coefficients) != 1:
        raise Unsupported("several outputs")
    return coefficients, intercept, "linear" if task == "regression" else "logistic"


def _fill(cells: Cells, numbers: list[int]) -> Any:
    filled: dict[int, Any] = {}
    for cell in cells:
        if cell.codes is None and filled.setdefault(cell.position, cell.fill) != cell.fill:
            raise Unsupported("two ways to fill in one column")
    if not any(value is not None for value in filled.values()):
        return None
    # Where nothing is filled in a missing value is refused by the signature, so NaN is never used.
    return np.array([np.nan if filled.get(i) is None else float(filled[i]) for i in numbers])


def _rows(cells: Cells, coefficients: Any, position: int, values: list[Any]) -> Any:
    """What each value of an encoded column adds to the scores, and in the last row what an unknown one adds."""
    own: list[tuple[Cell, Any]] = [(c, k) for c, k in zip(cells, coefficients.T, strict=True) if c.position == position]
    return np.array(
        [
            sum(cell.slope * code(cell, value) * column for cell, column in own if cell.codes is not None)
            for value in (*values, _UNKNOWN)
        ]
    ).reshape(len(values) + 1, len(coefficients))
