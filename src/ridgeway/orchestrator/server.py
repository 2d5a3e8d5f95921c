"""The local Prefect server: started when needed, shared by all commands of a project, gone when nobody uses it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from ridgeway.errors import StorageError, Unreachable, UsageError
from ridgeway.orchestrator import rest
from ridgeway.orchestrator.environment import home
from ridgeway.orchestrator.state_file import ServerState, forget, read_state
from ridgeway.run_log import Process, exclusive, is_alive

_logger = logging.getLogger("ridgeway.orchestrator")

LOCK = "prefect server"
START_TIMEOUT_SECONDS = 120.0
"""Long: a cold start on a busy machine with a slow disk was seen to take 40 s."""
STOP_TIMEOUT_SECONDS = 12.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Server:
    """A Prefect server that can be, or soon can be, talked to."""

    url: str
    """The API's address; ends in ``/api``."""
    root: Path
    pid: int = 0
    """The supervisor's; 0 for a server that is not ours."""
    started: bool = False
    """Whether this very call has started it."""
    is_lasting: bool = True
    """Whether it stays, so that flow runs may wait on it; False for the local one that stops when nobody uses it."""

    @property
    def is_local(self) -> bool:
        """Whether it is ours, on this machine."""
        return self.pid > 0

    @property
    def page(self) -> str:
        """What to open in a browser."""
        return self.url.removesuffix("/api")

    def wait(self, say: Say = _logger.info) -> None:
        """Returns when the server answers; says how long it takes, every few seconds.

        Raises:
            Unreachable: It ended, or took too long; with the last lines of its log.
        """
        if not self.is_local:
            return
        began, told = time.monotonic(), time.monotonic()
        while not rest.is_healthy(self.url, timeout_seconds=1):
            waited = time.monotonic() - began
            state = read_state(self.root)
            if state is None or not is_alive(state.supervisor):
                raise _did_not_start(self.root, "it ended while it was starting")
            if waited > START_TIMEOUT_SECONDS:
                raise _did_not_start(self.root, f"no answer within {START_TIMEOUT_SECONDS:.0f} s")
            if time.monotonic() - told >= 3:
                told = time.monotonic()
                say(f"still starting the local Prefect server ({waited:.0f} s)")
            time.sleep(0.05)


def ensure_server(
    root: Path, *, setting: str = "auto", idle_minutes: float = 15, say: Say = _logger.info, wait: bool = True
) -> Server:
    """A Prefect server for this project: the one that runs, or one started now.

    Every call counts as use: the local server stops after ``idle_minutes`` without one and without a run under way.

    Args:
        root: The project's root.
        setting: ``servers.prefect``: ``auto`` for a local one, or the URL of a server.
        idle_minutes: ``servers.idle_minutes``.
        say: Told in one line when a server is started, and how that goes on.
        wait: False to go on while it starts; then ``Server.wait`` before it is used.

    Raises:
        UsageError: The setting is neither ``auto`` nor a URL.
        Unreachable: The server of that URL does not answer, or the local one does not start.
        Busy: Another command is starting or stopping the server, and does not come to an end.
        StorageError: The project's folder cannot be written.
    """
    root = root.resolve()
    if setting != "auto":
        return _remote(root, setting)
    with exclusive(root, LOCK, wait_seconds=30):
        state = _usable(root)
        server = _server(state, root) if state else _start(root, idle_minutes, say)
        touch(root, idle_minutes)
    if wait:
        server.wait(say)
    return server


def running_server(root: Path) -> Server | None:
    """The project's local server if one is up and answers; nothing is started."""
    state = _usable(root.resolve())
    if state is None or not rest.is_healthy(state.url, timeout_seconds=5):
        return None
    return _server(state, root.resolve())


def stop_server(root: Path) -> bool:
    """Stops the project's local server and removes what it leaves; False when there was none.

    Asked first, and killed when it does not end within seconds. Its database and results stay. With that of
    `ridgeway up` everything ends that belongs to it.

    Raises:
        Busy: Another command is starting or stopping it.
    """
    root = root.resolve()
    with exclusive(root, LOCK, wait_seconds=30):
        return end_server(root)


def end_server(root: Path) -> bool:
    """``stop_server`` for whoever holds the lock ``LOCK`` already."""
    state = read_state(root)
    processes = [process for process in (state.supervisor, state.server) if process] if state else []
    was_up = any(map(is_alive, processes))
    if state and is_alive(state.supervisor):
        _signal(state.supervisor, signal.SIGTERM)
        _wait_for_end(state.supervisor)
    for process in processes:
        if is_alive(process):
            _signal(process, signal.SIGKILL)
            _wait_for_end(process)
    forget(root)
    return was_up


def touch(root: Path, idle_minutes: float) -> None:
    """Notes that the server is used now, and for how long it shall stay."""
    with contextlib.suppress(OSError):  # a full disk is told by whatever comes next
        (home(root) / "used").write_text(f"{idle_minutes}\n", encoding="ascii")


def _remote(root: Path, url: str) -> Server:
    where = f"servers.prefect = {url!r}"
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(
            "cannot use the Prefect server",
            where=where,
            expected='"auto", or a URL such as "https://prefect.example:4200/api"',
            next_step="ridgeway settings servers.prefect",
        )
    api = url.rstrip("/") if url.rstrip("/").endswith("/api") or "/api/" in url else f"{url.rstrip('/')}/api"
    if not rest.is_healthy(api, timeout_seconds=10):
        raise Unreachable(
            "the Prefect server does not answer",
            where=where,
            problem=f"no healthy answer from {api}/health",
            expected="a Prefect server at this address",
            next_step="start it, or --set servers.prefect=auto for a local one",
        )
    return Server(api, root)


def _server(state: ServerState, root: Path) -> Server:
    return Server(state.url, root, state.supervisor.pid, is_lasting=state.lasting)


def _usable(root: Path) -> ServerState | None:
    """The state of a server whose processes are both there; also one that is still starting, or started again."""
    state = read_state(root)
    if state and is_alive(state.supervisor) and (state.lasting or state.server is None or is_alive(state.server)):
        return state
    return None


def _start(root: Path, idle_minutes: float, say: Say) -> Server:
    say(
        f"starting the local Prefect server; it stays for {idle_minutes:g} idle minutes, "
        "and `ridgeway down` stops it sooner"
    )
    _remove_leftovers(root)
    listening = _listen()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
    with listening, _open_log(root) as log:
        supervisor = subprocess.Popen(  # noqa: S603 - this interpreter with our own module
            # -P: nothing in the folder where the command was given can take the place of a module.
            [sys.executable, "-P", "-m", "ridgeway.orchestrator.supervisor", str(root), str(listening.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home(root),
            pass_fds=[listening.fileno()],
            start_new_session=True,
        )
    touch(root, idle_minutes)
    deadline = time.monotonic() + 30
    while (state := read_state(root)) is None or state.url != url:
        if supervisor.poll() is not None or time.monotonic() > deadline:
            raise _did_not_start(root, "its supervisor ended at once")
        time.sleep(0.02)
    # It outlives this process and is no child to wait for; without this, Python warns of it at exit.
    supervisor.returncode = 0
    return Server(url, root, supervisor.pid, started=True, is_lasting=False)


def _remove_leftovers(root: Path) -> None:
    """Ends what is left of a server that was killed in part."""
    state = read_state(root)
    for process in (state.supervisor, state.server) if state else ():
        if process and is_alive(process):
            _signal(process, signal.SIGKILL)
            _wait_for_end(process)
    forget(root)


def _listen() -> socket.socket:
    """A socket that already takes connections: who comes before the server is up waits instead of being refused."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    return listening


def _open_log(root: Path) -> BinaryIO:
    try:
        home(root).mkdir(parents=True, exist_ok=True)
        return log_path(root).open("wb")
    except OSError as error:
        raise StorageError(
            "cannot start the local Prefect server",
            where=str(home(root)),
            problem=error.strerror or str(error),
            expected="space, and the right to write",
            next_step="make room, or give yourself the right to write there",
        ) from error


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)


def _wait_for_end(process: Process) -> None:
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.02)


def log_path(root: Path) -> Path:
    """Where the server's own log is."""
    return home(root) / "server.log"


def _did_not_start(root: Path, problem: str) -> Unreachable:
    try:
        lines = log_path(root).read_text(encoding="utf-8", errors="replace").rstrip().splitlines()[-5:]
    except OSError:
        lines = []
    return Unreachable(
        "the local Prefect server did not start",
        where=str(log_path(root)),
        problem="\n".join([problem, *lines]),
        next_step="the same command again; if that does not help: ridgeway down",
    )
