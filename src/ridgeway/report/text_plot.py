"""The point-and-bar plot in characters, for terminals and Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ridgeway.artifacts import SetEvidence
from ridgeway.report.axis import Axis, axis_around
from ridgeway.report.wording import Thresholds, gain_shares


def bar(axis: Axis, triple: tuple[float | None, float | None, float | None], marks: Sequence[float], width: int) -> str:
    """An interval with its point as one line of text, over upright marks.

    Args:
        axis: The axis that the line spans.
        triple: Lower end, point, upper end; None where there is none.
        marks: Values that get an upright line: the first ``│``, the others ``┊``.
        width: Characters.

    Example:
        >>> bar(Axis(-10.0, 30.0), (4.0, 14.0, 24.0), (0.0, 1.0), 21)
        '     │┊├────●────┤   '
        >>> bar(Axis(-10.0, 30.0), (None, 14.0, None), (0.0,), 21)
        '     │      ●        '
    """
    line = [" "] * width

    def place(value: float) -> int:
        return round(axis.at(value) / 100 * (width - 1))

    for mark, character in reversed(list(zip(marks, "│┊┊┊", strict=False))):
        line[place(mark)] = character
    lower, middle, upper = triple
    if lower is not None and upper is not None:
        start, end = place(lower), place(upper)
        for each in range(start + 1, end):
            line[each] = "─" if line[each] == " " else "┼"
        line[start], line[end] = "├", "┤"
    if middle is not None:
        line[place(middle)] = "●"
    return "".join(line)


def marks(thresholds: Thresholds) -> tuple[float, float]:
    """Where the upright lines are, in percent: no difference, and the least gain worth a promotion."""
    return 0.0, 100 * thresholds.worthwhile


def air(thresholds: Thresholds) -> tuple[float, float]:
    """What every axis holds, in percent, so that both lines stand clear of its ends when nothing differs."""
    return -100 * thresholds.worthwhile, 200 * thresholds.worthwhile


def foot(axis: Axis, thresholds: Thresholds, width: int) -> str:
    """The line below the bars: where zero and the line of the worthwhile gain are, never wider than ``width``.

    Example:
        >>> foot(Axis(-10.0, 30.0), Thresholds(), 24)
        '      │ 0 and 1 %'
        >>> foot(Axis(-30.0, 2.0), Thresholds(), 24)
        '            0 and 1 % │'
    """
    line = bar(axis, (None, None, None), marks(thresholds), width).rstrip()
    label = f"0 and {thresholds.worthwhile_words}"
    if len(line) + 1 + len(label) <= width:
        return f"{line} {label}"
    first = len(line) - len(line.lstrip())
    return f"{label} ".rjust(first) + line.lstrip() if len(label) < first else line


def evidence_axis(sets: Iterable[SetEvidence], thresholds: Thresholds) -> Axis:
    """One axis, in percent of the opponent's loss, for the intervals of all sets and both upright lines."""
    values = [value for each in sets for value in percents(each) if value is not None]
    return axis_around([*values, *air(thresholds)], padding=0.02)


def percents(evidence: SetEvidence) -> tuple[float | None, float | None, float | None]:
    """Lower bound, gain and upper bound in percent of the opponent's loss; None where that is no number.

    Example:
        >>> percents(SetEvidence("sealed", 88, 200.0, 180.0, 20.0, 9.0, 10.0, 30.0, 0.005, True, 0.1))
        (5.0, 10.0, 15.0)
    """
    lower, gain, upper = (None if share is None else 100 * share for share in gain_shares(evidence))
    return lower, gain, upper
