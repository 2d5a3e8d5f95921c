"""What a model takes: named, typed columns, and the checks that turn any form of rows into a ``Table``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ridgeway_server.errors import PackageError, Refusal

Matrix = NDArray[np.float64]
COLUMN_TYPES = ("number", "integer", "boolean", "string")
_LARGEST_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Column:
    """One input: its name, its type (one of ``COLUMN_TYPES``), and whether a value may be missing (null, NaN)."""

    name: str
    type: str
    missing: bool = False


@dataclass(slots=True)
class Table:
    """Checked rows: a float64 matrix (rows × columns) where all columns are numbers, else one array per column.

    String columns are object arrays of ``str`` and ``None``; all others float64 with NaN for a missing value.
    """

    rows: int
    matrix: Matrix | None = None
    columns: list[NDArray[Any]] = field(default_factory=list)

    def part(self, start: int, stop: int) -> Table:
        """Rows ``start`` to ``stop`` (exclusive), sharing memory with this table."""
        matrix = None if self.matrix is None else self.matrix[start:stop]
        return Table(stop - start, matrix, [column[start:stop] for column in self.columns])


def joined(tables: Sequence[Table]) -> Table:
    """All rows of tables of one signature, in order."""
    rows = sum(table.rows for table in tables)
    matrices = [table.matrix for table in tables if table.matrix is not None]
    if matrices:
        return Table(rows, np.concatenate(matrices))
    return Table(
        rows, None, [np.concatenate(parts) for parts in zip(*(table.columns for table in tables), strict=True)]
    )


class Signature:
    """The columns of a model in order, with everything precomputed that a check needs.

    Raises:
        PackageError: No columns, a name twice, or an unknown type.

    Example:
        >>> Signature([Column("age", "integer"), Column("bmi", "number")]).from_rows([[59, 32.1]]).matrix
        array([[59. , 32.1]])
    """

    def __init__(self, columns: Sequence[Column], *, allow_infinity: bool = False) -> None:
        self.columns = tuple(columns)
        self.names = tuple(column.name for column in columns)
        self.positions = {name: position for position, name in enumerate(self.names)}
        unknown = {column.type for column in columns} - set(COLUMN_TYPES)
        if not columns or len(self.positions) != len(self.names) or unknown:
            raise PackageError(f"signature with columns {self.names!r} and unknown types {sorted(unknown)!r}")
        self.allow_infinity = allow_infinity
        self.numeric = all(column.type != "string" for column in columns)
        self.whole = tuple(i for i, column in enumerate(columns) if column.type == "integer")
        self.flags = tuple(i for i, column in enumerate(columns) if column.type == "boolean")
        self.may_miss = any(column.missing for column in columns)
        self.width = len(self.columns)
        # Without this look numpy would read true as 1.0 and "12" as 12.0.
        self.quick_types = {int, float, type(None)} if self.may_miss else {int, float}

    # ---- from each form that rows arrive in -------------------------------------------------------------------------

    def from_rows(
        self, rows: Any, names: Sequence[Any] | None = None, *, extra: bool = False, plain: bool = False
    ) -> Table:
        """Rows as lists in the order of the columns, or of ``names`` where given; ``extra`` lets unknown names pass.

        ``plain`` says that the caller has seen that no text, null, true or false is among the cells: it saves a look
        at each of them (a third of the time for 100 rows of 10).

        Raises:
            Refusal: 400, saying which row and column and what was expected.
        """
        if names is None and self.numeric and type(rows) is list and rows:
            quick = self.quick_table(rows, plain=plain)
            if quick is not None:
                return quick
        if type(rows) is not list or not rows:
            raise Refusal(
                400, f"{_shown(rows)} in place of rows", f"a list of rows, each a list of {self.width} values"
            )
        order = None if names is None else self._order(names, extra=extra)
        width = self.width if names is None else len(names)
        for number, row in enumerate(rows, 1):
            if type(row) is not list:
                raise Refusal(400, f"row {number} is {_shown(row)}", f"a list of {width} values: {self._list()}")
            if len(row) != width:
                raise Refusal(400, f"row {number} has {len(row)} values", f"{width}: {self._list()}")
        cells = list(zip(*rows, strict=True))
        return self._assemble(cells if order is None else [cells[position] for position in order], len(rows))

    def from_records(self, records: list[Any], *, extra: bool = False) -> Table:
        """Rows as objects, column name to value. A name that is left out counts as a missing value.

        Raises:
            Refusal: 400, as above.
        """
        cells: list[list[Any]] = [[] for _ in self.columns]
        for number, record in enumerate(records, 1):
            if type(record) is not dict:
                raise Refusal(400, f"row {number} is {_shown(record)}", f"an object with the names {self._list()}")
            if not extra and not record.keys() <= self.positions.keys():
                self._unknown_names([name for name in record if name not in self.positions])
            for column, name in zip(cells, self.names, strict=True):
                if name not in record and not self.columns[self.positions[name]].missing:
                    raise Refusal(400, f"row {number} has no {name!r}", f"the names {self._list()}")
                column.append(record.get(name))
        if not records:
            raise Refusal(400, "no rows", "at least one")
        return self._assemble(cells, len(records))

    def from_columns(self, columns: dict[str, Any], *, extra: bool = False) -> Table:
        """Values by column name, lists or arrays of one length; arrays of shape (n, 1) count as n values.

        Raises:
            Refusal: 400, as above.
        """
        order = self._order(list(columns), extra=extra)
        cells = [_flat(list(columns.values())[position]) for position in order]
        lengths = {len(column) for column in cells}
        if len(lengths) != 1 or 0 in lengths:
            sizes = ", ".join(f"{name} {len(column)}" for name, column in zip(self.names, cells, strict=True))
            raise Refusal(400, f"columns of unequal or no length ({sizes[:200]})", "the same number of values in each")
        return self._assemble(cells, lengths.pop())

    def from_matrix(self, matrix: Matrix) -> Table:
        """A float64 matrix, rows × columns, of a model whose columns are all numbers.

        Raises:
            Refusal: 400, as above.
        """
        if not self.numeric:
            raise Refusal(400, "rows of plain numbers", f"named columns, some of them text: {self._list()}")
        if matrix.ndim != 2 or matrix.shape[1] != self.width or not len(matrix):
            raise Refusal(400, f"numbers of shape {matrix.shape}", f"(rows, {self.width}): {self._list()}")
        self.check(matrix)
        return Table(len(matrix), matrix)

    # ---- the checks -------------------------------------------------------------------------------------------------

    def check(self, matrix: Matrix) -> None:
        """Values that the columns do not take are refused, by row and column.

        Raises:
            Refusal: 400: a missing or infinite value, a fraction in an integer column, no flag in a boolean one.
        """
        if not np.isfinite(matrix).all():
            self._check_finite(matrix)
        if self.whole:
            part = matrix[:, self.whole]
            fraction = np.floor(part) != part
            if fraction.any():
                self._refuse_first(self.whole, fraction & np.isfinite(part), part, "a whole number")
        if self.flags:
            part = matrix[:, self.flags]
            self._refuse_first(self.flags, (part != 0) & (part != 1) & ~np.isnan(part), part, "true or false")

    def _check_finite(self, matrix: Matrix) -> None:
        every = tuple(range(self.width))
        if not self.allow_infinity:
            self._refuse_first(every, np.isinf(matrix), matrix, "a finite number")
        required = tuple(i for i, column in enumerate(self.columns) if not column.missing)
        if required:
            part = matrix[:, required]
            self._refuse_first(required, np.isnan(part), part, "a number, none may be missing here")

    def _refuse_first(self, positions: Sequence[int], wrong: NDArray[np.bool_], part: Matrix, expected: str) -> None:
        if wrong.any():
            row, place = (int(index) for index in np.argwhere(wrong)[0])
            value = float(part[row, place])
            shown = "missing" if value != value else repr(value)  # noqa: PLR0124 - NaN
            raise Refusal(400, f"row {row + 1}, column {self.names[positions[place]]!r} is {shown}", expected)

    def quick_table(self, rows: list[Any], *, plain: bool = False) -> Table | None:
        """The table where all cells are numbers (or null where allowed), else None: then the careful way finds why."""
        if self.flags:  # true is no number: flags are told from 0 and 1 by the careful way.
            return None
        try:
            if not plain and not {type(cell) for row in rows for cell in row} <= self.quick_types:
                return None
            if plain and set(map(len, rows)) == {self.width}:
                # A quarter faster than np.array, which looks for a common type and shape that are known here.
                matrix = np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * self.width)
                matrix = matrix.reshape(-1, self.width)
            else:
                matrix = np.array(rows, np.float64)
        except (ValueError, TypeError):
            return None
        if matrix.ndim != 2 or matrix.shape[1] != self.width:
            return None
        self.check(matrix)
        return Table(len(matrix), matrix)

    def _assemble(self, cells: Sequence[Any], rows: int) -> Table:
        columns = [_column(column, values) for column, values in zip(self.columns, cells, strict=True)]
        if self.numeric:
            matrix = np.column_stack(columns)
            self.check(matrix)
            return Table(rows, matrix)
        for position, (column, values) in enumerate(zip(self.columns, columns, strict=True)):
            if column.type != "string":
                _check_alone(self, position, values)
        return Table(rows, None, columns)

    def _order(self, names: Sequence[Any], *, extra: bool) -> list[int]:
        given = {name: position for position, name in enumerate(names) if isinstance(name, str)}
        absent = [name for name in self.names if name not in given]
        if absent or len(given) != len(names):
            lacking = f", without {absent[:10]!r}" if absent else ""
            raise Refusal(400, f"columns {_shown(list(names))}{lacking}", f"each of {self._list()} once")
        if not extra and len(given) != self.width:
            self._unknown_names([name for name in given if name not in self.positions])
        return [given[name] for name in self.names]

    def _unknown_names(self, names: list[Any]) -> None:
        raise Refusal(400, f"unknown columns {_shown(names)}", f"only {self._list()}")

    def _list(self) -> str:
        shown = ", ".join(self.names[:_LARGEST_SHOWN])
        return shown if self.width <= _LARGEST_SHOWN else f"{shown}, … ({self.width} in all)"


def numbers_with_gaps(cells: list[Any]) -> Matrix:
    """Numbers and None as float64 with NaN for None; whole numbers beyond 2⁵³ are rounded as float64 rounds them."""
    return np.array(cells, np.float64)


def _check_alone(signature: Signature, position: int, values: Matrix) -> None:
    """One column by the rules of the whole: the signature of that column alone."""
    Signature([signature.columns[position]], allow_infinity=signature.allow_infinity).check(values.reshape(-1, 1))


def _column(column: Column, values: Any) -> NDArray[Any]:
    if isinstance(values, np.ndarray) and values.dtype.kind in "iufb" and column.type != "string":
        return _typed(column, values)
    if column.type == "string":
        return _strings(column, values)
    allowed = {"boolean": (bool,)}.get(column.type, (int, float))
    numbers = np.empty(len(values))
    for row, value in enumerate(values):
        if value is None or (value != value and column.missing):  # noqa: PLR0124 - NaN
            if not column.missing:
                raise Refusal(
                    400, f"row {row + 1}, column {column.name!r} is missing", f"a value of type {column.type}"
                )
            numbers[row] = np.nan
        elif type(value) in allowed:
            numbers[row] = value
        else:
            expected = {"integer": "a whole number", "boolean": "true or false"}.get(column.type, "a number")
            raise Refusal(400, f"row {row + 1}, column {column.name!r} is {_shown(value)}", expected)
    return numbers


def _typed(column: Column, values: NDArray[Any]) -> NDArray[Any]:
    if (values.dtype.kind == "b") != (column.type == "boolean"):
        raise Refusal(400, f"column {column.name!r} as an array of {values.dtype}", f"the type {column.type}")
    return values.astype(np.float64)


def _strings(column: Column, values: Any) -> NDArray[Any]:
    strings = np.empty(len(values), object)
    for row, value in enumerate(values):
        if type(value) is str:
            strings[row] = value
        elif value is None and column.missing:
            strings[row] = None
        else:
            found = "missing" if value is None else _shown(value)
            raise Refusal(400, f"row {row + 1}, column {column.name!r} is {found}", "a text")
    return strings


def _flat(values: Any) -> Any:
    if isinstance(values, np.ndarray):
        if values.ndim == 2 and values.shape[1] == 1:
            return values[:, 0]
        if values.ndim == 1:
            return values
    elif type(values) is list:
        return values
    raise Refusal(400, f"a column as {_shown(values)}", "a list of values")


def _shown(value: Any) -> str:
    """A value as a sentence can carry it: short, and a container by its kind."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if isinstance(value, list) and any(not isinstance(item, str) for item in value[:10]):
        return f"a list of {len(value)}"
    text = {None: "null", True: "true", False: "false"}.get(value) if isinstance(value, bool | None) else None
    text = text or repr(value[:10] if isinstance(value, list) else value)
    return text if len(text) <= 120 else text[:120] + "…"
