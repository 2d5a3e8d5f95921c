"""A release, and an endpoint, as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ridgeway.artifacts import Approval, Endpoint, Release
from ridgeway.report import wording
from ridgeway.report.release_view import Asked, View, Voice, view
from ridgeway.report.terminal import headline, pairs, printed, quiet, styled, table, term_line

if TYPE_CHECKING:
    from rich.console import RenderableType

_WIDE = 84
"""From this many columns on, a step's sentence stands beside its time."""


def render_release(
    release: Release,
    evidence: Mapping[str, Any] | None,
    approvals: Sequence[Approval],
    *,
    width: int,
    color: bool,
) -> str:
    """A release as text: state and reason first, then what to do next, what changes, evidence, approvals, steps.

    Args:
        release: The record.
        evidence: What its approvers are shown, if there is any.
        approvals: All that was said about it.
        width: Columns of the terminal; 60 and more read well.
        color: Whether to write ANSI colour codes.

    Example:
        >>> from ridgeway.artifacts import Person
        >>> ada = Person("ada", "system", "local")
        >>> asked = Release("d", 1, "ab12", "release", "models:/d/2", "", ("qa", "production"), "started", ada, "")
        >>> print(render_release(asked, None, (), width=60, color=False))
        UNDER WAY  models:/d/2 is under way
        releases:/d/1 · models:/d/2 · qa → production · requested by
        system:ada,
        <BLANKLINE>
        Run  ab12
    """
    told = view(release, evidence, approvals)
    parts: list[RenderableType] = [headline(told.state, told.sentence)]
    parts += [term_line("Next", told.next_step)] if told.next_step else []
    parts.append(quiet(" · ".join(told.facts)))
    for section in (_pairs(_short(told.change)), _verdict(told), _probes(told), _voices(told.voices)):
        parts += ["", *section] if section else []
    parts += ["", *_steps(told, width)] if told.steps else []
    build = (("CI build", told.build_url),) if told.build_url else ()
    parts += ["", *_pairs((*told.digests, *build))]
    return printed(parts, width=width, color=color)


def render_endpoint(
    endpoint: Endpoint, release: Release | None, approvals: Sequence[Approval], *, width: int, color: bool
) -> str:
    """What runs on a target: its state and reason first, then which release put it there and who approved that.

    Args:
        endpoint: As it was found.
        release: The one that it names; None where its record is not at hand.
        approvals: All that was said about the release.
        width: Columns of the terminal.
        color: Whether to write ANSI colour codes.

    Example:
        >>> print(render_endpoint(Endpoint("qa", "process", "d", "absent"), None, (), width=60, color=False))
        ABSENT  nothing runs on qa
        Next  ridgeway run release MODEL
        process://qa/d
    """
    parts: list[RenderableType] = [headline(*_state(endpoint))]
    next_step = _next(endpoint)
    parts += [term_line("Next", next_step)] if next_step else []
    parts += [quiet(endpoint.handle), *_pairs(tuple(_facts(endpoint)))]
    parts += _by_release(release, approvals) if release is not None else []
    return printed(parts, width=width, color=color)


def render_served(
    release: Release, approvals: Sequence[Approval], span: Mapping[str, str], *, width: int, color: bool
) -> str:
    """What served on a target in a span of time: since when, by which release, who approved it, and why.

    Args:
        release: The one that put it there.
        approvals: All that was said about it.
        span: ``target``, ``since`` and ``until`` (empty while it serves).
        width: Columns of the terminal.
        color: Whether to write ANSI colour codes.
    """
    code = "frozen" if release.state == "frozen" else "served"
    sentence = f"{release.model} served on {span['target']}"
    if code == "frozen":
        sentence = f"on {span['target']} neither {release.model} nor the model before it is proven to have served"
    times = [
        ("Since", wording.moment(span["since"])),
        ("Until", wording.moment(span["until"]) or "it still serves"),
        ("Image", release.image.handle if release.image else ""),
    ]
    parts = [headline(code, sentence), *_pairs(times), *_by_release(release, approvals)]
    return printed(parts, width=width, color=color)


def _by_release(release: Release, approvals: Sequence[Approval]) -> list[RenderableType]:
    told = view(release, None, approvals)
    line = styled(f"{release.handle}  {told.sentence}", "bold")
    voices = ["", *_voices(told.voices)] if told.voices else []
    return ["", line, quiet(" · ".join(told.facts[1:])), *voices]


def _state(endpoint: Endpoint) -> tuple[str, str]:
    if endpoint.frozen:
        return "frozen", wording.one_line(endpoint.frozen)
    if endpoint.state == "absent":
        return "absent", f"nothing runs on {endpoint.target}"
    what = endpoint.model or endpoint.image or "something unknown"
    if endpoint.state == "healthy":
        return "healthy", f"{what} answers on {endpoint.target}"
    reason = f": {wording.one_line(endpoint.reason)}" if endpoint.reason else ""
    return endpoint.state, f"{what} on {endpoint.target}{reason}"


def _next(endpoint: Endpoint) -> str:
    if endpoint.frozen:
        return f"ridgeway logs {endpoint.target}, then ridgeway rollback {endpoint.target}"
    ways = {"absent": "ridgeway run release MODEL", "unhealthy": f"ridgeway logs {endpoint.target}"}
    return ways.get(endpoint.state, "")


def _facts(endpoint: Endpoint) -> Iterator[tuple[str, str]]:
    yield "Address", endpoint.address
    yield "Image", endpoint.image
    yield "Since", wording.moment(endpoint.since)
    yield "Replicas", f"{endpoint.ready} of {endpoint.replicas} ready" if endpoint.replicas else ""
    if endpoint.memory_mib is not None:
        limit = f" of {endpoint.memory_limit_mib:.0f}" if endpoint.memory_limit_mib else ""
        yield "Memory", f"{endpoint.memory_mib:.0f}{limit} MiB"
    if endpoint.frozen or endpoint.state == "healthy":
        yield "Reason", wording.one_line(endpoint.reason)


def _pairs(facts: Sequence[tuple[str, str]]) -> list[RenderableType]:
    known = [(term, line) for fact, text in facts for term, line in _lines(fact, text)]
    return [pairs(known)] if known else []


def _short(facts: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(term, wording.short_digest(text)) for term, text in facts]


def _lines(term: str, text: str) -> Iterator[tuple[str, str]]:
    """The term beside its first line only."""
    for number, line in enumerate(text.split("\n")):
        yield "" if number else term, line


def _verdict(told: View) -> list[RenderableType]:
    return [*_pairs(told.verdict), *(term_line("Note", warning, "yellow") for warning in told.warnings)]


def _probes(told: View) -> list[RenderableType]:
    return [part for probe in told.probes for part in _probe(probe)]


def _probe(probe: Asked) -> list[RenderableType]:
    line = styled("passes  " if probe.ok else "fails  ", "green" if probe.ok else "bold red")
    line.append_text(styled(f"probe of {probe.stage}", "bold"))
    line.append_text(styled(f"  {wording.one_line(probe.sentence)}", ""))
    parts: list[RenderableType] = [line]
    parts += [_indented(probe.load)] if probe.load else []
    for finding in probe.findings:
        word, style = ("fails", "red") if finding.outcome == "fail" else ("warning", "yellow")
        parts.append(_indented(f"{word}  {finding.check}: {wording.one_line(finding.sentence)}", style))
    return parts


def _voices(voices: Sequence[Voice]) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for voice in voices:
        line = styled(f"{voice.said:<4}", "bold green" if voice.said == "yes" else "bold red")
        line.append_text(styled(f"{voice.who} as {voice.role}", "bold"))
        line.append_text(styled("" if voice.is_current else "  void: for other evidence", "yellow"))
        parts.append(line)
        parts.append(_indented(f"{voice.at} · {voice.known} · evidence {wording.short_digest(voice.evidence)}"))
        parts += [_indented(text, "") for text in (wording.one_line(voice.why), voice.link) if text]
    return parts


def _indented(text: str, style: str = "dim") -> RenderableType:
    from rich.padding import Padding

    return Padding(styled(text, style), (0, 0, 0, 4))


def _steps(told: View, width: int) -> list[RenderableType]:
    wide = width >= _WIDE
    rows = table("step", "stage", ">time", *(["what came of it"] if wide else []))
    for step in told.steps:
        cells = [styled(step.name, ""), styled(step.stage, ""), styled(wording.duration(step.seconds), "")]
        rows.add_row(*cells, *([quiet(wording.short_digest(wording.one_line(step.sentence)))] if wide else []))
    return [rows]
