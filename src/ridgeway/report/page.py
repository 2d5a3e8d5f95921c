"""The report page: one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ridgeway.artifacts import DataReport, Expectation, Verdict
from ridgeway.report import figures, wording
from ridgeway.report.record import findings_of

if TYPE_CHECKING:
    from jinja2 import Template

_HERE = Path(__file__).parent


def render_page(record: Mapping[str, Any]) -> str:
    """The record as one self-contained HTML page: offline, printable, light and dark, for any width. Pure.

    The page carries a content security policy that forbids scripts and every request, so that neither a column name nor
    a later edit of the template can make it reach out. Everything that comes from data is escaped.

    Args:
        record: What ``build_record`` returned.

    Raises:
        UsageError: It is not a record of a retraining that this version can read.

    Example:
        >>> from ridgeway.report.record import Findings, RunInfo, build_record
        >>> run = RunInfo("ab12", "retraining", "<d>", "", "", "failed", "stopped")
        >>> page = render_page(build_record(run, Findings()))
        >>> page[:15], "<d>" in page, "&lt;d&gt;" in page
        ('<!doctype html>', False, True)
    """
    found = findings_of(record)
    return template("page.html.j2").render(
        record=record,
        found=found,
        style=style(),
        drawn=_drawings(record, found.verdict),
        thresholds=wording.thresholds_of(record),
        next_step=wording.next_step_of(record),
        ordered=_worst_first(found.data_report),
        metrics=_metric_rows(found.verdict),
        build_url=web_address(record["run"].get("build_url", "")),
        longest_step=max([step["seconds"] or 0 for step in record["steps"]] + [1e-9]),
    )


@cache
def template(name: str) -> Template:
    """A template of this folder; it escapes whatever it is given, and spells out what could act."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.globals["words"] = wording
    environment.filters["plain"] = _plain_value
    environment.filters["flags"] = _whole_flags
    return environment.get_template(name)


@cache
def style() -> Markup:
    """The style sheet of every page."""
    return Markup((_HERE / "page.css").read_text(encoding="utf-8"))  # noqa: S704 (our own file)


def _finalize(value: Any) -> Any:
    return value if isinstance(value, Markup) else wording.typeset(value)


_PLOTS = ("comparison", "scatter_candidate", "scatter_opponent", "calibration", "gains", "spread")


def _drawings(record: Mapping[str, Any], verdict: Verdict | None) -> dict[str, Markup]:
    """The plots by name; empty where the record has no numbers for one."""
    drawn = dict.fromkeys(_PLOTS, Markup())
    if verdict is not None and verdict.sets:
        drawn["comparison"] = figures.comparison(verdict.sets, wording.thresholds_of(record))
    plots = record.get("plots") or {}
    if points := plots.get("scatter"):
        for model in figures.MODELS:
            if points.get(model):
                drawn[f"scatter_{model}"] = figures.scatter(points, model)
    if (curves := plots.get("calibration")) and curves.get("candidate"):
        drawn["calibration"] = figures.calibration(curves)
    if plots.get("gains") and plots["gains"]["counts"]:
        sealed = next((each for each in verdict.sets if each.name == "sealed"), None) if verdict else None
        drawn["gains"] = figures.gain_histogram(plots["gains"], sealed)
    strips = [strip for strip in plots.get("spread") or [] if strip["candidate"]]
    if strips:
        drawn["spread"] = figures.spread(strips, with_zero=plots["task"] == "regression")
    return drawn


def _worst_first(report: DataReport | None) -> dict[str, list[Expectation]]:
    """The lines of a data report in the order they should be read: what fails, what warns, what passes."""
    lines = () if report is None else report.expectations
    found = [line for severity in ("fail", "warn") for line in lines if line.outcome == severity]
    return {"found": found, "passed": [line for line in lines if line.outcome == "pass"]}


def _metric_rows(verdict: Verdict | None) -> list[tuple[str, float | None, float | None]]:
    """Metric, candidate's value, opponent's value."""
    if verdict is None:
        return []
    names = dict.fromkeys([*verdict.candidate_metrics, *verdict.opponent_metrics])
    return [(name, verdict.candidate_metrics.get(name), verdict.opponent_metrics.get(name)) for name in names]


def web_address(text: str) -> str:
    """Only what a browser opens as a page: an address out of the environment must not become a script."""
    return text if text.startswith(("https://", "http://")) else ""


def _whole_flags(text: str) -> Markup:
    """A command's options in one piece: browsers like to break a line after the dashes."""
    return Markup(" ").join(
        Markup('<span class="flag">{}</span>').format(wording.typeset(token))
        if token.startswith("--")
        else wording.typeset(token)
        for token in text.split(" ")
    )


def _plain_value(value: Any) -> str:
    """A setting's value as it would be typed."""
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
