"""A release as Markdown: for the summary of a CI run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ridgeway.artifacts import Approval, Release
from ridgeway.report import wording
from ridgeway.report.markdown import MARKS, code, escape, table
from ridgeway.report.release_view import View, view


def render_release_markdown(
    release: Release, evidence: Mapping[str, Any] | None, approvals: Sequence[Approval] = ()
) -> str:
    """A release as GitHub-flavoured Markdown, state and reason first. Pure; what comes from elsewhere is escaped.

    Args:
        release: The record.
        evidence: What its approvers are shown, if there is any.
        approvals: All that was said about it.

    Example:
        >>> from ridgeway.artifacts import Person
        >>> ada = Person("ada", "system", "local")
        >>> asked = Release("d", 1, "", "release", "models:/d/2", "", ("production",), "waiting", ada, "2026-11-20")
        >>> print(render_release_markdown(asked, None).splitlines()[0])
        ## ⏸️ Waits for approval: models:/d/2 waits for an approval
    """
    told = view(release, evidence, approvals)
    mark = MARKS[wording.outcome_tone(told.state)]
    blocks = [f"## {mark} {wording.outcome_label(told.state)}: {escape(told.sentence)}"]
    blocks += [f"**Next:** {code(told.next_step)}"] if told.next_step else []
    blocks.append(" · ".join(escape(fact) for fact in told.facts))
    blocks += [block for part in (_change, _verdict, _probes, _voices, _steps, _digests) for block in part(told)]
    return "\n\n".join(blocks) + "\n"


def _terms(facts: Iterable[tuple[str, str]]) -> str:
    return table(["", ""], ([escape(term), escape(wording.short_digest(text))] for term, text in facts if text))


def _change(told: View) -> Iterator[str]:
    if told.change:
        yield "### What changes"
        yield _terms(told.change)


def _verdict(told: View) -> Iterator[str]:
    if told.verdict:
        yield "### Why it was let in"
        yield _terms(told.verdict)
    for warning in told.warnings:
        yield f"**Note:** {escape(warning)}"


def _probes(told: View) -> Iterator[str]:
    if told.probes:
        yield "### Probes"
        rows = (
            [escape(each.stage), "passes" if each.ok else "**fails**", escape(each.sentence), escape(each.load) or "–"]
            for each in told.probes
        )
        yield table(["Stage", "Outcome", "What it answered", "Under load"], rows)
    found = [
        f"- {each.outcome}: {escape(each.check)}: {escape(each.sentence)}"
        for probe in told.probes
        for each in probe.findings
    ]
    if found:
        yield "\n".join(found)


def _voices(told: View) -> Iterator[str]:
    if told.voices:
        yield "### Approvals"
        rows = (
            [
                f"**{each.said}**{'' if each.is_current else ', void'}",
                escape(each.who),
                escape(each.role),
                escape(each.known),
                escape(each.at),
                code(wording.short_digest(each.evidence)),
                escape(each.why) or "–",
            ]
            for each in told.voices
        )
        yield table(["Said", "Who", "Role", "Known by", "When", "Evidence", "Why"], rows)


def _steps(told: View) -> Iterator[str]:
    if told.steps:
        yield "### Steps"
        rows = ([escape(each.name), escape(each.stage) or "–", wording.duration(each.seconds)] for each in told.steps)
        yield table(["Step", "Stage", ">Time"], rows)


def _digests(told: View) -> Iterator[str]:
    rows = table(["", ""], ([escape(term), code(text)] for term, text in told.digests))
    yield f"<details><summary>Digests</summary>\n\n{rows}\n\n</details>"
