"""The numbers behind the plots: the sealed rows, boiled down to what a page needs and no more.

What leaves here says nothing about who a row is: rows come sorted by their actual value, without index, key or
features, at most a few thousand of them for a regression and none at all for a classifier (counts and shares per bin).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
HISTOGRAM_BINS = 40
CALIBRATION_BINS = 10
LEAST_ROWS_PER_BIN = 15


@dataclass(frozen=True, slots=True)
class SealedRows:
    """The sealed rows on which the two models were compared, aligned by position."""

    actual: NDArray[Any]
    """Shape ``(n,)``: numbers, or for a classifier labels out of ``classes``."""
    candidate: Numbers
    """Shape ``(n,)``: predictions; for a classifier probabilities of shape ``(n, k)`` in the order of ``classes``."""
    opponent: Numbers | None = None
    """As ``candidate``; None where the opponent's predictions are not at hand."""
    gains: Numbers | None = None
    """Shape ``(n,)``: the opponent's loss less the candidate's, in units of the loss."""
    slices: Mapping[str, Mask] = field(default_factory=dict)
    """Name of a declared slice to a mask of shape ``(n,)``."""
    classes: tuple[str | int | float | bool, ...] = ()
    """Empty for a regression."""


def plot_data(rows: SealedRows, *, limit: int = 2000) -> dict[str, Any]:
    """What the report page draws, as plain JSON values. Pure and deterministic: no random sampling.

    Args:
        rows: The sealed rows. A row with a number that is not finite is left out and counted in ``left_out``.
        limit: The most points that a scatter plot gets; above it, rows are taken evenly along the sorted actual values,
            so that both ends of the range stay in.

    Returns:
        ``task``, ``rows``, ``left_out``, ``gains`` (a histogram over the central 98 %, with the rows beyond counted),
        ``spread`` (five quantiles per slice: of the residual, actual less predicted, or of the probability that a
        classifier gave to the true class), and ``scatter`` (regression) or ``calibration`` (classification). What
        cannot be drawn is None.

    Example:
        >>> rows = SealedRows(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.5, 3.0]))
        >>> data = plot_data(rows)
        >>> data["scatter"]["candidate"], data["spread"][0]["candidate"]
        ([1.0, 2.5, 3.0], [-0.45, -0.25, 0.0, 0.5, 0.9])
    """
    return _of_classifier(rows) if rows.classes else _of_regression(rows, limit)


def _of_regression(rows: SealedRows, limit: int) -> dict[str, Any]:
    actual = np.asarray(rows.actual, dtype=float)
    candidate = np.asarray(rows.candidate, dtype=float)
    opponent = None if rows.opponent is None else np.asarray(rows.opponent, dtype=float)
    finite = np.isfinite(actual) & np.isfinite(candidate) & (True if opponent is None else np.isfinite(opponent))
    with np.errstate(over="ignore", invalid="ignore"):
        residuals = {
            "candidate": actual - candidate,
            "opponent": None if opponent is None else actual - opponent,
        }
    return {
        "task": "regression",
        "rows": int(actual.size),
        "left_out": int(actual.size - finite.sum()),
        "scatter": _scatter(actual, candidate, opponent, _spaced_rows(actual, candidate, finite, limit)),
        "gains": _gains(rows.gains),
        "spread": _spread(residuals, finite, rows.slices),
    }


def _spaced_rows(actual: Numbers, candidate: Numbers, finite: Mask, limit: int) -> NDArray[np.intp]:
    """Sorted by value, so the points neither depend on the order of the rows nor tell it."""
    kept = np.flatnonzero(finite)
    kept = kept[np.lexsort((candidate[kept], actual[kept]))]
    if kept.size <= limit:
        return kept
    return kept[np.linspace(0, kept.size - 1, limit).round().astype(np.intp)]


def _scatter(
    actual: Numbers, candidate: Numbers, opponent: Numbers | None, shown: NDArray[np.intp]
) -> dict[str, Any] | None:
    if not shown.size:
        return None
    return {
        "actual": _short(actual[shown]),
        "candidate": _short(candidate[shown]),
        "opponent": None if opponent is None else _short(opponent[shown]),
    }


def _of_classifier(rows: SealedRows) -> dict[str, Any]:
    places = {label: place for place, label in enumerate(rows.classes)}
    truth = np.array([places.get(label, -1) for label in np.asarray(rows.actual).tolist()], dtype=np.intp)
    models = {
        "candidate": _probabilities(rows.candidate, len(rows.classes)),
        "opponent": None if rows.opponent is None else _probabilities(rows.opponent, len(rows.classes)),
    }
    finite = truth >= 0
    for table in models.values():
        finite &= True if table is None else np.isfinite(table).all(axis=1)
    given = {name: None if table is None else _given_to_truth(table, truth) for name, table in models.items()}
    return {
        "task": "classification",
        "rows": int(truth.size),
        "left_out": int(truth.size - finite.sum()),
        "calibration": {
            "of": str(rows.classes[1]) if len(rows.classes) == 2 else "",
            **{
                name: None if table is None else _calibration(table[finite], truth[finite])
                for name, table in models.items()
            },
        },
        "gains": _gains(rows.gains),
        "spread": _spread(given, finite, rows.slices),
    }


def _probabilities(values: Numbers, classes: int) -> Numbers | None:
    """None for a classifier that gives labels only: there is nothing to calibrate."""
    table = np.asarray(values)
    return table.astype(float) if table.ndim == 2 and table.shape[1] == classes else None


def _given_to_truth(table: Numbers, truth: NDArray[np.intp]) -> Numbers:
    return np.asarray(table[np.arange(truth.size), np.maximum(truth, 0)])


def _calibration(table: Numbers, truth: NDArray[np.intp]) -> list[dict[str, float]]:
    """Bins of equal count: for two classes the second one's probability, for more the confidence in the likeliest.

    The interval is Wilson's at 95 % (Wilson 1927, Journal of the American Statistical Association 22).
    """
    if not truth.size:
        return []
    if table.shape[1] == 2:
        claimed, happened = table[:, 1], truth == 1
    else:
        claimed, happened = table.max(axis=1), table.argmax(axis=1) == truth
    bins = int(np.clip(truth.size // LEAST_ROWS_PER_BIN, 1, CALIBRATION_BINS))
    edges = np.unique(np.quantile(claimed, np.linspace(0, 1, bins + 1)))
    place = np.searchsorted(edges[1:-1], claimed, side="right")
    return [_calibration_bin(claimed[place == each], happened[place == each]) for each in np.unique(place).tolist()]


def _calibration_bin(claimed: Numbers, happened: Mask) -> dict[str, float]:
    n, share, z = claimed.size, float(happened.mean()), 1.959964
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    predicted, observed, low, high = _short(np.array([claimed.mean(), share, centre - half, centre + half]))
    return {"rows": n, "predicted": predicted, "observed": observed, "low": max(low, 0.0), "high": min(high, 1.0)}


def _gains(gains: Numbers | None) -> dict[str, Any] | None:
    """A histogram over the central 98 %: squared errors have long tails, and one row would flatten all others."""
    if gains is None:
        return None
    values = np.asarray(gains, dtype=float)
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    # Rows on which both err alike belong on neither side of zero; they are counted, not drawn.
    different = values[values != 0]
    edges = _edges_through_zero(different) if different.size else np.empty(0)
    return {
        "edges": _short(edges),
        "counts": np.histogram(different, bins=edges)[0].tolist() if different.size else [],
        "below": int((different < edges[0]).sum()) if different.size else 0,
        "above": int((different > edges[-1]).sum()) if different.size else 0,
        "better": int((values > 0).sum()),
        "worse": int((values < 0).sum()),
        "equal": int((values == 0).sum()),
    }


def _edges_through_zero(values: Numbers) -> Numbers:
    """Zero is an edge, so that no bar mixes rows that gained with rows that lost."""
    low, high = (float(value) for value in np.quantile(values, [0.01, 0.99]))
    low, high = min(low, 0.0), max(high, 0.0)
    bins = min(HISTOGRAM_BINS, max(8, values.size // 4))
    width = (high - low) / bins
    if not (width > 0 and np.isfinite(width)):
        low, high, width = -1.0, 1.0, 0.25
    return np.arange(np.floor(low / width), np.ceil(high / width) + 1) * width


def _spread(models: Mapping[str, Numbers | None], finite: Mask, slices: Mapping[str, Mask]) -> list[dict[str, Any]]:
    """Five quantiles per slice and model, all rows first."""
    masks = {"": finite, **{name: finite & np.asarray(mask, dtype=bool) for name, mask in slices.items()}}
    return [
        {
            "slice": name,
            "rows": int(mask.sum()),
            **{
                model: None if values is None or not mask.any() else _short(np.quantile(values[mask], QUANTILES))
                for model, values in models.items()
            },
        }
        for name, mask in masks.items()
    ]


def _short(values: Numbers) -> list[float]:
    """Five significant digits are finer than a pixel, and keep a page with thousands of points small."""
    return [float(f"{value:.5g}") for value in values.tolist()]
