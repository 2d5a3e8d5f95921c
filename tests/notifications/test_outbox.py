from __future__ import annotations

import dataclasses
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from ridgeway.errors import StorageError
from ridgeway.notifications import Message, Outbox
from ridgeway.notifications.outbox import KEPT, Pause
from tests.notifications.conftest import made

LATER = "2026-11-22T09:00:00.000Z"


def test_what_is_kept_comes_back_as_it_was(outbox: Outbox) -> None:
    message = made()
    assert not outbox.is_used
    assert outbox.add(message)
    assert list(outbox.waiting()) == [message]
    assert outbox.is_used
    assert stat.S_IMODE(outbox.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("place", ["waiting", "delivered", "undelivered"])
def test_the_same_is_kept_once_whatever_became_of_it(outbox: Outbox, place: str) -> None:
    message = made()
    outbox.add(message)
    if place != "waiting":
        outbox.end(message, place, at=LATER)  # type: ignore[arg-type]
    again = dataclasses.replace(message, created_at="2027-01-01T00:00:00.000Z")
    assert not outbox.add(again)
    assert [outbox.count(one) for one in ("waiting", "delivered", "undelivered")].count(1) == 1


def test_the_oldest_comes_first_also_across_time_zones_and_in_any_order_of_writing(outbox: Outbox) -> None:
    times = ["2026-11-22T10:00:00+02:00", "2026-11-22T07:59:59.999Z", "2026-11-22T08:00:00.001Z"]
    for number in (2, 0, 1):
        outbox.add(made(f"releases:/d/{number}", created_at=times[number]))
    assert [message.handle[-1] for message in outbox.waiting()] == ["1", "0", "2"]


def test_an_attempt_that_failed_is_noted(outbox: Outbox) -> None:
    message = made()
    outbox.add(message)
    outbox.retry(message, problem="status 500", not_before=LATER)
    (waits,) = outbox.waiting()
    assert (waits.attempts, waits.problem, waits.not_before) == (1, "status 500", LATER)
    assert waits.body == message.body


def test_what_has_ended_is_kept_up_to_a_number(
    outbox: Outbox, fill: Callable[[int], list[Message]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KEPT, "delivered", 10)
    messages = fill(13)
    for message in messages:
        outbox.end(message, "delivered", at=LATER)
    assert (outbox.count("waiting"), outbox.count("delivered")) == (0, 10)
    assert outbox.kept(1)[0].message.handle == messages[-1].handle
    assert not outbox.add(messages[-1])


def test_a_file_that_cannot_be_read_is_out_of_the_way_and_not_lost(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    outbox.add(made("releases:/d/1"))
    outbox.add(made("releases:/d/2"))
    (damaged, *_) = sorted((outbox.folder / "waiting").iterdir())
    damaged.write_text('{"schema": 1', encoding="utf-8")
    assert [message.handle for message in outbox.waiting()] == ["releases:/d/2"]
    assert "cannot be read" in caplog.text
    assert [path.name for path in (outbox.folder / "waiting").glob(".damaged-*")] == [f".damaged-{damaged.name}"]


def test_a_file_under_way_is_no_message(outbox: Outbox) -> None:
    outbox.prepare()
    (outbox.folder / "waiting" / ".20261122-msg_1.json.4711").write_text("{", encoding="utf-8")
    assert list(outbox.waiting()) == []


def test_what_is_known_of_a_receiver_is_not_known_of_another(outbox: Outbox) -> None:
    outbox.prepare()
    pause = Pause("one", 3, LATER, "status 503")
    outbox.set_pause(pause)
    assert outbox.pause("one") == pause
    assert outbox.pause("two") is None
    outbox.set_pause(None)
    assert outbox.pause("one") is None


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / ".ridgeway").write_text("a file", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot keep a notification"):
        Outbox(tmp_path).add(made())
