"""The process that keeps an endpoint: holds the listening socket, and makes it so that what is wanted answers there.

``python -m ridgeway.targets.process.daemon FOLDER DESCRIPTOR``. Commands only write ``wanted.json``; whoever is killed
after that has lost nothing, because this process carries on by itself. A new generation is started beside the old one
on the same socket; the old one is asked to end once the new one is ready, and stays if it never is.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from ridgeway.run_log import Process
from ridgeway.targets.process.folder import Folder, State, Wanted
from ridgeway.targets.process.generation import Generation, Verdict

_BUSY_TURN_SECONDS = 0.02
_QUIET_TURN_SECONDS = 0.25
_BUSY_SECONDS = 30.0
"""After something new is wanted; looking fifty times a second for ever would cost a tenth of a core."""


class Daemon:
    """Keeps one endpoint until SIGTERM, or until its folder is gone."""

    def __init__(self, folder: Folder, listener: socket.socket) -> None:
        self.folder = folder
        self.listener = listener
        self.wanted: Wanted | None = None
        self.generations: list[Generation] = []
        self.serving: Generation | None = None
        self._stopping = False
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._said: State | None = None
        self._busy_until = 0.0
        self._mute = False

    async def run(self) -> None:
        """Returns once all servers have ended."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._wake.set)
        loop.add_signal_handler(signal.SIGHUP, self._wake.set)
        loop.add_signal_handler(signal.SIGTERM, self._end)
        while not self._stopping:
            await self._turn()
            await self._pause(_QUIET_TURN_SECONDS if self._is_quiet() else _BUSY_TURN_SECONDS)
        for one in self.generations:
            self._stop(one)
        while self.generations:
            await self._reap()
            await self._pause(_BUSY_TURN_SECONDS)

    def _end(self) -> None:
        self._stopping = True
        self._wake.set()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    def _is_quiet(self) -> bool:
        """Whether nobody waits for anything: all is as wanted, or has long not been."""
        newest = self.generations[-1] if self.generations else None
        settled = newest is not None and newest.ready and len(self.generations) == 1
        return settled or time.monotonic() > self._busy_until

    # ---- one turn ----------------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        await self._reap()
        self._take_up()
        for one in self.generations:
            await one.start()
        await asyncio.gather(*(one.look() for one in self.generations))
        self._promote()
        try:
            self._tell()
            self.folder.cut_log()
        except OSError as error:
            # A full disk must not end what serves well; the state is told again at the next turn.
            if not self._mute:
                _say(f"cannot keep the state: {error}")
            self._mute = True
        else:
            self._mute = False

    async def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for one in self.generations:
                if await one.ended(pid, status) and not one.stopping:
                    _say(f"generation {one.wanted.generation}: the server ended with {one.exit_code}")

    def _take_up(self) -> None:
        """What is wanted may have changed: then a new generation, unless the one that serves is already that."""
        wanted = self.folder.wanted()
        if wanted is None:
            if not self.folder.path.exists():
                self._end()  # Someone has deleted .ridgeway: nobody could find this process any more.
            return
        if self.wanted is not None and wanted.generation == self.wanted.generation:
            return
        self.wanted, serving = wanted, self.serving
        self._busy_until = time.monotonic() + _BUSY_SECONDS
        for one in self.generations:
            if one is not serving:
                self._stop(one)
        if serving is not None and serving.verdict().health == "healthy" and _same(serving.wanted, wanted):
            _say(f"generation {wanted.generation} is generation {serving.wanted.generation}, which still serves")
            serving.wanted = wanted
            return
        _say(f"generation {wanted.generation}: {wanted.deployment.image.handle}")
        self.generations.append(Generation(wanted, self.folder, self.listener.fileno()))

    def _promote(self) -> None:
        newest = self.generations[-1] if self.generations else None
        if newest is None or newest is self.serving or newest.verdict().health != "healthy":
            return
        newest.since = datetime.now(UTC).isoformat(timespec="seconds")
        self.serving = newest
        _say(f"generation {newest.wanted.generation} serves")
        for one in self.generations:
            if one is not newest:
                self._stop(one)

    def _stop(self, one: Generation) -> None:
        if one.stopping:
            return
        one.stopping = True

        async def end() -> None:
            await one.stop()
            self.generations.remove(one)
            self._wake.set()

        task = asyncio.get_running_loop().create_task(end())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _tell(self) -> None:
        """Keeps the state where it has changed."""
        newest = next((one for one in reversed(self.generations) if one.wanted is self.wanted), None)
        if newest is None or self.wanted is None:
            return
        verdict = newest.verdict()
        if verdict.health == "healthy" and any(one.accepts for one in self.generations if one is not newest):
            verdict = Verdict("starting", "", "the server before it still answers some clients")
        host, port = self.listener.getsockname()[:2]
        state = State(
            daemon=Process.current(), address=f"{host}:{port}", generation=self.wanted.generation,
            health=verdict.health, reason=verdict.reason, sentence=verdict.sentence,
            log=newest.last_words() if verdict.health == "unhealthy" else (),
            since=self.serving.since if self.serving else "",
            serving=self.serving.wanted.generation if self.serving else 0, restarts=newest.restarts,
            servers=tuple(one.running for one in self.generations if one.running is not None),
        )  # fmt: skip
        if state != self._said:
            self.folder.keep_state(state)
            self._said = state


def _same(one: Wanted, other: Wanted) -> bool:
    return one.deployment.digest == other.deployment.digest and one.package == other.package


def _say(text: str) -> None:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    sys.stderr.write(json.dumps({"level": "INFO", "message": text, "at": at}) + "\n")
    sys.stderr.flush()


def main(path: str, descriptor: str) -> None:
    """Runs the daemon in a session of its own, its output in the log; the process that was started returns at once."""
    if os.fork():
        os._exit(0)
    os.setsid()
    # The terminal that it was started from may be closed, and a Ctrl-C there is not meant for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    folder = Folder(Path(path))
    log = os.open(folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(log, number)
    os.close(log)
    lock = os.open(folder.path / "daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _say("another daemon keeps this endpoint already")
        return
    listener = socket.socket(fileno=int(descriptor))
    listener.set_inheritable(True)

    async def keep() -> None:
        await Daemon(folder, listener).run()

    asyncio.run(keep())
    _say("ended")


if __name__ == "__main__":
    main(*sys.argv[1:])
