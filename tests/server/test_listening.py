"""One listening socket, held outside, and servers that follow each other on it under load without a failed request."""

from __future__ import annotations

import http.client
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest

from ridgeway_server.errors import SettingError
from ridgeway_server.listening import address, announced, listen
from ridgeway_server.settings import read_settings
from tests.server.test_repository import wait_for
from tests.server.test_supervisor import Process, free_port
from tests.server.toys import Client, read_answers, request

ANNOUNCE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.execve(sys.executable, [sys.executable, *sys.argv[2:]],
          {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
"""
"""Hands a socket down as systemd does: as descriptor 3, announced in the environment."""


@dataclass
class Place:
    """What ``Client`` asks of a server."""

    host: str
    port: int


@pytest.fixture
def held() -> Iterator[socket.socket]:
    """A listening socket that outlives all servers on it."""
    with listen("127.0.0.1", 0) as one:
        yield one


@contextmanager
def on_socket(
    held: socket.socket, models: Path, tmp_path: Path, *arguments: str, as_systemd: bool = False
) -> Iterator[Process]:
    """A server on an inherited socket; ready before the block unless ``--load lazy`` or a bad model forbid it."""
    health, descriptor, port = free_port(), held.fileno(), held.getsockname()[1]
    server = ["-m", "ridgeway_server", "--models", str(models), "--health-port", str(health), "--access-log", "no"]
    server += ["--watch-seconds", "0.1", "--drain-seconds", "1", *arguments]
    command = [sys.executable, *server, "--listen-fd", str(descriptor)]
    if as_systemd:
        command = [sys.executable, "-c", ANNOUNCE, str(descriptor), *server]
    environment = {**os.environ, "PYTHONPATH": str(Path("src").resolve())}
    with (tmp_path / f"{health}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, pass_fds=(descriptor,))
    one = Process(process, port, health, Client(Place("127.0.0.1", port)))  # type: ignore[arg-type]
    try:
        yield one
    finally:
        process.terminate()
        process.wait(20)


@dataclass
class Clients:
    """Clients on kept connections, each with a rhythm of its own; every answer is checked against its model."""

    port: int
    pauses: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.002, 0.02, 0.2, 0.45)
    right: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Clients:
        self._threads = [threading.Thread(target=self._ask, args=(pause,)) for pause in self.pauses]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, pause: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        for age in itertools.cycle(range(0, 100, 2)):
            if self.stop.wait(pause) if pause else self.stop.is_set():
                break
            try:
                connection.request("POST", "/score", orjson.dumps({"data": [[age, 1, 1]]}))
                response = connection.getresponse()
                model, body = response.headers["Ridgeway-Model"], response.read()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
                continue
            # The version is the offset of its model: toy/2 answers one more than toy/1.
            if response.status == 200 and orjson.loads(body) == {"result": [age / 2 + 1 + int(model.split("/")[1])]}:
                self.right[model] = self.right.get(model, 0) + 1
            else:
                self.failures.append(f"{response.status} {model} {body!r}")
        connection.close()


def versions(packages, tmp_path: Path, count: int) -> list[Path]:
    """One models folder per version."""
    folders = []
    for number in range(1, count + 1):
        packages.root = tmp_path / f"models-{number}"
        packages.linear(version=str(number), offset=float(number))
        folders.append(packages.root)
    return folders


def loaded_nothing(server: Process) -> bool:
    """True once a worker has reported that its only model is not loaded."""
    try:
        return b"ridgeway_models_loaded 0" in server.on_health_port("/metrics")[1]
    except OSError:
        return False


def test_servers_follow_each_other_on_one_socket_without_a_failed_request(packages, tmp_path, held) -> None:
    with ExitStack() as stack, Clients(held.getsockname()[1]) as clients:
        old: Process | None = None
        for number, models in enumerate(versions(packages, tmp_path, 4), 1):
            workers = ("--workers", str(1 + number % 2))
            new = stack.enter_context(on_socket(held, models, tmp_path, *workers, as_systemd=number % 2 == 0))
            wait_for(new.ready, 30)
            if old is not None:
                old.process.terminate()
                wait_for(lambda one=old: not one.ready())
                assert old.process.wait(10) == 0
            count = clients.right.get(f"toy/{number}", 0)
            wait_for(lambda n=number, c=count: clients.right.get(f"toy/{n}", 0) > c + 200, 20)
            old = new
        clients.stop.set()
    assert clients.failures == []
    assert set(clients.right) == {"toy/1", "toy/2", "toy/3", "toy/4"}


def test_after_sigterm_only_the_next_server_accepts_and_open_requests_finish(packages, tmp_path, held) -> None:
    first, second = versions(packages, tmp_path, 2)
    whole = request(b'{"data":[[10,1,1]]}', path="/score")
    with on_socket(held, first, tmp_path, "--drain-seconds", "3") as old:
        wait_for(old.ready, 30)
        with old.client.connect() as half_sent, old.client.connect() as idle, old.client.connect() as silent:
            half_sent.sendall(whole[:-5])
            for one in (idle, silent):
                one.sendall(whole)
                assert read_answers(one, 1)[0].headers["ridgeway-model"] == "toy/1"
            with on_socket(held, second, tmp_path) as new:
                wait_for(new.ready, 30)
                old.process.terminate()
                wait_for(lambda: not old.ready())
                time.sleep(0.1)
                answers = [old.client.post("/score", {"data": [[10, 1, 1]]}) for _ in range(30)]
                assert {one.headers["ridgeway-model"] for one in answers} == {"toy/2"}
                for one, rest in ((idle, whole), (half_sent, whole[-5:])):
                    one.sendall(rest)
                    (last,) = read_answers(one, 1)
                    assert (last.status, last.json, last.headers["connection"]) == (200, {"result": [7.0]}, "close")
                assert old.process.poll() is None, "a silent connection has the time that draining takes"
                assert silent.recv(100) == b"", "it is closed, not reset"
                silent.close()
                assert old.process.wait(10) == 0


def test_connections_between_two_servers_wait_for_the_next(packages, tmp_path, held) -> None:
    first, second = versions(packages, tmp_path, 2)
    with on_socket(held, first, tmp_path) as old:
        wait_for(old.ready, 30)
        with old.client.connect() as kept:
            kept.sendall(request(path="/score"))
            read_answers(kept, 1)
            old.process.terminate()
            wait_for(lambda: not old.ready())
            time.sleep(0.1)
            early = old.client.connect()
            early.sendall(request(path="/score"))
        assert old.process.wait(10) == 0
    with early, old.client.connect() as late, on_socket(held, second, tmp_path):
        late.sendall(request(path="/score"))
        for one in (early, late):
            assert [(answer.status, answer.json) for answer in read_answers(one, 1)] == [(200, {"result": [8.0]})]


def test_a_server_whose_model_does_not_load_takes_no_connection_away(packages, tmp_path, held) -> None:
    first, second = versions(packages, tmp_path, 2)
    good = (second / "toy" / "2" / "weights.npy").read_bytes()
    (second / "toy" / "2" / "weights.npy").write_bytes(b"broken")
    with on_socket(held, first, tmp_path) as old, on_socket(held, second, tmp_path) as new:
        wait_for(old.ready, 30)
        wait_for(lambda: loaded_nothing(new), 30)
        assert new.on_health_port("/v2/health/ready")[0] == 503
        answers = [old.client.post("/score", {"data": [[10, 1, 1]]}) for _ in range(30)]
        assert {(one.status, one.headers["ridgeway-model"]) for one in answers} == {(200, "toy/1")}
        (second / "toy" / "2" / "weights.npy").write_bytes(good)
        os.utime(second / "toy" / "2" / "model.json")
        wait_for(new.ready)
        old.process.terminate()
        old.process.wait(10)
        assert old.client.post("/score", {"data": [[10, 1, 1]]}).headers["ridgeway-model"] == "toy/2"


def test_a_server_that_never_became_ready_ends_on_sigterm(packages, tmp_path, held) -> None:
    (models,) = versions(packages, tmp_path, 1)
    (models / "toy" / "1" / "weights.npy").write_bytes(b"broken")
    with on_socket(held, models, tmp_path) as server:
        wait_for(lambda: loaded_nothing(server), 30)
        server.process.terminate()
        assert server.process.wait(10) == 0


def test_the_address_is_that_of_the_socket(packages, held) -> None:
    packages.linear()
    given = ["--models", str(packages.root), "--host", "0.0.0.0", "--listen-fd", str(held.fileno())]
    settings = read_settings(given, {})
    assert (settings.host, settings.port) == held.getsockname()
    with listen("0.0.0.0", 0) as everywhere, pytest.raises(SettingError, match="needs keys"):
        read_settings(["--models", str(packages.root), "--listen-fd", str(everywhere.fileno())], {})


def test_what_is_announced() -> None:
    own = str(os.getpid())
    assert announced({"LISTEN_FDS": "1", "LISTEN_PID": own}) == 3
    assert announced({"LISTEN_FDS": "1", "LISTEN_PID": "0"}) == 3
    assert announced({"LISTEN_FDS": "0", "LISTEN_PID": own}) == -1
    assert announced({"LISTEN_PID": own}) == -1
    with pytest.raises(SettingError, match="expected 1"):
        announced({"LISTEN_FDS": "2"})


def test_what_is_no_listening_socket_is_refused(tmp_path) -> None:
    with pytest.raises(SettingError, match="no socket was handed down"):
        address(900)
    with (tmp_path / "file").open("w") as file, pytest.raises(SettingError, match="no socket was handed down"):
        address(file.fileno())
    with socket.socket() as idle, pytest.raises(SettingError, match="not a TCP socket that listens"):
        address(idle.fileno())
