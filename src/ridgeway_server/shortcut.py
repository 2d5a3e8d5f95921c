"""The shortest way from body to body, for the commonest request: one row of plain numbers to a model in closed form.

It answers None for anything unusual, which then takes the general way and gets the same answer or a precise refusal.
It is worth 5 µs of the 20 that a request takes.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import orjson

from ridgeway_server.models import LinearForm, LogisticForm, Model

_SUMPRODUCT = getattr(math, "sumprod", None)
"""Python 3.12 and newer; half the time of ``sum(map(mul, …))``."""
_LARGEST_SCORE = 700.0
"""exp overflows a little beyond."""
Row = Callable[[Any], tuple[bytes, float] | None]


def one_row(model: Model, predictions: list[float]) -> Callable[[bytes], bytes | None] | None:
    """The shortcut from a ``/score`` body to its answer, or None if this model has none.

    Predictions are appended to ``predictions``, for the model's quantile sketch.
    """
    row_body = _row_body(model)
    if row_body is None:
        return None
    loads, note = orjson.loads, predictions.append

    def shortcut(body: bytes) -> bytes | None:
        # Only null and true hold a u, only false an f; true and false would pass for numbers below.
        if b"u" in body or b"f" in body:
            return None
        try:
            document = loads(body)
            rows = document["data"]
            if len(document) != 1 or len(rows) != 1:
                return None
            found = row_body(rows[0])
        except (ValueError, TypeError, KeyError, IndexError):
            return None
        if found is None:
            return None
        note(found[1])
        return found[0]

    return shortcut


def _row_body(model: Model) -> Row | None:
    form = model.predictor
    if not isinstance(form, LinearForm | LogisticForm) or form.vector is None:
        return None
    if model.signature.flags or not model.signature.numeric:
        return None
    score = _score(form.vector.tolist(), form.constant, model.signature.whole)
    if model.task == "regression":
        return _regression(score)
    return _binary(score, [orjson.dumps(label) for label in model.classes])


def _score(weights: list[float], offset: float, whole: tuple[int, ...]) -> Callable[[Any], float | None]:
    """Row to weighted sum; None where the row is not exactly as many finite numbers, whole ones where they must be."""
    width, multiply, total = len(weights), operator.mul, _SUMPRODUCT

    def score(row: Any) -> float | None:
        try:
            if len(row) != width or type(row) is not list:
                return None
            for place in whole:
                if row[place] % 1:
                    return None
            value: float = sum(map(multiply, row, weights)) + offset if total is None else total(row, weights) + offset
        except (TypeError, ValueError, OverflowError):
            return None
        return value if value - value == 0.0 else None

    return score


def _regression(score: Callable[[Any], float | None]) -> Row:
    def body(row: Any) -> tuple[bytes, float] | None:
        value = score(row)
        return None if value is None else (b'{"result":[%b]}' % repr(value).encode(), value)

    return body


def _binary(score: Callable[[Any], float | None], labels: list[bytes]) -> Row:
    def body(row: Any) -> tuple[bytes, float] | None:
        value = score(row)
        if value is None or not -_LARGEST_SCORE < value < _LARGEST_SCORE:
            return None
        small = math.exp(-abs(value))
        second = (1.0 if value >= 0 else small) / (1.0 + small)
        numbers = f"{1.0 - second!r},{second!r}".encode()
        return b'{"result":[%b],"probabilities":[[%b]]}' % (labels[value > 0], numbers), second

    return body
