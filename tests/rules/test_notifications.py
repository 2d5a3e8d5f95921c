from __future__ import annotations

import pytest

from ridgeway.artifacts import Release
from ridgeway.rules.notifications import (
    EVENTS,
    LIFETIME_SECONDS,
    Answer,
    Next,
    after,
    closest_event,
    event_of_release,
    event_of_verdict,
    message_id,
)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_taken_for_delivered(status: int) -> None:
    assert after(Answer(status), attempts=7, age_seconds=2 * LIFETIME_SECONDS) == Next("delivered")


@pytest.mark.parametrize(
    ("status", "is_receivers"),
    [(0, True), (301, True), (308, True), (401, True), (404, True), (429, True), (503, True), (500, False)],
)
def test_what_time_or_a_person_can_mend_is_tried_again(status: int, is_receivers: bool) -> None:
    chosen = after(Answer(status, "down"), attempts=1, age_seconds=0)
    assert chosen == Next("waiting", "down", 5.0, is_receivers=is_receivers)


@pytest.mark.parametrize("status", [400, 402, 409, 413, 415, 422])
def test_a_message_that_is_refused_is_not_sent_again(status: int) -> None:
    assert after(Answer(status), attempts=1, age_seconds=0) == Next("undelivered", f"status {status}")


def test_a_receiver_that_is_gone_for_good() -> None:
    chosen = after(Answer(410), attempts=1, age_seconds=0)
    assert (chosen.state, chosen.is_gone) == ("undelivered", True)


def test_pauses_grow_and_a_day_is_the_end() -> None:
    delays = [after(Answer(500), attempts=count, age_seconds=0).delay_seconds for count in range(1, 9)]
    assert delays == [5, 30, 120, 600, 1800, 3600, 3600, 3600]
    assert after(Answer(500), attempts=30, age_seconds=LIFETIME_SECONDS - 1).state == "waiting"
    assert after(Answer(500), attempts=30, age_seconds=LIFETIME_SECONDS).state == "undelivered"


def test_attempts_within_a_day_stay_within_reason() -> None:
    seconds, attempts = 0.0, 0
    while seconds < LIFETIME_SECONDS:
        attempts += 1
        seconds += after(Answer(500), attempts=attempts, age_seconds=seconds).delay_seconds
    assert 20 <= attempts <= 40


@pytest.mark.parametrize(("asked", "waits"), [(1, 5), (60, 60), (7200, 7200), (1e9, 7200)])
def test_the_receiver_may_ask_for_more_time_but_not_for_ever(asked: float, waits: float) -> None:
    assert after(Answer(429, retry_after_seconds=asked), attempts=1, age_seconds=0).delay_seconds == waits


def test_every_state_of_a_release_is_told_or_is_on_the_way() -> None:
    told = {state: event_of_release(state) for state in Release.EXIT_CODES}
    assert {state for state, event in told.items() if event is None} == {"started", "approved"}
    assert set(filter(None, told.values())) <= set(EVENTS)
    assert told["frozen"] == "failed"


def test_a_way_back_by_hand_is_told_as_one() -> None:
    assert event_of_release("released", "rollback") == "rolled_back"
    assert event_of_release("frozen", "rollback") == "failed"


@pytest.mark.parametrize(("outcome", "event"), [("accept", "registered"), ("reject", "rejected"), ("hold", "held")])
def test_every_outcome_of_a_judgement_has_an_event(outcome: str, event: str) -> None:
    assert event_of_verdict(outcome) == event


def test_a_message_is_named_by_what_it_tells() -> None:
    assert message_id("a", "b") == message_id("a", "b")
    assert len({message_id("a", "b"), message_id("ab", ""), message_id("b", "a"), message_id("a", "b", "")}) == 4
    assert message_id("a").startswith("msg_")
    assert "." not in message_id("a")  # the signature is over ID.TIME.BODY


def test_a_word_that_is_like_none() -> None:
    assert closest_event("zzz") == ""
