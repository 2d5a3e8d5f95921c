"""Has a column moved against its reference, by how much, and is that more than chance? Pure statistics on arrays.

A reference is small (about a hundred numbers a column) whatever the number of rows it was taken from. Every test is
valid for the counts it is given: nothing is compared with a fixed range, and a reference of 30 rows simply shows less
than one of a million. Two things must come together before a shift counts: significance, with one error probability
shared by all columns, and a size above a limit, because at a million rows everything is significant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from ridgeway.artifacts import Severity

Floats = npt.NDArray[np.float64]

POINTS = 100
"""Points kept of a number column's distribution function: distances between two of them are known to about 0.01."""

LISTED_SHARE = 0.02
LISTED_ROWS = 10
"""A category is listed in a reference from this share and this number of rows on: at most fifty are."""

MEAN_PART, SHAPE_PART, RARE_PART = 0.6, 0.3, 0.05
"""How a column's error probability is divided: its mean, its shape, and each of missing values and constancy. The mean
has most because a wrong unit, the commonest accident, shows there first. Categories have mean's and shape's part."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From which size a significant shift is a warning or a refusal, and how often chance may look like one."""

    warn_deviations: float = 0.1
    """Standard deviations of the reference. At a million rows a sound test alone would flag everything."""
    warn_share: float = 0.05
    """Share of all rows, 0 to 1, that changed category or went missing."""
    refuse_deviations: float = 1.0
    """Standard deviations of the reference: populations do not move that far, units and sources do."""
    refuse_share: float = 0.25
    error_rate: float = 0.05
    """Probability that good data gets any finding at all, all columns together, in (0, 1)."""


@dataclass(frozen=True, slots=True)
class Shared:
    """The limits, and among how many columns their error probability is divided (Bonferroni)."""

    limits: Limits
    columns: int

    @property
    def error_rate(self) -> float:
        """One column's part."""
        return self.limits.error_rate / self.columns


@dataclass(frozen=True, slots=True)
class NumberReference:
    """A number column as it was: size, moments, and its distribution function at up to ``POINTS`` seen values."""

    rows: int
    """Rows that hold a value."""
    mean: float
    deviation: float
    """Sample standard deviation (ddof 1); 0 for fewer than two rows, or where it is beyond floating point."""
    points: tuple[float, ...]
    """Ascending."""
    at_most: tuple[int, ...]
    """Rows with a value at most the point: exact counts, so a comparison at the points is exact too."""


@dataclass(frozen=True, slots=True)
class CategoryReference:
    """A column of categories as it was: how many rows held each of the frequent ones."""

    rows: int
    values: tuple[Any, ...]
    counts: tuple[int, ...]
    distinct: int
    """Categories seen, listed or not."""

    @property
    def others(self) -> int:
        """Rows with a category that is not listed."""
        return self.rows - sum(self.counts)


@dataclass(frozen=True, slots=True)
class Shift:
    """One measured difference to the reference: its size, and the probability of such a one by chance."""

    measure: Literal["mean", "shape", "category", "missing"]
    size: float
    """In standard deviations of the reference for ``mean`` and ``shape``, else a share of the rows; not negative."""
    p_value: float
    """Already corrected for the tests made within the column."""
    observed: str
    expected: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What the shifts of one column amount to."""

    severity: Severity
    observed: str
    expected: str
    reason: str = ""


def number_reference(values: Floats) -> NumberReference:
    """What is kept of a number column.

    Args:
        values: One-dimensional, finite, in any order; missing values already left out.

    Example:
        >>> number_reference(np.array([3.0, 1.0, 2.0, 2.0]))
        NumberReference(rows=4, mean=2.0, deviation=0.816496580927726, points=(1.0, 2.0, 3.0), at_most=(1, 3, 4))
    """
    ordered = np.sort(values)
    points = np.unique(ordered[_spread(len(ordered))]) if len(ordered) else ordered
    return NumberReference(
        rows=len(ordered),
        mean=float(values.mean()) if len(values) else 0.0,
        deviation=_deviation(values),
        points=tuple(points.tolist()),
        at_most=tuple(np.searchsorted(ordered, points, side="right").tolist()),
    )


def _spread(rows: int) -> npt.NDArray[np.int64]:
    """Positions of ``POINTS`` evenly spaced order statistics, the smallest and the largest among them."""
    return np.round(np.linspace(0, rows - 1, min(rows, POINTS))).astype(np.int64)


def _deviation(values: Floats) -> float:
    if len(values) < 2 or values[0] == values[-1] == values.max() == values.min():
        return 0.0  # exactly: rounding would give a constant column a tiny deviation
    with np.errstate(over="ignore"):
        deviation = float(values.std(ddof=1))
    return deviation if math.isfinite(deviation) else 0.0


def category_reference(values: Sequence[Any], counts: Sequence[int]) -> CategoryReference:
    """What is kept of a column of categories: those with at least 2 % and 10 of the rows, most frequent first.

    Args:
        values: The distinct categories.
        counts: Rows of each, in the same order.

    Example:
        >>> category_reference(["a", "b", "c"], [60, 3, 37]).counts
        (60, 37)
    """
    rows = int(sum(counts))
    least = max(LISTED_ROWS, LISTED_SHARE * rows)
    listed = sorted(
        ((value, int(count)) for value, count in zip(values, counts, strict=True) if count >= least),
        key=lambda pair: (-pair[1], str(pair[0])),
    )
    return CategoryReference(
        rows, tuple(value for value, _ in listed), tuple(count for _, count in listed), len(values)
    )


def number_shifts(reference: NumberReference, values: Floats) -> tuple[Shift, ...]:
    """How far the mean and the shape of a number column moved; empty where either side has fewer than two values.

    Mean: the larger of two p-values, Welch's and the pooled t-test's (Student 1908; Welch 1947). Under "nothing moved"
    both variances are equal, so both tests are valid; in skewed columns each is too eager on one side, where the other
    is not. Shape: the two-sample Kolmogorov-Smirnov distance at the reference's points, so never larger than the true
    distance and its asymptotic p-value (Smirnov 1948) not too small. It is told in the standard deviations by which
    two normal distributions must lie apart to have the same distance; being no more than that, it warns at most.

    Args:
        reference: The column as it was. Where its deviation is none to compute with (identifiers beyond 2^53 that are
            one number in floating point, values near the ends of its range) only the shape is compared.
        values: The column now: one-dimensional, finite, in any order, missing values left out.
    """
    if min(reference.rows, len(values)) < 2:
        return ()
    if not 1e-70 < reference.deviation < 1e70:  # fourth powers of it must stay finite and above zero
        return (_shape(reference, np.sort(values)),)
    mean, deviation = float(values.mean()), _deviation(values)
    moved = (mean - reference.mean) / reference.deviation
    of_mean = Shift(
        "mean",
        abs(moved),
        min(1.0, mean_p_value(reference, mean=mean, deviation=deviation, rows=len(values)) / MEAN_PART),
        f"mean {_number(mean)}",
        f"mean {_number(reference.mean)} (standard deviation {_number(reference.deviation)})",
    )
    return of_mean, _shape(reference, np.sort(values))


def mean_p_value(reference: NumberReference, *, mean: float, deviation: float, rows: int) -> float:
    """The probability, two-sided, that two samples of one distribution have means at least this far apart.

    Example:
        >>> then = NumberReference(442, 26.4, 4.4, (), ())
        >>> mean_p_value(then, mean=26.5, deviation=4.4, rows=200) > 0.5
        True
        >>> mean_p_value(then, mean=28.6, deviation=4.4, rows=200) < 1e-7
        True
    """
    distance = abs(mean - reference.mean)
    if distance == 0:
        return 1.0
    old, new = reference.deviation**2 / reference.rows, deviation**2 / rows
    freedom = (old + new) ** 2 / (old**2 / (reference.rows - 1) + new**2 / (rows - 1))
    welch = 2 * float(special.stdtr(freedom, -distance / math.sqrt(old + new)))
    total = reference.rows + rows - 2
    variance = ((reference.rows - 1) * reference.deviation**2 + (rows - 1) * deviation**2) / total
    pooled = 2 * float(special.stdtr(total, -distance / math.sqrt(variance * (1 / reference.rows + 1 / rows))))
    return max(welch, pooled)


def _shape(reference: NumberReference, ordered: Floats) -> Shift:
    now = np.searchsorted(ordered, np.array(reference.points), side="right") / len(ordered)
    then = np.array(reference.at_most) / reference.rows
    apart = np.abs(now - then)
    at = int(apart.argmax())
    distance = float(apart[at])
    pairs = reference.rows * len(ordered) / (reference.rows + len(ordered))
    p_value = float(special.kolmogorov(math.sqrt(pairs) * distance))
    return Shift(
        "shape",
        equivalent_deviations(distance),
        min(1.0, p_value / SHAPE_PART),
        f"{_share(now[at])} of the values at most {_number(reference.points[at])}",
        f"{_share(then[at])} of the values at most {_number(reference.points[at])}",
    )


def equivalent_deviations(distance: float) -> float:
    """The deviations between two normal distributions whose Kolmogorov-Smirnov distance is ``distance`` (0 to 1).

    Example:
        >>> round(equivalent_deviations(0.383), 2)
        1.0
    """
    return 2 * float(special.ndtri((1 + min(distance, 1 - 1e-16)) / 2))


def category_shifts(reference: CategoryReference, values: Sequence[Any], counts: Sequence[int]) -> tuple[Shift, ...]:
    """How far the share of each category moved: of those listed, of all others together, and of frequent new ones.

    Each by the test for two proportions with Yates' correction (1934), times the number of categories (of two, each
    says the same). A frequent one that the reference does not list is compared with the most it can have had there.

    Args:
        reference: The column as it was.
        values: The distinct categories now.
        counts: Rows of each now.
    """
    rows, now = int(sum(counts)), dict(zip(values, (int(count) for count in counts), strict=True))
    if not reference.rows or not rows:
        return ()
    pairs = [(value, now.get(value, 0), then) for value, then in zip(reference.values, reference.counts, strict=True)]
    others = rows - sum(count for _, count, _ in pairs)
    if others or reference.others:
        pairs += [("(others)", others, reference.others), *_unlisted(reference, now, rows)]
    categories = max(reference.distinct, len(now))
    tests = categories + 1 if others or reference.others else max(1, categories - (categories == 2))
    return tuple(_category(value, (count, rows), (then, reference.rows), tests) for value, count, then in pairs)


def _unlisted(reference: CategoryReference, now: dict[Any, int], rows: int) -> list[tuple[Any, int, int]]:
    """Frequent categories that the reference does not list: each with its rows now and the most it can have had."""
    listed = set(reference.values)
    most = min(reference.others, math.ceil(max(LISTED_ROWS, LISTED_SHARE * reference.rows)) - 1)
    frequent = [(value, count) for value, count in now.items() if value not in listed and count > LISTED_SHARE * rows]
    return [(value, count, min(most, round(count / rows * reference.rows))) for value, count in frequent]


def _category(value: Any, now: tuple[int, int], then: tuple[int, int], tests: int) -> Shift:
    p_value = tests * proportion_p_value(*now, *then) / (MEAN_PART + SHAPE_PART)
    share_now, share_then = now[0] / now[1], then[0] / then[1]
    return Shift(
        "category",
        abs(share_now - share_then),
        min(1.0, p_value),
        f"{_share(share_now)} {value}",
        f"{_share(share_then)} {value}",
    )


def missing_shift(now: tuple[int, int], then: tuple[int, int]) -> Shift:
    """How far the share of missing values moved.

    Args:
        now: Missing values and rows now.
        then: The same in the reference.

    Example:
        >>> missing_shift((60, 200), (40, 400)).size
        0.2
    """
    if not now[1] or not then[1]:
        return Shift("missing", 0.0, 1.0, "no rows", "no rows")
    share_now, share_then = now[0] / now[1], then[0] / then[1]
    return Shift(
        "missing",
        round(abs(share_now - share_then), 12),
        min(1.0, proportion_p_value(*now, *then) / RARE_PART),
        f"{_share(share_now)} missing",
        f"{_share(share_then)} missing",
    )


def proportion_p_value(hits: int, rows: int, other_hits: int, other_rows: int) -> float:
    """The probability, two-sided, that two samples of one population differ at least so much in a share (Yates 1934).

    Example:
        >>> round(proportion_p_value(30, 100, 20, 100), 3)
        0.142
    """
    pooled = (hits + other_hits) / (rows + other_rows)
    if pooled in (0.0, 1.0):
        return 1.0
    width = 1 / rows + 1 / other_rows
    apart = max(0.0, abs(hits / rows - other_hits / other_rows) - width / 2)
    return 2 * float(special.ndtr(-apart / math.sqrt(pooled * (1 - pooled) * width)))


def constancy_p_value(most_frequent: int, reference_rows: int, rows: int) -> float:
    """The probability that a column that varied shows one value only, by chance, in ``rows`` rows.

    The most frequent value's share is taken a little larger than seen (three rows more), so that a small reference is
    not trusted too much.

    Example:
        >>> constancy_p_value(most_frequent=90, reference_rows=100, rows=5) > 0.5
        True
        >>> constancy_p_value(most_frequent=1, reference_rows=442, rows=30) < 1e-60
        True
    """
    return float(min(1.0, ((most_frequent + 3) / (reference_rows + 3)) ** rows / RARE_PART))


def excess_duplicates(now: tuple[int, int], reference_pairs: int, reference_rows: int) -> float:
    """The share of rows that repeat an earlier one, beyond what the reference explains: 0 to 1.

    Two random rows are equal with a fixed probability, so the number of equal pairs grows with the square of the rows.
    The reference's number of equal pairs is taken generously, ``2 pairs + 7``: seven is what even a reference without
    any leaves open (the upper limit of a Poisson count of 0 at 0.001), and equal rows come in clumps.

    Args:
        now: Rows that repeat an earlier one, and all rows.
        reference_pairs: Pairs of equal rows in the reference.
        reference_rows: Its rows.

    Example:
        >>> round(excess_duplicates((442, 884), 0, 442), 3)  # the same delivery twice in one file
        0.468
    """
    repeats, rows = now
    if not rows or not reference_rows:
        return 0.0
    explained = (2 * reference_pairs + 7) * (rows / reference_rows) ** 2
    return max(0.0, repeats - explained) / rows


def plausible_range(values: Floats) -> tuple[float, float]:
    """The range that a good new delivery keeps within, and a wrong unit or a typing error mostly does not.

    The seen range, widened on each side by half its width; by more for fewer than about 450 rows, so that it reaches
    as far as six standard deviations do in a normal sample of that size. A heavy tail (one that ends 1.4 times as far
    from the median as normal values of this number go, in robust deviations) is widened on the scale of the inverse
    hyperbolic sine, which is linear near the median and logarithmic far out. If no value is negative the range does
    mostly not become so, and likewise above zero. Rounded to a thousandth of the seen width.

    Args:
        values: One-dimensional, finite, at least one.

    Example:
        >>> plausible_range(np.array([18.0, 42.2] * 300))
        (5.9, 54.3)
    """
    low, high = float(values.min()), float(values.max())
    middle, spread = _middle(values)
    factor = _widening(len(values))
    if spread == 0:
        return low, high
    below, above = (middle - low) / spread, (high - middle) / spread
    heavy = 1.4 * math.sqrt(2 * math.log(max(len(values), 3)))
    curved = factor * (math.asinh(below) + math.asinh(above))
    lower = middle - spread * math.sinh(math.asinh(below) + curved) if below > heavy else low - factor * (high - low)
    upper = middle + spread * math.sinh(math.asinh(above) + curved) if above > heavy else high + factor * (high - low)
    if (low >= 0 or high <= 0) and _ends_at_zero(values):
        lower, upper = (max(lower, 0.0), upper) if low >= 0 else (lower, min(upper, 0.0))
    digits = math.ceil(3 - math.log10(high - low))  # a thousandth of the seen width is exact enough to read
    return round(lower, digits), round(upper, digits)


def _ends_at_zero(values: Floats) -> bool:
    """Whether values of one sign are so by nature, as ages and prices are; a guess, and yes if in doubt.

    Ten thousand rows or more are allowed to speak against it: if a normal distribution of this mean and deviation would
    have between a thousandth of a value and three values beyond zero, having none beyond says nothing about a border.
    """
    if len(values) < 10_000:
        return True
    beyond = len(values) * float(special.ndtr(-abs(float(values.mean())) / _deviation(values)))
    return not 0.001 < beyond < 3


def _middle(values: Floats) -> tuple[float, float]:
    """Median and a deviation that outliers do not move: the interquartile range of a normal distribution is 1.349."""
    quarter, half, three_quarters = (float(value) for value in np.quantile(values, (0.25, 0.5, 0.75)))
    return half, (three_quarters - quarter) / 1.349 or _deviation(values)


def _widening(rows: int) -> float:
    """Widths added on each side. Blom (1958): a normal sample's range is about ``2 Phi^-1((n - 3/8) / (n + 1/4))``."""
    if rows < 2:
        return 2.0
    return max(0.5, 6 / (2 * float(special.ndtri((rows - 0.375) / (rows + 0.25)))) - 0.5)


def judge(shifts: Sequence[Shift], shared: Shared) -> Finding:
    """What the shifts of one column amount to: the worst counts, and significance and size must come together.

    Args:
        shifts: Of one column.
        shared: Sizes, and the error probability with the number of columns that share it.

    Example:
        >>> shift = Shift("mean", 7.2, 1e-99, "mean 58.2", "mean 26.4 (standard deviation 4.42)")
        >>> judge([shift], Shared(Limits(), 11)).reason.split(": ")[1]
        'moved by 7.2 standard deviations; wrong units or a broken source?'
    """
    if not shifts:
        return Finding("pass", "too few values to compare", "as in the reference, as far as enough values can tell")
    severity, worst = max(((_severity(shift, shared), shift) for shift in shifts), key=_gravity)
    return Finding(severity, worst.observed, worst.expected, _sentence(worst, severity) if severity != "pass" else "")


def _gravity(judged: tuple[Severity, Shift]) -> tuple[int, bool, float]:
    """The mean is told rather than the shape where both say the same, as it is easier to understand."""
    severity, shift = judged
    return ("pass", "warn", "fail").index(severity), shift.measure != "shape", shift.size


def _severity(shift: Shift, shared: Shared) -> Severity:
    limits = shared.limits
    sizes = {
        "mean": (limits.warn_deviations, limits.refuse_deviations),
        "shape": (limits.warn_deviations, math.inf),
    }
    warn, refuse = sizes.get(shift.measure, (limits.warn_share, limits.refuse_share))
    if shift.p_value > shared.error_rate or shift.size <= min(warn, refuse):
        return "pass"
    return "fail" if shift.size >= refuse else "warn"


def _sentence(shift: Shift, severity: Severity) -> str:
    size = f"{shift.size:.1f}" if shift.size >= 1 else f"{shift.size:.2g}"
    ending = "; wrong units or a broken source?" if severity == "fail" else ""
    moved = {"mean": f"moved by {size} standard deviations", "shape": f"as far apart as {size} standard deviations are"}
    what = moved.get(shift.measure, f"moved by {_share(shift.size)} of the rows")
    return f"{shift.observed}, reference {shift.expected.removeprefix('mean ')}: {what}{ending}"


def _number(value: float) -> str:
    """Three significant digits, and all digits before the decimal point up to a million."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def _share(value: float) -> str:
    percent = 100 * value
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.2g} %"
