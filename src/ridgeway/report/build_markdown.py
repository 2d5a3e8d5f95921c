"""A build as Markdown: for the page of a run, and the summary of a CI job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ridgeway.report import wording
from ridgeway.report.build_view import OUTCOMES, WHOLE, View, view
from ridgeway.report.markdown import MARKS, code, escape, table

_MOST = 100
"""So many findings are listed; summaries of CI systems are cut off when they grow long."""


def render_build_markdown(record: Mapping[str, Any]) -> str:
    """A build as GitHub-flavoured Markdown, outcome first. Pure; what comes from elsewhere is escaped.

    Args:
        record: What ``build_record_of_build`` returned.

    Raises:
        UsageError: It is not a record of a build that this version can read.

    Example:
        >>> from ridgeway.report.build_view import build_record_of_build
        >>> from ridgeway.report.record import RunInfo
        >>> run = RunInfo("ab12", "build", "diabetes", "", "", "passed", "ruff passed")
        >>> print(render_build_markdown(build_record_of_build(run, [])).splitlines()[0])
        ## ✅ Passed: ruff passed
    """
    told, outcome = view(record), record["outcome"]
    mark = MARKS[wording.outcome_tone(outcome["code"])]
    blocks = [f"## {mark} {wording.outcome_label(outcome['code'])}: {escape(outcome['sentence'])}"]
    blocks += [f"**{escape(term.capitalize())}:** {escape(text)}" for term, text in outcome.get("details", {}).items()]
    blocks += [f"**Next:** {code(step)}" for step in told.next_steps]
    blocks += [*_gates(told), *_findings(told), " · ".join(escape(fact) for fact in told.facts)]
    return "\n\n".join(blocks) + "\n"


def _gates(told: View) -> Iterator[str]:
    if told.gates:
        rows = (
            [
                escape(gate.gate),
                OUTCOMES[gate.outcome] if gate.ok else f"**{OUTCOMES[gate.outcome]}**",
                wording.duration(gate.seconds),
                escape(gate.sentence),
            ]
            for gate in told.gates
        )
        yield table(["Gate", "Outcome", ">Time", "What came of it"], rows)


def _findings(told: View) -> Iterator[str]:
    found = [(file, one) for file, ones in told.files for one in ones]
    if found:
        rows = (
            [code(one.place) if one.file else WHOLE, code(one.rule or one.gate), escape(one.message)]
            for _, one in found[:_MOST]
        )
        yield table(["Where", "Rule", "Finding"], rows)
    if len(found) > _MOST:
        yield f"and {len(found) - _MOST} more"
