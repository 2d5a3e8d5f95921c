"""Whose yes a release needs, and whether it has it. Pure: what was said, the policy and the time come in.

The evidence is what an approver is shown; its digest covers what the yes is about, and not what differs from one look
to the next. The threat each rule answers is told in ``docs/approvals.md``.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ridgeway.artifacts import Approval, Deployment, Endpoint, Image, Kind, Person, ProbeReport, Release, State, Verdict
from ridgeway.errors import Permanent, UsageError

ANYONE = "*"
SOURCES = ("ci", "kubernetes", "system")
_OF_THIS_MACHINE = ("process", "memory")
_STRONG = ("signed-in", "cluster")
"""Strengths that say yes where the last stage is a cluster: someone other than the caller vouches for the name."""
_FROM_THE_TREE = "ridgeway.toml"
_FROM_THE_CALLER = "--set"
CLOCKS_DIFFER = datetime.timedelta(minutes=5)
"""An approval from further in the future is not counted: its time would put off its end."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Whose yes the last stage asks for."""

    role: str
    approvers: tuple[str, ...]
    """Of the role: ``SOURCE:NAME`` such as ``kubernetes:ada@example.com``, or ``*``."""
    kind: Kind
    """Of the last stage."""
    count: int = 1
    own_release: bool = True
    expires_hours: float = 72

    @property
    def names(self) -> str:
        """Who may say yes, in words."""
        return "anyone on this machine" if ANYONE in self.approvers else ", ".join(self.approvers) or "nobody"


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be decided."""

    release: str
    """Handle."""
    model: str
    """Handle."""
    requester: Person
    evidence: str
    """Digest of the evidence as it is now."""
    image: str
    """Handle of the image as it is now."""
    asked_at: str = ""
    """ISO 8601, UTC: since when it waits; empty: it never expires unanswered."""


@dataclass(frozen=True, slots=True)
class Uncounted:
    """Something said that does not count, and why not."""

    approval: Approval
    why: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a release may go on."""

    outcome: Literal["granted", "missing", "void", "refused", "expired"]
    """``void``: somebody said yes, but to other evidence or another image; it is waited for again."""
    sentence: str
    next_step: str
    counted: tuple[Approval, ...] = ()
    uncounted: tuple[Uncounted, ...] = ()
    missing: int = 0
    """How many more people have to say yes."""

    @property
    def granted(self) -> bool:
        """Whether production may be touched."""
        return self.outcome == "granted"

    @property
    def state(self) -> State:
        """Of the release."""
        states: dict[str, State] = {"granted": "approved", "refused": "refused", "expired": "expired"}
        return states.get(self.outcome, "waiting")


# ---- where the policy comes from -------------------------------------------------------------------------------------


def check_policy(
    policy: Policy, *, stages: Sequence[str], origins: Mapping[str, str], in_tree: Iterable[str] = ()
) -> None:
    """Nothing, if whoever wrote the tree that is released could not have chosen its approvers.

    Args:
        policy: Of the last stage.
        stages: Of the release, in order.
        origins: Dotted path of a setting → where it came from: ``Loaded.origins``; what is not in it is a default.
        in_tree: Origins, beside ``ridgeway.toml``, that are files of the tree, such as a committed ``operations.toml``.

    Raises:
        UsageError: Approvers or policy come from the command line; or, where the last stage is no process of this
            machine, from the tree; or ``*`` stands there; or a name has no source; or a stage before the last has an
            approval of its own, which nobody would be asked for.

    Example:
        >>> check_policy(Policy("boss", ("ci:ada",), "docker"), stages=("prod",), origins={"approvers.boss": "o.toml"})
    """
    deciding = [path for path in origins if _decides(path, policy.role, stages[-1])]
    for path in deciding:
        if origins[path] == _FROM_THE_CALLER:
            raise _untrusted(path, "--set", "whoever starts a release does not choose who approves it", policy.role)
    check_trials(stages[:-1], origins)
    _check_names(policy, origins)
    if policy.kind in _OF_THIS_MACHINE:
        return
    for path in deciding:
        if origins[path] == _FROM_THE_TREE or origins[path] in in_tree:
            problem = f"that file is part of the tree being released, and {stages[-1]} is of kind {policy.kind}"
            raise _untrusted(path, origins[path], problem, policy.role)


def _decides(path: str, role: str, stage: str) -> bool:
    return any(path == own or path.startswith(f"{own}.") for own in (f"approvers.{role}", f"targets.{stage}.approval"))


def _untrusted(path: str, origin: str, problem: str, role: str) -> UsageError:
    return UsageError(
        f"approvers are not taken from {origin}",
        where=f"{path}   (from {origin})",
        problem=problem,
        expected="operations' settings: a file outside of the tree that RIDGEWAY_OPERATIONS names",
        next_step=f"move [approvers] {role} and the target's approval there; docs/approvals.md",
    )


def check_trials(stages: Sequence[str], origins: Mapping[str, str]) -> None:
    """Nothing, if none of the trial stages is a target for which operations ask an approval.

    Such a target must be the last stage: the order of the stages is the tree's to choose.

    Raises:
        UsageError: One is.
    """
    for stage in stages:
        path = f"targets.{stage}.approval"
        asked = [own for own in origins if (own == path or own.startswith(f"{path}.")) and origins[own] != "default"]
        if asked and origins[asked[0]] != _FROM_THE_TREE:
            raise UsageError(
                f"{stage} asks for an approval, but is not the last stage",
                where=f"{asked[0]}   (from {origins[asked[0]]})",
                problem="a release would be there before anyone is asked",
                expected="targets with an approval of their own only at the end of release.stages",
                next_step=f"put {stage} last in release.stages, or take its approval away",
            )


def _check_names(policy: Policy, origins: Mapping[str, str]) -> None:
    path = f"approvers.{policy.role}"
    where = f"{path}   (from {origins.get(path, 'default')})"
    for name in policy.approvers:
        if name == ANYONE:
            if policy.kind not in _OF_THIS_MACHINE:
                raise UsageError(
                    f'"*" is no approver where the last stage is of kind {policy.kind}',
                    where=where,
                    expected="names of people, each with its source, such as kubernetes:ada@example.com",
                    next_step=f"name them in operations' settings: [approvers] {policy.role}",
                )
            continue
        if hint := _misspelt(name):
            raise UsageError(
                f"{name!r} names no approver",
                where=where,
                problem=hint,
                expected="SOURCE:NAME with the source ci, kubernetes or system, or *",
                next_step=f"correct [approvers] {policy.role}",
            )


def _misspelt(name: str) -> str:
    source, _, own = name.partition(":")
    if source == "system" and ":" in own:
        return f"that is a name of Kubernetes: kubernetes:{name}"
    if source not in SOURCES or not own.strip():
        return f"it has no source: anyone with an account of this name would be meant; ci:{name} or kubernetes:{name}"
    return ""


# ---- who may ---------------------------------------------------------------------------------------------------------


def may_approve(person: Person, policy: Policy, requester: Person, *, decision: Literal["yes", "no"] = "yes") -> str:
    """Empty if this person's word counts, else why not.

    A no needs a name of the role and nothing more: stopping is the safe side. A yes needs a strong identity where the
    last stage is a cluster, and somebody else's release where the policy asks for that.

    Example:
        >>> ada = Person("ada", "system", "local")
        >>> may_approve(ada, Policy("boss", ("system:ada",), "process"), ada)
        ''
        >>> may_approve(ada, Policy("boss", ("ci:bob",), "process"), ada)
        'system:ada does not act as boss: ci:bob'
    """
    who = named(person)
    if not _is_listed(person, policy):
        return f"{who} does not act as {policy.role}: {policy.names}"
    if decision == "no":
        return ""
    if policy.kind == "kubernetes" and person.strength not in _STRONG:
        weak = {"local": "only an account of some machine", "ci-environment": "only variables of a CI job"}
        return f"{who} is not proven: {weak.get(person.strength, person.strength)} vouches for the name"
    if not policy.own_release and is_same(person, requester):
        return f"{who} started this release, and somebody else has to approve it"
    return ""


def require_approver(
    person: Person, policy: Policy, question: Question, *, decision: Literal["yes", "no"] = "yes"
) -> None:
    """Nothing, if this person's word counts.

    Raises:
        Permanent: It does not; nothing is recorded.
    """
    if reason := may_approve(person, policy, question.requester, decision=decision):
        proven = " with an identity that the cluster or the CI system proves" if "is not proven" in reason else ""
        raise Permanent(
            f"{named(person)} cannot {'approve' if decision == 'yes' else 'refuse'} {question.release}",
            problem=reason,
            expected=f"{policy.names}, in the role {policy.role}{proven}",
            next_step=f"ask one of them: ridgeway {'approve' if decision == 'yes' else 'refuse'} {question.release}",
        )


def named(person: Person) -> str:
    """``SOURCE:NAME``, as a person stands in ``[approvers]``.

    Example:
        >>> named(Person("system:serviceaccount:team:ada", "kubernetes", "cluster"))
        'kubernetes:system:serviceaccount:team:ada'
    """
    return f"{person.source}:{person.name}"


def is_same(one: Person, other: Person) -> bool:
    """Whether two names are taken for one person: the same name from whatever source, large or small letters.

    Example:
        >>> is_same(Person("Ada@example.com", "ci", "signed-in"), Person("ada@example.com", "kubernetes", "cluster"))
        True
    """
    return one.name.casefold() == other.name.casefold()


def _is_listed(person: Person, policy: Policy) -> bool:
    anyone = ANYONE in policy.approvers and policy.kind in _OF_THIS_MACHINE
    return anyone or named(person) in policy.approvers


_CHANGED = "the "
"""What a flaw begins with that a change, and no person, has brought about."""


# ---- what came of it -------------------------------------------------------------------------------------------------


def decide(question: Question, policy: Policy, approvals: Iterable[Approval], *, now: datetime.datetime) -> Decision:
    """Whether the release may go on, by all that was said about it, as of ``now``.

    A no of somebody who may say it ends the release, whatever it was shown. A yes counts if it is about this release,
    its present evidence and its present image, not expired, and by somebody who may say it today. One person counts
    once.

    Example:
        >>> ada = Person("ada", "system", "local")
        >>> question = Question("releases:/d/1", "models:/d/2", ada, "sha256:e", "folder/d@sha256:i")
        >>> noon = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC)
        >>> decide(question, Policy("boss", ("*",), "process"), [], now=noon).sentence
        'releases:/d/1 waits for a yes of the role boss: anyone on this machine'
    """
    said = sorted(approvals, key=lambda approval: approval.at)
    uncounted = tuple(
        Uncounted(approval, why) for approval in said if (why := _flaw(approval, question, policy, now=now))
    )
    flawed = {id(each.approval) for each in uncounted}
    sound = [approval for approval in said if id(approval) not in flawed]
    refusals = [approval for approval in sound if approval.decision == "no"]
    if refusals:
        return _refused(question, refusals[0], uncounted)
    counted = _one_each(sound)
    if len(counted) >= policy.count:
        names = " and ".join(named(approval.person) for approval in counted)
        sentence = f"approved by {names} as {policy.role}" if counted else "no approval is asked for"
        return Decision("granted", sentence, "", counted, uncounted)
    if _is_over(question.asked_at, policy, now):
        return _expired(question, policy, counted, uncounted)
    return _missing(question, policy, counted, uncounted)


def _refused(question: Question, refusal: Approval, uncounted: tuple[Uncounted, ...]) -> Decision:
    why = f": {refusal.reason}" if refusal.reason else ""
    sentence = f"{question.release} was refused by {named(refusal.person)}{why}"
    return Decision("refused", sentence, f"ridgeway show {question.release}", (refusal,), uncounted)


def _expired(
    question: Question, policy: Policy, counted: tuple[Approval, ...], uncounted: tuple[Uncounted, ...]
) -> Decision:
    sentence = f"{question.release} was not approved within {policy.expires_hours:g} h"
    missing = policy.count - len(counted)
    return Decision("expired", sentence, f"ridgeway run release {question.model}", counted, uncounted, missing)


def _missing(
    question: Question, policy: Policy, counted: tuple[Approval, ...], uncounted: tuple[Uncounted, ...]
) -> Decision:
    missing = policy.count - len(counted)
    more = "another" if counted and missing == 1 else "a" if missing == 1 else f"{missing}{' more' if counted else ''}"
    yes = "yes" if missing == 1 else "yeses"
    sentence = f"{question.release} waits for {more} {yes} of the role {policy.role}: {policy.names}"
    voided = [each for each in uncounted if each.why.startswith(_CHANGED)]
    if voided:
        names = ", ".join(dict.fromkeys(named(each.approval.person) for each in voided))
        sentence = f"{voided[-1].why} after the yes of {names}: {sentence}"
    outcome: Literal["void", "missing"] = "void" if voided else "missing"
    return Decision(outcome, sentence, f"ridgeway approve {question.release}", counted, uncounted, missing)


def _flaw(approval: Approval, question: Question, policy: Policy, *, now: datetime.datetime) -> str:
    """Why something that was said does not count; empty if it does."""
    if approval.release != question.release:
        return f"said about {approval.release}"
    if reason := may_approve(approval.person, policy, question.requester, decision=approval.decision):
        return reason
    return "" if approval.decision == "no" else _changed(approval, question) or _out_of_time(approval, policy, now)


def _changed(approval: Approval, question: Question) -> str:
    if approval.image != question.image:
        return f"{_CHANGED}image changed"
    return f"{_CHANGED}evidence changed" if approval.evidence != question.evidence else ""


def _out_of_time(approval: Approval, policy: Policy, now: datetime.datetime) -> str:
    said_at, ends = _moment(approval.at), _moment(approval.expires_at)
    if said_at is None or said_at > now + CLOCKS_DIFFER:
        return "said in the future"
    return "expired" if ends is None or ends <= now or _is_over(approval.at, policy, now) else ""


def _one_each(sound: Sequence[Approval]) -> tuple[Approval, ...]:
    counted: list[Approval] = []
    for approval in sound:
        if not any(is_same(approval.person, earlier.person) for earlier in counted):
            counted.append(approval)
    return tuple(counted)


def _is_over(since: str, policy: Policy, now: datetime.datetime) -> bool:
    begun = _moment(since)
    return begun is not None and now >= begun + datetime.timedelta(hours=policy.expires_hours)


def _moment(text: str) -> datetime.datetime | None:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def expires_at(at: str, policy: Policy) -> str:
    """When a word said ``at`` ends to count, in the same form.

    Example:
        >>> expires_at("2026-11-20T12:00:00.000Z", Policy("boss", (), "process", expires_hours=1.5))
        '2026-11-20T13:30:00.000Z'
    """
    ends = datetime.datetime.fromisoformat(at) + datetime.timedelta(hours=policy.expires_hours)
    return ends.astimezone(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# ---- evidence --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """What a yes would do to the last stage."""

    after: Deployment
    before: Deployment | None
    """As the target remembers it; None where nothing runs."""
    serving: Endpoint | None = None
    strategy: str = ""
    gap_seconds: float = 0.0
    actions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def evidence(
    release: Release, image: Image, change: Change, *, verdict: Verdict | None, probes: Mapping[str, ProbeReport]
) -> dict[str, Any]:
    """What an approver is shown, as plain JSON: no rows, no keys.

    Args:
        release: The one that asks.
        image: What would be released.
        change: What a yes would do.
        verdict: That let the model in.
        probes: Stage → what its endpoint answered.
    """
    return {
        "release": release.handle,
        "requested_by": dataclasses.asdict(release.requested_by),
        "model": {"handle": image.model, "digest": image.model_digest},
        "verdict": _of_verdict(verdict) if verdict else None,
        "image": {
            **dataclasses.asdict(image),
            "handle": image.handle,
            "form": "folder" if image.is_folder else "container",
        },
        "probes": [_of_probe(stage, report) for stage, report in probes.items()],
        "change": _of_change(change),
    }


def _of_verdict(verdict: Verdict) -> dict[str, Any]:
    names = ("outcome", "reason", "sentence", "opponent", "candidate_digest", "opponent_digest", "key", "holdout")
    more = ("policy", "loss", "looks", "strict", "candidate_metrics", "opponent_metrics", "warnings")
    told = {name: getattr(verdict, name) for name in (*names, *more)}
    told["warnings"] = list(verdict.warnings)
    return {**told, "sets": [dataclasses.asdict(each) for each in verdict.sets]}


def _of_probe(stage: str, report: ProbeReport) -> dict[str, Any]:
    told = dataclasses.asdict(report)
    told["findings"] = [dataclasses.asdict(finding) for finding in report.findings]
    return {"stage": stage, "ok": report.ok, "sentence": report.sentence, **told}


def _of_change(change: Change) -> dict[str, Any]:
    after, before, serving = change.after, change.before, change.serving
    return {
        "target": after.target,
        "kind": after.kind,
        "endpoint": serving.handle if serving else f"{after.kind}://{after.target}/{after.name}",
        "after": _of_deployment(after),
        "before": _of_deployment(before) if before else None,
        "serving": {"image": serving.image, "model": serving.model, "since": serving.since, "state": serving.state}
        if serving
        else None,
        "strategy": change.strategy,
        "gap_seconds": change.gap_seconds,
        "actions": list(change.actions),
        "notes": list(change.notes),
    }


def _of_deployment(deployment: Deployment) -> dict[str, Any]:
    return {
        "image": deployment.image.handle,
        "model": deployment.image.model,
        "digest": deployment.digest,
        "release": deployment.release,
        "instance_type": deployment.instance.name,
        "replicas": deployment.replicas,
        "address": deployment.address,
        "access": deployment.access,
    }


_OF_VERDICT = ("outcome", "reason", "candidate_digest", "opponent_digest", "key", "holdout", "policy")
_OF_IMAGE = ("handle", "digest", "model_digest", "package", "runtime", "base")


def evidence_digest(shown: Mapping[str, Any]) -> str:
    """``sha256:…`` over what a yes is about.

    Covered are model, verdict, image, what the probes found, and production before and after; not timings, free
    capacity, wording or the moment. That a roll-out has a gap is covered, how long it may be at most is not.
    """
    verdict, change = shown["verdict"], shown["change"]
    covered = {
        "release": shown["release"],
        "model": shown["model"],
        "verdict": {name: verdict[name] for name in _OF_VERDICT} if verdict else None,
        "image": {name: shown["image"][name] for name in _OF_IMAGE},
        "probes": [
            [probe["stage"], probe["image"], sorted([each["check"], each["outcome"]] for each in probe["findings"])]
            for probe in shown["probes"]
        ],
        "target": [change["target"], change["kind"]],
        "after": change["after"]["digest"],
        "before": change["before"]["digest"] if change["before"] else "",
        "serving": change["serving"]["image"] if change["serving"] else "",
        "gap": change["gap_seconds"] > 0,
    }
    return f"sha256:{hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()}"
