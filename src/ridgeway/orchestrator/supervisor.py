"""The process behind the local server, started detached: runs it, buries dead runs, ends when nobody uses it.

Light on purpose (no Prefect, 14 MB): it looks around every second for as long as the server stays.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from ridgeway.errors import Busy
from ridgeway.orchestrator import rest
from ridgeway.orchestrator.dead_runs import mark_quietly
from ridgeway.orchestrator.environment import home, local_server
from ridgeway.orchestrator.server import LOCK
from ridgeway.orchestrator.state_file import ServerState, forget, read_state, write_state
from ridgeway.run_log import Process, RunLog, exclusive

LOOK_EVERY_SECONDS = 1.0
GRACE_SECONDS = 5.0
"""What the server gets to end by itself before it is killed."""


class _Stop(BaseException):
    """Asked to end by a signal."""


def main(root: Path, listening: int) -> None:
    """Runs the server on a socket that already listens, until it is asked to end, is idle, or the server ends.

    Args:
        root: The project's root.
        listening: The socket's file descriptor, inherited.
    """
    _mind_signals()
    url = f"http://127.0.0.1:{_port(listening)}/api"
    server = _run_server(root, url, listening)
    state = None
    try:
        os.close(listening)
        state = ServerState(url, Process.current(), Process.of(server.pid))
        write_state(root, state)
        _watch(root, state, server)
    except _Stop:
        pass
    finally:
        # A second signal must not cut the cleaning up short.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end(server)
        if read_state(root) == state:
            forget(root)


def _mind_signals() -> None:
    # The terminal that it was started from may be closed, and a Ctrl-C there is not meant for it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _Stop


def _run_server(root: Path, url: str, listening: int) -> subprocess.Popen[bytes]:
    """The server's process; it ends by itself when this one is gone, because then its lifeline, a pipe, is closed."""
    read_end, write_end = os.pipe()
    # The write end is kept open for as long as this process lives, and by nobody else.
    os.set_inheritable(write_end, False)
    server = subprocess.Popen(  # noqa: S603 - this interpreter with our own module
        [sys.executable, "-P", "-m", "ridgeway.orchestrator.serving", str(root), str(listening), str(read_end)],
        stdin=subprocess.DEVNULL,
        cwd=home(root),
        pass_fds=[listening, read_end],
        env=local_server(root, url, os.environ),
    )
    os.close(read_end)
    return server


def _port(listening: int) -> int:
    import socket

    with socket.socket(fileno=os.dup(listening)) as copy:
        port: int = copy.getsockname()[1]
        return port


def _watch(root: Path, state: ServerState, server: subprocess.Popen[bytes]) -> None:
    """Returns when the server has ended, was idle for long enough, or nobody can find it any more."""
    ready = False
    idle = _Idle(root)
    # Whoever deletes .ridgeway, which is allowed at any time, deletes what the server is found by.
    while server.poll() is None and read_state(root) == state:
        ready = ready or rest.is_healthy(state.url, timeout_seconds=LOOK_EVERY_SECONDS)
        if ready:
            mark_quietly(root, state.url)
            if idle.is_over() and _end_unless_used(root, idle, server):
                return
        time.sleep(LOOK_EVERY_SECONDS)


def _end_unless_used(root: Path, idle: _Idle, server: subprocess.Popen[bytes]) -> bool:
    """Ends the server under the lock that who wants to use it takes first, so that nobody is handed a dying one."""
    try:
        with exclusive(root, LOCK):
            if not idle.is_over():
                return False
            _end(server)
            forget(root)
            return True
    except Busy:
        return False


class _Idle:
    """How long nobody has used the server, by a clock that nobody sets."""

    def __init__(self, root: Path) -> None:
        self._file = home(root) / "used"
        self._runs = RunLog(root)
        self._seen = 0.0
        self._since = time.monotonic()

    def is_over(self) -> bool:
        """Whether it was idle for longer than the last user asked for."""
        used, minutes = self._read()
        if used != self._seen or self._runs.active():
            self._seen, self._since = used, time.monotonic()
        return time.monotonic() - self._since > minutes * 60

    def _read(self) -> tuple[float, float]:
        try:
            return self._file.stat().st_mtime, float(self._file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return self._seen, 15.0


def _end(server: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        server.terminate()
    try:
        server.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
