"""The point-and-bar plot in characters, for terminals and Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ridgeway.artifacts import SetEvidence
from ridgeway.report.axis import Axis, axis_around
from ridgeway.report.wording import WORTHWHILE_SHARE, gain_shares


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


def foot(axis: Axis, width: int) -> str:
    """The line below the bars: where zero and the 1 % line are.

    Example:
        >>> foot(Axis(-10.0, 30.0), 24)
        '      │ 0 and 1 %'
    """
    marks = bar(axis, (None, None, None), (0.0, 100 * WORTHWHILE_SHARE), width).rstrip()
    label = " 0 and 1 %"
    return marks + label if len(marks) + len(label) <= width else f"{label[1:]} ".rjust(len(marks) - 2) + marks.lstrip()


def evidence_axis(sets: Iterable[SetEvidence]) -> Axis:
    """One axis, in percent of the opponent's loss, for the intervals of all sets, zero and the 1 % line."""
    values = [value for each in sets for value in percents(each) if value is not None]
    return axis_around([*values, 0.0, 100 * WORTHWHILE_SHARE], padding=0.02)


def percents(evidence: SetEvidence) -> tuple[float | None, float | None, float | None]:
    """Lower bound, gain and upper bound in percent of the opponent's loss; None where that is no number.

    Example:
        >>> percents(SetEvidence("sealed", 88, 200.0, 180.0, 20.0, 9.0, 10.0, 30.0, 0.005, True, 0.1))
        (5.0, 10.0, 15.0)
    """
    lower, gain, upper = (None if share is None else 100 * share for share in gain_shares(evidence))
    return lower, gain, upper
