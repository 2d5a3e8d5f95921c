"""The question to a person, and the answer: evidence gathered, words recorded, what they come to."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from ridgeway.actions import endpoints, rollout, telling
from ridgeway.actions.identity import acting, approving
from ridgeway.actions.models import open_registry, require_registry, resolve, verdict_of
from ridgeway.artifacts import Approval, Image, Person, ProbeReport, Release, from_json, parse_handle
from ridgeway.errors import NotAccepted, Permanent, UsageError
from ridgeway.project import Project, is_in_tree
from ridgeway.registry import Registry
from ridgeway.registry.releases import Releases
from ridgeway.rules import approval as rules
from ridgeway.run_log import exclusive
from ridgeway.settings import operations_file
from ridgeway.targets import open_target

log = logging.getLogger("ridgeway.ask_approval")


@dataclass(frozen=True)
class Case:
    """A release, and where it is known."""

    project: Project
    registry: Registry
    release: Release

    @property
    def releases(self) -> Releases:
        """The records of releases."""
        return Releases(self.registry)

    @property
    def stage(self) -> str:
        """Production: the stage that asks."""
        return self.release.stages[-1]


@dataclass(frozen=True)
class Said:
    """A word that was recorded, and what all words together come to."""

    approval: Approval
    decision: rules.Decision


def policy(case: Case) -> rules.Policy:
    """Whose yes the release needs.

    Raises:
        UsageError: Approvers come from where whoever started the release could have written them.
    """
    return policy_for(case.project, case.release.stages)


def policy_for(project: Project, stages: Sequence[str]) -> rules.Policy:
    """Whose yes a release through these stages needs; nothing is contacted.

    Raises:
        UsageError: Approvers come from where whoever started the release could have written them.
    """
    chosen = project.settings.targets[stages[-1]]
    made = rules.Policy(
        role=chosen.approval.role,
        approvers=tuple(project.settings.approvers[chosen.approval.role]),
        kind=chosen.kind,
        count=chosen.approval.count,
        own_release=chosen.approval.own_release,
        expires_hours=chosen.approval.expires_hours,
    )
    file = operations_file(project.root)
    in_tree = [file.name] if file is not None and is_in_tree(project.home, file) else []
    rules.check_policy(made, stages=stages, origins=project.loaded.origins, in_tree=in_tree)
    return made


def gather(case: Case, image: Image) -> dict[str, Any]:
    """What an approver is shown now: the verdict, what the trials answered, what a yes would change."""
    target = open_target(case.project, case.stage)
    wanted = endpoints.deployment(case.project, case.stage, image, case.release.handle)
    observed = target.observe()
    plan = target.plan(wanted, observed)
    change = rules.Change(
        after=wanted,
        before=observed.deployment,
        serving=observed.endpoint if observed.deployment else None,
        strategy=plan.strategy,
        gap_seconds=plan.gap_seconds,
        actions=tuple(f"{one.verb} {one.subject}{f': {one.detail}' if one.detail else ''}" for one in plan.actions),
        notes=plan.notes,
    )
    version = resolve(case.registry, case.release.model)
    verdict = verdict_of(case.registry, version)
    return rules.evidence(case.release, image, change, verdict=verdict, probes=_probes(case.release))


def _probes(release: Release) -> dict[str, ProbeReport]:
    found = {step.stage: from_json(step.output) for step in release.steps if step.name == "probe_endpoint"}
    return {stage: report for stage, report in found.items() if isinstance(report, ProbeReport)}


def decide(case: Case) -> rules.Decision:
    """What all that was said about the release comes to, on its present evidence."""
    said = case.releases.approvals(case.release)
    decision = rules.decide(question(case), policy(case), said, now=datetime.now(UTC))
    for word in decision.uncounted:
        log.info("not counted: %s of %s: %s", word.approval.decision, rules.named(word.approval.person), word.why)
    return decision


def question(case: Case) -> rules.Question:
    """What is to be decided."""
    release = case.release
    return rules.Question(
        release=release.handle,
        model=release.model,
        requester=release.requested_by,
        evidence=release.evidence,
        image=release.image.handle if release.image else "",
        asked_at=asked_at(release),
    )


def asked_at(release: Release) -> str:
    """Since when it waits: the end of its last trial, or its beginning where it has none."""
    return max((step.ended_at for step in release.steps), default=release.requested_at)


def say_yes(project: Project, text: str, *, reason: str = "", seen: str = "") -> Said:
    """A person's yes, recorded with the evidence that it is about.

    Args:
        project: Whose release it is.
        text: Its handle.
        reason: Kept with it.
        seen: The evidence's digest, or the beginning of it, as it was shown; empty: as it is now.

    Raises:
        NotFound: There is no such release.
        NotAccepted: It has ended.
        Permanent: This person may not, or the evidence has changed since it was put forward.
    """
    with _opened(project, text, or_released=True) as case:
        if case.release.state == "released":
            return _said_before(case)
        _require_current(case, seen)
        return _say_all(case, reason)


def _say_all(case: Case, reason: str) -> Said:
    """The yes of everybody who gave one to the CI system, or of the one who acts here.

    Raises:
        Permanent: None of them may; where some may, the others are told of in the log.
    """
    people = approving(case.project)
    reasons = {person: rules.may_approve(person, policy(case), case.release.requested_by) for person in people}
    able = [person for person in people if not reasons[person]]
    for person in people:
        if able and reasons[person]:
            log.warning("not counted: yes of %s: %s", rules.named(person), reasons[person])
    return [_say(case, "yes", reason, person) for person in able or people[:1]][-1]


def _said_before(case: Case) -> Said:
    """The yes of this person that has led to the release, which they repeat.

    Raises:
        NotAccepted: It was released without it.
    """
    people = approving(case.project)
    own = [word for word in case.releases.approvals(case.release) if word.decision == "yes" and word.person in people]
    if not own:
        raise _has_ended(case.release)
    sentence = f"{case.release.handle} is released already"
    return Said(own[-1], rules.Decision("granted", sentence, "", (own[-1],)))


def say_no(project: Project, text: str, *, reason: str) -> Release:
    """A person's no, recorded; the release has ended.

    Raises:
        NotFound: There is no such release.
        NotAccepted: It has ended before.
        Permanent: This person may not, or production has been changed by it already.
    """
    with _opened(project, text) as case:
        rollout.refuse_under_way(case.release, open_target(project, case.stage))
        said = _say(case, "no", reason, acting(project))
        ended = replace(
            case.release,
            state="refused",
            sentence=said.decision.sentence,
            next_step=f"ridgeway show {case.release.handle}",
            ended_at=said.approval.at,
        )
        telling.tell(project, telling.of_release(ended))
        case.releases.save(ended)
    telling.send(project)
    return ended


def plan(project: Project, text: str) -> str:
    """Who would say yes to what, in a sentence."""
    case = _waiting(project, text)
    person, chosen = approving(project)[0], policy(case)
    reason = rules.may_approve(person, chosen, case.release.requested_by)
    if reason:
        return f"{rules.named(person)} may not: {reason}"
    what = f"{case.release.handle} ({case.release.model}) on {case.stage}"
    return f"{rules.named(person)} would approve {what} as {chosen.role}, on evidence {case.release.evidence[:19]}"


@contextmanager
def _opened(project: Project, text: str, *, or_released: bool = False) -> Iterator[Case]:
    """The release that waits, with nobody else of this machine working on it."""
    _number(project, text)
    with exclusive(project.root, f"release-{project.name}"):
        require_registry(project, text)
        Releases(open_registry(project)).tidy()
        yield _waiting(project, text, or_released=or_released)


def _number(project: Project, text: str) -> int:
    """Of the release that a handle names; another kind of handle is a mistake of whoever typed it."""
    handle = parse_handle(text)
    if handle.kind != "releases" or handle.name != project.name:
        raise UsageError(f"{text} is no release here", expected=f"releases:/{project.name}/NUMBER")
    return int(handle.which)


def _waiting(project: Project, text: str, *, or_released: bool = False) -> Case:
    """The release that waits; nothing is written."""
    number = _number(project, text)
    require_registry(project, text)
    registry = open_registry(project)
    release = Releases(registry).read(number)
    if not release.is_open and not (or_released and release.state == "released"):
        raise _has_ended(release)
    if not release.evidence:
        raise Permanent(
            f"{release.handle} does not wait for an approval yet",
            problem=f"it is {release.state}: {release.sentence or 'on its way'}",
            expected="a release whose trials are done",
            next_step=f"ridgeway run release {release.model}",
        )
    return Case(project, registry, release)


def _has_ended(release: Release) -> NotAccepted:
    return NotAccepted(
        f"{release.handle} has ended: {release.state}",
        problem=release.sentence,
        next_step=f"ridgeway show {release.handle}",
    )


def _require_current(case: Case, seen: str) -> None:
    """Nothing, if what was put before the approvers is still so, and is what this one has seen.

    Raises:
        Permanent: It is not; the present evidence is put before them then.
    """
    release = case.release
    if release.state in ("approved", "frozen") and release.rollout is not None:
        return  # under way already: production is no more as it was when everybody was asked
    assert release.image is not None
    shown = gather(case, release.image)
    digest = rules.evidence_digest(shown)
    if digest != release.evidence:
        case.releases.write_evidence(release, shown)
        case.releases.save(replace(release, evidence=digest))
    changed = digest != release.evidence
    if changed or (seen and not _is_digest(digest, seen)):
        raise Permanent(
            f"the evidence of {release.handle} changed",
            problem=f"it is {digest} now, and {'was ' + release.evidence if changed else seen + ' was seen'}",
            expected="a yes to what is so now",
            next_step=f"ridgeway show {release.handle}     then     ridgeway approve {release.handle}",
        )


def _is_digest(digest: str, beginning: str) -> bool:
    return len(beginning) >= 8 and digest.removeprefix("sha256:").startswith(beginning.removeprefix("sha256:"))


def _say(case: Case, decision: Literal["yes", "no"], reason: str, person: Person) -> Said:
    chosen, asked = policy(case), question(case)
    rules.require_approver(person, chosen, asked, decision=decision)
    moment = datetime.now(UTC)
    known = _on_record(case, person, decision, moment)
    if known is not None:
        return Said(known, decide(case))
    at = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    word = Approval(
        release=asked.release,
        decision=decision,
        person=person,
        role=chosen.role,
        at=at,
        expires_at=rules.expires_at(at, chosen),
        evidence=asked.evidence,
        image=asked.image,
        reason=reason,
    )
    case.releases.approve(case.release, word)
    return Said(word, decide(case))


def _on_record(case: Case, person: Person, decision: Literal["yes", "no"], moment: datetime) -> Approval | None:
    """The same word of the same person about the same thing, while it holds: saying it twice is saying it once."""
    about = (decision, person, case.release.evidence, case.release.image.handle if case.release.image else "")
    for word in case.releases.approvals(case.release):
        said = (word.decision, word.person, word.evidence, word.image)
        if said == about and datetime.fromisoformat(word.expires_at) > moment:
            return word
    return None
