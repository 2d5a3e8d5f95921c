"""A roll-out and its way back: the new image is watched until it is proven, or the previous one is put back and proven.

What is on its way is noted before it is begun, so that whoever carries on after a crash knows what ran before.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ridgeway.artifacts import Deployment, Image, ProbeReport, Release, Rollout
from ridgeway.errors import Permanent, RidgewayError, Stuck, Transient
from ridgeway.targets import Observed, Outcome, Plan, Target

log = logging.getLogger("ridgeway.roll_out")

WATCH_SECONDS = 0.5
"""Between two looks at an endpoint that is being watched."""


@dataclass(frozen=True)
class Hands:
    """What a roll-out works with."""

    target: Target
    probe: Callable[[Deployment], ProbeReport]
    """Asks the endpoint whether it is what the deployment says, and answers as it should."""
    package: Callable[[Image], Path | None]
    """The folder of an image that is one."""
    note: Callable[[Rollout], None]
    """Keeps the state where it outlives this process."""
    get_ready: Callable[[Sequence[Deployment]], None] = lambda _: None
    """Reads all that probes of these will need: once production is touched, nothing else should be in the way."""
    bake_seconds: float = 0.0
    now: Callable[[], str] = lambda: ""
    """This moment, ISO 8601 in UTC."""
    by_hand: bool = False
    """Whether a person acts on this endpoint: then its being frozen is no hindrance."""


def roll_out(after: Deployment, hands: Hands, *, earlier: Rollout | None = None) -> Rollout:
    """The roll-out, ended well (``done``, ``unchanged``), or ended by the way back (``returned``), or ``stuck``.

    Args:
        after: What the endpoint shall be.
        hands: What to work with.
        earlier: The same roll-out as a killed process left it, ``started`` or ``returning``; or ``stuck``, tried again.

    Raises:
        Stuck: The endpoint is frozen by another release.
        RidgewayError: It could not be begun; nothing was changed.
    """
    observed = hands.target.observe()
    if not hands.by_hand:
        _refuse_frozen(observed, after)
    if earlier is not None and earlier.state == "returning":
        return _way_back(earlier, hands)
    before = earlier.before if earlier is not None else observed.deployment
    plan = hands.target.plan(after, observed)
    _tell(plan)
    hands.get_ready([after, *([before] if before else [])])
    rollout = Rollout(
        observed.endpoint.handle, before, after, "started", strategy=plan.strategy, gap_seconds=plan.gap_seconds
    )
    if plan.changes:
        hands.note(rollout)
        _begin(plan, hands, observed)
    return _prove(rollout, hands, changed=plan.changes or earlier is not None)


def is_under_way(rollout: Rollout | None, observed: Observed) -> bool:
    """Whether this roll-out was begun, has not come to an end, and nobody has done anything else there since.

    What was only noted, and never begun, is not: whatever let it in has to hold at the time when it does begin.
    """
    if rollout is None or rollout.state not in ("started", "returning", "stuck"):
        return False
    if observed.endpoint.frozen.startswith(_mark(rollout)):
        return True
    if observed.deployment is None:
        return rollout.state == "returning" and rollout.before is None
    left = [rollout.after, rollout.before] if rollout.state == "returning" else [rollout.after]
    return _which(observed.deployment) in [_which(one) for one in left if one is not None]


def refuse_under_way(release: Release, target: Target) -> None:
    """Nothing, if the release has not begun to change production: only then it can end by a word.

    Raises:
        Permanent: It has.
    """
    if release.rollout is not None and is_under_way(release.rollout, target.observe()):
        raise Permanent(
            f"{release.handle} is on its way: it has changed {target.name} already",
            problem=f"its roll-out is {release.rollout.state}",
            expected="a release that waits",
            next_step=f"ridgeway run release {release.handle}     or     ridgeway rollback {target.name}",
        )


def _which(deployment: Deployment) -> tuple[str, str]:
    return deployment.digest, deployment.release


def _mark(rollout: Rollout) -> str:
    """What the mark of an endpoint that this roll-out has frozen begins with."""
    return f"{rollout.after.release}: "


def put_back(rollout: Rollout, hands: Hands) -> Rollout:
    """The way back of a roll-out, for whoever decides on it later."""
    return _way_back(rollout, hands)


def _refuse_frozen(observed: Observed, after: Deployment) -> None:
    frozen = observed.endpoint.frozen
    if frozen and not frozen.startswith(f"{after.release}: "):  # the same release may try again
        raise Stuck(
            f"roll_out: {observed.endpoint.handle} is frozen",
            problem=frozen,
            expected="that a person puts it in order first",
            next_step=f"ridgeway rollback {after.target}     or     ridgeway show {after.target}",
        )


def _tell(plan: Plan) -> None:
    for note in plan.notes:
        log.info("%s", note)
    if plan.gap_seconds:
        log.warning("there will be a gap of at most %.0f s without an answer", plan.gap_seconds)


def _begin(plan: Plan, hands: Hands, observed: Observed) -> None:
    """Carries the plan out; an error counts as one only where the endpoint is still as it was found."""
    try:
        hands.target.apply(plan, package=hands.package(plan.deployment.image), say=log.info)
    except RidgewayError as error:
        now = hands.target.observe()
        if now.deployment == observed.deployment and now.endpoint.image == observed.endpoint.image:
            raise
        log.warning("%s", error.summary)


def _prove(rollout: Rollout, hands: Hands, *, changed: bool) -> Rollout:
    after = rollout.after
    outcome = hands.target.wait(after, seconds=after.deadline_seconds, say=log.info)
    if not outcome.healthy:
        return _way_back(dataclasses.replace(rollout, reason=_why(outcome)), hands)
    report = _asked(after, hands)
    if not report.ok:
        return _way_back(dataclasses.replace(rollout, reason=report.sentence, probe=report), hands)
    rollout = dataclasses.replace(rollout, answering_at=hands.now())
    unwell = _bake(after, hands) if changed else ""
    if unwell:
        return _way_back(dataclasses.replace(rollout, reason=unwell, probe=report), hands)
    _thaw(hands)
    log.info("%s", report.sentence)
    return dataclasses.replace(rollout, state="done" if changed else "unchanged", probe=report)


def _thaw(hands: Hands) -> None:
    if hands.target.observe().endpoint.frozen:
        hands.target.freeze("")


def _asked(deployment: Deployment, hands: Hands) -> ProbeReport:
    """The probe's report; an error of the way there is a failed probe too."""
    from ridgeway.artifacts import Finding

    try:
        return hands.probe(deployment)
    except RidgewayError as error:
        finding = Finding("probe", "fail", error.summary, error.next_step)
        return ProbeReport(f"{deployment.kind}://{deployment.target}", deployment.image.handle, (finding,))


def _bake(after: Deployment, hands: Hands) -> str:
    """Empty if the endpoint stayed healthy all the time; else what became of it."""
    if hands.bake_seconds:
        log.info("watching it for %.0f s", hands.bake_seconds)
    until = time.monotonic() + hands.bake_seconds
    blind_since: float | None = None
    while True:
        try:
            endpoint = hands.target.observe().endpoint
        except Transient as error:
            blind_since = blind_since or time.monotonic()
            if time.monotonic() - blind_since > after.deadline_seconds:
                return error.summary
        else:
            blind_since = None
            if endpoint.image != after.image.handle:
                return f"{endpoint.image or 'nothing'} runs in its place: someone else has changed the endpoint"
            if endpoint.state not in ("healthy", "starting"):
                return endpoint.reason or f"it became {endpoint.state}"
            if time.monotonic() >= until and endpoint.state == "healthy":
                return ""
        if time.monotonic() > until + after.deadline_seconds:
            return "it did not stay healthy"
        time.sleep(WATCH_SECONDS)


def _why(outcome: Outcome) -> str:
    lines = "".join(f"\n{line}" for line in outcome.log[-10:])
    return f"{outcome.reason}: {outcome.sentence}{lines}" if outcome.reason else f"{outcome.sentence}{lines}"


# ---- the way back ----------------------------------------------------------------------------------------------------


def _way_back(rollout: Rollout, hands: Hands) -> Rollout:
    log.warning("it does not hold: %s", rollout.reason)
    rollout = dataclasses.replace(rollout, state="returning")
    try:
        hands.note(rollout)
    except RidgewayError as error:  # the record is for whoever comes later; the image that does not hold is there now
        log.warning("the way back is not on record yet: %s", error.summary)
    try:
        report = _return(rollout, hands)
    except RidgewayError as error:
        return _stuck(rollout, hands, error.summary + (f": {error.problem}" if error.problem else ""))
    if report is not None and not report.ok:
        return _stuck(dataclasses.replace(rollout, probe_back=report), hands, report.sentence)
    _thaw(hands)
    log.info("%s", "the previous image is back, and proven" if report else "there was none before: it is taken away")
    return dataclasses.replace(rollout, state="returned", probe_back=report)


def _return(rollout: Rollout, hands: Hands) -> ProbeReport | None:
    """What the previous image answers in its old place; None where there was none, and nothing is there now."""
    before = rollout.before
    if before is None:
        for line in hands.target.remove():
            log.info("removed %s", line)
        return None
    log.info("putting %s back", before.image.handle)
    plan = hands.target.plan(before, hands.target.observe())
    if plan.changes:
        hands.target.apply(plan, package=hands.package(before.image), say=log.info)
    outcome = hands.target.wait(before, seconds=before.deadline_seconds, say=log.info)
    if not outcome.healthy:
        raise Permanent("the previous image does not become healthy either", problem=_why(outcome))
    return _asked(before, hands)


def _stuck(rollout: Rollout, hands: Hands, problem: str) -> Rollout:
    reason = f"{rollout.reason}\nand the way back failed: {problem}"
    try:
        # Whoever reads it later must know which release may lift it; log lines are in the record.
        first, then = rollout.reason.partition("\n")[0], problem.partition("\n")[0]
        hands.target.freeze(f"{_mark(rollout)}{first}; and the way back failed: {then}")
    except RidgewayError as error:
        log.warning("the endpoint could not be marked: %s", error.summary)
    log.error("neither the new image nor the previous one is proven: %s", reason)
    return dataclasses.replace(rollout, state="stuck", reason=reason)
