"""From columns to a model's features: encoded columns by table, numbers by filling in and scaling."""

from __future__ import annotations

from typing import Any

import numpy as np

from ridgeway_server.errors import Refusal
from ridgeway_server.packages import Package
from ridgeway_server.signature import Matrix, Table


class EncodedColumn:
    """A column whose values are looked up: one row of numbers per known value, the last for an unknown one."""

    def __init__(self, package: Package, record: dict[str, Any], width: int) -> None:
        self.column: int = record["column"]
        self.name = package.signature.names[self.column]
        self.places = {value: row for row, value in enumerate(record["values"])}
        self.refuses: bool = record["unknown"] == "error"
        self.rows = package.array(record["file"], len(record["values"]) + 1, width).astype(np.float64)

    def __call__(self, table: Table) -> Matrix:
        """One row of numbers per row of ``table``.

        Raises:
            Refusal: 400: a value that the model has never seen, where its encoder does not take such values.
        """
        values = table.columns[self.column] if table.matrix is None else table.matrix[:, self.column]
        cells = [None if value != value else value for value in values.tolist()]  # noqa: PLR0124 - NaN
        found = [self.places.get(cell, -1) for cell in cells]
        if self.refuses and -1 in found:
            row = found.index(-1)
            shown = "missing" if cells[row] is None else repr(cells[row])[:120]
            raise Refusal(400, f"row {row + 1}, column {self.name!r} is {shown}", f"one of {list(self.places)[:20]!r}")
        return self.rows[found]


class Features:
    """All features of a model: ``((x − center) / scale) · factor + add`` of a filled-in value or of a code.

    These are the operations that the scalers did in training, in the same order, so the results are equal to the last
    bit.
    """

    def __init__(self, package: Package) -> None:
        form = package.manifest["form"]
        self.positions = np.array(form["positions"], np.intp)
        count = len(self.positions)
        self.fill = package.array("fill.npy", count)
        self.center, self.scale, self.factor, self.add = package.array("steps.npy", 4, count)
        self.encoded = [
            (EncodedColumn(package, record, len(record["places"])), np.array(record["places"], np.intp))
            for record in form["tables"]
        ]
        taken = {place for _, places in self.encoded for place in places.tolist()}
        self.numbers = [place for place in range(count) if place not in taken]
        if any(not 0 <= position < package.signature.width for position in self.positions):
            raise ValueError("a feature of a column that is not there")

    def __call__(self, table: Table) -> Matrix:
        """The features of all rows: rows × features."""
        features = np.empty((table.rows, len(self.positions)))
        for place in self.numbers:
            position = self.positions[place]
            features[:, place] = table.columns[position] if table.matrix is None else table.matrix[:, position]
        features = np.where(np.isnan(features), self.fill, features)
        for encoded, places in self.encoded:
            features[:, places] = encoded(table)
        scaled: Matrix = (features - self.center) / self.scale * self.factor + self.add
        return scaled
