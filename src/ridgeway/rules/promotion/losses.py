"""Per-row losses, and the metrics that floors are held against; numpy only, checked against bad numbers.

Targets and predictions are arrays over the same rows in the same order. For classes, predictions are probabilities of
shape ``(rows, classes)`` whose columns are in the order of the model's ``classes``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ridgeway.errors import EvidenceError, UsageError
from ridgeway.rules.promotion.paired import Floats

REGRESSION_LOSSES: Final = ("squared_error", "absolute_error")
CLASSIFICATION_LOSSES: Final = ("log_loss", "brier")
LOSSES: Final = REGRESSION_LOSSES + CLASSIFICATION_LOSSES
"""The losses that ``rules.loss`` may name."""

LOWER_IS_BETTER: Final = frozenset({"mean_squared_error", "mean_absolute_error", "log_loss", "brier"})
"""Metrics that take a ceiling, not a floor."""

HIGHER_IS_BETTER: Final = frozenset({"r2", "accuracy", "roc_auc"})
"""Metrics that take a floor, not a ceiling."""

LEAST_PROBABILITY: Final = 1e-15
"""Log loss counts a smaller probability as this one: at most 34.5 for a single row, in place of infinity."""

_SUM_TOLERANCE: Final = 1e-3
_REFUSED: Final = "cannot compute losses"


def row_losses(loss: str, targets: ArrayLike, predictions: ArrayLike, *, classes: Sequence[Any] = ()) -> Floats:
    """The loss of every row, shape ``(rows,)``, none negative.

    ``squared_error`` is (y - p)², ``absolute_error`` |y - p|, ``log_loss`` -log of the probability of the true class
    (clipped from below at ``LEAST_PROBABILITY``), ``brier`` the squared distance between probabilities and truth summed
    over the classes, halved for two classes as is usual. A class that the model does not know has probability 0.

    Args:
        loss: One of ``LOSSES``.
        targets: Numbers, or class labels for ``log_loss`` and ``brier``.
        predictions: Numbers of shape ``(rows,)``, or probabilities of shape ``(rows, classes)``.
        classes: The model's classes in the order of the probability columns.

    Raises:
        UsageError: An unknown loss.
        EvidenceError: Lengths that differ; a target or prediction that is missing or not finite; probabilities outside
            0 to 1 or whose sum is not 1; a loss too large to represent. The row is named, counted from 1.

    Example:
        >>> row_losses("squared_error", [1.0, 2.0], [1.5, 4.0])
        array([0.25, 4.  ])
        >>> row_losses("brier", ["no", "yes"], [[1.0, 0.0], [0.5, 0.5]], classes=("no", "yes"))
        array([0.  , 0.25])
    """
    if loss in REGRESSION_LOSSES:
        truth, predicted = _numbers(targets, predictions)
        with np.errstate(over="ignore"):
            errors = np.abs(truth - predicted)
            losses = np.square(errors) if loss == "squared_error" else errors
        _refuse_rows(~np.isfinite(losses), predicted, "prediction", "an error small enough to be squared")
        return losses
    if loss in CLASSIFICATION_LOSSES:
        positions, probabilities = _classes(targets, predictions, classes)
        return _log_losses(positions, probabilities) if loss == "log_loss" else _brier(positions, probabilities)
    raise UsageError(
        _REFUSED, where="rules.loss", problem=f"no loss is called {loss!r}", expected=f"one of {', '.join(LOSSES)}"
    )


def metrics(task: str, targets: ArrayLike, predictions: ArrayLike, *, classes: Sequence[Any] = ()) -> dict[str, float]:
    """The metrics of a set of rows; the same numbers as scikit-learn's functions of these names.

    Regression: ``r2`` (for a constant target 1 if every prediction is right, else 0), ``mean_squared_error``,
    ``mean_absolute_error``. Classification: ``accuracy``, ``log_loss``, ``brier``, and for two classes that both occur
    ``roc_auc``. No rows give no metrics.

    Args:
        task: ``regression`` or ``classification``.
        targets: Numbers or class labels.
        predictions: Numbers, or probabilities of shape ``(rows, classes)``.
        classes: The model's classes in the order of the probability columns.

    Raises:
        EvidenceError: As for ``row_losses``.

    Example:
        >>> metrics("regression", [1.0, 2.0, 3.0], [1.0, 2.0, 4.0])["r2"]
        0.5
    """
    if np.shape(targets) == (0,):
        return {}
    if task == "regression":
        return _regression_metrics(*_numbers(targets, predictions))
    positions, probabilities = _classes(targets, predictions, classes)
    return _classification_metrics(positions, probabilities)


def baseline_predictions(training_targets: ArrayLike, rows: int, *, classes: Sequence[Any] = ()) -> Floats:
    """What the first candidate is compared with: the training mean, or the training share of every class, on each row.

    Args:
        training_targets: The labels of the training rows.
        rows: How many rows to predict.
        classes: Empty for regression, else the classes in the order of the probability columns.

    Raises:
        EvidenceError: No training rows, or one whose label is missing or not finite.

    Example:
        >>> baseline_predictions([1.0, 2.0, 6.0], 2)
        array([3., 3.])
        >>> baseline_predictions(["a", "b", "b", "b"], 1, classes=("a", "b"))
        array([[0.25, 0.75]])
    """
    if not np.size(training_targets):
        raise EvidenceError("cannot predict the training mean", problem="there are no training rows")
    if not classes:
        truth, _ = _numbers(training_targets, training_targets)
        return np.full(rows, truth.mean())
    shares = np.bincount(_positions(training_targets, classes) + 1, minlength=len(classes) + 1)[1:]
    return np.tile(shares / max(int(shares.sum()), 1), (rows, 1))


def same_predictions(ours: ArrayLike, theirs: ArrayLike) -> bool:
    """Whether two models predict the same on every row, up to rounding (1e-12 of the largest prediction).

    The tolerance is there because one model fitted twice may differ in the last digit between processors; such a pair
    must not win or lose on the sign of its rounding errors.

    Example:
        >>> same_predictions([1.0, 2.0], [1.0, 2.0 + 1e-15]), same_predictions([1.0, 2.0], [1.0, 2.1])
        (True, False)
    """
    first, second = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if first.shape != second.shape:
        return False
    scale = max(np.abs(first).max(initial=0.0), np.abs(second).max(initial=0.0))
    return bool((np.abs(first - second) <= 1e-12 * scale).all())


def _regression_metrics(truth: Floats, predicted: Floats) -> dict[str, float]:
    squares = row_losses("squared_error", truth, predicted)
    total = float(np.square(truth - truth.mean()).sum())
    # A constant target leaves a total of rounding errors only; a share of it means nothing.
    constant = bool((truth == truth[0]).all())
    r2 = float(not squares.any()) if constant or total == 0 else 1 - float(squares.sum()) / total
    return {
        "r2": r2,
        "mean_squared_error": float(squares.mean()),
        "mean_absolute_error": float(np.abs(truth - predicted).mean()),
    }


def _classification_metrics(positions: NDArray[np.intp], probabilities: Floats) -> dict[str, float]:
    found = {
        "accuracy": float((probabilities.argmax(axis=1) == positions).mean()),
        "log_loss": float(_log_losses(positions, probabilities).mean()),
        "brier": float(_brier(positions, probabilities).mean()),
    }
    if probabilities.shape[1] == 2 and set(np.unique(positions)) == {0, 1}:
        found["roc_auc"] = _roc_auc(positions, probabilities[:, 1])
    return found


def _roc_auc(positions: NDArray[np.intp], scores: Floats) -> float:
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order, ties counting half."""
    _, first, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle_ranks = np.cumsum(counts) - (counts - 1) / 2
    positive = positions == 1
    positives = int(positive.sum())
    pairs = positives * (positions.size - positives)
    return float((middle_ranks[first][positive].sum() - positives * (positives + 1) / 2) / pairs)


def _log_losses(positions: NDArray[np.intp], probabilities: Floats) -> Floats:
    return np.asarray(-np.log(np.clip(_of_truth(positions, probabilities), LEAST_PROBABILITY, 1.0)))


def _brier(positions: NDArray[np.intp], probabilities: Floats) -> Floats:
    squares = np.square(probabilities).sum(axis=1) - 2 * _of_truth(positions, probabilities) + 1
    return np.asarray(np.maximum(squares, 0.0) / (2 if probabilities.shape[1] == 2 else 1))


def _of_truth(positions: NDArray[np.intp], probabilities: Floats) -> Floats:
    known = probabilities[np.arange(positions.size), np.maximum(positions, 0)]
    return np.where(positions >= 0, known, 0.0)


def _numbers(targets: ArrayLike, predictions: ArrayLike) -> tuple[Floats, Floats]:
    truth, predicted = (np.asarray(values, dtype=np.float64) for values in (targets, predictions))
    if truth.ndim != 1 or predicted.shape != truth.shape:
        raise EvidenceError(
            _REFUSED,
            problem=f"targets of shape {truth.shape}, predictions of shape {predicted.shape}",
            expected="one number per row, for the same rows",
        )
    _refuse_rows(~np.isfinite(truth), truth, "target", "finite numbers")
    _refuse_rows(~np.isfinite(predicted), predicted, "prediction", "finite numbers")
    return truth, predicted


def _classes(targets: ArrayLike, predictions: ArrayLike, classes: Sequence[Any]) -> tuple[NDArray[np.intp], Floats]:
    probabilities = np.asarray(predictions, dtype=np.float64)
    positions = _positions(targets, classes)
    if probabilities.shape != (positions.size, len(classes)):
        raise EvidenceError(
            _REFUSED,
            problem=f"{positions.size} targets, {len(classes)} classes, probabilities of shape {probabilities.shape}",
            expected="one row per target and one column per class",
        )
    _refuse_rows(np.asarray(~np.isfinite(probabilities).all(axis=1)), probabilities, "prediction", "finite numbers")
    outside = ((probabilities < 0) | (probabilities > 1)).any(axis=1)
    uneven = np.abs(probabilities.sum(axis=1) - 1) > _SUM_TOLERANCE
    _refuse_rows(np.asarray(outside | uneven), probabilities, "prediction", "probabilities from 0 to 1 whose sum is 1")
    return positions, probabilities


def _positions(targets: ArrayLike, classes: Sequence[Any]) -> NDArray[np.intp]:
    """The column of every target; -1 for a class that the model does not know."""
    labels = np.asarray(targets)
    values = labels.tolist()
    missing = np.fromiter((_is_missing(value) for value in values), dtype=bool, count=len(values))
    _refuse_rows(missing, labels, "target", "a class")
    columns = {label: position for position, label in enumerate(classes)}
    return np.fromiter((columns.get(value, -1) for value in values), dtype=np.intp, count=len(values))


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _refuse_rows(wrong: NDArray[np.bool_], values: NDArray[Any], what: str, expected: str) -> None:
    rows = np.flatnonzero(wrong)
    if rows.size:
        raise EvidenceError(
            _REFUSED,
            where=f"row {rows[0] + 1} of {wrong.size}",
            problem=f"the {what} is {values[rows[0]]}; {rows.size} rows are like this",
            expected=expected,
        )
