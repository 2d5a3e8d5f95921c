"""Pure: rows as requests of each protocol, answers of each protocol as numbers, and how far those are from expected."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ridgeway.probe.request import Golden

_DATATYPES = {"number": "FP64", "integer": "INT64", "boolean": "BOOL", "string": "BYTES"}

Numbers = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Given:
    """Answers in the form of the golden ones."""

    numbers: Numbers
    labels: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """How answers differ from the predictions that were stored at training; nothing of the rows themselves."""

    wrong: int = 0
    """Rows beyond the tolerance, or with another label."""
    rows: int = 0
    largest_error: float = 0.0
    """|answer − prediction| / max(1, |prediction|)."""
    form: str = ""
    """What is wrong with the answer as a whole, such as its number of rows."""

    @property
    def ok(self) -> bool:
        """Whether all is as it should be."""
        return not self.wrong and not self.form

    @property
    def sentence(self) -> str:
        """What differs."""
        return self.form or f"{self.wrong} of {self.rows} differ from training, the largest by {self.largest_error:.1e}"


def compare(golden: Golden, given: Given | None) -> Difference:
    """The difference between an answer and the stored predictions, row by row in order.

    Args:
        golden: The rows that were sent.
        given: From one of the readers here; None where the answer has not the form of its protocol.

    Example:
        >>> golden = Golden((), ((), ()), ((1.0,), (2.0,)))
        >>> compare(golden, Given(((1.0,), (2.5,)))).sentence
        '1 of 2 differ from training, the largest by 2.5e-01'
        >>> compare(golden, Given(((1.0,),))).sentence
        '1 answers to 2 rows'
    """
    if given is None:
        return Difference(rows=len(golden.rows), form="the answer has not the form of its protocol")
    if len(given.numbers) != len(golden.rows):
        return Difference(rows=len(golden.rows), form=f"{len(given.numbers)} answers to {len(golden.rows)} rows")
    if any(len(one) != len(other) for one, other in zip(given.numbers, golden.numbers, strict=True)):
        return Difference(rows=len(golden.rows), form="another number of classes")
    labelled = bool(golden.labels and given.labels)
    wrong, largest = 0, 0.0
    for place, (answer, prediction) in enumerate(zip(given.numbers, golden.numbers, strict=True)):
        error = max((_error(a, b) for a, b in zip(answer, prediction, strict=True)), default=0.0)
        other_label = labelled and given.labels[place] != golden.labels[place]
        wrong += not error <= golden.tolerance or other_label
        largest = max(largest, error)
    return Difference(wrong, len(golden.rows), largest)


def _error(answer: float, prediction: float) -> float:
    error = abs(answer - prediction) / max(1.0, abs(prediction))
    return error if error == error else float("inf")  # noqa: PLR0124 - NaN


# ---- requests --------------------------------------------------------------------------------------------------------


def score_body(rows: Sequence[Sequence[Any]]) -> bytes:
    """``{"data": [[…], …]}``.

    Example:
        >>> score_body([[59, None, "x"]])
        b'{"data": [[59, null, "x"]]}'
    """
    return json.dumps({"data": [list(row) for row in rows]}, allow_nan=False).encode()


def v2_body(golden: Golden) -> bytes:
    """The rows as tensors: one of numbers where all columns are, else one for each column."""
    rows = len(golden.rows)
    if golden.numeric and not any(column.type == "boolean" for column in golden.columns):
        cells = [cell for row in golden.rows for cell in row]
        inputs = [{"name": "input", "shape": [rows, len(golden.columns)], "datatype": "FP64", "data": cells}]
    else:
        inputs = [
            {
                "name": column.name,
                "shape": [rows, 1],
                "datatype": _DATATYPES.get(column.type, "BYTES"),
                "data": [row[place] for row in golden.rows],
            }
            for place, column in enumerate(golden.columns)
        ]
    return json.dumps({"inputs": inputs}, allow_nan=False).encode()


def octet_body(golden: Golden) -> bytes:
    """Little-endian float64, row after row; NaN for a missing value."""
    cells = [float("nan") if cell is None else float(cell) for row in golden.rows for cell in row]
    return struct.pack(f"<{len(cells)}d", *cells)


# ---- answers ---------------------------------------------------------------------------------------------------------


def read_score(document: dict[str, Any]) -> Given | None:
    """``{"result": […]}``, with ``probabilities`` beside for a classification.

    Example:
        >>> read_score({"result": [1.5]})
        Given(numbers=((1.5,),), labels=())
        >>> read_score({"result": ["a"], "probabilities": [[0.7, 0.3]]})
        Given(numbers=((0.7, 0.3),), labels=('a',))
    """
    result = document.get("result")
    if not isinstance(result, list):
        return None
    if "probabilities" in document:
        numbers = _table(document["probabilities"])
        return None if numbers is None else Given(numbers, tuple(result))
    numbers = _table([[value] for value in result])
    return None if numbers is None else Given(numbers)


def read_v2(document: dict[str, Any]) -> Given | None:
    """The tensor ``probabilities`` of an answer, or else ``predict``; labels are not read: their types are V2's own."""
    outputs = document.get("outputs")
    named = {one.get("name"): one for one in outputs if isinstance(one, dict)} if isinstance(outputs, list) else {}
    tensor = named.get("probabilities") or named.get("predict") or {}
    data, shape = tensor.get("data"), tensor.get("shape")
    if not isinstance(data, list) or not isinstance(shape, list) or not shape:
        return None
    width = shape[1] if len(shape) == 2 else 1
    if not isinstance(width, int) or width < 1 or len(data) % width:
        return None
    numbers = _table([data[start : start + width] for start in range(0, len(data), width)])
    return None if numbers is None else Given(numbers)


def read_octets(body: bytes, width: int) -> Given | None:
    """Little-endian float64, ``width`` of them for each row."""
    if width < 1 or len(body) % (8 * width):
        return None
    cells = struct.unpack(f"<{len(body) // 8}d", body)
    return Given(tuple(cells[start : start + width] for start in range(0, len(cells), width)))


def _table(rows: Any) -> Numbers | None:
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        return None
    sound = all(isinstance(cell, int | float) and not isinstance(cell, bool) for row in rows for cell in row)
    return tuple(tuple(float(cell) for cell in row) for row in rows) if sound else None
