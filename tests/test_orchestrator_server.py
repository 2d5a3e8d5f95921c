"""The local server: started once however many ask, gone when nobody uses it, and what is left when it is killed."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ridgeway.errors import Unreachable
from ridgeway.orchestrator import ensure_server, running_server, stop_server
from ridgeway.orchestrator.serving import (
    AFewAtATime,
    Message,
    OneAfterTheOther,
    Receive,
    Send,
    _keep,
    _prepare_database,
)
from ridgeway.orchestrator.state_file import ServerState, read_state
from ridgeway.run_log import Process, RunLog, is_alive

pytestmark = pytest.mark.timeout(120)

ENSURE = """
import sys
from pathlib import Path
from ridgeway.orchestrator import ensure_server
print(ensure_server(Path(sys.argv[1]), idle_minutes=15, say=lambda line: print("say", line)).url)
"""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    stop_server(tmp_path)


def eventually(condition: Callable[[], Any], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.05)


def processes(root: Path) -> tuple[Process, Process]:
    state = read_state(root)
    assert state is not None
    assert state.server is not None
    return state.supervisor, state.server


def is_gone(root: Path, *those: Process) -> bool:
    return read_state(root) is None and not any(map(is_alive, those))


def leave_a_dead_run(root: Path) -> str:
    log = RunLog(root)
    with log.start("retraining") as run:
        pass
    log._save(dataclasses.replace(run.record, state="running", process=Process.of(0)))
    (log.folder / ".active" / run.id).touch()
    assert [record.id for record in log.dead()] == [run.id]
    return run.id


@pytest.mark.slow
def test_two_at_once_start_one_and_idleness_ends_it(root: Path) -> None:
    dead = leave_a_dead_run(root)
    command = [sys.executable, "-c", ENSURE, str(root)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=100)[0].splitlines() for process in both]
    lines = [line for output in outputs for line in output]
    assert outputs[0][-1] == outputs[1][-1]
    assert sum("starting the local Prefect server; it stays for 15" in line for line in lines) == 1
    supervisor, server = processes(root)
    # The terminal it was started from is closed.
    os.kill(supervisor.pid, signal.SIGHUP)
    os.kill(supervisor.pid, signal.SIGINT)
    found = running_server(root)
    assert found is not None
    assert found.url == outputs[0][-1]
    # Who died while no server was up is buried by the next one.
    eventually(lambda: RunLog(root).find(dead).state == "crashed" and not RunLog(root).unreported())
    # A run under way keeps it, whatever the time.
    with RunLog(root).start("retraining"):
        ensure_server(root, idle_minutes=0.02)
        time.sleep(3)
        assert is_alive(server)
    eventually(lambda: is_gone(root, supervisor, server))


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
def test_the_death_of_one_ends_the_other_and_the_next_command_starts_anew(root: Path, which: int) -> None:
    ensure_server(root)
    pair = processes(root)
    os.kill(pair[which].pid, signal.SIGKILL)
    eventually(lambda: not any(map(is_alive, pair)))
    said: list[str] = []
    again = ensure_server(root, say=said.append)
    assert again.started
    assert "starting the local Prefect server" in said[0]


A_FLOW = """
from pathlib import Path
import time

from prefect import flow

from ridgeway.orchestrator import as_task


def wait():
    Path("waiting").touch()
    while not Path("go").exists():
        time.sleep(0.05)
    return 1


@flow
def waits():
    return as_task(wait)()
"""
RUN_IT = """
import sys
from pathlib import Path
from ridgeway.errors import RidgewayError
from ridgeway.orchestrator import ensure_server, run_flow
from ridgeway.run_log import RunLog

root = Path(sys.argv[1])
server = ensure_server(root)
try:
    with RunLog(root).start("waits") as run:
        run_flow("flows/waits.py:waits", {}, run=run, server=server)
except RidgewayError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.slow
def test_a_run_whose_server_is_lost_ends_with_one_message(root: Path) -> None:
    (root / "flows").mkdir()
    (root / "flows/__init__.py").touch()
    (root / "flows/waits.py").write_text(A_FLOW)
    command = [sys.executable, "-c", RUN_IT, str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    eventually((root / "waiting").exists, 60)
    assert stop_server(root)
    (root / "go").touch()
    began = time.monotonic()
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 75, output
    assert output.startswith("the Prefect server was lost while the flow ran\n  where     http://127.0.0.1:"), output
    assert "Traceback" not in output
    assert time.monotonic() - began < 60
    (record,) = RunLog(root).records()
    assert (record.state, record.exit_code, record.steps[0].state) == ("failed", 75, "finished")


@pytest.mark.slow
def test_who_deletes_the_state_ends_the_server(root: Path) -> None:
    ensure_server(root)
    pair = processes(root)
    shutil.rmtree(root / ".ridgeway", ignore_errors=True)
    eventually(lambda: not any(map(is_alive, pair)))


@pytest.mark.slow
def test_a_server_that_does_not_start_shows_the_end_of_its_log(root: Path) -> None:
    database = root / ".ridgeway/prefect/prefect.db"
    database.parent.mkdir(parents=True)
    database.write_text("this is no database")
    with pytest.raises(Unreachable, match="file is not a database") as caught:
        ensure_server(root)
    assert caught.value.where == str(root / ".ridgeway/prefect/server.log")
    assert read_state(root) is None


def test_a_stale_state_file_is_no_server(root: Path) -> None:
    from ridgeway.orchestrator.state_file import write_state

    (root / ".ridgeway/prefect").mkdir(parents=True)
    write_state(root, ServerState("http://127.0.0.1:9/api", dataclasses.replace(Process.current(), started="before")))
    assert running_server(root) is None
    assert not stop_server(root)
    assert read_state(root) is None
    (root / ".ridgeway/prefect/server.json").write_text('{"schema": 1, "url"')
    assert running_server(root) is None


# ---- changes, one after the other ------------------------------------------------------------------------------------


class Application:
    """Answers with the given statuses, one per request, and notes what it was sent."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.bodies: list[bytes] = []
        self.at_once = self.most_at_once = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.001)
        self.bodies.append((await receive())["body"])
        status = self.statuses.pop(0)
        await send({"type": "http.response.start", "status": status})
        await send({"type": "http.response.body", "body": b"%d" % status})
        self.at_once -= 1
        if status >= 500:
            raise RuntimeError("as Starlette does, after it has answered")


async def request(
    application: AFewAtATime | OneAfterTheOther,
    path: str = "/api/flow_runs/",
    method: str = "POST",
    *,
    leaves: bool = False,
) -> list[Message]:
    parts = [
        {"type": "http.request", "body": b"one ", "more_body": True},
        {"type": "http.request", "body": b"two", "more_body": False},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        if not parts and not leaves:
            await asyncio.Event().wait()
        return parts.pop(0) if parts else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await application({"type": "http", "method": method, "path": path}, receive, send)
    return sent


def test_a_locked_database_is_tried_again_with_the_same_body() -> None:
    application = Application(503, 503, 201)
    sent = asyncio.run(request(OneAfterTheOther(application)))
    assert [message.get("status", message.get("body")) for message in sent] == [201, b"201"]
    assert application.bodies == [b"one two"] * 3


def test_another_error_goes_out_at_once() -> None:
    application = Application(500)
    with pytest.raises(RuntimeError, match="as Starlette does"):
        asyncio.run(request(OneAfterTheOther(application)))
    assert application.bodies == [b"one two"]


def test_a_database_that_stays_locked_is_told_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ridgeway.orchestrator.serving.RETRY_SECONDS", (0.001, 0.001))
    application = Application(503, 503, 503)
    with pytest.raises(RuntimeError, match="as Starlette does"):
        asyncio.run(request(OneAfterTheOther(application)))
    assert len(application.bodies) == 3


@pytest.mark.parametrize(
    ("path", "method", "most"), [("/api/flow_runs/", "POST", 1), ("/api/flow_runs/filter", "POST", 5), ("/", "GET", 5)]
)
def test_changes_come_one_after_the_other_and_questions_do_not(path: str, method: str, most: int) -> None:
    application = Application(*[200] * 5)

    async def five() -> None:
        door = OneAfterTheOther(application)
        await asyncio.gather(*(request(door, path, method) for _ in range(5)))

    asyncio.run(five())
    assert application.most_at_once == most


def test_requests_to_postgresql_come_a_few_at_a_time() -> None:
    application = Application(*[200] * 10)

    async def ten() -> None:
        door = AFewAtATime(application, at_once=3)
        await asyncio.gather(*(request(door) for _ in range(10)))

    asyncio.run(ten())
    assert application.most_at_once == 3
    assert application.bodies == [b"one two"] * 10


@pytest.mark.parametrize("kind", [AFewAtATime, OneAfterTheOther])
def test_nothing_is_done_for_a_client_that_has_left(kind: type[AFewAtATime] | type[OneAfterTheOther]) -> None:
    application = Application(200)
    assert asyncio.run(request(kind(application), leaves=True)) == []
    assert application.bodies == []
    assert len(asyncio.run(request(kind(application)))) == 2


# ---- the database that others are copied from ------------------------------------------------------------------------


def test_a_new_database_is_a_copy_and_an_old_one_is_left_alone(tmp_path: Path) -> None:
    template, database = tmp_path / "template.db", tmp_path / "prefect.db"
    template.write_text("empty")
    _prepare_database(database, template)
    assert database.read_text() == "empty"
    database.write_text("full")
    _prepare_database(database, template)
    assert database.read_text() == "full"


def test_where_no_template_can_be_kept_nothing_happens(tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(tmp_path / "prefect.db")) as connection:
        connection.execute("create table flow (id)")
        connection.commit()
    (tmp_path / "cache").write_text("a file")
    _keep(tmp_path / "prefect.db", tmp_path / "cache" / "template.db")
    _keep(tmp_path / "prefect.db", tmp_path / "good" / "template.db")
    with closing(sqlite3.connect(tmp_path / "good" / "template.db")) as connection:
        assert connection.execute("select name from sqlite_master").fetchall() == [("flow",)]
