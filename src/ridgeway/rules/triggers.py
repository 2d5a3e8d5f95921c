"""What starts by itself, what is cancelled, what is dead and what is tried again: pure decisions.

Waiting is measured with a clock that only goes forward and that nobody sets (seconds, any origin); it comes in as a
number. Times of day come from the Prefect server alone, and are compared with nothing but its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from ridgeway.artifacts.publication import Missed, Overlap

ABSENT = ""
"""The sign of something that is not there."""
NEVER_AT_REST = 10
"""What changes on and on is looked into after this many times the debounce, at rest or not."""
PULSE_SECONDS = 15.0
"""How often a run whose process nobody here can see gives a sign of life. Prefect's own runs do so every 30 s."""
SILENCE_SECONDS = 60.0
"""Four of ours, two of Prefect's own. A sign is seen some 10 s after it was given (the server writes events down every
5 s, and is asked every 5 s), and with the next look a death is found within 75 s."""
RETRY_WITHIN_SECONDS = 3600.0
"""What died longer ago is history: its next schedule or trigger has come, or a person has seen it."""
MISSED_AFTER_SECONDS = 60.0
"""A scheduled run that nobody has taken for this long was missed; a worker takes one within a second."""

# ---- something that changes ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sight:
    """How something that is watched looks, and since when it does not look as it did when it was last looked into."""

    sign: str = ABSENT
    """Cheap to get: size and time of a file, a server's ETag. Tells that something may have changed, never what."""
    changed_at: float | None = None
    """When it last looked otherwise than before; None while all is known."""
    began_at: float | None = None
    """When that began."""


def saw(sight: Sight, sign: str, now: float) -> Sight:
    """What is known after one more look.

    Example:
        >>> saw(Sight("a"), "b", 7.0)
        Sight(sign='b', changed_at=7.0, began_at=7.0)
        >>> saw(Sight("b", 7.0, 7.0), "b", 9.0)
        Sight(sign='b', changed_at=7.0, began_at=7.0)
    """
    if sign == sight.sign:
        return sight
    return Sight(sign, now, now if sight.began_at is None else sight.began_at)


def is_due(sight: Sight, now: float, *, debounce_seconds: float) -> bool:
    """Whether it is time to look into what has changed: it has come to rest, or does not come to rest at all.

    Example:
        >>> is_due(Sight("b", 7.0, 7.0), 20.0, debounce_seconds=30)
        False
        >>> is_due(Sight("b", 7.0, 7.0), 37.0, debounce_seconds=30)
        True
    """
    if sight.sign == ABSENT or sight.changed_at is None or sight.began_at is None:
        return False
    rested, lasted = now - sight.changed_at, now - sight.began_at
    return rested >= debounce_seconds or lasted >= NEVER_AT_REST * debounce_seconds


def looked_into(sight: Sight) -> Sight:
    """What is known once it was looked into."""
    return Sight(sight.sign)


@dataclass(frozen=True, slots=True)
class Known:
    """What a source held when it was last looked into; kept on disk."""

    sign: str
    digest: str
    count: int = 0
    """How many changes were found in it."""


def change(known: Known | None, sign: str, digest: str) -> tuple[Known, bool]:
    """What is known once a source was looked into, and whether it holds something else than before.

    What is found at the very first look is known, not new: a first start begins nothing.

    Example:
        >>> change(None, "12 bytes", "sha256:a")
        (Known(sign='12 bytes', digest='sha256:a', count=0), False)
        >>> change(Known("12 bytes", "sha256:a"), "13 bytes", "sha256:b")
        (Known(sign='13 bytes', digest='sha256:b', count=1), True)
    """
    if known is None:
        return Known(sign, digest), False
    if digest == known.digest:
        return replace(known, sign=sign), False
    return Known(sign, digest, known.count + 1), True


# ---- model versions --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Registered:
    """A version as the registry has it."""

    number: int
    created_ms: int
    """Milliseconds since 1970 by the registry's clock; also tells apart versions of one number."""
    is_ready: bool = True
    """False while it is still being registered."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Up to where versions are known; kept on disk."""

    number: int = 0
    created_ms: int = 0
    waiting: tuple[int, ...] = ()
    """Those below it that were still being registered."""


def first_mark(versions: Iterable[Registered]) -> Mark:
    """Where a first start begins: all that is there is known, also what is still being registered.

    Example:
        >>> first_mark([Registered(1, 100), Registered(2, 200)])
        Mark(number=2, created_ms=200, waiting=())
        >>> first_mark([])
        Mark(number=0, created_ms=0, waiting=())
    """
    found = list(versions)
    return Mark(
        max((version.number for version in found), default=0), max((version.created_ms for version in found), default=0)
    )


def new_versions(mark: Mark, versions: Iterable[Registered]) -> tuple[tuple[Registered, ...], Mark]:
    """The versions that were registered since, by rising number, and up to where versions are known after them.

    A version counts as new by its number or by its time: a model that was deleted and made anew begins at 1 again, and
    a registry whose clock was set back still counts on.

    Args:
        mark: Up to where they are known.
        versions: At least those above the mark by either, and those that it waits for.

    Example:
        >>> new_versions(Mark(2, 200), [Registered(2, 200), Registered(3, 150), Registered(4, 300, is_ready=False)])
        ((Registered(number=3, created_ms=150, is_ready=True),), \
Mark(number=4, created_ms=300, waiting=(4,)))
    """
    found = sorted(versions, key=lambda version: (version.number, version.created_ms))
    new = [
        version
        for version in found
        if version.number > mark.number or version.created_ms > mark.created_ms or version.number in mark.waiting
    ]
    ready = tuple(version for version in new if version.is_ready)
    after = Mark(
        max([mark.number, *(version.number for version in new)]),
        max([mark.created_ms, *(version.created_ms for version in new)]),
        tuple(version.number for version in new if not version.is_ready),
    )
    # A model made anew: what is above its highest number belongs to the one that is gone.
    if any(version.number <= mark.number and version.created_ms > mark.created_ms for version in new):
        after = replace(after, number=max(version.number for version in found))
    return ready, after


def registration_key(name: str, version: Registered) -> str:
    """The idempotency key of the release that a registration starts; no other version of any model ever has it.

    Example:
        >>> registration_key("diabetes", Registered(7, 1700000000123))
        'model:diabetes/7:1700000000123'
    """
    return f"model:{name}/{version.number}:{version.created_ms}"


def is_by_registration(key: str, name: str, number: int) -> bool:
    """Whether a run with this idempotency key was started because this version was registered.

    Nobody has such a key by accident: it names the very version and the millisecond of its registration.

    Args:
        key: The flow run's on the server, where the deployment's name stands before ours.
        name: The model's.
        number: The version's.

    Example:
        >>> is_by_registration("release/diabetes model:diabetes/7:1700000000123", "diabetes", 7)
        True
        >>> is_by_registration("release/diabetes model:diabetes/7:1700000000123", "diabetes", 70)
        False
    """
    return re.fullmatch(rf"(?:\S+ )?model:{re.escape(name)}/{number}:\d+", key) is not None


# ---- schedules -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Policy:
    """What a schedule's owner wants done with runs that meet each other, or that nobody was there for."""

    overlap: Overlap = "skip"
    missed: Missed = "once"


@dataclass(frozen=True, slots=True)
class ScheduledRun:
    """A run that a schedule has made and that nobody has taken yet."""

    id: str
    deployment: str
    """The deployment's id."""
    schedule: str
    """The schedule's name."""
    due: datetime
    is_queued: bool = False
    """Whether somebody wanted to take it, and it had to wait for the one before."""


@dataclass(frozen=True, slots=True)
class Cancellation:
    """A run that shall not be carried out, and why."""

    id: str
    message: str


def runs_to_cancel(
    runs: Iterable[ScheduledRun], active: Mapping[str, str], policies: Mapping[str, Policy], now: datetime
) -> tuple[Cancellation, ...]:
    """The scheduled runs that shall not be carried out: those that overlap, and those that were missed.

    Pure; whoever takes runs asks it before taking one, so that after an outage none is taken that shall not run.

    Args:
        runs: Of any schedules, due or not, that nobody has taken.
        active: Deployment → name of a run of it that is under way.
        policies: By the schedule's name; a name without one has the usual policy.
        now: By the server's clock.
    """
    found: list[Cancellation] = []
    for waiting in _by_schedule(run for run in runs if run.due <= now):
        policy = policies.get(waiting[0].schedule, Policy())
        under_way = active.get(waiting[0].deployment, "")
        if under_way and policy.overlap == "skip":
            found += [Cancellation(run.id, _overlaps(run, under_way)) for run in waiting]
        elif not under_way:
            found += _missed([run for run in waiting if not run.is_queued], policy, now)
        # Else each waits for the one before it, as it should: none of them was missed.
    return tuple(found)


def late_runs_to_cancel(runs: Iterable[ScheduledRun], now: datetime, policy: Missed) -> tuple[Cancellation, ...]:
    """Those of ``runs`` that nobody was there for and that shall not be made up for.

    Example:
        >>> from datetime import UTC
        >>> hours = [ScheduledRun(str(hour), "d", "nightly", datetime(2026, 1, 1, hour, tzinfo=UTC)) for hour in (1, 2)]
        >>> [gone.id for gone in late_runs_to_cancel(hours, datetime(2026, 1, 1, 9, tzinfo=UTC), "once")]
        ['1']
    """
    due = [run for run in runs if run.due <= now]
    return tuple(gone for waiting in _by_schedule(due) for gone in _missed(waiting, Policy(missed=policy), now))


def _by_schedule(runs: Iterable[ScheduledRun]) -> list[list[ScheduledRun]]:
    groups: dict[tuple[str, str], list[ScheduledRun]] = {}
    for run in sorted(runs, key=lambda run: (run.due, run.id)):
        groups.setdefault((run.deployment, run.schedule), []).append(run)
    return list(groups.values())


def _missed(waiting: Sequence[ScheduledRun], policy: Policy, now: datetime) -> list[Cancellation]:
    if policy.missed == "all" or not waiting:
        return []
    late = [run for run in waiting if (now - run.due).total_seconds() >= MISSED_AFTER_SECONDS]
    if policy.missed == "none":
        return [Cancellation(run.id, f"missed: nobody was there at {_time(run.due)} ({run.schedule})") for run in late]
    newest = waiting[-1]
    return [
        Cancellation(
            run.id, f"missed at {_time(run.due)}: that of {_time(newest.due)} makes up for it ({run.schedule})"
        )
        for run in waiting
        if run is not newest
    ]


def _overlaps(run: ScheduledRun, under_way: str) -> str:
    return f"skipped: at {_time(run.due)} run {under_way} was still under way ({run.schedule}, overlap = skip)"


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


# ---- signs of life ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pulse:
    """A run's latest sign of life, and when it was seen here for the first time."""

    sign: str
    """The event's id."""
    seen_at: float


def feel(known: Mapping[str, Pulse], signs: Mapping[str, str], now: float) -> dict[str, Pulse]:
    """What is known of the runs in ``signs`` after one more look.

    A sign is dated by when it was seen here, never by the clock of the machine that sent it.

    Args:
        known: Run → what was known of it.
        signs: Run → id of its latest sign; only runs that are under way and have given one.
        now: By the clock that nobody sets.

    Example:
        >>> feel({"r": Pulse("1", 5.0)}, {"r": "1", "s": "9"}, 7.0)
        {'r': Pulse(sign='1', seen_at=5.0), 's': Pulse(sign='9', seen_at=7.0)}
    """
    return {
        run: known[run] if run in known and known[run].sign == sign else Pulse(sign, now) for run, sign in signs.items()
    }


def silent(pulses: Mapping[str, Pulse], now: float, *, listening_since: float) -> tuple[str, ...]:
    """The runs that have given no sign of life for too long, all of which somebody has listened.

    Args:
        pulses: What is known.
        now: By the clock that nobody sets.
        listening_since: Since when the server has answered without a gap: while it was away nobody could give a sign.

    Example:
        >>> silent({"r": Pulse("1", 0.0), "s": Pulse("2", 60.0)}, 66.0, listening_since=0.0)
        ('r',)
        >>> silent({"r": Pulse("1", 0.0)}, 66.0, listening_since=50.0)
        ()
    """
    return tuple(run for run, pulse in pulses.items() if now - max(pulse.seen_at, listening_since) >= SILENCE_SECONDS)


# ---- once more -------------------------------------------------------------------------------------------------------

Cause = Literal["machine", "transient", "code", "person", "none"]
"""Why a run ended as it did. ``machine``: what carried it died under it. ``transient``: something outside was not
there. ``code``: the same would happen again. ``person``: somebody wanted it. ``none``: it ended well."""

GONE = "the process was gone"
"""How our own word for a run without a process begins."""
SILENT = "no sign of life"
"""How our own word for a run of another machine begins."""
_BY_THE_SYSTEM = frozenset({-9, -15, -1, 137, 143, 129})
"""Exit codes of what was killed, asked to end or has lost its terminal; of containers too. Other signals, such as a
segmentation fault, come from the code."""
_PASSING = frozenset({"Transient", "Unreachable", "Busy"})
"""Names of the errors of ``ridgeway.errors`` that a retry may help."""
_FROM_OUTSIDE = (
    GONE,
    SILENT,
    # A worker that is stopped, or its machine, interrupts what it runs; a person's cancellation is none of these.
    "interrupted",
    "Execution was aborted by an interrupt signal",
    "Execution was aborted by a termination signal",
    "Execution was cancelled by the runtime environment",
)
_LOST = ("Request to http", "Request failed while attempting to contact the server")
"""How Prefect's words for a server that it could not reach begin."""
_EXIT_CODE = re.compile(
    r"(?:exited with (?:non-zero )?status code:?|exit code) (?P<code>-?\d+)|ended by signal (?P<signal>\d+)"
)
_EXCEPTION = re.compile(r"encountered an exception: (?:[\w.]*\.)?(\w+)\b")


@dataclass(frozen=True, slots=True)
class Ended:
    """A published run that did not end well."""

    state: str
    """Its type on the server: ``CRASHED``, ``FAILED``, ``CANCELLED``, ``COMPLETED``."""
    message: str
    attempts: int
    """How often it has run, the first time included."""
    ago_seconds: float
    """Since when it is over, by the server's clock."""


def cause_of(state: str, message: str) -> Cause:
    """Why a run ended, from what the server knows of it: a restart of everything forgets nothing of that.

    Example:
        >>> cause_of("CRASHED", "the process was gone without a word, in train_model")
        'machine'
        >>> cause_of("CRASHED", "Flow run process exited with non-zero status code -11.")
        'code'
        >>> cause_of("FAILED", "Flow run encountered an exception: Unreachable: the registry does not answer")
        'transient'
        >>> cause_of("FAILED", "Flow run encountered an exception: KeyError: 'age'")
        'code'
    """
    if state == "CRASHED":
        return _cause_of_crash(message)
    if state == "FAILED":
        found = _EXCEPTION.search(message)
        return "transient" if found and found.group(1) in _PASSING else "code"
    return "person" if state == "CANCELLED" else "none"


def _cause_of_crash(message: str) -> Cause:
    if message.startswith(_LOST):
        return "transient"
    found = _EXIT_CODE.search(message)
    if found is not None:
        code = -int(found["signal"]) if found["signal"] else int(found["code"])
        return "machine" if code in _BY_THE_SYSTEM else "code"
    return "machine" if message.startswith(_FROM_OUTSIDE) else "code"


def should_retry(ended: Ended, *, retries: int) -> bool:
    """Whether a run is tried once more: what it died of was not its own code, and is not long ago.

    Args:
        ended: How it ended.
        retries: ``flows.retries``: the most further attempts.

    Example:
        >>> died = Ended("CRASHED", "the process was gone without a word", attempts=1, ago_seconds=3)
        >>> should_retry(died, retries=2), should_retry(replace(died, attempts=3), retries=2)
        (True, False)
    """
    if ended.attempts > retries or ended.ago_seconds > RETRY_WITHIN_SECONDS:
        return False
    return cause_of(ended.state, ended.message) in ("machine", "transient")


def retry_delay_seconds(attempts: int, *, first_seconds: float) -> float:
    """How long to wait before a run's next attempt: ``flows.retry_delay_seconds``, doubled each time.

    Example:
        >>> [retry_delay_seconds(attempts, first_seconds=5) for attempts in (1, 2, 3)]
        [5.0, 10.0, 20.0]
    """
    return float(first_seconds * 2 ** (max(attempts, 1) - 1))
