"""Runs that are found dead, of this machine and of others, and what is tried once more."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ridgeway.orchestrator import ensure_server, run_flow
from ridgeway.orchestrator.heartbeat import heartbeats
from ridgeway.rules.triggers import SILENCE_SECONDS
from ridgeway.run_log import Process, RunLog, RunRecord
from tests.services.watcher.conftest import Place, PrefectServer, eventually, make_place

GONE = "the process was gone without a word, in train_model"


def running_elsewhere(place: Place) -> str:
    """A run of another machine that has given one sign of life."""
    run = place.trigger()
    place.set_state(run, "RUNNING")
    beat(place, run)
    return run


def beat(place: Place, run: str) -> None:
    """One sign of life, as the server has it."""
    before = signs(place, run)
    with heartbeats(run, place.api.url):
        eventually(lambda: len(signs(place, run)) > len(before))


def signs(place: Place, run: str) -> list[dict[str, Any]]:
    wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run}"]}}
    found: list[dict[str, Any]] = place.api.call("events/filter", {"filter": wanted, "limit": 50})["events"]
    return found


def dead_here(place: Place, run: str, *, started: str = "another boot:1") -> RunRecord:
    """A run of this machine's worker whose process is gone, as after a reboot."""
    content = {"state": {"type": "PENDING", "name": "Pending", "message": "carried out by worker 0123456789ab"}}
    place.api.call(f"flow_runs/{run}/set_state", content)
    place.set_state(run, "RUNNING")
    store = RunLog(place.root)
    begun = store.start("retraining", command="worker 0123456789ab")
    begun.end()
    process = dataclasses.replace(Process.current(), started=started)
    record = dataclasses.replace(begun.record, state="running", process=process, flow_run_id=run, ended_at="")
    store._save(record)
    (store.folder / ".active" / record.id).touch()
    return record


def state(place: Place, run: str) -> tuple[str, str]:
    found = place.run(run)["state"]
    return found["type"], found["name"]


def test_a_machine_that_is_gone_is_noticed_within_75_seconds_and_its_run_tried_again(place: Place) -> None:
    run = running_elsewhere(place)
    place.look()
    waited = 0.0
    while state(place, run)[0] == "RUNNING":
        place.look(after=5)
        waited += 5
        assert waited <= 75
    assert waited >= SILENCE_SECONDS
    found = place.run(run)
    assert (found["state_type"], found["state_name"]) == ("SCHEDULED", "AwaitingRetry")
    assert found["state"]["message"] == (
        "attempt 2 of 3; the one before: no sign of life for 60 s: its machine is gone, or the way to it"
    )
    history = place.api.call(f"flow_run_states/?flow_run_id={run}")
    assert [one["type"] for one in sorted(history, key=lambda one: one["timestamp"])][-2:] == ["CRASHED", "SCHEDULED"]


@pytest.mark.slow
def test_a_run_that_gives_signs_of_life_lives(place: Place) -> None:
    run = running_elsewhere(place)
    place.look()
    for _ in range(3):
        place.look(after=SILENCE_SECONDS - 6)
        beat(place, run)
        place.look(after=5)
    assert state(place, run)[0] == "RUNNING"


@pytest.mark.slow
def test_a_run_that_never_gave_one_is_left_to_whoever_started_it(place: Place) -> None:
    run = place.trigger()
    place.set_state(run, "RUNNING")
    for _ in range(40):
        place.look(after=5)
    assert state(place, run)[0] == "RUNNING"


@pytest.mark.slow
def test_a_process_that_is_there_needs_no_signs(place: Place) -> None:
    """One that holds Python's lock for minutes in compiled code gives none."""
    run = running_elsewhere(place)
    with RunLog(place.root).start("retraining", command="worker 0123456789ab") as here:
        here.note(flow_run_id=run)
        for _ in range(40):
            place.look(after=5)
        assert state(place, run)[0] == "RUNNING"


def test_a_reboot_is_found_at_the_first_look_and_the_run_carried_on(place: Place) -> None:
    run = place.trigger()
    record = dead_here(place, run)
    place.look()
    buried = RunLog(place.root).read(record.id)
    assert buried is not None
    assert (buried.state, buried.reported) == ("crashed", True)
    found = place.run(run)
    assert (found["state_type"], found["state_name"]) == ("SCHEDULED", "AwaitingRetry")
    assert "the process was gone without a word" in found["state"]["message"]


def test_what_a_person_was_cancelling_when_it_died_is_cancelled_and_not_tried_again(place: Place) -> None:
    here, elsewhere = place.trigger(), running_elsewhere(place)
    dead_here(place, here)
    for run in (here, elsewhere):
        place.set_state(run, "CANCELLING")
    place.look()
    place.look(after=SILENCE_SECONDS + 5)
    place.look(after=5)
    assert state(place, here) == ("CANCELLED", "Cancelled")
    assert state(place, elsewhere) == ("CANCELLED", "Cancelled")


@pytest.mark.parametrize(
    ("kind", "message", "again"),
    [
        ("CRASHED", GONE, True),
        ("CRASHED", "interrupted", True),
        ("CRASHED", "Flow run process exited with non-zero status code -9.", True),
        ("FAILED", "Flow run encountered an exception: Unreachable: the model registry does not answer", True),
        ("CRASHED", "the process was gone without a word, ended by signal 11", False),
        ("FAILED", "Flow run encountered an exception: BadData: no rows", False),
        ("FAILED", "Flow run encountered an exception: KeyError: 'age'", False),
        ("CANCELLED", "", False),
    ],
)
def test_only_what_was_not_the_codes_fault_is_tried_again(place: Place, kind: str, message: str, again: bool) -> None:
    run = place.trigger()
    place.set_state(run, "RUNNING")
    place.set_state(run, kind, message)
    place.look()
    assert state(place, run) == (("SCHEDULED", "AwaitingRetry") if again else (kind, kind.title()))


def test_the_last_attempt_is_the_last(place: Place) -> None:
    run = place.trigger()
    for attempt in (1, 2, 3):
        place.set_state(run, "RUNNING")
        place.set_state(run, "CRASHED", GONE)
        place.look(after=5)
        assert place.run(run)["run_count"] == attempt
        assert state(place, run)[0] == ("SCHEDULED" if attempt < 3 else "CRASHED")


def test_retries_also_begin_after_a_restart_of_the_watcher(place: Place) -> None:
    run = running_elsewhere(place)
    place.look()
    place.look(after=55)
    place.new_watcher()
    place.look(after=55)
    assert state(place, run)[0] == "RUNNING"  # nobody has listened long enough
    place.look(after=SILENCE_SECONDS)
    assert state(place, run) == ("SCHEDULED", "AwaitingRetry")


@pytest.mark.slow
def test_a_restart_of_the_server(tmp_path: Path) -> None:
    server = PrefectServer(tmp_path / "server")
    try:
        place = make_place(tmp_path / "home", "restarted", server)
        alive, dead = running_elsewhere(place), running_elsewhere(place)
        place.look()
        server.stop()
        place.look(after=100)
        server.start()
        place.look(after=5)
        assert state(place, alive)[0] == state(place, dead)[0] == "RUNNING"  # nobody could give a sign meanwhile
        beat(place, alive)
        place.look(after=30)
        place.look(after=31)
        assert state(place, alive)[0] == "RUNNING"
        assert state(place, dead) == ("SCHEDULED", "AwaitingRetry")
    finally:
        server.close()


FLOW = """
import time
from prefect import flow

@flow(name="brief")
def brief(seconds: float):
    time.sleep(seconds)
    return {"exit_code": 0}
"""


@pytest.fixture
def environment_as_before() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.usefixtures("environment_as_before")
def test_a_flow_of_another_machine_gives_signs_of_life(place: Place) -> None:
    (place.root / "flows").mkdir()
    (place.root / "flows" / "__init__.py").touch()
    (place.root / "flows" / "brief.py").write_text(FLOW)
    server = ensure_server(place.root, setting=place.api.url)
    with RunLog(place.root).start("brief") as run:
        run_flow("flows/brief.py:brief", {"seconds": 0.3}, run=run, server=server)
    eventually(lambda: signs(place, run.record.flow_run_id))
    assert len(signs(place, run.record.flow_run_id)) == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "heartbeats"]


def test_the_end_of_signs_of_life_takes_no_time(place: Place) -> None:
    run = place.trigger()
    waited = []
    for _ in range(5):
        with heartbeats(run, place.api.url):
            time.sleep(0.2)
            began = time.perf_counter()
        waited.append(time.perf_counter() - began)
    assert sorted(waited)[2] < 0.02
    with heartbeats(run, "http://127.0.0.1:1/api"):  # a server that is away is no reason to end
        pass
