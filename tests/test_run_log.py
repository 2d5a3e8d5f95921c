"""What is kept of runs: records, step logs, dead runs, and the lock; with real processes that are really killed."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import pytest

from ridgeway.errors import BadData, Busy, NotFound, StorageError, UsageError
from ridgeway.run_log import Process, RunLog, current_run, exclusive, is_alive, new_run_id
from ridgeway.run_log.record import from_json, to_json

logger = logging.getLogger("ridgeway.test")

A_RUN_IN_A_STEP = """
import logging, sys, time
from pathlib import Path
from ridgeway.run_log import RunLog
run = RunLog(Path(sys.argv[1])).start("retraining", run_id="a" * 32)
with run.step("load_data"):
    pass
with run.step("train_model"):
    logging.getLogger("ridgeway.x").info("fitting")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def log(tmp_path: Path) -> RunLog:
    return RunLog(tmp_path)


def start_and_kill(root: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", A_RUN_IN_A_STEP, str(root)], stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.kill()


def lines(log: RunLog, run_id: str, step: str = "") -> list[str]:
    """Log lines without their time stamps."""
    return [re.sub(r"^\d{4}-\S+Z ", "", line) for line in log.log_lines(run_id, step)]


# ---- records ---------------------------------------------------------------------------------------------------------


def test_a_run_is_recorded_from_its_start_to_its_end(log: RunLog) -> None:
    with log.start("retraining", command="ridgeway run retraining") as run:
        assert current_run() is run
        assert log.read(run.id) == run.record
        assert [record.id for record in log.active()] == [run.id]
        with run.step("load_data"):
            run.produced("data://d@sha256:0")
        run.note(flow_run_id="f", flow_run_url="http://x")
        run.end(exit_code=3, sentence="rejected")
    assert current_run() is None
    record = log.read(run.id)
    assert record is not None
    assert (record.state, record.exit_code, record.sentence) == ("finished", 3, "rejected")
    assert (record.flow_run_id, record.produced) == ("f", ("data://d@sha256:0",))
    assert [(step.name, step.state, step.attempts) for step in record.steps] == [("load_data", "finished", 1)]
    assert record.started_at <= record.steps[0].started_at <= record.steps[0].ended_at <= record.ended_at
    assert log.active() == []


@pytest.mark.parametrize(
    ("error", "state", "code", "sentence"),
    [
        (BadData("no rows", problem="none"), "failed", 65, "no rows"),
        (ValueError("odd"), "failed", 1, "odd"),
        (KeyboardInterrupt(), "interrupted", 130, "interrupted"),
    ],
)
def test_an_error_ends_the_run_and_goes_on(
    log: RunLog, error: BaseException, state: str, code: int, sentence: str
) -> None:
    with pytest.raises(type(error)), log.start("retraining") as run, run.step("check_data"):
        raise error
    record = log.read(run.id)
    assert record is not None
    assert (record.state, record.exit_code, record.sentence) == (state, code, sentence)
    assert record.steps[0].state == state


def test_a_step_of_the_same_name_is_the_next_attempt(log: RunLog) -> None:
    with log.start("retraining") as run:
        with pytest.raises(ValueError, match="once"), run.step("register_model"):
            raise ValueError("once")
        with run.step("register_model"):
            pass
    assert [(step.state, step.attempts) for step in run.record.steps] == [("finished", 2)]


def test_records_come_newest_first_and_broken_ones_are_left_out(log: RunLog) -> None:
    for name in ("first", "second"):
        with log.start(name):
            time.sleep(0.002)
    broken = log.folder / new_run_id()
    broken.mkdir()
    (broken / "run.json").write_text('{"schema": 1, "id"')
    assert [record.flow for record in log.records()] == ["second", "first"]


def test_a_record_of_a_newer_schema_is_refused(log: RunLog) -> None:
    with log.start("retraining") as run:
        pass
    content = json.loads(json.dumps(to_json(run.record)))
    assert from_json({**content, "a_later_field": 1}) == run.record
    with pytest.raises(ValueError, match="schema 2"):
        from_json({**content, "schema": 2})


def test_a_run_is_found_by_the_beginning_of_its_id_and_by_what_it_produced(log: RunLog) -> None:
    for run_id in ("ab" * 16, "ac" * 16):
        with log.start("retraining", run_id=run_id) as run:
            pass
    with log.start("retraining", run_id="f" * 32) as run:
        run.produced("runs:/3333cccc/model")
    assert log.find("abab").id == "ab" * 16
    assert log.find("runs:/3333/model").id == "f" * 32
    with pytest.raises(UsageError, match="2 begin with it"):
        log.find("a")
    for nothing in ("0", "", "runs:/"):
        with pytest.raises(NotFound):
            log.find(nothing)


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / ".ridgeway").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="cannot keep the record of a run"):
        RunLog(tmp_path).start("retraining")


# ---- logs ------------------------------------------------------------------------------------------------------------


def test_each_step_has_its_own_log_and_the_run_has_all(log: RunLog) -> None:
    level_before = logging.getLogger("ridgeway").level
    with log.start("retraining") as run:
        logger.info("before")
        with run.step("load_data"):
            logger.info("442 rows\nof 11 columns")
            logger.debug("not kept")
        with run.step("train_model"):
            logging.getLogger("library").warning("converged slowly")
            logging.getLogger("library").info("not kept")
            logging.getLogger("prefect.flow_runs").error("not kept")
    assert lines(log, run.id, "load_data") == ["INFO    442 rows", " " * 26 + "of 11 columns"]
    assert lines(log, run.id, "train_model") == ["WARNING converged slowly"]
    assert lines(log, run.id)[0] == "INFO    -: before"
    assert "WARNING train_model: converged slowly" in lines(log, run.id)
    assert logging.getLogger("ridgeway").level == level_before


def test_python_warnings_go_into_the_log(log: RunLog) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with log.start("retraining") as run, run.step("train_model"):
            warnings.warn("ill-conditioned", stacklevel=1)
    assert any("UserWarning: ill-conditioned" in line for line in lines(log, run.id, "train_model"))


def test_an_error_is_in_the_log_of_its_step(log: RunLog) -> None:
    with log.start("retraining") as run:
        with pytest.raises(ZeroDivisionError), run.step("train_model"):
            _ = 1 / 0
        with pytest.raises(BadData), run.step("check_data"):
            raise BadData("refused", problem="no rows")
    assert any("ZeroDivisionError" in line for line in lines(log, run.id, "train_model"))
    assert any("Traceback" in line for line in lines(log, run.id, "train_model"))
    assert lines(log, run.id, "check_data") == ["ERROR   refused", " " * 28 + "problem   no rows"]


def test_steps_side_by_side_do_not_mix(log: RunLog) -> None:
    with log.start("build") as run:
        both = threading.Barrier(2)

        def check(name: str) -> None:
            with run.step(name):
                both.wait(10)
                logger.info("I am %s", name)
                both.wait(10)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda job: job[0].run(check, job[1]), [(copy_context(), "code"), (copy_context(), "data")]))
    assert lines(log, run.id, "code") == ["INFO    I am code"]
    assert lines(log, run.id, "data") == ["INFO    I am data"]


def test_a_logger_that_keeps_its_records_from_the_root_is_heard(log: RunLog) -> None:
    stubborn = logging.getLogger("stubborn_library")
    stubborn.propagate = False
    with log.start("retraining") as run, run.step("train_model"):
        stubborn.warning("hear me")
    assert lines(log, run.id, "train_model") == ["WARNING hear me"]


def test_an_unknown_step_is_answered_with_the_known_ones(log: RunLog) -> None:
    with log.start("retraining") as run, run.step("train_model"):
        pass
    with pytest.raises(NotFound, match="did you mean train_model"):
        log.log_lines(run.id, "train_modle")
    with pytest.raises(UsageError, match="cannot be the name"), run.step("../outside"):
        pass


def test_following_ends_with_the_run_and_misses_nothing(log: RunLog) -> None:
    run = log.start("retraining")
    followed: list[str] = []

    def follow() -> None:
        followed.extend(log.log_lines(run.id, "train_model", follow=True))

    reader = threading.Thread(target=follow)
    reader.start()
    with run.step("train_model"):
        for number in range(5):
            logger.info("epoch %d", number)
            time.sleep(0.05)
    run.end()
    reader.join(5)
    assert not reader.is_alive()
    assert [line.rpartition(" ")[2] for line in followed] == ["0", "1", "2", "3", "4"]


# ---- dead runs -------------------------------------------------------------------------------------------------------


def test_a_killed_run_is_found_dead_and_buried(log: RunLog, tmp_path: Path) -> None:
    start_and_kill(tmp_path)
    (dead,) = log.dead()
    assert (dead.id, dead.state, log.active()) == ("a" * 32, "running", [])
    buried = log.bury(dead)
    assert log.read(dead.id) == buried
    assert (buried.state, buried.sentence) == ("crashed", "the process was gone without a word, in train_model")
    assert [(step.name, step.state) for step in buried.steps] == [("load_data", "finished"), ("train_model", "crashed")]
    assert buried.ended_at >= buried.started_at
    assert lines(log, dead.id, "train_model") == ["INFO    fitting"]
    assert (log.dead(), log.unreported()) == ([], [buried])
    log.mark_reported(buried)
    assert log.unreported() == []
    assert not list((log.folder / ".active").iterdir())


def test_following_a_dead_run_ends(log: RunLog, tmp_path: Path) -> None:
    start_and_kill(tmp_path)
    assert [line.rpartition(" ")[2] for line in log.log_lines("aaaa", "train_model", follow=True)] == ["fitting"]


def test_a_recycled_number_is_not_the_same_process() -> None:
    me = Process.current()
    assert is_alive(me)
    assert not is_alive(dataclasses.replace(me, started="another boot:1"))
    assert is_alive(dataclasses.replace(me, started="another boot:1", host="elsewhere"))
    assert not is_alive(Process.of(2**22 + 1))


def test_a_zombie_counts_as_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = Process.of(child.pid)
    assert is_alive(process)
    child.kill()
    deadline = time.monotonic() + 5
    while is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(process)
    assert child.returncode is None, "still to be waited for"
    child.communicate()


# ---- one at a time ---------------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from ridgeway.run_log import exclusive
with exclusive(Path(sys.argv[1]), "retraining diabetes"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_says_who_holds_it_and_is_free_when_its_holder_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Busy, match=f"process {holder.pid} ") as caught, exclusive(tmp_path, "retraining diabetes"):
            pass
        assert caught.value.exit_code == 75
        with exclusive(tmp_path, "retraining churn"):
            holder.send_signal(signal.SIGKILL)
        with exclusive(tmp_path, "retraining diabetes", wait_seconds=5):
            pass
