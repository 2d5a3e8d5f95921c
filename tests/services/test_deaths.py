"""What dies, and what is stopped, while runs are under way: nothing is lost, nothing done twice, nothing left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ridgeway.orchestrator import rest
from ridgeway.run_log import is_alive
from ridgeway.services import launch
from ridgeway.services import state as states
from tests.services.ups import PROGRAM, Ups, brought_up, git, make, processes_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FOUND_DEAD_SECONDS = 75


@pytest.fixture(scope="module")
def ups(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ups]:
    with brought_up(tmp_path_factory.mktemp("ups") / "toy", 18222) as up:
        yield up


def under_way(ups: Ups, word: str) -> tuple[str, Path]:
    """A run that waits in its first step, and the file that it waits for."""
    until = ups.root.parent / f"until-{word}"
    run = ups.trigger(word=word, until=str(until))
    ups.eventually(lambda: ups.begun(word) == 1)
    ups.becomes(run, "RUNNING")
    return run, until


def test_cancelled_on_the_server(ups: Ups) -> None:
    run, _ = under_way(ups, "page")
    ups.set_state(run, "CANCELLING")
    ended = ups.becomes(run, "CANCELLED")
    assert "what was finished is kept" in ended["state"]["message"]
    assert ups.record(run).state == "interrupted"
    time.sleep(4)  # nobody takes it for dead, and tries it again
    assert (ups.state_of(run), ups.begun("page"), ups.told("page")) == ("CANCELLED", 1, 0)


def test_cancelled_by_command(ups: Ups) -> None:
    run, _ = under_way(ups, "command")
    done = ups.command("cancel", f"runs:/{ups.record(run).id[:12]}")
    assert done.returncode == 0, done.stderr
    ups.becomes(run, "CANCELLED")
    time.sleep(4)
    assert (ups.state_of(run), ups.begun("command"), ups.told("command")) == ("CANCELLED", 1, 0)


def test_run_killed(ups: Ups) -> None:
    """Found dead, marked, and tried once more."""
    run, until = under_way(ups, "killed")
    began = time.monotonic()
    os.kill(ups.pid_of("killed"), signal.SIGKILL)
    until.touch()
    ups.becomes(run, "COMPLETED", seconds=FOUND_DEAD_SECONDS)
    assert time.monotonic() - began < FOUND_DEAD_SECONDS
    assert (ups.begun("killed"), ups.told("killed")) == (2, 1)
    states_ = rest.call(f"{ups.url}/flow_run_states/?flow_run_id={run}")
    crashed = [one["message"] for one in states_ if one["type"] == "CRASHED"]
    assert len(crashed) == 1
    assert crashed[0].startswith("the process was gone without a word")


def test_worker_killed(ups: Ups) -> None:
    """The run goes on; the next worker looks after it."""
    run, until = under_way(ups, "orphan")
    before = ups.process("worker")
    ups.kill("worker")
    ups.eventually(lambda: ups.is_ready("worker") and ups.process("worker") != before)
    assert ups.state_of(run) == "RUNNING"
    until.touch()
    ups.becomes(run, "COMPLETED")
    ups.eventually(lambda: not list(states.folder(ups.root).glob("claims/*")))
    assert (ups.begun("orphan"), ups.told("orphan")) == (1, 1)


def test_worker_and_run_killed(ups: Ups) -> None:
    run, until = under_way(ups, "both")
    ups.kill("worker")
    os.kill(ups.pid_of("both"), signal.SIGKILL)
    until.touch()
    ups.becomes(run, "COMPLETED", seconds=FOUND_DEAD_SECONDS)
    assert (ups.begun("both"), ups.told("both")) == (2, 1)


def test_zygote_killed(ups: Ups) -> None:
    """Servers and worker stay, and the next death is made up for all the same."""
    before = ups.process("prefect"), ups.process("worker")
    ups.kill("zygote")
    ups.eventually(lambda: _has_zygote(ups))
    assert (ups.process("prefect"), ups.process("worker")) == before
    ups.kill("mlflow")
    ups.eventually(lambda: not ups.is_ready("mlflow"), 10)
    ups.eventually(lambda: ups.is_ready("mlflow"), 120)
    run = ups.trigger(word="after-zygote")
    ups.becomes(run, "COMPLETED")


def _has_zygote(ups: Ups) -> bool:
    try:
        return is_alive(ups.process("zygote"))
    except AssertionError:
        return False


def test_prefect_server_killed(ups: Ups) -> None:
    """Its socket stays: who asks meanwhile waits. A run under way does not notice more than a delay."""
    run, until = under_way(ups, "server")
    before = ups.process("prefect")
    ups.kill("prefect")
    ups.eventually(lambda: ups.is_ready("prefect") and ups.process("prefect") != before, 120)
    until.touch()
    ups.becomes(run, "COMPLETED", seconds=120)
    assert (ups.begun("server"), ups.told("server")) == (1, 1)


def test_another_commit(ups: Ups) -> None:
    """The working tree changes nothing; what is published next runs in the same worker, and nothing of it is stale."""
    step = ups.root / "steps" / "tell.py"
    step.write_text(step.read_text().replace('"first"', '"second"'))
    ups.becomes(ups.trigger(word="dirty"), "COMPLETED")
    git(ups.root, "commit", "--all", "--quiet", "-m", "Second")
    done = ups.command("publish")
    assert done.returncode == 0, done.stderr
    ups.becomes(ups.trigger(word="clean"), "COMPLETED")
    told = (ups.root / ".ridgeway" / "told.txt").read_text().splitlines()
    assert [line for line in told if line.split()[1] in ("dirty", "clean")] == ["first dirty", "second clean"]


def test_error_before_the_flow_begins(ups: Ups) -> None:
    """The server and the run log both know of it, and nobody tries it again."""
    (ups.root / ".git").rename(ups.root / "git-away")
    clones = ups.root / ".ridgeway" / "published"
    clones.rename(clones.with_name("published-away"))
    try:
        run = ups.trigger(word="homeless")
        ended = ups.becomes(run, "FAILED")
    finally:
        (ups.root / "git-away").rename(ups.root / ".git")
        shutil.rmtree(clones, ignore_errors=True)
        clones.with_name("published-away").rename(clones)
    assert "UsageError" in ended["state"]["message"] or "Permanent" in ended["state"]["message"]
    record = ups.eventually(lambda: ups.record(run))
    ups.eventually(lambda: ups.record(run).state == "failed")
    assert (record.flow, ups.begun("homeless")) == ("patient", 0)


def test_another_project_on_this_server(ups: Ups, tmp_path: Path) -> None:
    """Servers named by their addresses are not started again; each worker takes its own project's runs only."""
    settings = f"""
[project]
name = "other"
[registry]
uri = "http://127.0.0.1:{ups.port + 1}"
[servers]
prefect = "{ups.url}"
"""
    other = make(tmp_path / "other", ups.port, name="other", settings=settings)
    try:
        other.up()
        names = {one.name for one in states.read_state(other.root).services}  # type: ignore[union-attr]
        assert names == {"worker", "watcher", "publisher"}
        run = other.trigger(word="elsewhere")
        other.becomes(run, "COMPLETED")
        assert (other.told("elsewhere"), ups.told("elsewhere")) == (1, 0)
        ups.becomes(ups.trigger(word="here"), "COMPLETED")
        assert (other.told("here"), ups.told("here")) == (0, 1)
    finally:
        assert other.down("--force").returncode == 0
    assert ups.is_ready("prefect")


def test_down_while_a_run_is_under_way(ups: Ups) -> None:
    """Refused; with --force interrupted, and carried on by the next up."""
    run, until = under_way(ups, "down")
    refused = ups.down()
    assert refused.returncode == 75
    assert "a run is under way" in refused.stderr
    assert ups.is_ready("prefect")
    forced = ups.down("--force")
    assert forced.returncode == 0, forced.stderr
    ups.eventually(lambda: not processes_of(ups.root), 10)
    assert ups.record(run).state == "interrupted"
    until.touch()
    ups.up()
    ups.becomes(run, "COMPLETED")
    assert (ups.begun("down"), ups.told("down")) == (2, 1)


def test_supervisor_killed(ups: Ups) -> None:
    """Everything ends by itself; started again, what was under way and what waited is carried out, once."""
    run, until = under_way(ups, "supervisor")
    ups.kill("supervisor")
    ups.eventually(lambda: not processes_of(ups.root), 60)
    until.touch()
    ups.up()
    ups.becomes(run, "COMPLETED", seconds=FOUND_DEAD_SECONDS)
    assert ups.told("supervisor") == 1


def test_many_wait_through_a_restart(ups: Ups) -> None:
    runs = [ups.trigger(word=f"many-{number}") for number in range(20)]
    assert ups.down("--force").returncode == 0
    ups.up()
    for run in runs:
        ups.becomes(run, "COMPLETED", seconds=120)
    assert [ups.told(f"many-{number}") for number in range(20)] == [1] * 20


def test_state_deleted(ups: Ups) -> None:
    """Who deletes what the services are found by ends them."""
    processes = [ups.process(name) for name in ("supervisor", "prefect", "mlflow", "worker", "watcher", "zygote")]
    (states.folder(ups.root) / "services.json").unlink()
    ups.eventually(lambda: not any(map(is_alive, processes)), 60)
    assert launch.stop(ups.root) is False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_up_in_the_foreground(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C ends all of it, and so does the end of the command by any other way."""
    up = make(tmp_path / "toy", 18226)
    # Whoever runs tests in the background hands on that Ctrl-C is to be ignored.
    program = [*PROGRAM[:3], f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {PROGRAM[3]}"]
    with (tmp_path / "said").open("w") as said:
        command = subprocess.Popen([*program, "up"], cwd=up.root, stdout=said, stderr=said, stdin=subprocess.DEVNULL)
        try:
            up.eventually(lambda: up.is_ready("worker") or command.poll() is not None, 150)
            up.eventually(lambda: "publisher  done" in (tmp_path / "said").read_text(), 60)
            command.send_signal(number)
            assert command.wait(90) == (-9 if number == signal.SIGKILL else 0), (tmp_path / "said").read_text()
        finally:
            command.kill()
            command.wait()
    up.eventually(lambda: not processes_of(up.root), 60)
    assert states.read_state(up.root) is None
