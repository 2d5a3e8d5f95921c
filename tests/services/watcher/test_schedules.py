"""Runs of schedules after an outage, and those that meet one another, as a real server has them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ridgeway.artifacts import Schedule
from ridgeway.services.watcher import schedules
from tests.services.watcher.conftest import Place, eventually


def hourly(**changes: Any) -> tuple[Schedule, ...]:
    """Half an hour from now, so that none becomes due while a test looks."""
    return (Schedule("hourly", f"{(datetime.now(UTC).minute + 30) % 60} * * * *", **changes),)


def late_and_to_come(place: Place, hours: float = 5) -> tuple[list[str], list[str]]:
    """Ids of the runs that are due and of those that are not, oldest first."""
    now = place.api.now()
    made = place.schedule("retraining", hours_ago=hours)
    due = [run["id"] for run in made if run["expected_start_time"] < now.strftime("%Y-%m-%dT%H:%M:%S")]
    return due, [run["id"] for run in made if run["id"] not in due]


@pytest.mark.parametrize(("missed", "kept"), [("once", 1), ("none", 0), ("all", 5)])
def test_after_an_outage(place: Place, missed: Any, kept: int) -> None:
    place.publish("retraining", hourly(missed=missed))
    due, to_come = late_and_to_come(place)
    assert len(due) == 5
    place.look()
    states = place.states("retraining")
    waiting = [run for run in due if states[run][0] == "SCHEDULED"]
    assert waiting == due[len(due) - kept :]
    assert {states[run][0] for run in to_come} == {"SCHEDULED"}
    cancelled = [states[run] for run in due if run not in waiting]
    assert {kind for kind, _ in cancelled} <= {"CANCELLED"}
    assert all(message.startswith("missed") and "(hourly)" in message for _, message in cancelled)
    place.look(after=60)
    assert states.items() <= place.states("retraining").items()  # the server's own scheduler may have made more


def test_a_worker_that_asks_takes_none_that_shall_not_run(place: Place) -> None:
    place.publish("retraining", hourly())
    due, _ = late_and_to_come(place)
    assert schedules.settle(place.api, place.name) == frozenset(due[:-1])
    assert schedules.settle(place.api, place.name) == frozenset()


def test_one_that_is_due_while_the_former_runs_is_skipped(place: Place) -> None:
    place.publish("retraining", hourly())
    running = place.trigger()
    place.set_state(running, "RUNNING")
    due, to_come = late_and_to_come(place, hours=1)
    place.look()
    states = place.states("retraining")
    kind, message = states[due[0]]
    assert kind == "CANCELLED"
    assert message.startswith("skipped: at ")
    assert message.endswith(f"run {place.run(running)['name']} was still under way (hourly, overlap = skip)")
    assert states[running][0] == "RUNNING"
    assert {states[run][0] for run in to_come} == {"SCHEDULED"}


def test_with_overlap_queue_each_waits_for_its_turn(place: Place) -> None:
    place.publish("retraining", hourly(overlap="queue"))
    running = place.trigger()
    place.set_state(running, "RUNNING")
    due, _ = late_and_to_come(place, hours=3)
    place.look()
    assert {place.states("retraining")[run][0] for run in due} == {"SCHEDULED"}


def test_a_suspended_run_and_one_of_another_flow_are_in_nobodys_way(place: Place) -> None:
    place.publish("retraining", hourly())
    other = place.trigger("release", model="models:/x/1")
    place.set_state(other, "RUNNING")
    waits = place.trigger()
    place.set_state(waits, "RUNNING")
    state = {"type": "PAUSED", "name": "Suspended", "state_details": {"pause_reschedule": True}}
    place.api.call(f"flow_runs/{waits}/set_state", {"state": state, "force": True})
    due, _ = late_and_to_come(place, hours=1)
    place.look()
    assert place.states("retraining")[due[0]][0] == "SCHEDULED"


def test_a_schedule_that_somebody_made_on_the_page_is_left_alone(place: Place) -> None:
    content = [{"schedule": {"cron": hourly()[0].cron, "timezone": "UTC"}, "active": True}]
    place.api.call(f"deployments/{place.deployments['retraining']}/schedules", content)
    due, _ = late_and_to_come(place)
    place.look()
    assert {place.states("retraining")[run][0] for run in due} == {"SCHEDULED"}


@pytest.mark.slow
def test_as_many_missed_runs_as_prefect_ever_makes(place: Place) -> None:
    """Its scheduler makes at most 100 of a schedule ahead."""
    place.publish("retraining", (Schedule("minutely", "* * * * *"),))
    for hours in (2.1, 1.3):
        place.schedule("retraining", hours_ago=hours, hours_ahead=0.5 - hours)
    wanted = {
        "flow_runs": {
            "deployment_id": {"any_": [place.deployments["retraining"]]},
            "state": {"type": {"any_": ["SCHEDULED"]}},
            "expected_start_time": {"before_": place.api.now().isoformat()},
        }
    }
    assert place.api.call("flow_runs/count", wanted) >= 55

    def all_but_one() -> bool:
        place.look(after=5)
        return bool(place.api.call("flow_runs/count", wanted) <= 1)

    eventually(all_but_one, 120)
    states = [kind for kind, _ in place.states("retraining").values()]
    assert states.count("CANCELLED") >= 54
