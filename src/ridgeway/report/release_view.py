"""What there is to tell of a release, in words: the same for terminal, page and Markdown. Pure.

Of golden rows there are counts and errors, never values; of keys nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ridgeway.artifacts import Approval, Finding, Person, ProbeReport, Release, Rollout
from ridgeway.report import wording

STRENGTHS = {
    "signed-in": "signed in to the CI system",
    "cluster": "proven by the cluster",
    "ci-environment": "named by a CI job's variables",
    "local": "an account of a machine",
}
_SENTENCES = {
    "started": "is under way",
    "waiting": "waits for an approval",
    "approved": "is approved",
    "released": "is in production",
    "cancelled": "was cancelled",
}
_WAYS = {
    "first": "nothing runs there yet",
    "surge": "the new beside the old, then the old goes",
    "in_place": "one by one in the place of the old",
    "none": "already so",
}
_ROLLOUTS = {
    "started": "under way",
    "done": "done",
    "unchanged": "already so",
    "returning": "on the way back",
    "returned": "the previous image is back",
    "stuck": "neither the new nor the previous image is proven",
}


@dataclass(frozen=True, slots=True)
class Voice:
    """One person's yes or no."""

    said: str
    who: str
    role: str
    known: str
    """How well the name is known."""
    at: str
    evidence: str
    """Digest of what was seen, with a remark where that is not what is shown now."""
    why: str
    link: str = ""
    is_current: bool = True


@dataclass(frozen=True, slots=True)
class Asked:
    """What an endpoint answered."""

    stage: str
    ok: bool
    sentence: str
    rows: int
    largest_error: float | None
    load: str
    findings: tuple[Finding, ...]
    """Those that are no pass."""


@dataclass(frozen=True, slots=True)
class Done:
    """One finished step."""

    name: str
    stage: str
    ended: str
    seconds: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class View:
    """All that is told of a release, in the order in which it is told."""

    state: str
    sentence: str
    next_step: str
    facts: tuple[str, ...]
    change: tuple[tuple[str, str], ...]
    verdict: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    probes: tuple[Asked, ...]
    voices: tuple[Voice, ...]
    steps: tuple[Done, ...]
    digests: tuple[tuple[str, str], ...]
    build_url: str = ""


def named(person: Person) -> str:
    """``SOURCE:NAME``, as a person stands in ``[approvers]``."""
    return f"{person.source}:{person.name}"


def view(
    release: Release,
    evidence: Mapping[str, Any] | None,
    approvals: Sequence[Approval] = (),
) -> View:
    """What is told of a release.

    Args:
        release: The record.
        evidence: What its approvers are shown, if there is any.
        approvals: All that was said about it.
    """
    shown = evidence or {}
    return View(
        state=release.state,
        sentence=wording.one_line(release.sentence)
        or f"{release.model} {_SENTENCES.get(release.state, release.state.replace('_', ' '))}",
        next_step=wording.one_line(release.next_step),
        facts=tuple(_facts(release)),
        change=tuple(_change(release, shown.get("change"))),
        verdict=tuple(_verdict(shown.get("verdict"))),
        warnings=tuple((shown.get("verdict") or {}).get("warnings") or ()),
        probes=(*_trials(shown.get("probes") or ()), *_of_rollout(release.rollout)),
        voices=tuple(_voice(approval, release) for approval in approvals),
        steps=tuple(
            Done(
                step.name,
                step.stage,
                wording.moment(step.ended_at),
                seconds(step.started_at, step.ended_at),
                step.sentence,
            )
            for step in release.steps
        ),
        digests=tuple((term, text) for term, text in _digests(release, shown.get("change")) if text),
        build_url=release.build_url,
    )


def seconds(start: str, end: str) -> float | None:
    """The time between two moments; None where one of them is none.

    Example:
        >>> seconds("2026-11-20T14:00:00.000Z", "2026-11-20T14:00:01.500Z"), seconds("", "2026-11-20T14:00:01Z")
        (1.5, None)
    """
    try:
        return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    except (ValueError, TypeError):
        return None


def _facts(release: Release) -> Iterator[str]:
    yield release.handle
    yield release.model
    yield f"{'rollback on ' if release.kind == 'rollback' else ''}{' → '.join(release.stages)}"
    yield f"requested by {named(release.requested_by)}, {wording.moment(release.requested_at)}"
    if release.ended_at:
        yield f"ended {wording.moment(release.ended_at)}"


def _change(release: Release, change: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if release.rollout is not None:
        yield from _rolled(release.rollout)
    elif change:
        before, serving = change["before"], change["serving"]
        yield "Endpoint", change["endpoint"]
        yield "From", _image_words(before["model"], before["image"]) if before else _unknown(serving)
        yield "To", _image_words(change["after"]["model"], change["after"]["image"])
        yield "Machine", f"{change['after']['instance_type']} × {change['after']['replicas']}"
        yield "How", _way(change["strategy"], change["gap_seconds"])
        yield "Changes", "\n".join(change["actions"])
        yield "Note", "\n".join(change["notes"])


def _unknown(serving: Mapping[str, Any] | None) -> str:
    return f"{serving['image']}, of which no record is kept" if serving and serving["image"] else "nothing"


def _rolled(rollout: Rollout) -> Iterator[tuple[str, str]]:
    before, after = rollout.before, rollout.after
    yield "Endpoint", rollout.endpoint
    yield "From", _image_words(before.image.model, before.image.handle) if before else "nothing"
    yield "To", _image_words(after.image.model, after.image.handle)
    yield "Machine", f"{after.instance.name} × {after.replicas}"
    yield "How", _way(rollout.strategy, rollout.gap_seconds)
    yield "Roll-out", _ROLLOUTS[rollout.state]
    yield "Reason", rollout.reason


def _image_words(model: str, image: str) -> str:
    return f"{model}, {image}"


def _way(strategy: str, gap_seconds: float) -> str:
    gap = f"at most {wording.duration(gap_seconds)} without an answer" if gap_seconds else "no gap"
    return f"{_WAYS.get(strategy, strategy)}; {gap}" if strategy else gap


def _verdict(verdict: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if not verdict:
        return
    yield "Verdict", f"{verdict['outcome']}: {verdict['sentence']}"
    yield "Reason", verdict["reason"]
    yield "Against", wording.opponent_words(verdict["opponent"], loss=verdict["loss"])
    for name, value in verdict["candidate_metrics"].items():
        other = verdict["opponent_metrics"].get(name)
        yield name.replace("_", " "), f"{wording.number(value)} (opponent {wording.number(other)})"


def _trials(probes: Sequence[Mapping[str, Any]]) -> Iterator[Asked]:
    for probe in probes:
        findings = tuple(Finding(**each) for each in probe["findings"])
        yield _asked(probe["stage"], probe, findings)


def _of_rollout(rollout: Rollout | None) -> Iterator[Asked]:
    if rollout is None:
        return
    for report, remark in ((rollout.probe, ""), (rollout.probe_back, ", the way back")):
        if report is not None:
            yield _asked(f"{rollout.after.target}{remark}", _told(report), report.findings)


def _told(report: ProbeReport) -> dict[str, Any]:
    names = ("rows", "largest_error", "requests", "failed", "p50_ms", "p99_ms", "ok", "sentence")
    return {name: getattr(report, name) for name in names}


def _asked(stage: str, probe: Mapping[str, Any], findings: tuple[Finding, ...]) -> Asked:
    load = ""
    if probe["requests"]:
        load = f"{wording.plural(probe['requests'], 'request')}, {probe['failed']} failed"
        load += f", p50 {_ms(probe['p50_ms'])}, p99 {_ms(probe['p99_ms'])}"
    notable = tuple(
        replace(each, sentence=wording.one_line(each.sentence)) for each in findings if each.outcome != "pass"
    )
    return Asked(
        stage, probe["ok"], wording.one_line(probe["sentence"]), probe["rows"], probe["largest_error"], load, notable
    )


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} ms"


def _voice(approval: Approval, release: Release) -> Voice:
    current = approval.evidence == release.evidence and (
        release.image is None or approval.image == release.image.handle
    )
    return Voice(
        said=approval.decision,
        who=named(approval.person),
        role=approval.role,
        known=STRENGTHS[approval.person.strength],
        at=wording.moment(approval.at),
        evidence=approval.evidence,
        why=wording.one_line(approval.reason),
        link=approval.person.link,
        is_current=current or approval.decision == "no",
    )


def _digests(release: Release, change: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    image, before = release.image, (change or {}).get("before")
    yield "Image", image.handle if image else ""
    if release.rollout is not None:
        yield "Image before", release.rollout.before.image.handle if release.rollout.before else ""
    elif before:
        yield "Image before", before["image"]
    yield "Model digest", release.model_digest
    yield "Package", image.package if image else ""
    yield "Runtime", image.runtime if image else ""
    yield "Base", image.base if image else ""
    yield "Evidence", release.evidence
    yield "Settings", release.settings
    yield "Commit", release.commit
    yield "Run", release.run_id
