"""The record, and each noun alone, as text for a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ridgeway.artifacts import Candidate, DataReport, Dataset, Expectation, ModelVersion, SetEvidence, Verdict
from ridgeway.report import wording
from ridgeway.report.record import findings_of
from ridgeway.report.text_plot import bar, evidence_axis, foot, marks, percents
from ridgeway.report.wording import Thresholds, visible

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

_STYLES = {"good": "green", "bad": "red", "wait": "yellow", "calm": "cyan"}
_SEVERITIES = {"fail": ("fails", "red"), "warn": ("warning", "yellow"), "pass": ("passes", "green")}
_BESIDE = 84
"""From this many columns on, a plot stands beside its numbers instead of below them."""
_LINES_OF_A_SEVERITY = 20
"""So many lines of a data report are shown of each severity; ``record.json`` and the page hold all."""


def render_terminal(record: Mapping[str, Any], *, width: int, color: bool) -> str:
    """The record as text: the sentence first, then evidence, slices, findings in the data, and what to do next.

    Args:
        record: What ``build_record`` returned.
        width: Columns of the terminal; 60 and more read well, and no line is longer.
        color: Whether to write ANSI colour codes. Without them not one escape character is written.

    Raises:
        UsageError: It is not a record of a retraining that this version can read.

    Example:
        >>> from ridgeway.report.record import Findings, RunInfo, build_record
        >>> run = RunInfo("ab12", "retraining", "diabetes", "", "", "failed", "stopped", next_step="ridgeway list runs")
        >>> print(render_terminal(build_record(run, Findings()), width=60, color=False))
        FAILED  stopped
        diabetes · retraining · run ab12
        <BLANKLINE>
        Next  ridgeway list runs
    """
    found, outcome, run = findings_of(record), record["outcome"], record["run"]
    facts = [run["project"], run["flow"], f"run {wording.short_digest(run['id'])}"]
    facts += [wording.duration(run["seconds"])] if run["seconds"] is not None else []
    facts += [found.version.handle] if found.version else []
    parts: list[RenderableType] = [headline(outcome["code"], outcome["sentence"]), quiet(" · ".join(facts))]
    if found.verdict:
        parts += ["", *_evidence(found.verdict, wording.thresholds_of(record), width)]
    if found.data_report and found.data_report.expectations:
        parts += ["", *_data(found.data_report, width)]
    if outcome.get("details"):
        parts += ["", pairs((term, wording.one_line(text)) for term, text in outcome["details"].items())]
    if step := wording.next_step_of(record):
        parts += ["", term_line("Next", step)]
    return printed(parts, width=width, color=color)


def render_noun(noun: Dataset | DataReport | Candidate | Verdict | ModelVersion, *, width: int, color: bool) -> str:
    """One noun as text, its reason first: what ``ridgeway show`` prints.

    Args:
        noun: The noun.
        width: Columns of the terminal.
        color: Whether to write ANSI colour codes.

    Example:
        >>> from ridgeway.artifacts import Column
        >>> data = Dataset("d", "sha256:" + "0" * 64, 2, (Column("age", "integer"),), "d.csv")
        >>> print(render_noun(data, width=60, color=False))
        data://d@sha256:000000000000…
        Rows       2
        Columns    1
        Read from  d.csv
        <BLANKLINE>
        column  type
        age     integer
    """
    parts: list[RenderableType]
    match noun:
        case Dataset():
            parts = _of_dataset(noun)
        case DataReport():
            parts = _of_report(noun, width)
        case Candidate():
            parts = _of_candidate(noun)
        case Verdict():
            step: list[RenderableType] = ["", term_line("Next", noun.next_step)] if noun.next_step else []
            parts = [headline(noun.outcome, noun.sentence), "", *_evidence(noun, wording.Thresholds(), width), *step]
        case ModelVersion():
            parts = _of_version(noun)
    return printed(parts, width=width, color=color)


def _evidence(verdict: Verdict, thresholds: Thresholds, width: int) -> list[RenderableType]:
    opponent = wording.opponent_words(verdict.opponent, loss=verdict.loss)
    strict = " · strict" if verdict.strict else ""
    parts: list[RenderableType] = [
        quiet(f"candidate against {opponent} · {verdict.loss.replace('_', ' ')} · {verdict.reason}{strict}")
    ]
    if verdict.sets:
        layout = _sets_beside if width >= _BESIDE else _sets_above
        parts.append(layout(verdict.sets, thresholds, width))
    if verdict.slices:
        parts += ["", _slices(verdict, thresholds)]
    notes: list[RenderableType] = [term_line("Note", warning, "yellow") for warning in verdict.warnings]
    parts += ["", *notes] if notes else []
    if verdict.advice and verdict.outcome == "hold":
        parts += ["", term_line("Power", wording.advice_sentence(verdict.advice))]
    return parts


def _sets_beside(sets: Sequence[SetEvidence], thresholds: Thresholds, width: int) -> Table:
    axis, room = evidence_axis(sets, thresholds), max(20, min(width, 120) - 54)
    rows = table("rows", ">n", ">gain", "interval", "")
    for each in sets:
        line = bar(axis, percents(each), marks(thresholds), room)
        rows.add_row(*_set_cells(each), line)
    rows.add_row("", "", "", "", quiet(foot(axis, thresholds, room)))
    return rows


def _sets_above(sets: Sequence[SetEvidence], thresholds: Thresholds, width: int) -> Table:
    """For narrow terminals: the plot of a set below its numbers."""
    from rich.table import Table

    axis, room = evidence_axis(sets, thresholds), max(20, width - 8)
    outer = Table.grid(padding=0)
    numbers = table("rows", ">n", ">gain", "interval")
    for each in sets:
        numbers.add_row(*_set_cells(each))
    outer.add_row(numbers)
    outer.add_row("")
    for each in sets:
        outer.add_row(styled(f"{each.name:<7}{bar(axis, percents(each), marks(thresholds), room)}", ""))
    outer.add_row(quiet(f"{'':<7}{foot(axis, thresholds, room)}"))
    return outer


def _set_cells(each: SetEvidence) -> tuple[Text, Text, Text, Text]:
    lower, gain, upper = wording.gain_shares(each)
    name = each.name if each.usable else f"{each.name} (not counted)"
    return (
        styled(name, ""),
        styled(f"{each.rows:,}", ""),
        styled(wording.percent(gain), "bold"),
        styled(wording.interval(lower, upper), ""),
    )


def _slices(verdict: Verdict, thresholds: Thresholds) -> Table:
    rows = table("slice", ">n", ">gain", ">p", "")
    for each in verdict.slices:
        rows.add_row(
            styled(each.name, ""),
            styled(f"{each.rows:,}", ""),
            styled(wording.percent(wording.share_of(each.gain, each.opponent_loss)), ""),
            styled(wording.p_value(each.p_value), ""),
            styled(wording.slice_finding(each, thresholds), "bold red" if each.harmed else "dim"),
        )
    return rows


def _data(report: DataReport, width: int) -> list[RenderableType]:
    """The findings of a data report, failures first; what passes is only counted."""
    parts: list[RenderableType] = [term_line("Data", wording.data_sentence(report))]
    for lines in (report.failures, report.warnings):
        for line in lines[:_LINES_OF_A_SEVERITY]:
            parts += _finding(line, width)
        if len(lines) > _LINES_OF_A_SEVERITY:
            parts.append(quiet(f"  and {len(lines) - _LINES_OF_A_SEVERITY} more"))
    return parts


def _finding(line: Expectation, width: int) -> list[RenderableType]:
    from rich.padding import Padding

    word, style = _SEVERITIES[line.outcome]
    head = styled(f"  {word}  ", style)
    head.append(visible(line.column or "whole table"), "bold")
    head.append(f"  {wording.expectation_words(visible(line.name))}")
    details = [line.reason] if line.reason else []
    if line.observed or line.expected:
        details.append(f"observed {line.observed or '–'}; expected {line.expected or '–'}")
    if line.unexpected_rows:
        first = f", first: {', '.join(map(str, line.first_rows))}" if line.first_rows else ""
        details.append(f"{wording.plural(line.unexpected_rows, 'row')}{first}")
    indent = 11 if width >= 50 else 4
    return [head, *(Padding(quiet(text), (0, 0, 0, indent)) for text in details)]


def _of_dataset(data: Dataset) -> list[RenderableType]:
    parts: list[RenderableType] = [styled(wording.short_digest(data.handle), "bold")]
    parts += [pairs([("Rows", f"{data.rows:,}"), ("Columns", f"{len(data.columns):,}"), ("Read from", data.source)])]
    rows = table("column", "type")
    for column in data.columns:
        rows.add_row(styled(column.name, ""), styled(column.type, "dim"))
    return [*parts, "", rows]


def _of_report(report: DataReport, width: int) -> list[RenderableType]:
    head = styled("PASSED" if report.ok else "REFUSED", f"bold {'green' if report.ok else 'red'}")
    head.append(f"  {visible(wording.short_digest(report.dataset))}", "bold")
    return [head, *_data(report, width)]


def _of_candidate(candidate: Candidate) -> list[RenderableType]:
    facts = [
        ("Model", f"{candidate.name}, {candidate.task} of {candidate.label}"),
        ("Digest", wording.short_digest(candidate.digest)),
        ("Data", wording.short_digest(candidate.dataset)),
        ("Rows", f"{candidate.training_rows:,} for training, {candidate.sealed_rows:,} sealed"),
        ("Features", ", ".join(column.name for column in candidate.features)),
        ("Parameters", _assignments(candidate.parameters)),
        ("Seed", str(candidate.seed)),
        ("Out of fold", f"{candidate.out_of_fold} folds" if candidate.out_of_fold else "off"),
        ("Metrics", ", ".join(f"{name} {wording.number(value)}" for name, value in candidate.metrics.items())),
    ]
    return [styled(candidate.handle, "bold"), pairs(facts)]


def _of_version(version: ModelVersion) -> list[RenderableType]:
    facts = [
        ("Aliases", ", ".join(version.aliases)),
        ("Registered", wording.moment(version.registered_at)),
        ("Digest", wording.short_digest(version.digest)),
        ("Run", version.run_id),
        ("Data", wording.short_digest(version.dataset)),
        *sorted(version.tags.items()),
    ]
    return [styled(version.handle, "bold"), pairs(facts)]


def _assignments(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value!r}" for name, value in values.items()) or "defaults"


def headline(code: str, sentence: str) -> Text:
    """The word for an outcome in its colour, and the sentence."""
    text = styled(wording.outcome_label(code).upper(), f"bold {_STYLES[wording.outcome_tone(code)]}")
    text.append(f"  {visible(sentence)}", "bold")
    return text


def quiet(text: str) -> Text:
    """Text that stands back."""
    return styled(text, "dim")


def styled(text: str, style: str) -> Text:
    """Text in a style, whatever characters it holds."""
    from rich.text import Text

    # Text, never markup: square brackets in a column name are only square brackets.
    return Text(visible(text), style=style, overflow="fold")


def term_line(term: str, text: str, style: str = "bold") -> Table:
    """One term with its text beside it."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_row(styled(term, style), styled(text, ""))
    return grid


def pairs(facts: Iterable[tuple[str, str]]) -> Table:
    """Terms with their texts, those without text left out."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    for term, text in facts:
        if text:
            grid.add_row(quiet(term), styled(text, ""))
    return grid


def table(*headings: str) -> Table:
    """A table without lines; a heading that starts with ``>`` is one of numbers."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for heading in headings:
        numeric = heading.startswith(">")
        table.add_column(heading.lstrip(">"), justify="right" if numeric else "left", no_wrap=numeric)
    return table


def printed(parts: Iterable[RenderableType], *, width: int, color: bool) -> str:
    """What a terminal of this width shows, without spaces at the ends of lines."""
    from rich.console import Console

    # An empty environment: the caller has decided on width and colour; rich must not look at TERM or NO_COLOR again.
    console = Console(
        file=io.StringIO(),
        width=max(width, 20),
        force_terminal=color,
        color_system="standard" if color else None,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
        _environ={},
    )
    with console.capture() as captured:
        for part in parts:
            console.print(part, overflow="fold")
    return "\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n"))
