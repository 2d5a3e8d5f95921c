"""The record as Markdown: for the artifact of an orchestrator and the summary of a CI run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ridgeway.artifacts import DataReport, Expectation, Verdict
from ridgeway.report import wording
from ridgeway.report.record import findings_of
from ridgeway.report.text_plot import bar, evidence_axis, foot, marks, percents

MARKS = {"good": "✅", "bad": "❌", "wait": "⏸️", "calm": "➖"}
_LINES = 20
"""So many findings in the data are listed; summaries of CI systems are cut off when they grow long."""


def render_markdown(record: Mapping[str, Any]) -> str:
    """The record as GitHub-flavoured Markdown, headline first. Pure.

    Whatever comes from data is escaped: it can neither become a link, an image nor a tag.

    Args:
        record: What ``build_record`` returned.

    Raises:
        UsageError: It is not a record of a retraining that this version can read.

    Example:
        >>> from ridgeway.report.record import Findings, RunInfo, build_record
        >>> run = RunInfo("ab12", "retraining", "diabetes", "", "", "hold", "too few rows: held", "bring 12 more")
        >>> print(render_markdown(build_record(run, Findings())))
        ## ⏸️ Hold: too few rows: held
        <BLANKLINE>
        **Next:** bring 12 more
        <BLANKLINE>
        diabetes · retraining · run `ab12`
        <BLANKLINE>
    """
    found, outcome = findings_of(record), record["outcome"]
    mark = MARKS[wording.outcome_tone(outcome["code"])]
    blocks = [f"## {mark} {wording.outcome_label(outcome['code'])}: {escape(outcome['sentence'])}"]
    blocks += [f"**{escape(term.capitalize())}:** {escape(text)}" for term, text in outcome.get("details", {}).items()]
    if step := wording.next_step_of(record):
        blocks.append(f"**Next:** {escape(step)}")
    if found.verdict:
        blocks += _evidence(found.verdict, wording.thresholds_of(record))
    if found.data_report and found.data_report.expectations:
        blocks += _data(found.data_report)
    blocks.append(_facts(record))
    return "\n\n".join(blocks) + "\n"


def escape(text: Any) -> str:
    r"""``text`` as literal Markdown on one line.

    Example:
        >>> print(escape("a|b <script> ![x](http://y)"))
        a\|b &lt;script&gt; !\[x\](http\://y)
    """
    line = wording.visible(" ".join(str(text).split()))
    # Bare addresses become links too, hence the colon before slashes, the dot after www, and the @.
    line = re.sub(r"([\\`*_\[\]|~@]|:(?=//)|(?<=www)\.)", r"\\\1", line.replace("&", "&amp;"))
    return line.replace("<", "&lt;").replace(">", "&gt;")


def code(text: str) -> str:
    """As code; a backtick inside would end it, so it goes."""
    return "`" + wording.visible(" ".join(text.split())).replace("`", "'").replace("|", "¦") + "`"


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; headings that start with ``>`` are of numbers."""
    names = list(headings)
    rule = ["---:" if name.startswith(">") else "---" for name in names]
    lines = [[name.lstrip(">") for name in names], rule, *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _evidence(verdict: Verdict, thresholds: wording.Thresholds) -> list[str]:
    opponent, loss = wording.opponent_words(verdict.opponent, loss=verdict.loss), verdict.loss.replace("_", " ")
    blocks = [f"Candidate against {code(opponent)}, {escape(loss)}, reason {code(verdict.reason)}"]
    if verdict.sets:
        rows = []
        for each in verdict.sets:
            lower, gain, upper = wording.gain_shares(each)
            name = each.name if each.usable else f"{each.name} (not counted)"
            rows.append([name, f"{each.rows:,}", f"**{wording.percent(gain)}**", wording.interval(lower, upper)])
        blocks.append(table(["Rows", ">n", ">Gain", ">Interval"], rows))
        axis = evidence_axis(verdict.sets, thresholds)
        plot = [f"{each.name:<7}{bar(axis, percents(each), marks(thresholds), 56)}".rstrip() for each in verdict.sets]
        blocks.append("\n".join(["```text", *plot, f"{'':<7}{foot(axis, thresholds, 56)}", "```"]))
    if verdict.slices:
        cells = [
            [
                escape(each.name),
                f"{each.rows:,}",
                wording.percent(wording.share_of(each.gain, each.opponent_loss)),
                wording.p_value(each.p_value).replace("<", "&lt;"),
                "**harmed**" if each.harmed else wording.slice_finding(each, thresholds),
            ]
            for each in verdict.slices
        ]
        blocks.append(table(["Slice", ">n", ">Gain", ">p", "Finding"], cells))
    blocks += [f"**Note:** {escape(warning)}" for warning in verdict.warnings]
    if verdict.advice and verdict.outcome == "hold":
        blocks.append("\n".join(f"- {term}: {text}" for term, text in wording.advice_facts(verdict.advice)))
    return blocks


def _data(report: DataReport) -> list[str]:
    blocks = [f"**Data:** {wording.data_sentence(report)}"]
    found = [*report.failures, *report.warnings]
    if found:
        headings = ["Outcome", "Column", "Expectation", "Observed", "Expected", ">Rows"]
        blocks.append(table(headings, (_finding(line) for line in found[:_LINES])))
    if len(found) > _LINES:
        blocks.append(f"and {len(found) - _LINES} more")
    return blocks


def _finding(line: Expectation) -> list[str]:
    words = wording.expectation_words(line.name)
    return [
        "**fails**" if line.outcome == "fail" else "warning",
        escape(line.column) or "whole table",
        escape(f"{words}: {line.reason}" if line.reason else words),
        escape(line.observed),
        escape(line.expected),
        f"{line.unexpected_rows:,}" if line.unexpected_rows else "–",
    ]


def _facts(record: Mapping[str, Any]) -> str:
    run, version = record["run"], record.get("model_version")
    facts = [escape(run["project"]), escape(run["flow"]), f"run {code(run['id'])}"]
    facts += [wording.duration(run["seconds"])] if run["seconds"] is not None else []
    facts += [code(f"models:/{version['name']}/{version['number']}")] if version else []
    facts += [f"commit {code(record['lineage']['commit'][:12])}"] if record["lineage"]["commit"] else []
    return " · ".join(facts)
