"""Who is told of what, and what an answer of the receiver means: delivered, try again, or give up. Pure."""

from __future__ import annotations

import difflib
import hashlib
import typing
from dataclasses import dataclass
from typing import Literal

Event = Literal[
    "failed", "waiting", "released", "rolled_back", "registered", "rejected", "held", "refused", "published"
]
"""What can be told. ``failed``: a run ended in an error, a gate found something, or production is not proven.
``waiting``: a release waits for an approval. ``released``, ``rolled_back``: what production runs now. ``registered``,
``rejected``, ``held``: what came of a judgement. ``refused``: a release that a person, or time, has ended.
``published``: a build passed its gates and its flows are published."""
EVENTS: tuple[Event, ...] = typing.get_args(Event)

_OF_RELEASE: dict[str, Event] = {
    "waiting": "waiting",
    "released": "released",
    "rolled_back": "rolled_back",
    "rejected": "failed",
    "failed": "failed",
    "frozen": "failed",
    "refused": "refused",
    "expired": "refused",
    "cancelled": "refused",
}
_OF_VERDICT: dict[str, Event] = {"accept": "registered", "reject": "rejected", "hold": "held"}

LIFETIME_SECONDS = 24 * 3600.0
"""A message that nobody took for this long is given up."""
DELAYS_SECONDS = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
"""Before the next attempt, by how many there were; the last one from then on. A receiver that is restarted gets its
messages within seconds, one that is down for a night is asked some thirty times."""
LONGEST_DELAY_SECONDS = 7200.0
"""What the receiver may ask for with Retry-After; a longer one is taken for this."""
_STOP = 410
_GATEWAY = {502, 503, 504}
"""Whoever stands before the receiver says that it is not there; 500 may be about this one message."""
_WRONG_SETTING = {401, 403, 404, 405, 407, 408, 425, 429}
"""Answers about the address, the key or the moment, not about the message: a person, or time, can mend that."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt."""

    status: int = 0
    """HTTP status; 0: none came."""
    problem: str = ""
    """Why none came, or what is wrong with the address."""
    retry_after_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Next:
    """What is to be done with a message after an attempt."""

    state: Literal["delivered", "waiting", "undelivered"]
    problem: str = ""
    delay_seconds: float = 0.0
    is_receivers: bool = False
    """Whether it is the receiver that fails, so that other messages need not be tried just now."""
    is_gone: bool = False
    """Whether the receiver wants no messages any more."""


def event_of_release(state: str, kind: str = "release") -> Event | None:
    """What is told of a release that has come into this state; None for a state on the way.

    Example:
        >>> event_of_release("released"), event_of_release("released", "rollback"), event_of_release("approved")
        ('released', 'rolled_back', None)
    """
    event = _OF_RELEASE.get(state)
    # A way back by hand ends "released" on the record; whoever reads the message wants to know that it was one.
    return "rolled_back" if kind == "rollback" and event == "released" else event


def event_of_verdict(outcome: str) -> Event:
    """What is told of a judgement.

    Example:
        >>> event_of_verdict("hold")
        'held'
    """
    return _OF_VERDICT[outcome]


def closest_event(word: str) -> str:
    """``did you mean …?`` for a word that is no event; empty where none is like it.

    Example:
        >>> closest_event("rolledback")
        'did you mean rolled_back?'
    """
    close = difflib.get_close_matches(word, EVENTS, n=1)
    return f"did you mean {close[0]}?" if close else ""


def message_id(*facts: str) -> str:
    """The name of a message, the same whenever the same is told: whoever gets it twice can tell.

    Example:
        >>> message_id("diabetes", "waiting", "releases:/diabetes/1")
        'msg_0e56a4617c5f21c3ed5b4b8bd72927ad'
    """
    return f"msg_{hashlib.sha256(chr(0).join(facts).encode()).hexdigest()[:32]}"


def after(answer: Answer, *, attempts: int, age_seconds: float) -> Next:
    """What is to be done after an attempt.

    Args:
        answer: What came of it.
        attempts: How many there were, this one included.
        age_seconds: Since the message was written.

    Example:
        >>> after(Answer(204), attempts=1, age_seconds=0).state
        'delivered'
        >>> after(Answer(503), attempts=2, age_seconds=9).delay_seconds
        30.0
    """
    status = answer.status
    if 200 <= status < 300:
        return Next("delivered")
    problem = answer.problem or f"status {status}"
    if status == _STOP:
        return Next("undelivered", "status 410: the receiver wants no messages any more", is_gone=True)
    is_about_message = 400 <= status < 500 and status not in _WRONG_SETTING
    is_receivers = not is_about_message and (status < 500 or status in _GATEWAY)
    if is_about_message or age_seconds >= LIFETIME_SECONDS:
        return Next("undelivered", problem, is_receivers=is_receivers)
    return Next("waiting", problem, _delay(answer, attempts), is_receivers=is_receivers)


def _delay(answer: Answer, attempts: int) -> float:
    usual = DELAYS_SECONDS[min(attempts, len(DELAYS_SECONDS)) - 1]
    return min(max(usual, answer.retry_after_seconds), LONGEST_DELAY_SECONDS)
