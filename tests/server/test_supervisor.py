"""The whole server as a process: workers that are killed, drained, counted and given new keys, under load."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest

from ridgeway_server.metrics import Metrics
from ridgeway_server.settings import Settings
from ridgeway_server.supervisor import Child, Supervisor
from tests.server.test_repository import wait_for
from tests.server.toys import Client, request


@dataclass
class Process:
    """A server started by its command."""

    process: subprocess.Popen[bytes]
    port: int
    health: int
    client: Client

    def on_health_port(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.health, timeout=10)
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, body

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def ready(self) -> bool:
        try:
            return self.on_health_port("/v2/health/ready")[0] == 200
        except OSError:
            return False


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def started(models: Path, tmp_path: Path, *arguments: str, group: Path | None = None) -> Iterator[Process]:
    port, health = free_port(), free_port()
    command = [sys.executable, "-m", "ridgeway_server", "--models", str(models), "--port", str(port)]
    command += [
        "--health-port",
        str(health),
        "--watch-seconds",
        "0.1",
        "--drain-seconds",
        "0.4",
        "--access-log",
        "no",
        *arguments,
    ]
    if group is not None:
        command = ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh", *command]
    environment = {**os.environ, "PYTHONPATH": str(Path("src").resolve())}
    with (tmp_path / "stderr.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log, env=environment)
    server = Process(process, port, health, Client(SimpleNamespace(host="127.0.0.1", port=port)))  # type: ignore[arg-type]
    try:
        wait_for(server.ready, 30)
        yield server
    finally:
        process.terminate()
        process.wait(20)


@dataclass
class Load:
    """Clients that ask without pause on kept connections and check each answer."""

    port: int
    threads: int = 4
    headers: Callable[[], tuple[str, ...]] = tuple
    right: int = 0
    failures: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        self._running = [threading.Thread(target=self._ask) for _ in range(self.threads)]
        for thread in self._running:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._running:
            thread.join()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        while not self.stop.is_set():
            lines = dict(line.split(": ") for line in self.headers())
            try:
                connection.request("POST", "/models/toy/score", b'{"data":[[10,1,1]]}', lines)
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
                continue
            if response.status == 200 and json.loads(body) == {"result": [16.0]}:
                self.right += 1
            else:
                self.failures.append(f"{response.status} {body!r}")
        connection.close()


def test_a_killed_worker_is_replaced_and_takes_only_its_own_requests_along(packages, tmp_path) -> None:
    packages.linear()
    with started(packages.root, tmp_path, "--workers", "2") as server, Load(server.port) as load:
        before = server.workers()
        assert len(before) == 2
        wait_for(lambda: load.right > 50)
        os.kill(before[0], signal.SIGKILL)
        wait_for(lambda: len(server.workers()) == 2 and before[0] not in server.workers() and server.ready())
        count = load.right
        wait_for(lambda: load.right > count + 50)
        # A kept connection of the killed worker breaks once, at its next request: at most one failure per client.
        assert len(load.failures) <= load.threads, load.failures
        assert all("Remote" in one or "Reset" in one or "Broken" in one for one in load.failures)
        assert b"ridgeway_worker_restarts_total 1" in server.on_health_port("/metrics")[1]


def test_sigterm_drains_without_a_failed_request(packages, tmp_path) -> None:
    packages.linear()
    with started(packages.root, tmp_path, "--workers", "2", "--drain-seconds", "1") as server:
        slow = server.client.connect()
        slow.sendall(request(b'{"data":[[10,1,1]]}')[:-5])
        with Load(server.port) as load:
            wait_for(lambda: load.right > 50)
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: not server.ready())
            assert server.client.get("/v2/health/ready").status == 503
            last = server.client.post("/score", {"data": [[10, 1, 1]]})
            assert (last.status, last.headers["connection"]) == (200, "close")
            time.sleep(0.3)
            load.stop.set()
        slow.sendall(b",1]]}"[-5:])
        assert slow.recv(1000).startswith(b"HTTP/1.1 200")
        slow.close()
        assert server.process.wait(10) == 0
        assert load.failures == []


def test_counts_and_keys_and_models_are_those_of_all_workers(packages, tmp_path) -> None:
    packages.linear()
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "primary").write_text("a" * 20)
    (keys / "secondary").write_text("b" * 20)
    with started(packages.root, tmp_path, "--workers", "2", "--keys-dir", str(keys)) as server:
        lines = ("Authorization: Bearer " + "b" * 20,)
        with Load(server.port, headers=lambda: lines) as load:
            wait_for(lambda: load.right > 50)
            (keys / "primary").write_text("c" * 20)
            time.sleep(0.5)
            lines = ("Authorization: Bearer " + "c" * 20,)
            (keys / "secondary").write_text("d" * 20)
            count = load.right
            wait_for(lambda: load.right > count + 50)
            packages.linear(version="2")
            time.sleep(0.5)
        assert load.failures == []
        named = server.client.get("/metrics", Authorization="Bearer " + "d" * 20)
        assert (
            f'ridgeway_requests_total{{route="/models/{{name}}/score",status="200"}} {load.right}'.encode()
            in named.body
        )
        assert b"ridgeway_workers 2" in named.body
        assert b"ridgeway_models_loaded 4" in named.body, "two versions in each of two workers"
        assert server.client.post("/score", b"{}", Authorization="Bearer " + "a" * 20).status == 401


def test_it_says_which_image_and_which_model_answers(packages, tmp_path) -> None:
    manifest = orjson.loads((packages.linear() / "model.json").read_bytes())
    with started(packages.root, tmp_path, "--image", "sha256:" + "ab" * 32) as server:
        assert server.client.get("/v2").json["image"] == "sha256:" + "ab" * 32
        about = server.client.get("/v2/models/toy").json
        facts = about["parameters"]
        assert (about["name"], facts["version"], facts["digest"]) == ("toy", "1", manifest["digest"])


def test_health_answers_while_a_worker_is_busy(packages, tmp_path) -> None:
    packages.linear()
    with started(packages.root, tmp_path) as server:
        (worker,) = server.workers()
        os.kill(worker, signal.SIGSTOP)
        begun = time.monotonic()
        assert server.on_health_port("/v2/health/live")[0] == 200
        assert server.on_health_port("/metrics")[0] == 200
        assert server.on_health_port("/nothing")[0] == 404
        assert time.monotonic() - begun < 1
        os.kill(worker, signal.SIGCONT)
        assert server.client.alive()


def test_a_worker_that_hangs_is_replaced(packages, tmp_path) -> None:
    packages.linear()
    with started(packages.root, tmp_path, "--stall-seconds", "1.5") as server:
        (worker,) = server.workers()
        os.kill(worker, signal.SIGSTOP)
        wait_for(lambda: server.workers() not in ([worker], []))
        wait_for(server.ready)
        assert server.client.alive()


def test_workers_end_when_their_supervisor_is_killed(packages, tmp_path) -> None:
    packages.linear()
    with started(packages.root, tmp_path) as server:
        (worker,) = server.workers()
        server.process.kill()
        server.process.wait()
        wait_for(lambda: not Path(f"/proc/{worker}").exists() or _is_zombie(worker), 15)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1].startswith("Z")
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("arguments", [["--host", "0.0.0.0"], ["--models", "/nowhere"], ["--workers", "x"]])
def test_settings_that_do_not_fit_end_with_code_2(packages, arguments) -> None:
    packages.linear()
    command = [sys.executable, "-m", "ridgeway_server", "--models", str(packages.root), "--port", "0", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path("src").resolve())}
    ended = subprocess.run(command, capture_output=True, env=environment, timeout=30, check=False)
    assert ended.returncode == 2
    assert b"Traceback" not in ended.stderr


def test_the_server_imports_nothing_of_the_rest(packages) -> None:
    code = "import sys, ridgeway_server.worker, ridgeway_server.supervisor, ridgeway_server.trees; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path("src").resolve())}
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    ).stdout.split()
    assert not {"ridgeway", "mlflow", "prefect", "great_expectations", "sklearn", "pandas", "onnxruntime"} & set(loaded)


@pytest.fixture
def supervisor(packages) -> Iterator[Supervisor]:
    """A supervisor that has started nothing."""
    packages.linear()
    one = Supervisor(Settings(models=str(packages.root), port=0, health_port=0, workers=2))
    yield one
    one.listener.close()
    assert one.health is not None
    one.health.close()


def child(number: int) -> tuple[Child, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return Child(number, 10**7 + number, ours, time.monotonic(), time.monotonic()), theirs


def test_what_the_supervisor_makes_of_messages(supervisor) -> None:
    (first, first_line), (second, second_line) = child(0), child(1)
    supervisor.children = {first.pid: first, second.pid: second}
    assert b"503" in supervisor._health_answer(b"GET /v2/health/ready HTTP/1.1\r\n\r\n")
    counted = Metrics()
    counted.route("/score").count(200, 1, 0.001)
    counted.gauges["queue"] = 3
    message = {"tell": "counts", "record": counted.record()}
    first_line.sendall(orjson.dumps({"tell": "ready", "ready": True}) + b"\n" + orjson.dumps(message)[:20])
    supervisor._hear(first)
    first_line.sendall(orjson.dumps(message)[20:] + b"\n" + orjson.dumps({"tell": "metrics?"}) + b"\n")
    supervisor._hear(first)
    assert b"200 OK" in supervisor._health_answer(b"GET /v2/health/ready HTTP/1.1\r\n\r\n")
    assert second_line.recv(1000) == b'{"do":"count"}\n'
    supervisor._answer_metrics()
    text = orjson.loads(first_line.recv(65536))["text"]
    assert 'ridgeway_requests_total{route="/score",status="200"} 1' in text
    assert "ridgeway_queue 3" in text
    second_line.sendall(orjson.dumps({"do": "switch", "name": "toy", "on": False}) + b"\n")
    supervisor._hear(second)
    assert orjson.loads(first_line.recv(1000)) == {"do": "switch", "name": "toy", "on": False}
    supervisor.draining = True
    assert b"503" in supervisor._health_answer(b"GET /v2/health/ready HTTP/1.1\r\n\r\n")
    for one in (first_line, second_line, first.line, second.line):
        one.close()


def test_workers_that_die_at_once_are_replaced_more_and_more_slowly(supervisor) -> None:
    waits = []
    for _ in range(12):
        one, line = child(0)
        supervisor._plan_replacement(one, 9)
        waits.append(supervisor._respawn[0] - time.monotonic())
        line.close()
        one.line.close()
    assert all(later > sooner - 0.1 for sooner, later in itertools.pairwise(waits))
    assert waits[0] < 0.2
    assert 9 < waits[-1] <= 10
    assert supervisor.retired["counters"] == {"worker_restarts": 12}


def test_connections_that_come_after_the_last_worker_get_an_answer(supervisor) -> None:
    with socket.create_connection(supervisor.listener.getsockname()) as late:
        late.sendall(request())
        time.sleep(0.05)
        supervisor._refuse_the_rest()
        assert late.recv(1000).startswith(b"HTTP/1.1 503")
