"""What starts by itself, is cancelled, is dead, is tried again: literal cases, and what holds for any of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ridgeway.rules.triggers import (
    NEVER_AT_REST,
    SILENCE_SECONDS,
    Cancellation,
    Ended,
    Known,
    Mark,
    Policy,
    Pulse,
    Registered,
    ScheduledRun,
    Sight,
    cause_of,
    change,
    feel,
    first_mark,
    is_by_registration,
    is_due,
    late_runs_to_cancel,
    looked_into,
    new_versions,
    registration_key,
    runs_to_cancel,
    saw,
    should_retry,
    silent,
)

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def fired(events: list[tuple[float, str]], *, debounce: float, poll: float, until: float) -> list[float]:
    """When a watcher that looks every ``poll`` seconds looks into a source that changes at the given times."""
    sight, times, step = Sight("first"), [], 0
    while (now := step * poll) <= until:
        step += 1
        sign = next((sign for moment, sign in reversed(events) if moment <= now), "first")
        sight = saw(sight, sign, now)
        if is_due(sight, now, debounce_seconds=debounce):
            times.append(now)
            sight = looked_into(sight)
    return times


def test_a_thousand_changes_within_a_second_are_one() -> None:
    events = [(10 + number / 1000, str(number)) for number in range(1000)]
    assert fired(events, debounce=30, poll=0.1, until=300) == [pytest.approx(41.0, abs=0.11)]


def test_what_never_rests_is_looked_into_all_the_same() -> None:
    events = [(float(second), str(second)) for second in range(1, 1000)]
    times = fired(events, debounce=30, poll=5, until=950)
    assert times[0] == 5 + NEVER_AT_REST * 30
    assert len(times) == 3


def test_what_goes_away_and_comes_back_counts_when_it_is_back() -> None:
    events = [(5.0, ""), (100.0, "new")]
    assert fired(events, debounce=30, poll=5, until=200) == [130.0]
    assert fired([(5.0, "")], debounce=30, poll=5, until=900) == []


@given(st.lists(st.tuples(st.floats(0, 500), st.text("abc", min_size=1, max_size=2)), max_size=40))
def test_every_last_change_is_looked_into_exactly_once(events: list[tuple[float, str]]) -> None:
    events = sorted(events, key=lambda event: event[0])
    last = events[-1][1] if events else "first"
    sight, looked = Sight("first"), []
    for step in range(0, 1200, 5):
        sign = next((sign for moment, sign in reversed(events) if moment <= step), "first")
        sight = saw(sight, sign, float(step))
        if is_due(sight, float(step), debounce_seconds=30):
            looked.append(sight.sign)
            sight = looked_into(sight)
    assert sight.sign == last
    assert sight.changed_at is None
    assert (looked[-1] if looked else "first") == last


def test_the_first_look_begins_nothing_and_only_another_content_does() -> None:
    known, is_new = change(None, "s1", "sha256:a")
    assert (known, is_new) == (Known("s1", "sha256:a", 0), False)
    known, is_new = change(known, "s2", "sha256:a")
    assert (known, is_new) == (Known("s2", "sha256:a", 0), False)
    known, is_new = change(known, "s3", "sha256:b")
    assert (known, is_new) == (Known("s3", "sha256:b", 1), True)
    assert change(known, "s4", "sha256:a") == (Known("s4", "sha256:a", 2), True)


# ---- versions --------------------------------------------------------------------------------------------------------


def test_versions_since_the_mark() -> None:
    there = [Registered(1, 100), Registered(2, 200)]
    mark = first_mark(there)
    assert new_versions(mark, there) == ((), mark)
    new, mark = new_versions(mark, [*there, Registered(4, 400), Registered(3, 300, is_ready=False)])
    assert (new, mark) == ((Registered(4, 400),), Mark(4, 400, (3,)))
    new, mark = new_versions(mark, [*there, Registered(3, 300), Registered(4, 400)])
    assert (new, mark) == ((Registered(3, 300),), Mark(4, 400, ()))


def test_the_key_of_a_registration_names_the_very_version() -> None:
    key = registration_key("diabetes", Registered(7, 123))
    assert is_by_registration(key, "diabetes", 7)
    assert is_by_registration(f"release/diabetes {key}", "diabetes", 7)
    for wrong in ("", "model:diabetes/7", "nightly", f"{key}x", f"a b {key}", "model:diabetes/8:123"):
        assert not is_by_registration(wrong, "diabetes", 7)
    assert not is_by_registration(key, "diabet.s", 7)


def test_a_model_that_was_deleted_and_made_anew_begins_at_one() -> None:
    new, mark = new_versions(Mark(7, 700), [Registered(1, 800)])
    assert (new, mark) == ((Registered(1, 800),), Mark(1, 800))
    assert new_versions(mark, [Registered(1, 800), Registered(2, 900)])[0] == (Registered(2, 900),)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=20), st.data())
def test_each_version_is_new_once_whatever_the_registrys_clock_does(clock: list[int], data: st.DataObject) -> None:
    mark, seen, versions = Mark(), [], []
    for number, created in enumerate(clock, start=1):
        versions.append(Registered(number, created))
        if data.draw(st.booleans()):
            new, mark = new_versions(mark, versions)
            seen += [version.number for version in new]
    new, mark = new_versions(mark, versions)
    seen += [version.number for version in new]
    assert seen == list(range(1, len(clock) + 1))


# ---- schedules -------------------------------------------------------------------------------------------------------


def run(name: str, minutes_ago: float, schedule: str = "hourly", deployment: str = "d") -> ScheduledRun:
    return ScheduledRun(name, deployment, schedule, NOON - timedelta(minutes=minutes_ago))


OUTAGE = [run("a", 180), run("b", 120), run("c", 60), run("later", -60)]


@pytest.mark.parametrize(("missed", "gone"), [("once", ["a", "b"]), ("none", ["a", "b", "c"]), ("all", [])])
def test_after_an_outage(missed: str, gone: list[str]) -> None:
    assert [one.id for one in late_runs_to_cancel(OUTAGE, NOON, missed)] == gone  # type: ignore[arg-type]
    policies = {"hourly": Policy(missed=missed)}  # type: ignore[arg-type]
    assert [one.id for one in runs_to_cancel(OUTAGE, {}, policies, NOON)] == gone


def test_one_that_is_just_due_was_missed_by_nobody() -> None:
    assert late_runs_to_cancel([run("a", 0.5)], NOON, "none") == ()
    assert runs_to_cancel([run("a", 0)], {}, {"hourly": Policy(missed="none")}, NOON) == ()


def test_schedules_make_up_for_themselves_alone() -> None:
    runs = [run("a", 30, "x"), run("b", 20, "y"), run("c", 10, "x"), run("d", 10, "x", "other deployment")]
    assert runs_to_cancel(runs, {}, {}, NOON) == (
        Cancellation("a", "missed at 2026-03-02 11:30 UTC: that of 2026-03-02 11:50 UTC makes up for it (x)"),
    )


def test_what_is_due_while_the_former_runs_is_skipped_or_waits() -> None:
    runs = [run("a", 70), run("b", 10), run("later", -50)]
    skipped = runs_to_cancel(runs, {"d": "brave-otter"}, {}, NOON)
    assert [one.id for one in skipped] == ["a", "b"]
    assert skipped[1].message == (
        "skipped: at 2026-03-02 11:50 UTC run brave-otter was still under way (hourly, overlap = skip)"
    )
    assert runs_to_cancel(runs, {"d": "brave-otter"}, {"hourly": Policy(overlap="queue")}, NOON) == ()
    queued = [replace(one, is_queued=True) for one in runs]
    assert runs_to_cancel(queued, {}, {"hourly": Policy(overlap="queue")}, NOON) == ()  # each gets its turn
    assert [one.id for one in runs_to_cancel(runs, {"e": "another"}, {}, NOON)] == ["a"]


@given(
    st.lists(st.tuples(st.floats(-600, 6000), st.sampled_from("xy"), st.sampled_from("de")), max_size=30),
    st.sampled_from(["once", "none", "all"]),
    st.timedeltas(timedelta(days=-3), timedelta(days=400)),
)
def test_a_clock_that_jumps_never_begins_more_than_one_of_a_schedule(
    made: list[tuple[float, str, str]], missed: str, jump: timedelta
) -> None:
    runs = [run(str(number), ago, schedule, where) for number, (ago, schedule, where) in enumerate(made)]
    now = NOON + jump
    policies = {name: Policy(missed=missed) for name in "xy"}  # type: ignore[arg-type]
    gone = {one.id for one in runs_to_cancel(runs, {}, policies, now)}
    kept = [one for one in runs if one.id not in gone and one.due <= now]
    if missed == "once":
        assert len({(one.deployment, one.schedule) for one in kept}) == len(kept)
    assert gone <= {one.id for one in runs if one.due <= now}  # what is yet to come stays
    again = runs_to_cancel([one for one in runs if one.id not in gone], {}, policies, now)
    assert again == ()


# ---- signs of life ---------------------------------------------------------------------------------------------------


def test_a_run_without_a_sign_is_found_within_75_seconds() -> None:
    pulses: dict[str, Pulse] = {}
    dead: list[tuple[float, str]] = []
    for now in range(0, 200, 5):
        beat = min(now, 90) // 20  # its machine is gone from second 90 on
        pulses = feel(pulses, {"r": str(beat), "alive": str(now // 20)}, float(now))
        dead += [(float(now), name) for name in silent(pulses, float(now), listening_since=0.0)]
    assert dead[0] == (140.0, "r")
    assert dead[0][0] - 90 <= 75
    assert {name for _, name in dead} == {"r"}


def test_nobody_is_silent_while_the_server_was_away() -> None:
    pulses = {"r": Pulse("1", 0.0)}
    assert silent(pulses, 500.0, listening_since=490.0) == ()
    assert silent(pulses, 490.0 + SILENCE_SECONDS, listening_since=490.0) == ("r",)


def test_what_ended_is_forgotten() -> None:
    assert feel({"r": Pulse("1", 0.0)}, {}, 5.0) == {}


# ---- once more -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "message", "cause"),
    [
        ("CRASHED", "the process was gone without a word, in train_model", "machine"),
        ("CRASHED", "the process was gone without a word, ended by signal 9", "machine"),
        ("CRASHED", "the process was gone without a word, ended by signal 11", "code"),
        ("CRASHED", "the process was gone without a word, exit code 3", "code"),
        ("CRASHED", "no sign of life for 65 s", "machine"),
        ("CRASHED", "interrupted", "machine"),
        ("CRASHED", "Execution was aborted by a termination signal.", "machine"),
        ("CRASHED", "Flow run process exited with non-zero status code -9.", "machine"),
        ("CRASHED", "Flow run infrastructure exited with non-zero status code 137.", "machine"),
        ("CRASHED", "Flow run infrastructure exited with non-zero status code 1.", "code"),
        ("CRASHED", "Process exited with status code: -11. It crashed.", "code"),
        ("CRASHED", "Execution was interrupted by an unexpected exception: RuntimeError", "code"),
        ("CRASHED", "Request to http://127.0.0.1:1/api/ failed: ConnectError.", "transient"),
        ("CRASHED", "", "code"),
        ("FAILED", "Flow run encountered an exception: Unreachable: the model registry does not answer", "transient"),
        ("FAILED", "Flow run encountered an exception: ridgeway.errors.Busy: retraining is under way", "transient"),
        ("FAILED", "Flow run encountered an exception: BadData: Transient: no", "code"),
        ("FAILED", "", "code"),
        ("CANCELLED", "the process was gone", "person"),
        ("COMPLETED", "", "none"),
    ],
)
def test_why_a_run_ended(state: str, message: str, cause: str) -> None:
    assert cause_of(state, message) == cause
    ended = Ended(state, message, attempts=1, ago_seconds=2)
    assert should_retry(ended, retries=1) is (cause in ("machine", "transient"))
    assert not should_retry(ended, retries=0)


def test_the_last_attempt_is_the_last_and_history_stays_history() -> None:
    assert should_retry(Ended("CRASHED", "interrupted", attempts=2, ago_seconds=0), retries=2)
    assert not should_retry(Ended("CRASHED", "interrupted", attempts=3, ago_seconds=0), retries=2)
    assert not should_retry(Ended("CRASHED", "interrupted", attempts=1, ago_seconds=4000), retries=2)
    assert should_retry(Ended("CRASHED", "interrupted", attempts=0, ago_seconds=-7200), retries=2)  # its clock was set
