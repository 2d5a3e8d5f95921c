"""A build as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ridgeway.artifacts import BuildFinding
from ridgeway.report import wording
from ridgeway.report.build_view import OUTCOMES, View, view
from ridgeway.report.terminal import headline, pairs, printed, quiet, styled, table, term_line

if TYPE_CHECKING:
    from rich.console import RenderableType

_WIDE = 84
"""From this many columns on, a gate's sentence stands beside its outcome."""
_STYLES = {"passed": "green", "found": "bold red", "broken": "bold red", "skipped": "dim"}


def render_build(record: Mapping[str, Any], *, width: int, color: bool) -> str:
    """A build as text: outcome first, then each gate, then every finding as ``FILE:LINE:COLUMN  RULE  MESSAGE``.

    Args:
        record: What ``build_record_of_build`` returned.
        width: Columns of the terminal; 60 and more read well.
        color: Whether to write ANSI colour codes.

    Raises:
        UsageError: It is not a record of a build that this version can read.

    Example:
        >>> from ridgeway.artifacts import GateReport
        >>> from ridgeway.report.build_view import build_record_of_build
        >>> from ridgeway.report.record import RunInfo
        >>> found = BuildFinding("ruff", "steps/a.py", 3, 8, "F401", "`os` imported but unused")
        >>> run = RunInfo("ab12", "build", "diabetes", "", "", "found", "build: 1 finding by ruff")
        >>> record = build_record_of_build(run, [GateReport("ruff", "found", (found,), "1 finding", seconds=1.4)])
        >>> print(render_build(record, width=90, color=False))
        FOUND  build: 1 finding by ruff
        diabetes · build · run ab12
        <BLANKLINE>
        gate  outcome   time  what came of it
        ruff  found    1.4 s  1 finding
        <BLANKLINE>
        steps/a.py:3:8  F401  `os` imported but unused
    """
    told, outcome = view(record), record["outcome"]
    parts: list[RenderableType] = [headline(outcome["code"], outcome["sentence"]), quiet(" · ".join(told.facts))]
    parts += ["", *_gates(told, width)] if told.gates else []
    for file, found in told.files:
        parts += ["", *(part for one in found for part in _finding(one, file, width))]
    if outcome.get("details"):
        parts += ["", pairs((term, wording.one_line(text)) for term, text in outcome["details"].items())]
    parts += ["", *(term_line("Next", step) for step in told.next_steps)] if told.next_steps else []
    return printed(parts, width=width, color=color)


def _gates(told: View, width: int) -> Iterator[RenderableType]:
    wide = width >= _WIDE
    rows = table("gate", "outcome", ">time", *(["what came of it"] if wide else []))
    for gate in told.gates:
        cells = [styled(gate.gate, ""), styled(OUTCOMES[gate.outcome], _STYLES[gate.outcome])]
        cells.append(styled(wording.duration(gate.seconds), ""))
        rows.add_row(*cells, *([styled(gate.sentence, "")] if wide else []))
    yield rows
    if not wide:
        for gate in told.gates:
            yield styled(f"{gate.gate}: {gate.sentence}", "")


def _finding(one: BuildFinding, file: str, width: int) -> Iterator[RenderableType]:
    """A finding in one line if there is room, else its message below its place."""
    from rich.padding import Padding

    line = styled(one.place or file, "bold")
    line.append_text(styled(f"  {one.rule or one.gate}", "yellow"))
    if len(line) + len(one.message) + 2 <= width:
        line.append_text(styled(f"  {one.message}", ""))
        yield line
    else:
        yield line
        yield Padding(styled(one.message, ""), (0, 0, 0, 4))
