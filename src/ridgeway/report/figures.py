"""The plots of the report page, as small SVG texts in CSS pixels and percent. Pure; escapes whatever it is given.

Across, places are percentages and text is not scaled, so one drawing fits every width from a telephone to a wall.
Colours are classes that the page's style sheet fills from variables, so one drawing is light and dark. Points are
zero-length strokes with round ends inside a stretched inner ``svg``: ten bytes each, and round at any width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ridgeway.artifacts import SetEvidence
from ridgeway.report.axis import Axis, axis_around
from ridgeway.report.text_plot import air
from ridgeway.report.wording import Thresholds, gain_shares, interval, number, percent, plural, typeset

MODELS = ("candidate", "opponent")
_TICK_GAP = 18

Triple = tuple[float | None, float | None, float | None]


def comparison(sets: Sequence[SetEvidence], thresholds: Thresholds) -> Markup:
    """Point and bar per evidence set: the mean gain with its interval in percent of the opponent's loss."""
    shares = [gain_shares(each) for each in sets]
    axis = axis_around([100 * share for triple in shares for share in triple if share is not None] + [*air(thresholds)])
    zero, worthwhile = axis.at(0.0), axis.at(100 * thresholds.worthwhile)
    background = [
        _rect(worthwhile, 100 - worthwhile, "better"),
        _rect(0, zero, "worse"),
        _line_down(zero, "zero"),
        _line_down(worthwhile, "worthwhile"),
        # Each label on its outer side, unless the edge is too near for it on a narrow screen.
        _beside(zero, 14, "no difference", left=zero > 32),
        _beside(worthwhile, 31, f"worthwhile: {thresholds.worthwhile_words}", left=worthwhile > 60),
    ]
    rows = [
        (
            f"{each.name.capitalize()} rows",
            said_of(each),
            _strip_svg(_bar(axis, _hundredfold(triple), usable=each.usable)),
        )
        for each, triple in zip(sets, shares, strict=True)
    ]
    said = "; ".join(f"{each.name} rows: {said_of(each)}" for each in sets)
    return _chart(
        f"Mean gain with interval, in percent of the opponent's loss. {said}",
        background=background,
        rows=rows,
        axis=_axis_svg(axis, lambda value: f"{number(value)} %"),
        headed=True,
    )


def scatter(points: Mapping[str, Any], model: str) -> Markup:
    """Predicted against actual for one model; both models get the same axes, so that two panels compare."""
    predictions = points[model]
    shared = [*points["actual"], *points["candidate"], *(points["opponent"] or [])]
    axis = axis_around(shared, padding=0.03)
    pairs = [(axis.at(a), 100 - axis.at(p)) for a, p in zip(points["actual"], predictions, strict=True)]
    body = [
        *(_grid_line(axis, value) for value in axis.ticks(4)),
        Markup('<line class="diagonal" x1="0%" y1="100%" x2="100%" y2="0%"/>'),
        _dots(pairs, model),
        _square_ticks(axis, number, 4),
    ]
    said = f"Predicted against actual value of {plural(len(pairs), 'sealed row')}, {model}; the diagonal is perfect"
    return _svg(said, body)


def calibration(curves: Mapping[str, Any]) -> Markup:
    """How often it happened against how likely it was said to be, for both models, with 95 % intervals."""
    axis = Axis(0.0, 1.0)
    body = [
        *(_grid_line(axis, value) for value in axis.ticks(5)),
        Markup('<line class="diagonal" x1="0%" y1="100%" x2="100%" y2="0%"/>'),
    ]
    for model in reversed(MODELS):
        body.extend(_calibration_point(axis, each, model) for each in curves.get(model) or [])
    body.append(_square_ticks(axis, number, 5))
    said = "; ".join(f"{model}: {_calibration_words(curves[model])}" for model in MODELS if curves.get(model))
    return _svg(f"Calibration. {said}", body)


def _calibration_words(curve: Sequence[Mapping[str, float]]) -> str:
    return ", ".join(f"{number(each['predicted'], 2)} said, {number(each['observed'], 2)} seen" for each in curve)


def gain_histogram(gains: Mapping[str, Any], sealed: SetEvidence | None) -> Markup:
    """How the gain is spread over the rows, with the mean and its interval above."""
    edges = gains["edges"]
    axis = Axis(edges[0], edges[-1])
    bars = Markup("").join(
        Markup('<path class="bar {}" d="{}"/>').format(model, path)
        for model, path in _histogram_paths(axis, edges, gains["counts"]).items()
        if path
    )
    mean = (
        []
        if sealed is None
        else [("Mean gain", f"{number(sealed.gain)}", _strip_svg(_bar(axis, _bounds(sealed), usable=True)))]
    )
    stretched = Markup(
        '<svg aria-hidden="true" class="bars" width="100%" height="200" viewBox="0 0 1000 1000" '
        'preserveAspectRatio="none">{}</svg>'
    ).format(bars)
    said = f"Gain per sealed row: {gains['better']:,} better, {gains['worse']:,} worse, {gains['equal']:,} equal"
    return _chart(
        said,
        background=[_line_down(axis.at(0.0), "zero")],
        rows=[*mean, ("Rows by gain", f"tallest bar: {plural(max(gains['counts']), 'row')}", stretched)],
        axis=_axis_svg(axis, number),
    )


def _bounds(sealed: SetEvidence) -> Triple:
    return sealed.lower, sealed.gain, sealed.upper


def _histogram_paths(axis: Axis, edges: Sequence[float], counts: Sequence[int]) -> dict[str, str]:
    """One path for the rows that each model won, in a square of 1,000 units with a gap of two between bars."""
    tallest = max([*counts, 1])
    paths = dict.fromkeys(MODELS, "")
    for left, right, count in zip(edges, edges[1:], counts, strict=False):
        if count:
            x, width, tall = axis.at(left) * 10, (axis.at(right) - axis.at(left)) * 10, 1000 * count / tallest
            winner = "candidate" if left + right > 0 else "opponent"
            paths[winner] += f"M{x + 1:.0f} 1000v-{tall:.0f}h{max(width - 2, 1):.0f}v{tall:.0f}z"
    return paths


def spread(strips: Sequence[Mapping[str, Any]], *, with_zero: bool) -> Markup:
    """Five quantiles per slice for both models: line 5 to 95 %, bar 25 to 75 %, mark at the median."""
    values = [value for strip in strips for model in MODELS for value in strip[model] or []]
    axis = axis_around([*values, 0.0]) if with_zero else Axis(0.0, 1.0)
    rows = []
    for strip in strips:
        bars = [_box(axis, strip[model], model) for model in MODELS if strip[model]]
        label = (strip["slice"] or "All sealed rows", plural(strip["rows"], "row"))
        rows.append((*label, Markup("").join(_strip_svg(bar) for bar in bars)))
    said = "; ".join(
        f"{strip['slice'] or 'all rows'}: "
        + ", ".join(f"{model} median {number(strip[model][2])}" for model in MODELS if strip[model])
        for strip in strips
    )
    return _chart(
        f"Spread by slice. {said}",
        background=[_line_down(axis.at(0.0), "zero")] if with_zero else [],
        rows=rows,
        axis=_axis_svg(axis, number),
    )


def said_of(evidence: SetEvidence) -> str:
    """One evidence set in a line of words: gain, interval, number of rows."""
    lower, gain, upper = gain_shares(evidence)
    counted = "" if evidence.usable else ", shown but not counted"
    return f"{percent(gain)} ({interval(lower, upper)}), {plural(evidence.rows, 'row')}{counted}"


def _hundredfold(triple: Triple) -> Triple:
    lower, middle, upper = (None if value is None else 100 * value for value in triple)
    return lower, middle, upper


def _bar(axis: Axis, triple: Triple, *, usable: bool) -> Markup:
    lower, middle, upper = triple
    kind = "interval" if usable else "interval unused"
    parts = []
    if lower is not None and upper is not None:
        low, high = axis.at(lower), axis.at(upper)
        parts.append(Markup('<line class="{}" x1="{}%" x2="{}%" y1="12" y2="12"/>').format(kind, low, high))
        parts.extend(_upright(end, (6, 18), kind) for end in (low, high))
    if middle is not None:
        parts.append(Markup('<circle class="{}" cx="{}%" cy="12" r="6"/>').format(kind, axis.at(middle)))
    return Markup("").join(parts)


def _box(axis: Axis, quantiles: Sequence[float], model: str) -> Markup:
    q05, q25, q50, q75, q95 = (axis.at(value) for value in quantiles)
    return Markup(
        '<line class="whisker {m}" x1="{a}%" x2="{e}%" y1="12" y2="12"/>'
        '<line class="box {m}" x1="{b}%" x2="{d}%" y1="12" y2="12"/>'
        '<line class="median" x1="{c}%" x2="{c}%" y1="5" y2="19"/>'
    ).format(m=model, a=q05, b=q25, c=q50, d=q75, e=q95)


def _calibration_point(axis: Axis, each: Mapping[str, float], model: str) -> Markup:
    x = axis.at(each["predicted"])
    low, middle, high = (100 - axis.at(each[key]) for key in ("low", "observed", "high"))
    return Markup(
        '<line class="whisker {m}" x1="{x}%" x2="{x}%" y1="{low}%" y2="{high}%"/>'
        '<circle class="mark {m}" cx="{x}%" cy="{middle}%" r="5"/>'
    ).format(m=model, x=x, low=round(low, 2), high=round(high, 2), middle=round(middle, 2))


def _dots(pairs: Sequence[tuple[float, float]], model: str) -> Markup:
    """In paths of 50: strokes of one path do not darken each other, those of several do, and density should show."""
    paths = [
        Markup('<path class="dots {}" d="{}"/>').format(
            model, "".join(f"M{x * 10:.0f} {y * 10:.0f}h0" for x, y in pairs[start :: max(1, -(-len(pairs) // 50))])
        )
        for start in range(max(1, -(-len(pairs) // 50)))
    ]
    inner = Markup(
        '<svg aria-hidden="true" width="100%" height="100%" viewBox="0 0 1000 1000" preserveAspectRatio="none">{}</svg>'
    )
    return inner.format(Markup("").join(paths))


def _grid_line(axis: Axis, value: float) -> Markup:
    across, up = axis.at(value), round(100 - axis.at(value), 2)
    return Markup(
        '<line class="grid" x1="{x}%" x2="{x}%" y1="0%" y2="100%"/>'
        '<line class="grid" x1="0%" x2="100%" y1="{y}%" y2="{y}%"/>'
    ).format(x=across, y=up)


def _square_ticks(axis: Axis, label: Callable[[float], str], count: int) -> Markup:
    marks = [
        Markup(
            '<text class="tick middle" x="{x}%" y="100%" dy="{gap}">{text}</text>'
            '<text class="tick end" x="0%" dx="-7" y="{y}%" dy="4">{text}</text>'
        ).format(x=axis.at(value), y=round(100 - axis.at(value), 2), gap=_TICK_GAP, text=label(value))
        for value in axis.ticks(count)
    ]
    return Markup('<rect class="frame" width="100%" height="100%"/>') + Markup("").join(marks)


def _axis_svg(axis: Axis, label: Callable[[float], str]) -> Markup:
    marks = [
        Markup(
            '<line class="tick" x1="{x}%" x2="{x}%" y1="0" y2="5"/>'
            '<text class="tick middle" x="{x}%" y="19">{text}</text>'
        ).format(x=axis.at(value), text=label(value))
        for value in axis.ticks(5)
    ]
    base = Markup('<line class="base" x1="0%" x2="100%" y1="0" y2="0"/>')
    return Markup('<svg aria-hidden="true" class="axis" width="100%" height="24">{}{}</svg>').format(
        base, Markup("").join(marks)
    )


def _upright(x: float, span: tuple[int, int], kind: str) -> Markup:
    return Markup('<line class="{}" x1="{x}%" x2="{x}%" y1="{}" y2="{}"/>').format(kind, *span, x=x)


def _line_down(x: float, kind: str) -> Markup:
    return Markup('<line class="{}" x1="{x}%" x2="{x}%" y1="0%" y2="100%"/>').format(kind, x=x)


def _rect(x: float, width: float, kind: str) -> Markup:
    return Markup('<rect class="{}" x="{}%" width="{}%" y="0" height="100%"/>').format(kind, x, round(max(width, 0), 2))


def _beside(x: float, y: int, text: str, *, left: bool) -> Markup:
    side, shift = ("end", -6) if left else ("start", 6)
    return Markup('<text class="note {}" x="{}%" dx="{}" y="{}">{}</text>').format(side, x, shift, y, typeset(text))


def _strip_svg(body: Markup) -> Markup:
    return Markup('<svg aria-hidden="true" class="strip" width="100%" height="24">{}</svg>').format(body)


def _chart(
    said: str,
    *,
    background: Iterable[Markup],
    rows: Iterable[tuple[str, str, Markup]],
    axis: Markup,
    headed: bool = False,
) -> Markup:
    """Rows of a label that may wrap and a strip, over one background whose lines run through all of them."""
    shown = [
        Markup('<div class="row"><div class="name"><span><b>{}</b> {}</span></div>{}</div>').format(
            typeset(name), typeset(words), strips
        )
        for name, words, strips in rows
    ]
    return Markup(
        '<div class="chart" role="img" aria-label="{}"><div class="rows{}">'
        '<svg aria-hidden="true" class="behind" width="100%" height="100%">{}</svg>{}</div>{}</div>'
    ).format(typeset(said), " headed" if headed else "", Markup("").join(background), Markup("").join(shown), axis)


def _svg(said: str, body: Iterable[Markup]) -> Markup:
    """A square drawing, sized by the style sheet."""
    return Markup('<svg role="img" aria-label="{}" class="square">{}</svg>').format(
        typeset(said), Markup("").join(body)
    )
