from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from ridgeway.errors import UsageError
from ridgeway.notifications import Outbox, Round
from ridgeway.run_log import RunLog
from ridgeway.services import delivery
from tests.notifications.conftest import KEY, Hook, files, hook, made

__all__ = ["hook"]


@pytest.fixture
def project(tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of settings only, and a receiver whose address and key are in files."""
    (tmp_path / "ridgeway.toml").write_text("[project]\nname = 'churn'\n", encoding="utf-8")
    for name, text in (("URL", hook.url), ("KEY", KEY)):
        (tmp_path / name).write_text(f"{text}\n", encoding="utf-8")
        monkeypatch.setenv(f"RIDGEWAY_NOTIFICATIONS__{name}_FILE", str(tmp_path / name))
    return tmp_path


def test_without_a_receiver_it_does_nothing(tmp_path: Path) -> None:
    assert delivery.deliver(tmp_path) == Round()
    assert not Outbox(tmp_path).is_used


def test_what_waits_is_sent_and_from_then_on_messages_are_kept(project: Path, hook: Hook) -> None:
    assert delivery.deliver(project) == Round()
    assert Outbox(project).is_used
    Outbox(project).add(made())
    assert delivery.deliver(project).delivered == 1
    assert hook.handles == ["releases:/d/1"]


def test_runs_that_were_found_dead_are_told(project: Path, hook: Hook) -> None:
    runs = RunLog(project)
    run = runs.start("retraining", run_id="ab" * 16)
    run._capture.stop()
    runs.bury(run.record)
    assert delivery.deliver(project, look_for_crashes=False) == Round()
    assert [delivery.deliver(project).delivered, delivery.deliver(project).delivered] == [1, 0]
    assert hook.taken[0]["data"]["outcome"] == "crashed"


def test_a_key_that_cannot_be_used_is_an_error_and_a_new_one_needs_no_restart(project: Path, hook: Hook) -> None:
    Outbox(project).add(made())
    (project / "KEY").write_text("nonsense\n", encoding="utf-8")
    with pytest.raises(UsageError, match="a key cannot be used"):
        delivery.deliver(project)
    (project / "KEY").write_text(f"{KEY}\n", encoding="utf-8")
    assert delivery.deliver(project).delivered == 1


def test_it_goes_on_whatever_happens_and_ends_when_told(
    project: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "POLL_SECONDS", 0.05)
    (project / "KEY").write_text("nonsense\n", encoding="utf-8")
    stop = threading.Event()
    thread = threading.Thread(target=delivery.keep_delivering, args=(project, stop))
    thread.start()
    time.sleep(0.5)
    (project / "KEY").write_text(f"{KEY}\n", encoding="utf-8")
    Outbox(project).add(made())
    deadline = time.monotonic() + 10
    while not hook.taken and time.monotonic() < deadline:
        time.sleep(0.02)
    started = time.monotonic()
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert time.monotonic() - started < 2
    assert hook.handles == ["releases:/d/1"]
    assert caplog.text.count("a key cannot be used") == 1, "said once, not at each round"
    assert len(files(Outbox(project).folder / "delivered")) == 1
