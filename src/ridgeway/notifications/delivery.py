"""Sending what waits: oldest first, what is about one thing in order, with pauses where the receiver fails."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ridgeway.errors import Busy, RidgewayError
from ridgeway.notifications import sending
from ridgeway.notifications.message import Message
from ridgeway.notifications.outbox import Outbox, Pause
from ridgeway.notifications.receiver import Receiver
from ridgeway.rules.notifications import (
    DELAYS_SECONDS,
    LIFETIME_SECONDS,
    LONGEST_DELAY_SECONDS,
    Answer,
    Next,
    after,
)
from ridgeway.run_log import exclusive

log = logging.getLogger("ridgeway.notifications")

LOCK = "notifications"
TIMEOUT_SECONDS = 10.0
"""For one attempt, where nobody waits for it."""
QUICKLY_SECONDS = 2.0
"""For all attempts at the end of a run, whose end waits for them."""
_LEAST_SECONDS = 0.2
"""An attempt with less time than this would only cost the receiver."""
_FAILURES_IN_A_ROW = 3
"""So many faults of its own, each about another message, and the receiver is left alone for a while."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of sending came to."""

    delivered: int = 0
    undelivered: int = 0
    """Given up in this round."""
    waiting: int = 0
    """Still to be sent."""
    problem: str = ""
    """Of the last attempt that failed; never with the address or a key in it."""


def deliver_quickly(root: Path, receiver: Receiver) -> Round:
    """What could be sent within two seconds; the rest is for later. Never raises an error of ours."""
    try:
        return deliver_pending(root, receiver, budget_seconds=QUICKLY_SECONDS)
    except RidgewayError as error:
        log.warning("notifications wait: %s", error.summary)
        return Round(problem=error.summary)


def deliver_pending(root: Path, receiver: Receiver, *, budget_seconds: float | None = None) -> Round:
    """Sends what waits and is due, oldest first; what is about the same thing never overtakes.

    Only one process of the project sends at a time; another that wants to waits a moment, then leaves it to that one.

    Args:
        root: The project's root.
        receiver: To whom.
        budget_seconds: To stop after; None: go on while anything is due.

    Raises:
        StorageError: The outbox cannot be written.
    """
    outbox = Outbox(root)
    if not outbox.count("waiting"):
        return Round()
    started = time.monotonic()
    try:
        with exclusive(root, LOCK, wait_seconds=0.0 if budget_seconds is None else budget_seconds / 2):
            left = None if budget_seconds is None else budget_seconds - (time.monotonic() - started)
            return _Sender(outbox, receiver, left).go()
    except Busy:
        return Round(waiting=outbox.count("waiting"))


class _Sender:
    """One round, by the process that holds the lock."""

    def __init__(self, outbox: Outbox, receiver: Receiver, seconds: float | None) -> None:
        self.outbox = outbox
        self.receiver = receiver
        self.deadline = None if seconds is None else time.monotonic() + seconds
        self.delivered = 0
        self.undelivered = 0
        self.problem = ""
        self.faults = 0

    def go(self) -> Round:
        pause = self.outbox.pause(self.receiver.mark)
        if pause is not None and pause.is_gone:
            self._give_up(list(self.outbox.waiting()), pause.problem)
        elif pause is None or _is_due(pause.not_before):
            self._send(pause)
        else:
            self.problem = pause.problem
        return Round(self.delivered, self.undelivered, self.outbox.count("waiting"), self.problem)

    def _send(self, pause: Pause | None) -> None:
        held: set[str] = set()
        for message in self.outbox.waiting():
            seconds = self._seconds()
            if seconds < _LEAST_SECONDS:
                return
            if message.handle in held or not _is_due(message.not_before):
                held.add(message.handle)
                continue
            answer = sending.post(message, self.receiver, timeout_seconds=seconds)
            chosen = self._carry_out(message, answer)
            if chosen.state == "delivered":
                if pause is not None:
                    self.outbox.set_pause(None)
                    pause = None
                continue
            held.add(message.handle)
            if self._is_receivers(chosen):
                self._pause(pause, chosen)
                return

    def _seconds(self) -> float:
        left = TIMEOUT_SECONDS if self.deadline is None else self.deadline - time.monotonic()
        return min(left, TIMEOUT_SECONDS)

    def _carry_out(self, message: Message, answer: Answer) -> Next:
        chosen = after(answer, attempts=message.attempts + 1, age_seconds=_age_seconds(message))
        if chosen.state == "delivered":
            self.outbox.end(message, "delivered", at=_in(0))
            self.delivered += 1
            self.faults = 0
            log.info("told %s: %s %s", self.receiver.place, message.event, message.handle)
            return chosen
        self.problem = self.receiver.cleaned(chosen.problem)
        if chosen.state == "undelivered":
            self._give_up([message], self.problem, attempts=1)
        else:
            # What is the receiver's own is kept with it: once it is mended, or another, nothing has to wait any more.
            not_before = "" if chosen.is_receivers else _in(chosen.delay_seconds)
            self.outbox.retry(message, problem=self.problem, not_before=not_before)
            log.info("%s does not take %s %s: %s", self.receiver.place, message.event, message.handle, self.problem)
        return chosen

    def _is_receivers(self, chosen: Next) -> bool:
        """Whether it is no use to go on with other messages."""
        self.faults += chosen.state == "waiting"
        return chosen.is_gone or chosen.is_receivers or self.faults >= _FAILURES_IN_A_ROW

    def _pause(self, earlier: Pause | None, chosen: Next) -> None:
        failures = (earlier.failures if earlier else 0) + 1
        delay = max(chosen.delay_seconds, DELAYS_SECONDS[min(failures, len(DELAYS_SECONDS)) - 1])
        pause = Pause(self.receiver.mark, failures, _in(delay), self.problem, chosen.is_gone)
        self.outbox.set_pause(pause)
        # What is as old as that has waited all along for the receiver that was just asked, and failed.
        too_old = self.outbox.older_than(_in(-LIFETIME_SECONDS))
        self._give_up(list(self.outbox.waiting()) if chosen.is_gone else too_old, self.problem)

    def _give_up(self, messages: list[Message], problem: str, *, attempts: int = 0) -> None:
        for message in messages:
            self.outbox.end(message, "undelivered", at=_in(0), problem=problem, attempts=attempts)
            self.undelivered += 1
        if messages:
            log.error("%d notifications are given up: %s; ridgeway list notifications", len(messages), problem)


def _age_seconds(message: Message) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(message.created_at)).total_seconds()


def _is_due(moment: str) -> bool:
    """Whether a time has come; one further ahead than any pause of ours was written by a clock that was wrong."""
    if not moment:
        return True
    ahead = (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()
    return ahead <= 0 or ahead > 2 * LONGEST_DELAY_SECONDS


def _in(seconds: float) -> str:
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
