"""One process that answers requests: an event loop, its connections, a clock, and the line to the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import uvloop

from ridgeway_server.access import Keys
from ridgeway_server.application import Application
from ridgeway_server.budget import Budget
from ridgeway_server.connection import Connection
from ridgeway_server.journal import Journal
from ridgeway_server.repository import Repository, Rules
from ridgeway_server.settings import Settings
from ridgeway_server.tls import make_context, renew
from ridgeway_server.watch import Watch

log = logging.getLogger("ridgeway_server")
TICK_SECONDS = 0.25
BUSY_TICK_SECONDS = 0.01
"""While requests come in, their counts and log lines are put away this often: few at a time hold up no answer."""
_BACKLOG = 1024
_READY_SECONDS = 0.02


class Worker:
    """Serves on a listening socket until told to stop.

    ``line`` is a socket to the supervisor, or None: then the worker watches the disk itself, and its own counts are
    all.
    """

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        *,
        line: socket.socket | None = None,
        budget: Budget | None = None,
        log_descriptor: int = 1,
    ) -> None:
        self.settings = settings
        self.connections: set[Connection] = set()
        self.tick = 0.0
        self.stopping = False
        self._listener = listener
        self._line = line
        self._journal = Journal(log_descriptor, settings.access_log_sample if settings.access_log else 0.0)
        rules = Rules(
            Path(settings.models), settings.default_model, settings.load, settings.model_memory_bytes, settings.trusted
        )
        self.repository = Repository(rules, self._in_background)
        self.app = Application(settings, self.repository, self._journal, budget or Budget(settings.max_bodies_bytes))
        self._loop: asyncio.AbstractEventLoop
        self._server: asyncio.Server | None = None
        self._threads = ThreadPoolExecutor(1, "load")
        self._replies: list[Callable[[bytes], None]] = []
        self._stopped: asyncio.Event
        self._tls = make_context(settings.tls_certificate, settings.tls_key) if settings.tls_certificate else None

    def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Serve; returns after ``stop`` or SIGTERM, once open requests are finished or their time is up."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._main(started))

    def stop(self) -> None:
        """Begin to drain. To be called in the worker's own loop (or by ``call_soon_threadsafe``)."""
        if not self.app.draining:
            self.app.drain()
            self._loop.create_task(self._drain())

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop, once ``run`` has called ``started``."""
        return self._loop

    # ---- life -------------------------------------------------------------------------------------------------------

    async def _main(self, started: Callable[[], None]) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self.tick = loop.time()
        self.app.later = loop.call_soon
        self.app.connections = self._count_connections
        if self.settings.keys_on:
            self.app.keys = Keys(Path(self.settings.keys_dir))
        # The watch begins before the models are read: a change in between is seen twice rather than never.
        changes = Watch(self.settings) if self._line is None else None
        self.repository.start()
        if self._line is not None:
            await self._connect_line(self._line)
            for number in (signal.SIGINT, signal.SIGTERM):
                # Ctrl-C reaches all processes of a terminal; the supervisor decides when its workers stop.
                loop.add_signal_handler(number, lambda: None)
        clock = loop.create_task(self._clock())
        watch = None if changes is None else loop.create_task(self._watch(changes))
        await self._accept()
        self._tell({"tell": "ready", "ready": self.app.ready})
        started()
        await self._stopped.wait()
        clock.cancel()
        if watch is not None:
            watch.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._send_counts("last")
        self._journal.close()

    async def _accept(self) -> None:
        """Take connections from now on; on a shared socket only once ready: until then another server takes them."""
        shared = self.settings.shared
        while shared and not self.app.ready and not self.app.draining:
            await asyncio.sleep(_READY_SECONDS)
        self._server = await self._loop.create_server(
            lambda: Connection(self.app, self),
            sock=self._listener,
            ssl=self._tls,
            backlog=_BACKLOG,
            start_serving=not (shared and self.app.draining),
        )

    async def _clock(self) -> None:
        loop, ticks, ready = self._loop, 0, None
        while True:
            await asyncio.sleep(BUSY_TICK_SECONDS if self._put_away() else TICK_SECONDS)
            now = loop.time()
            if now - self.tick < TICK_SECONDS:
                continue
            self.tick = now
            ticks += 1
            self.app.new_second()
            for connection in list(self.connections):
                connection.check_time(self.tick)
            if ready != self.app.ready or ticks % 4 == 0:
                ready = self.app.ready
                self._tell({"tell": "ready", "ready": ready})
                self._send_counts("counts")

    def _put_away(self) -> bool:
        """Writes log lines and settles counts that have gathered; whether there were any."""
        self._journal.flush()
        return self.app.metrics.settle()

    async def _drain(self) -> None:
        """Answer on for a while, take no new connections, let idle ones go, finish open requests.

        On a socket of our own new connections are taken until others have seen that we are not ready; on a shared one
        they are left to the next server at once. Kept connections have the same time either way: a client that asks
        within it is told to leave; one that is silent is let go at its end.
        """
        settings = self.settings
        self._tell({"tell": "ready", "ready": False})
        if settings.shared:
            self._leave_new_ones()
            await self._all_gone(settings.drain_seconds)
        else:
            await asyncio.sleep(settings.drain_seconds)
            self._leave_new_ones()
        self.stopping = True
        await self._all_gone(settings.drain_limit_seconds)
        for connection in list(self.connections):
            connection.abort()
        self._stopped.set()

    def _leave_new_ones(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _all_gone(self, limit_seconds: float) -> None:
        """Returns when no connection is left, or the time is up."""
        limit = self._loop.time() + limit_seconds
        while self.connections and self._loop.time() < limit:
            await asyncio.sleep(0.05)

    # ---- the line to the supervisor --------------------------------------------------------------------------------

    async def _connect_line(self, line: socket.socket) -> None:
        line.setblocking(False)
        reader, self._writer = await asyncio.open_connection(sock=line, limit=64 * 2**20)
        self._listening = self._loop.create_task(self._listen(reader))
        self.app.collect = self._ask_for_counts
        self.app.broadcast = self._tell

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while message := await reader.readline():
            self._obey(orjson.loads(message))
        self.stop()  # The supervisor is gone: finish what is open, leave nothing behind.

    def _obey(self, message: dict[str, Any]) -> None:
        task = message["do"]
        if task == "drain":
            self.stop()
        elif task == "changed":
            self._take_up(message["what"])
        elif task == "switch":
            with contextlib.suppress(Exception):
                self.repository.switch(message["name"], on=message["on"])
        elif task == "count":
            self._send_counts("counts")
        elif task == "metrics":
            waiting, self._replies = self._replies, []
            for reply in waiting:
                reply(message["text"].encode())

    def _ask_for_counts(self, reply: Callable[[bytes], None]) -> None:
        self._replies.append(reply)
        self._send_counts("counts")
        self._tell({"tell": "metrics?"})

    def _tell(self, message: dict[str, Any]) -> None:
        if self._line is not None and not self._writer.is_closing():
            self._writer.write(orjson.dumps(message) + b"\n")

    def _send_counts(self, kind: str) -> None:
        if self._line is not None:
            self._tell({"tell": kind, "record": self.app.record()})

    def _count_connections(self) -> dict[str, int]:
        return {"connections": len(self.connections), "in_flight": sum(one.in_flight for one in self.connections)}

    # ---- changes on disk -------------------------------------------------------------------------------------------

    async def _watch(self, watch: Watch) -> None:
        while True:
            await asyncio.sleep(self.settings.watch_seconds)
            self._take_up(await self._loop.run_in_executor(None, watch.changes))

    def _take_up(self, changes: list[str]) -> None:
        if "models" in changes:
            self.repository.rescan()
        if "keys" in changes and self.app.keys is not None and self.app.keys.reload():
            self.app.forget()
            log.info("the keys were changed")
        if "certificates" in changes and self._tls is not None:
            taken = renew(self._tls, self.settings.tls_certificate, self.settings.tls_key)
            log.log(
                logging.INFO if taken else logging.ERROR, "the certificate was %s", "renewed" if taken else "not usable"
            )

    def _in_background(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        def run() -> None:
            outcome: Any
            try:
                outcome = work()
            except BaseException as error:  # noqa: BLE001 - handed to the loop, which reports it
                outcome = error
            with contextlib.suppress(RuntimeError):  # The loop has ended in the meantime.
                self._loop.call_soon_threadsafe(done, outcome)

        self._threads.submit(run)
