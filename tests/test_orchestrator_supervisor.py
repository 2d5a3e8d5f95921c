"""The supervisor's decisions, with a toy for a server: when it ends, what it ends, and what it leaves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ridgeway.orchestrator import supervisor
from ridgeway.orchestrator.server import LOCK, touch
from ridgeway.orchestrator.state_file import ServerState, read_state, write_state
from ridgeway.run_log import Process, RunLog, exclusive

pytestmark = pytest.mark.timeout(60)


class Answer(BaseHTTPRequestHandler):
    """Healthy, and without any runs."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"true")

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name in the standard library
        return


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as toy:
        threading.Thread(target=toy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{toy.server_port}/api"
        toy.shutdown()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(supervisor, "LOOK_EVERY_SECONDS", 0.05)
    monkeypatch.setattr(supervisor, "GRACE_SECONDS", 0.3)
    (tmp_path / ".ridgeway/prefect").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def signals() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def server() -> Iterator[subprocess.Popen[bytes]]:
    """Stands in for the server's process: waits to be ended, politely."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield child
        child.kill()


def state_of(root: Path, url: str, server: subprocess.Popen[bytes]) -> ServerState:
    state = ServerState(url, Process.current(), Process.of(server.pid))
    write_state(root, state)
    return state


def test_it_ends_when_nobody_has_used_the_server_for_long_enough(
    root: Path, url: str, server: subprocess.Popen[bytes]
) -> None:
    state = state_of(root, url, server)
    touch(root, 0.01)
    began = time.monotonic()
    supervisor._watch(root, state, server)
    assert 0.6 <= time.monotonic() - began < 20
    assert server.returncode == -signal.SIGTERM
    assert read_state(root) is None


def test_a_run_under_way_and_whoever_is_about_to_use_it_keep_it(
    root: Path, url: str, server: subprocess.Popen[bytes]
) -> None:
    state_of(root, url, server)
    touch(root, 0.005)
    idle = supervisor._Idle(root)
    assert not idle.is_over(), "a use it has not seen"
    time.sleep(0.35)
    assert idle.is_over()
    with exclusive(root, LOCK):
        assert not supervisor._end_unless_used(root, idle, server)
    with RunLog(root).start("retraining"):
        assert not idle.is_over()
        touch(root, 5)
    assert not supervisor._end_unless_used(root, idle, server)
    assert server.poll() is None


@pytest.mark.parametrize("lost", ["server", "state"])
def test_it_ends_when_the_server_or_its_state_is_gone(
    root: Path, url: str, server: subprocess.Popen[bytes], lost: str
) -> None:
    state = state_of(root, url, server)
    touch(root, 15)

    def lose() -> None:
        if lost == "server":
            server.kill()
        else:
            (root / ".ridgeway/prefect/server.json").unlink()

    threading.Timer(0.2, lose).start()
    supervisor._watch(root, state, server)
    assert (server.poll() is None) == (lost == "state")


def test_a_server_that_does_not_want_to_end_is_killed(root: Path) -> None:
    program = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as stubborn:
        assert stubborn.stdout is not None
        stubborn.stdout.readline()
        supervisor._end(stubborn)
        assert stubborn.returncode == -signal.SIGKILL
        supervisor._end(stubborn)


@pytest.mark.usefixtures("signals")
def test_asked_to_end_it_leaves_neither_server_nor_state(
    root: Path, server: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_run_server", lambda root, url, listening: server)
    seen: list[ServerState | None] = []

    def ask() -> None:
        while read_state(root) is None:
            time.sleep(0.01)
        seen.append(read_state(root))
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask).start()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        supervisor.main(root, os.dup(listening.fileno()))
    assert seen == [ServerState(f"http://127.0.0.1:{port}/api", Process.current(), seen[0] and seen[0].server)]
    assert server.returncode == -signal.SIGTERM
    assert read_state(root) is None


def test_the_servers_process_gets_the_socket_and_a_lifeline(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/echo")
    monkeypatch.chdir(root)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = supervisor._run_server(root, "http://127.0.0.1:1/api", listening.fileno())
        assert server.wait(10) == 0
        words = [str(word) for word in server.args]  # type: ignore[union-attr]
        assert words[1:5] == ["-P", "-m", "ridgeway.orchestrator.serving", str(root)]
        assert words[5] == str(listening.fileno())
