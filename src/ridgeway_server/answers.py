"""What a form of a model answers, and how scores become labels and probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ridgeway_server.signature import Matrix


@dataclass(slots=True)
class Answer:
    """Predictions of n rows: ``values`` (n) for a regression, else ``labels`` (n, places in the model's classes).

    ``probabilities`` (n × classes) where the model has them.
    """

    values: Matrix | None = None
    labels: NDArray[np.intp] | None = None
    probabilities: Matrix | None = None

    def part(self, start: int, stop: int) -> Answer:
        """The answers of rows ``start`` to ``stop`` (exclusive)."""
        cut = slice(start, stop)
        values, labels, probabilities = self.values, self.labels, self.probabilities
        return Answer(
            None if values is None else values[cut],
            None if labels is None else labels[cut],
            None if probabilities is None else probabilities[cut],
        )


def binary_answer(score: Matrix) -> Answer:
    """Labels and probabilities of two classes from the score of the second: 1 / (1 + exp(−score))."""
    # exp of a number that is never positive does not overflow, whichever side the score lies on.
    small = np.exp(-np.abs(score))
    second = np.where(score >= 0, 1.0, small) / (1.0 + small)
    return Answer(labels=(score > 0).astype(np.intp), probabilities=np.column_stack([1.0 - second, second]))


def softmax(scores: Matrix) -> Matrix:
    """Rows of probabilities: exp(score) over the sum of its row, shifted so that nothing overflows."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities: Matrix = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
