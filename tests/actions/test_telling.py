"""Who is told what at the end of runs: real retrainings and releases, and a real receiver that checks signatures."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ridgeway.actions import approval, cancel, release, retraining, rollback, telling
from ridgeway.errors import BadData, Permanent, RolledBack, Stuck, Unreachable
from ridgeway.notifications import Outbox
from ridgeway.project import load_step, open_project
from ridgeway.run_log import Process, RunLog, RunRecord
from tests.actions.conftest import Workshop, Yard
from tests.notifications.conftest import KEY, SECRET_PATH, Hook, files, hook

__all__ = ["hook"]

HANDLE = "releases:/diabetes/1"


@pytest.fixture
def heard(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> Hook:
    """The receiver that the environment names."""
    monkeypatch.setenv("RIDGEWAY_NOTIFICATIONS__URL", hook.url)
    monkeypatch.setenv("RIDGEWAY_NOTIFICATIONS__KEY", KEY)
    return hook


def said(hook: Hook) -> list[tuple[str, str, str]]:
    """Event, handle and outcome of each message, in the order in which they came."""
    return [(body["data"]["event"], body["data"]["handle"], body["data"]["outcome"]) for body in hook.taken]


# ---- releases --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_release_from_waiting_to_released(yard: Yard, heard: Hook) -> None:
    yard.released()
    yard.released(HANDLE)
    assert said(heard) == [("waiting", HANDLE, "waiting")], "asked for twice, told once"
    asked = heard.taken[0]["data"]
    assert (asked["exit_code"], asked["target"], asked["model"]) == (5, "production", "models:/diabetes/1")
    assert asked["next_step"].startswith("ridgeway ")
    approval.say_yes(yard.project(), HANDLE)
    yard.released(HANDLE)
    assert said(heard)[1:] == [("released", HANDLE, "released")]
    done = heard.taken[1]["data"]
    assert done["sentence"] == "models:/diabetes/1 answers on production"
    assert done["people"]["requested_by"] == done["people"]["approved_by"][0] != {"name": "", "source": ""}
    with release.start("models:/diabetes/1") as job:
        assert job.unchanged
    assert len(heard.taken) == 2, "unchanged is nothing new"


@pytest.mark.slow
def test_a_way_back_by_hand_is_told_as_one(yard: Yard, heard: Hook) -> None:
    asks_nobody = "rollout = { bake_seconds = 0 }\napproval = { count = 0 }\n[approvers]"
    yard.edit("rollout = { bake_seconds = 0 }\n[approvers]", asks_nobody)
    yard.released()
    rollback.roll_back(yard.project(), "production", "models:/diabetes/1", reason="complaints")
    assert said(heard) == [("released", HANDLE, "released"), ("rolled_back", "releases:/diabetes/2", "released")]
    assert heard.taken[1]["data"]["sentence"].endswith("complaints")


@pytest.mark.slow
def test_an_image_that_does_not_hold_and_production_that_is_not_proven(yard: Yard, heard: Hook) -> None:
    asks_nobody = "rollout = { bake_seconds = 0 }\napproval = { count = 0 }\n[approvers]"
    yard.edit("rollout = { bake_seconds = 0 }\n[approvers]", asks_nobody)
    yard.place().answers = False
    for _ in range(2):
        with pytest.raises(Permanent) as caught:
            yard.released()
    assert isinstance(caught.value, Stuck | RolledBack)
    ends = {outcome for _, _, outcome in said(heard)}
    assert ends <= {"rolled_back", "frozen"}
    assert len(said(heard)) == 2, "each attempt is told"


def test_what_is_refused_and_what_is_cancelled_where_that_is_asked_for(yard: Yard, heard: Hook) -> None:
    yard.released()
    approval.say_no(yard.project(), HANDLE, reason="not today")
    assert [event for event, _, _ in said(heard)] == ["waiting"]
    yard.released()
    asked = yard.project('notifications.events=["refused"]')
    cancel.cancel(asked, "releases:/diabetes/2", reason="a better one comes")
    assert said(heard)[-1] == ("refused", "releases:/diabetes/2", "cancelled")
    assert "a better one comes" in heard.taken[-1]["data"]["sentence"]


def test_a_message_is_kept_before_the_record_so_that_a_kill_loses_neither(
    yard: Yard, heard: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    from ridgeway.registry.releases import Releases

    save = Releases.save

    def dies(self: Releases, release: Any) -> None:
        if release.state == "waiting":
            raise Killed
        save(self, release)

    monkeypatch.setattr(Releases, "save", dies)
    monkeypatch.setattr(telling, "send", lambda _: None)
    with pytest.raises(Killed):
        yard.released()
    monkeypatch.undo()
    monkeypatch.setenv("RIDGEWAY_NOTIFICATIONS__URL", heard.url)
    monkeypatch.setenv("RIDGEWAY_NOTIFICATIONS__KEY", KEY)
    monkeypatch.chdir(yard.root)
    assert [record["event"] for record in files(Outbox(yard.root).folder / "waiting")] == ["waiting"]
    yard.released()
    assert said(heard) == [("waiting", HANDLE, "waiting")]


# ---- retrainings -----------------------------------------------------------------------------------------------------


def test_bad_data_and_an_error_that_nobody_foresaw(
    workshop: Workshop, heard: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workshop.root)
    with pytest.raises(BadData), retraining.start(source="nothing.csv") as job:
        job.load(load_step(workshop.root, "load_data"))
    with pytest.raises(ValueError, match="row 7"), retraining.start() as job, job.record.step("train_model"):
        raise ValueError("row 7: Ada Lovelace, 4711")
    with pytest.raises(KeyboardInterrupt), retraining.start():
        raise KeyboardInterrupt
    assert [(event, outcome) for event, _, outcome in said(heard)] == [("failed", "bad_data"), ("failed", "failed")]
    foreseen, unforeseen = (body["data"] for body in heard.taken)
    assert "nothing.csv" in foreseen["sentence"]
    assert (foreseen["exit_code"], unforeseen["exit_code"]) == (65, 1)
    assert unforeseen["sentence"] == "retraining: ValueError in train_model"
    assert unforeseen["next_step"] == f"ridgeway logs {unforeseen['handle']}"
    assert "Lovelace" not in str(heard.taken)


def test_a_judgement_is_told_where_that_is_asked_for(
    workshop: Workshop, heard: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workshop.root)
    asked = ('notifications.events=["registered", "rejected", "held"]', "training.parameters.alpha=100000.0")
    for _ in range(2):
        with retraining.start(overrides=asked) as job:
            dataset = job.load(load_step(workshop.root, "load_data"))
            job.judge(job.train(dataset, load_step(workshop.root, "make_model")))
    (only,) = said(heard)
    assert only[0] in ("rejected", "held"), "and the same again is nothing new"


def test_a_registry_that_is_away_is_told_although_no_run_came_to_be(
    workshop: Workshop, heard: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workshop.root)
    with pytest.raises(Unreachable), retraining.start(overrides=['registry.uri="http://127.0.0.1:9"']):
        pytest.fail("there is no registry")
    assert said(heard) == [("failed", "flows:/retraining", "failed")]


# ---- crashes ---------------------------------------------------------------------------------------------------------

DIES = """
import os, sys
from pathlib import Path
from ridgeway.run_log import RunLog
with RunLog(Path(sys.argv[1])).start("retraining", run_id=sys.argv[2]).step("train_model"):
    os.kill(os.getpid(), 9)
"""


def test_a_run_that_was_found_dead_is_told_once(workshop: Workshop, heard: Hook) -> None:
    subprocess.run([sys.executable, "-c", DIES, workshop.root, "ab" * 16], check=False)
    project, runs = open_project(workshop.root), RunLog(workshop.root)
    assert telling.crashes(project) == 0, "nobody has found it yet"
    (dead,) = runs.dead()
    runs.bury(dead)
    assert [telling.crashes(project), telling.crashes(project)] == [1, 0]
    telling.send(project)
    assert said(heard) == [("failed", "runs:/abababababab", "crashed")]
    assert "train_model" in heard.taken[0]["data"]["sentence"]


# ---- whoever tells is never held up ----------------------------------------------------------------------------------


def told(workshop: Workshop, *overrides: str) -> None:
    project = open_project(workshop.root, overrides=overrides)
    record = RunRecord("cd" * 16, "build", "running", "2026-11-22T08:00:00.000Z", Process.current())
    made = telling.of_build(record, exit_code=7, sentence="2 findings", commit="1" * 40)
    telling.tell(project, replace(made, occasion=str(time.monotonic_ns())))
    telling.send(project)


def test_without_a_receiver_nothing_is_written(workshop: Workshop) -> None:
    told(workshop)
    assert not Outbox(workshop.root).is_used


def test_an_event_that_nobody_wants_is_not_told(workshop: Workshop, heard: Hook) -> None:
    told(workshop, 'notifications.events=["released"]')
    told(workshop, "notifications.events=[]")
    assert heard.seen == []


def test_where_the_receiver_is_known_to_a_service_only_messages_are_kept_for_it(
    workshop: Workshop, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    Outbox(workshop.root).prepare()
    told(workshop)
    assert (hook.seen, Outbox(workshop.root).count("waiting")) == ([], 1)


@pytest.mark.parametrize("url", ["hooks.example/no-scheme", "http://127.0.0.1:9/nobody"])
def test_a_wrong_address_costs_a_line_of_the_log(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    monkeypatch.setenv("RIDGEWAY_NOTIFICATIONS__URL", url)
    monkeypatch.setenv("RIDGEWAY_NOTIFICATIONS__KEY", KEY)
    caplog.set_level("INFO")
    told(workshop)
    assert Outbox(workshop.root).count("waiting") == 1
    assert "cannot be used" in caplog.text or "does not take" in caplog.text
    assert "no-scheme" not in caplog.text


def test_a_receiver_that_hangs_holds_the_end_up_for_two_seconds(workshop: Workshop, heard: Hook) -> None:
    heard.answers = [20.0]
    started = time.monotonic()
    told(workshop)
    assert time.monotonic() - started < 3.5


def test_a_disk_that_is_full_or_read_only_fails_nothing(
    workshop: Workshop, heard: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    (workshop.root / ".ridgeway" / "notifications").write_text("in the way", encoding="utf-8")
    told(workshop)
    assert "cannot notify" in caplog.text


def test_a_planted_secret_is_found_nowhere(yard: Yard, heard: Hook) -> None:
    yard.released()
    with pytest.raises(BadData), retraining.start(source="nothing.csv") as job:
        job.load(load_step(yard.root, "load_data"))
    heard.answers = [500, 401]
    with pytest.raises(BadData), retraining.start(source="nothing.csv") as job:
        job.load(load_step(yard.root, "load_data"))
    assert len(heard.taken) >= 2
    found = [path for path in yard.root.rglob("*") if path.is_file() and _holds(path)]
    assert found == []


def _holds(path: Path) -> bool:
    content = path.read_bytes()
    return any(word.encode() in content for word in (SECRET_PATH, KEY, KEY.removeprefix("whsec_")))
