"""One generation of an endpoint: a server under circus' watch, restarted after a crash, asked whether it is ready."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from circus.watcher import Watcher

from ridgeway.run_log import Process
from ridgeway.targets.process import machine
from ridgeway.targets.process.folder import Folder, Running, Wanted
from ridgeway.targets.process.planning import server_arguments, server_environment, stop_seconds
from ridgeway.targets.server_log import last_error, without_access

_LIFELINE = Path(__file__).with_name("lifeline.py")
_LONG_LIFE_SECONDS = 60.0
"""A server that lived this long has no crash loop behind it."""
_TRUSTED_SECONDS = 10.0
"""After a crash loop a server counts as healthy only once it has lived this long."""
_CRASHES = 3
"""So many in a row are a crash loop: the first restart comes at once, the third after 0.4 s."""
_LONGEST_PAUSE_SECONDS = 10.0
_SILENT_SECONDS = 0.5
"""How long a server may say nothing more after an error of its model before it counts as refused."""
_LONGEST_LOOK_BYTES = 2**18
_WRONG_SETTINGS = 2
"""The server's exit code for settings that do not fit together: a restart cannot help."""


@dataclass(slots=True)
class Verdict:
    """How a generation is."""

    health: Literal["starting", "healthy", "unhealthy"]
    reason: str = ""
    sentence: str = ""


@dataclass
class Generation:
    """A server that runs what was wanted, and whatever it takes to keep it running."""

    wanted: Wanted
    folder: Folder
    socket: int
    """Descriptor of the listening socket."""
    crashes: int = 0
    """In a row."""
    restarts: int = 0
    health_port: int = 0
    ready: bool = False
    accepts: bool = False
    """Whether a client may still be answered by it; for a moment longer than it is ready."""
    stopping: bool = False
    since: str = ""
    """When it took its place; empty while it has not."""
    exit_code: int | None = None
    _was_ready: bool = False
    _started: float = 0.0
    _pause_until: float = 0.0
    _log_offset: int = 0
    _watcher: Any = field(init=False)

    def __post_init__(self) -> None:
        self._watcher = Watcher(
            f"generation-{self.wanted.generation}",
            sys.executable,
            args=[],
            env=server_environment(os.environ),
            working_dir=str(self.folder.path),
            # Inherited: the listening socket, and the log as its standard output.
            use_sockets=True,
            # Its own restart comes at once and for ever. Ours has pauses, and an end to trust.
            respawn=False,
            graceful_timeout=stop_seconds(self.wanted.deployment) + 5,
        )

    @property
    def pid(self) -> int | None:
        """Of the server; None where none runs just now."""
        return next(iter(self._watcher.processes), None)

    @property
    def running(self) -> Running | None:
        """What a later command needs to find the server."""
        return None if self.pid is None else Running(self.wanted.generation, Process.of(self.pid), self.health_port)

    async def start(self) -> None:
        """Starts the server, if the pause after a crash is over."""
        if self.pid is not None or self.stopping or time.monotonic() < self._pause_until:
            return
        if self.exit_code == _WRONG_SETTINGS:
            return
        self.health_port = machine.free_port()
        self._log_offset = self.folder.log.stat().st_size if self.folder.log.exists() else 0
        self._started, self.ready = time.monotonic(), False
        root = self.folder.path.parents[2]
        arguments = server_arguments(self.wanted.deployment, self.folder, self.wanted.package, root)
        sockets = ("--listen-fd", str(self.socket), "--health-port", str(self.health_port))
        self._watcher.args = ["-P", str(_LIFELINE), str(os.getpid()), *arguments, *sockets]
        await self._watcher.start()
        if self.pid is None:  # No memory or no process number left: not to be asked for all the time.
            self._pause_until = time.monotonic() + 1

    async def stop(self) -> None:
        """SIGTERM, time to drain, and only then SIGKILL."""
        self.stopping, self.ready = True, False
        await self._watcher.stop()

    async def ended(self, pid: int, status: int) -> bool:
        """Told of a process that has ended; whether it was this generation's."""
        if pid not in self._watcher.processes:
            return False
        self._watcher.reap_process(pid, status)
        await self._watcher.manage_processes()
        self.ready = self.accepts = self._was_ready = False
        self.exit_code = os.waitstatus_to_exitcode(status)
        if not self.stopping:
            lived = time.monotonic() - self._started
            self.crashes = 1 if lived >= _LONG_LIFE_SECONDS else self.crashes + 1
            self.restarts += 1
            pause = min(_LONGEST_PAUSE_SECONDS, 0.1 * 2 ** (self.crashes - 1)) if self.crashes > 1 else 0.0
            self._pause_until = time.monotonic() + pause
        return True

    async def look(self) -> None:
        """Asks the server whether it is ready."""
        is_ready = self.pid is not None and await _is_ready(self.health_port)
        # It says that it drains before the last of its workers has heard of it: one look more.
        self.accepts, self._was_ready = is_ready or self._was_ready, is_ready
        self.ready = is_ready and not self.stopping

    def verdict(self) -> Verdict:
        """How it is, by what is known."""
        lived = time.monotonic() - self._started
        looping = self.crashes >= _CRASHES
        if self.ready and not (looping and lived < _TRUSTED_SECONDS):
            return Verdict("healthy")
        if self.exit_code == _WRONG_SETTINGS and self.pid is None:
            return Verdict("unhealthy", "Refused", self._error() or "the server refuses its settings")
        if looping:
            code = self.exit_code or 0
            end = f"signal {-code}" if code < 0 else f"exit code {code}"
            text = f"the server ended {self.crashes} times in a row, the last time with {end}"
            return Verdict("unhealthy", "CrashLoopBackOff", self._error() or text)
        if self.pid is not None and lived > _SILENT_SECONDS and (error := self._error()):
            return Verdict("unhealthy", "NotReady", error)
        return Verdict("starting", "Restarting" if self.crashes else "")

    def last_words(self, lines: int = 20) -> tuple[str, ...]:
        """The last lines since it was started, requests left out: the generation before may go on answering them."""
        return tuple(without_access(self._told()))[-lines:]

    def _error(self) -> str:
        """The last error that the server has told since it was started."""
        return last_error(self._told())

    def _told(self) -> list[str]:
        try:
            with self.folder.log.open("rb") as stream:
                end = stream.seek(0, os.SEEK_END)
                stream.seek(max(min(self._log_offset, end), end - _LONGEST_LOOK_BYTES))
                return stream.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return []


async def _is_ready(port: int) -> bool:
    """Whether a server says on its health port that it is ready."""
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /v2/health/ready HTTP/1.1\r\n\r\n")
                return (await reader.readline()).startswith(b"HTTP/1.1 200")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
