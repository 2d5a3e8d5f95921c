"""The paired comparison: what a set of per-row losses says about two models, as a mean gain with bounds.

Everything here works on one judgement or on many at once: the numbers may be scalars or arrays that broadcast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

UPPER_LEVEL = 0.05
"""One-sided error probability of the upper bound: it only ever rejects or holds, so the usual 5 % is careful enough."""


@dataclass(frozen=True, slots=True, eq=False)
class Paired:
    """A set of rows in four numbers (or four arrays, one entry per judgement)."""

    rows: Any
    """How many rows, n."""
    gain: Any
    """Mean of d = opponent's loss less candidate's loss; positive is better. 0 without rows."""
    deviation: Any
    """Sample standard deviation of d (ddof 1); 0 below two rows."""
    opponent_loss: Any
    """Mean loss of the opponent, R; 0 without rows."""


NO_ROWS = Paired(0, 0.0, 0.0, 0.0)
"""The summary of an empty set."""


def summarise(opponent_loss: ArrayLike, candidate_loss: ArrayLike, *, where: ArrayLike | None = None) -> Paired:
    """The four numbers of a set of rows, computed along the last axis.

    Args:
        opponent_loss: Losses of shape ``(rows,)``, or ``(judgements, rows)`` for many judgements at once.
        candidate_loss: The same shape.
        where: Which entries count, broadcast against the losses; all by default.

    Returns:
        Their summary. An empty set, one row, and gains that are all equal give a deviation of 0 and no warning.

    Example:
        >>> summarise([4.0, 6.0, 8.0], [3.0, 4.0, 5.0])
        Paired(rows=np.int64(3), gain=np.float64(2.0), deviation=np.float64(1.0), opponent_loss=np.float64(6.0))
    """
    opponent = np.asarray(opponent_loss, dtype=np.float64)
    gains = opponent - np.asarray(candidate_loss, dtype=np.float64)
    counted = np.broadcast_to(True if where is None else np.asarray(where, dtype=bool), gains.shape)
    rows = counted.sum(axis=-1)
    gain = np.where(counted, gains, 0.0).sum(axis=-1) / np.maximum(rows, 1)
    reference = np.where(counted, opponent, 0.0).sum(axis=-1) / np.maximum(rows, 1)
    apart = np.where(counted, gains - gain[..., None], 0.0)
    # Squares of large losses overflow; dividing by the largest distance first keeps every square within 0 to 1.
    scale = np.abs(apart).max(axis=-1, initial=0.0)
    squares = np.square(apart / np.where(scale > 0, scale, 1.0)[..., None]).sum(axis=-1)
    deviation = scale * np.sqrt(squares / np.maximum(rows - 1, 1))
    return Paired(rows, gain, deviation, reference)


def lower_bound(paired: Paired, level: float) -> Any:
    """The one-sided lower confidence bound ``m - t(1 - level, n - 1) s / sqrt(n)`` of the mean gain.

    The paired t bound on loss differences (Diebold & Mariano 1995, "Comparing predictive accuracy", for independent
    rows; Dietterich 1998, "Approximate statistical tests for comparing supervised classification learning algorithms",
    for why rows that took part in no training are needed). On rows with out-of-fold predictions it is the interval of
    Bayle, Bayle, Janson & Mackey 2020, "Cross-validation confidence intervals for test error".

    Args:
        paired: The summary; below two rows there is no bound and the result is minus infinity.
        level: One-sided error probability, in (0, 0.5).

    Example:
        >>> round(float(lower_bound(Paired(88, 400.0, 1300.0, 3000.0), 0.005)), 1)
        35.0
    """
    return np.where(np.asarray(paired.rows) > 1, paired.gain - _half_width(paired, level), -np.inf)[()]


def upper_bound(paired: Paired, level: float = UPPER_LEVEL) -> Any:
    """The one-sided upper confidence bound of the mean gain: plus infinity below two rows.

    Example:
        >>> round(float(upper_bound(Paired(88, 400.0, 1300.0, 3000.0))), 1)
        630.4
    """
    return np.where(np.asarray(paired.rows) > 1, paired.gain + _half_width(paired, level), np.inf)[()]


def p_value_of_harm(paired: Paired, margin: float) -> Any:
    """The p-value of "the candidate is not more than ``margin`` worse", one-sided: small where harm is shown.

    Args:
        paired: The summary of the slice.
        margin: The tolerated loss of quality as a share of the opponent's loss on the same rows.

    Returns:
        In [0, 1]; 1 below two rows. Gains without any spread are certain either way.

    Example:
        >>> round(float(p_value_of_harm(Paired(50, -600.0, 900.0, 3000.0), 0.05)), 4)
        0.0005
    """
    rows = np.asarray(paired.rows)
    distance = np.asarray(paired.gain + margin * np.asarray(paired.opponent_loss))
    error = paired.deviation / np.sqrt(np.maximum(rows, 1))
    statistic = distance / np.where(error > 0, error, 1.0)
    spread = special.stdtr(np.maximum(rows - 1, 1), statistic)
    certain = np.where(distance < 0, 0.0, 1.0)
    return np.where(rows > 1, np.where(error > 0, spread, certain), 1.0)[()]


def _half_width(paired: Paired, level: float) -> Any:
    rows = np.asarray(paired.rows)
    quantile = special.stdtrit(np.maximum(rows - 1, 1), 1 - level)
    return quantile * paired.deviation / np.sqrt(np.maximum(rows, 1))
