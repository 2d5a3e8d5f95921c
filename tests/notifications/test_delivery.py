from __future__ import annotations

import base64
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ridgeway.notifications import Message, Outbox, Receiver, Round, deliver_pending, deliver_quickly
from ridgeway.notifications.outbox import Pause, _file_name
from ridgeway.run_log import exclusive
from ridgeway.run_log.record import write
from tests.notifications.conftest import KEY, SECRET_PATH, Hook, files, made

Fill = Callable[[int], list[Message]]
NEW = "whsec_" + base64.b64encode(b"n" * 32).decode()


def ago(**span: float) -> str:
    return (datetime.now(UTC) - timedelta(**span)).isoformat(timespec="milliseconds")


def due(outbox: Outbox) -> None:
    """As if the pauses were over."""
    for message in outbox.waiting():
        path = outbox.folder / "waiting" / _file_name(message)
        write(path, {"schema": 1, **dataclasses.asdict(message), "not_before": ""})
    outbox.set_pause(None)


def test_nothing_to_send(outbox: Outbox, hook: Hook, tmp_path: Path) -> None:
    assert deliver_pending(tmp_path, hook.receiver) == Round()
    assert hook.seen == []
    assert not outbox.is_used


def test_in_the_order_of_writing(fill: Fill, outbox: Outbox, hook: Hook, tmp_path: Path) -> None:
    fill(12)
    assert deliver_pending(tmp_path, hook.receiver) == Round(delivered=12)
    assert hook.handles == [f"releases:/d/{number}" for number in range(1, 13)]
    assert len(set(hook.ids)) == 12
    assert (outbox.count("waiting"), outbox.count("delivered")) == (0, 12)
    assert deliver_pending(tmp_path, hook.receiver) == Round()


def test_a_fault_of_the_receivers_is_waited_out(fill: Fill, outbox: Outbox, hook: Hook, tmp_path: Path) -> None:
    (message,) = fill(1)
    hook.answers = [500]
    assert deliver_pending(tmp_path, hook.receiver) == Round(waiting=1, problem="status 500")
    assert deliver_pending(tmp_path, hook.receiver).delivered == 0, "not before its time"
    assert len(hook.seen) == 1
    due(outbox)
    assert deliver_pending(tmp_path, hook.receiver).delivered == 1
    assert [request["webhook-id"] for request in hook.seen] == [message.id, message.id]


def test_one_poisoned_message_holds_up_only_what_is_about_the_same(outbox: Outbox, hook: Hook, tmp_path: Path) -> None:
    for number, (handle, event) in enumerate(
        [("releases:/d/1", "waiting"), ("releases:/d/2", "waiting"), ("releases:/d/1", "released")]
    ):
        outbox.add(made(handle, event=event, outcome=event, created_at=ago(seconds=10 - number)))
    hook.answers = [500]
    assert deliver_pending(tmp_path, hook.receiver) == Round(delivered=1, waiting=2, problem="status 500")
    assert hook.handles == ["releases:/d/2"]
    due(outbox)
    deliver_pending(tmp_path, hook.receiver)
    assert [body["data"]["event"] for body in hook.taken] == ["waiting", "waiting", "released"]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_message_that_is_refused_is_kept_and_the_others_go_on(
    fill: Fill, outbox: Outbox, hook: Hook, tmp_path: Path, status: int
) -> None:
    fill(2)
    hook.answers = [status]
    assert deliver_pending(tmp_path, hook.receiver) == Round(delivered=1, undelivered=1, problem=f"status {status}")
    (kept,) = files(outbox.folder / "undelivered")
    assert (kept["handle"], kept["problem"], kept["attempts"]) == ("releases:/d/1", f"status {status}", 1)


@pytest.mark.parametrize("answer", [401, 404, 503, 302])
def test_where_the_receiver_is_not_well_the_backlog_is_left_alone(
    fill: Fill, outbox: Outbox, hook: Hook, tmp_path: Path, answer: int
) -> None:
    fill(5)
    hook.answers = [answer] * 5
    assert deliver_pending(tmp_path, hook.receiver).waiting == 5
    assert len(hook.seen) == 1
    assert deliver_pending(tmp_path, hook.receiver).problem != ""
    assert len(hook.seen) == 1, "a pause is a pause"


def test_faults_of_its_own_for_one_message_after_another_are_the_receivers(
    fill: Fill, hook: Hook, tmp_path: Path
) -> None:
    fill(8)
    hook.answers = [500] * 8
    deliver_pending(tmp_path, hook.receiver)
    assert len(hook.seen) == 3


def test_a_pause_grows_and_ends_with_the_first_delivery(fill: Fill, outbox: Outbox, hook: Hook, tmp_path: Path) -> None:
    fill(2)
    pauses = []
    for _ in range(3):
        hook.answers = [503]
        deliver_pending(tmp_path, hook.receiver)
        pause = outbox.pause(hook.receiver.mark)
        assert pause is not None
        pauses.append((datetime.fromisoformat(pause.not_before) - datetime.now(UTC)).total_seconds())
        outbox.set_pause(Pause(pause.receiver, pause.failures, "", pause.problem))
    assert pauses == [pytest.approx(5, abs=3), pytest.approx(30, abs=3), pytest.approx(120, abs=3)]
    assert deliver_pending(tmp_path, hook.receiver).delivered == 2
    assert outbox.pause(hook.receiver.mark) is None


def test_another_address_or_key_is_tried_at_once(fill: Fill, hook: Hook, tmp_path: Path) -> None:
    fill(3)
    wrong = Receiver("http://127.0.0.1:9/nobody", (KEY,))
    assert deliver_pending(tmp_path, wrong).waiting == 3
    assert deliver_pending(tmp_path, wrong).delivered == 0
    assert deliver_pending(tmp_path, hook.receiver).delivered == 3
    assert hook.handles == ["releases:/d/1", "releases:/d/2", "releases:/d/3"]


def test_a_key_is_changed_without_losing_a_message(fill: Fill, hook: Hook, tmp_path: Path) -> None:
    fill(1)
    deliver_pending(tmp_path, Receiver(hook.url, (KEY,)))
    made_later = made("releases:/d/7")
    Outbox(tmp_path).add(made_later)
    deliver_pending(tmp_path, Receiver(hook.url, (NEW, KEY)))
    hook.key = NEW
    Outbox(tmp_path).add(made("releases:/d/8"))
    deliver_pending(tmp_path, Receiver(hook.url, (NEW,)))
    assert hook.handles == ["releases:/d/1", "releases:/d/7", "releases:/d/8"]


def test_a_receiver_that_is_gone_is_never_asked_again(fill: Fill, outbox: Outbox, hook: Hook, tmp_path: Path) -> None:
    fill(3)
    hook.answers = [410]
    ended = deliver_pending(tmp_path, hook.receiver)
    assert (ended.undelivered, ended.waiting) == (3, 0)
    outbox.add(made("releases:/d/9"))
    assert deliver_pending(tmp_path, hook.receiver).undelivered == 1
    assert len(hook.seen) == 1
    assert {record["problem"] for record in files(outbox.folder / "undelivered")} == {
        "status 410: the receiver wants no messages any more"
    }


def test_after_a_day_without_an_answer_what_is_as_old_is_given_up_and_kept(outbox: Outbox, tmp_path: Path) -> None:
    for hours in (30, 25, 23):
        outbox.add(made(f"releases:/d/{hours}", created_at=ago(hours=hours)))
    ended = deliver_pending(tmp_path, Receiver("http://127.0.0.1:9/nobody", (KEY,)))
    assert (ended.undelivered, ended.waiting) == (2, 1)
    assert [message.handle for message in outbox.waiting()] == ["releases:/d/23"]


def test_what_is_old_because_nothing_ran_is_delivered_all_the_same(outbox: Outbox, hook: Hook, tmp_path: Path) -> None:
    outbox.add(made(created_at=ago(days=9)))
    assert deliver_pending(tmp_path, hook.receiver).delivered == 1


def test_a_pause_written_by_a_clock_that_was_wrong_does_not_last(
    fill: Fill, outbox: Outbox, hook: Hook, tmp_path: Path
) -> None:
    (message,) = fill(1)
    outbox.retry(message, problem="", not_before="2099-01-01T00:00:00+00:00")
    outbox.set_pause(Pause(hook.receiver.mark, 1, "2099-01-01T00:00:00+00:00", ""))
    assert deliver_pending(tmp_path, hook.receiver).delivered == 1


def test_at_the_end_of_a_run_it_takes_two_seconds_at_most(fill: Fill, hook: Hook, tmp_path: Path) -> None:
    fill(5)
    hook.answers = [9.0] * 5
    started = time.monotonic()
    assert deliver_quickly(tmp_path, hook.receiver).waiting == 5
    assert time.monotonic() - started < 3


def test_two_that_send_at_once_send_each_once(fill: Fill, hook: Hook, tmp_path: Path) -> None:
    fill(3)
    with exclusive(tmp_path, "notifications"):
        assert deliver_pending(tmp_path, hook.receiver) == Round(waiting=3)
        assert deliver_quickly(tmp_path, hook.receiver).waiting == 3
    assert hook.seen == []


def test_a_backlog_of_a_thousand(fill: Fill, outbox: Outbox, hook: Hook, tmp_path: Path) -> None:
    fill(1000)
    started = time.monotonic()
    assert deliver_quickly(tmp_path, hook.receiver).waiting > 0
    assert time.monotonic() - started < 4
    first = len(hook.taken)
    assert hook.handles == [f"releases:/d/{number}" for number in range(1, first + 1)]
    assert outbox.count("waiting") == 1000 - first
    assert first > 20


SENDER = """
import sys
from pathlib import Path
from ridgeway.notifications import Receiver, deliver_pending
deliver_pending(Path(sys.argv[1]), Receiver(sys.argv[2], (sys.argv[3],)))
"""


def test_a_kill_in_the_middle_loses_none_and_doubles_only_what_can_be_told_apart(
    fill: Fill, outbox: Outbox, hook: Hook, tmp_path: Path
) -> None:
    messages = fill(12)
    for count in (2, 6):
        sender = subprocess.Popen([sys.executable, "-c", SENDER, str(tmp_path), hook.url, KEY])
        while len(hook.taken) < count and sender.poll() is None:
            time.sleep(0.001)
        sender.send_signal(signal.SIGKILL)
        assert sender.wait() in (-signal.SIGKILL, 0)
    deliver_pending(tmp_path, hook.receiver)
    assert outbox.count("waiting") == 0
    assert outbox.count("delivered") == 12
    assert set(hook.ids) == {message.id for message in messages}
    assert 12 <= len(hook.ids) <= 14, "each kill may double the one that was under way"


def test_nothing_that_is_written_holds_address_or_key(
    fill: Fill, outbox: Outbox, hook: Hook, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(6)
    caplog.set_level("DEBUG")
    for answer in (401, 302, 500, 2.5, 422, 410):
        hook.answers = [answer]
        deliver_quickly(tmp_path, hook.receiver)
        due(outbox)
    deliver_quickly(tmp_path, Receiver(f"http://127.0.0.1:9/{SECRET_PATH}", (KEY,)))
    deliver_quickly(tmp_path, Receiver(f"http://no-such-host.invalid/{SECRET_PATH}", (KEY,)))
    written = "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()) + caplog.text
    assert len(written) > 1000
    for word in (SECRET_PATH, KEY, KEY.removeprefix("whsec_")):
        assert word not in written
    assert os.environ.get("RIDGEWAY_NOTIFICATIONS__KEY") is None
