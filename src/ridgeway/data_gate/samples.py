"""What the expectations look at: one column's values, or the rows that repeat earlier ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

FIRST_ROWS = 10
"""As many row numbers are shown."""
HASHED_AT_ONCE = 65_536
"""Rows whose intermediate results stay in the processor's cache: three times faster than all rows at once."""


class ColumnSample:
    """One column: how many values are there and missing, and the values themselves as numbers or as categories."""

    def __init__(self, column: pd.Series) -> None:
        self.column = column
        self.rows = len(column)

    @cached_property
    def is_missing(self) -> npt.NDArray[np.bool_]:
        """One truth value per row."""
        return np.asarray(self.column.isna())

    @cached_property
    def missing(self) -> int:
        """Rows without a value."""
        return int(np.count_nonzero(self.is_missing))

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    @property
    def numbers(self) -> npt.NDArray[np.float64]:
        """The values that are there, as numbers."""
        values = np.asarray(self.column.to_numpy(dtype=np.float64, na_value=np.nan))
        return values[~self.is_missing] if self.missing else values

    @cached_property
    def _frequencies(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        if self.column.dtype.kind in "iuf":
            present = self.column.to_numpy()[~self.is_missing] if self.missing else self.column.to_numpy()
            return np.unique(present, return_counts=True)  # sorts, which is several times faster than hashing
        counts = self.column.value_counts(dropna=True)
        return counts.index.to_numpy(), np.asarray(counts.to_numpy(), dtype=np.int64)

    @property
    def values(self) -> list[Any]:
        """The distinct values, as plain Python values."""
        return [value.item() if isinstance(value, np.generic) else value for value in self._frequencies[0]]

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Rows of each of ``values``."""
        return self._frequencies[1]

    @property
    def distinct(self) -> int:
        """Number of distinct values."""
        return len(self._frequencies[1])

    @property
    def first(self) -> Any:
        """The first value that is not missing; there must be one."""
        return self.column.iloc[int(np.argmin(self.is_missing))]

    @property
    def is_constant(self) -> bool:
        """One value only, in one row at least; faster than counting them."""
        if not self.present:
            return False
        # Most columns vary within their first rows, and strings are slow to compare.
        return all(bool(((part == self.first) | part.isna()).all()) for part in (self.column.iloc[:1000], self.column))


@dataclass(frozen=True, slots=True)
class Repeats:
    """Rows that are equal in all columns to an earlier one."""

    rows: int
    """How many there are."""
    pairs: int
    """Pairs of equal rows."""
    first_rows: tuple[int, ...]
    """Row numbers of the first few, counted from 1."""


def repeated_rows(frame: pd.DataFrame) -> Repeats:
    """Which rows repeat an earlier one, by 64-bit hashes: faster than comparing values, and small in memory.

    That two different rows have equal hashes by chance has a probability of 3e-6 among ten million rows.
    """
    hashes = np.empty(len(frame), dtype=np.uint64)
    for start in range(0, len(frame), HASHED_AT_ONCE):
        part = slice(start, start + HASHED_AT_ONCE)
        hashes[part] = pd.util.hash_pandas_object(frame.iloc[part], index=False)
    ordered = np.sort(hashes)
    if not (ordered[1:] == ordered[:-1]).any():
        return Repeats(0, 0, ())
    multiplicities = np.unique(ordered, return_counts=True)[1].astype(np.float64)
    pairs = int((multiplicities * (multiplicities - 1) / 2).sum())
    repeats = pd.Series(hashes).duplicated().to_numpy()
    return Repeats(int(repeats.sum()), pairs, row_numbers(repeats))


def row_numbers(marked: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    """The first few marked rows, counted from 1 after the header.

    Example:
        >>> row_numbers(np.array([False, True, True]))
        (2, 3)
    """
    return tuple(int(row) + 1 for row in np.flatnonzero(marked)[:FIRST_ROWS])
