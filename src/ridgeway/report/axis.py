"""Axes for the plots: a range, round tick values, and the place of a value in percent of the width. Pure Python."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear axis from ``low`` to ``high``, with ``low < high``."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """The place of ``value`` in percent of the axis, held within it.

        Example:
            >>> Axis(0.0, 4.0).at(1.0), Axis(0.0, 4.0).at(9.0)
            (25.0, 100.0)
        """
        place = (value - self.low) / (self.high - self.low) * 100
        return round(min(max(place, 0.0), 100.0), 2)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values on the axis, about ``count`` of them.

        Example:
            >>> Axis(-3.0, 31.0).ticks()
            [0.0, 10.0, 20.0, 30.0]
        """
        rough = (self.high - self.low) / max(count, 1)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next((power * factor for factor in (1, 2, 5) if power * factor >= rough), power * 10)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [0.0 if place == 0 else float(f"{place * step:.12g}") for place in range(first, last + 1)]


def axis_around(values: Iterable[float | None], *, padding: float = 0.06) -> Axis:
    """An axis that holds all values that are finite, with some air (a share of the range) at both ends.

    Example:
        >>> axis_around([0.0, 10.0, None, float("inf")], padding=0.1)
        Axis(low=-1.0, high=11.0)
        >>> axis_around([5.0])
        Axis(low=4.0, high=6.0)
        >>> axis_around([])
        Axis(low=-1.0, high=1.0)
    """
    finite = [value for value in values if value is not None and math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    air = (high - low) * padding
    if not (air > 0 and math.isfinite(high + air) and math.isfinite(low - air) and low - air < low):
        # One value only, or a range so wide or narrow that floating point cannot divide it.
        air = max(1.0, abs(low) * 1e-6, abs(high) * 1e-6) if math.isfinite(high - low) else 0.0
    return Axis(low - air, high + air) if math.isfinite(high - low) else Axis(-1.0, 1.0)
