"""All workers together: the supervisor holds the listening socket, starts and replaces workers, and speaks for them.

It is a plain loop without a library under it, so that it answers health questions whatever the workers are busy with.
Workers inherit the socket: with one socket each (SO_REUSEPORT) a worker that ends resets the connections waiting on
its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import orjson

from ridgeway_server import metrics
from ridgeway_server.budget import Budget
from ridgeway_server.listening import inherited, listen
from ridgeway_server.settings import Settings
from ridgeway_server.watch import Watch

log = logging.getLogger("ridgeway_server")
_TURN_SECONDS = 0.25
_ASKED_SECONDS = 0.02
"""How long workers have to send their counts; of one that is busy, those of its last second are taken."""
_MOST_HEALTH_CLIENTS = 50


@dataclass(slots=True, eq=False)
class Child:
    """A worker process, as its supervisor sees it."""

    number: int
    pid: int
    line: socket.socket
    started: float
    heard: float
    ready: bool = False
    buffer: bytearray = field(default_factory=bytearray)
    record: dict[str, Any] = field(default_factory=metrics.empty_record)
    unsent: bytearray = field(default_factory=bytearray)


class Supervisor:
    """Runs ``settings.workers`` workers until SIGTERM or SIGINT."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.listener = inherited(settings.listen_fd) if settings.shared else listen(settings.host, settings.port)
        self.health = listen(settings.host, settings.health_port) if settings.health_port >= 0 else None
        self.children: dict[int, Child] = {}
        self.retired = metrics.empty_record()
        self.draining = False
        self.budget = Budget(settings.max_bodies_bytes, settings.workers)
        self._selector = selectors.DefaultSelector()
        self._clients: dict[socket.socket, float] = {}
        self._asking: list[Child] = []
        self._asked_at = 0.0
        self._drain_until = 0.0
        self._next_look = 0.0
        self._failures = 0
        self._respawn: dict[int, float] = {}

    def run(self) -> int:
        """Serve until told to stop; returns the exit code."""
        self._take_signals()
        watch = Watch(self.settings)
        self._selector.register(self._wake, selectors.EVENT_READ, self._on_signal)
        if self.health is not None:
            self._selector.register(self.health, selectors.EVENT_READ, self._on_health)
        for number in range(self.settings.workers):
            self._spawn(number)
        log.info("listening on %s:%d with %d workers", *self.listener.getsockname()[:2], self.settings.workers)
        while self.children or self._respawn:
            for key, _ in self._selector.select(_ASKED_SECONDS if self._asking else _TURN_SECONDS):
                key.data(key.fileobj)
            self._reap()
            self._turn(watch)
        if not self.settings.shared:
            self._refuse_the_rest()
        self.listener.close()
        sys.stdout.flush()
        return 0

    # ---- signals ---------------------------------------------------------------------------------------------------

    def _take_signals(self) -> None:
        self._wake, wake_writer = socket.socketpair()
        self._wake.setblocking(False)
        wake_writer.setblocking(False)
        self._wake_writer = wake_writer
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, lambda _number, _frame: None)
        signal.set_wakeup_fd(wake_writer.fileno(), warn_on_full_buffer=False)

    def _on_signal(self, wake: Any) -> None:
        received = set(wake.recv(1024))
        if received & {signal.SIGTERM, signal.SIGINT}:
            self._drain()
        if signal.SIGHUP in received:
            self._tell_all({"do": "changed", "what": ["models", "keys", "certificates"]})

    def _drain(self) -> None:
        if self.draining:
            return
        log.info("draining")
        self.draining = True
        self._respawn.clear()
        self._drain_until = time.monotonic() + self.settings.drain_seconds + self.settings.drain_limit_seconds + 5
        self._tell_all({"do": "drain"})

    # ---- children --------------------------------------------------------------------------------------------------

    def _spawn(self, number: int) -> None:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()  # Held open here it would hide from the worker that its supervisor has ended.
            self._become_worker(number, theirs)
        theirs.close()
        ours.setblocking(False)
        now = time.monotonic()
        child = self.children[pid] = Child(number, pid, ours, now, now)
        self._selector.register(ours, selectors.EVENT_READ, lambda _line: self._hear(child))

    def _become_worker(self, number: int, line: socket.socket) -> None:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for child in self.children.values():
                child.line.close()
            for one in (self._wake, self._wake_writer, *self._clients, *((self.health,) if self.health else ())):
                one.close()
            self._selector.close()
            from ridgeway_server.worker import Worker

            Worker(self.settings, self.listener, line=line, budget=self.budget.seen_by(number)).run()
            code = 0
        except BaseException:
            log.exception("a worker failed")
        finally:
            logging.shutdown()
            # Nothing of the supervisor's (buffers, exit handlers) may run a second time in its copy.
            os._exit(code)

    def _reap(self) -> None:
        for pid in list(self.children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            child = self.children.pop(pid)
            self._hear(child)
            self._selector.unregister(child.line)
            child.line.close()
            self.budget.seen_by(child.number)
            self.retired = metrics.merged(self.retired, metrics.without_gauges(child.record))
            self._asking = [one for one in self._asking if one is not child]
            if not self.draining:
                self._plan_replacement(child, status)

    def _plan_replacement(self, child: Child, status: int) -> None:
        log.error("worker %d (process %d) ended with status %d and is replaced", child.number, child.pid, status)
        now = time.monotonic()
        # One that dies as soon as it starts must not make the machine spin: 0.1 s, 0.2 s, … up to 10 s.
        self._failures = self._failures + 1 if now - child.started < 5 else 0
        self._respawn[child.number] = now + (min(10.0, 0.05 * 2**self._failures) if self._failures else 0.0)
        self.retired["counters"]["worker_restarts"] = self.retired["counters"].get("worker_restarts", 0) + 1

    def _hear(self, child: Child) -> None:
        while True:
            try:
                data = child.line.recv(65536)
            except (BlockingIOError, ConnectionError, OSError):
                break
            if not data:
                break
            child.buffer += data
        while (end := child.buffer.find(b"\n")) >= 0:
            message = orjson.loads(memoryview(child.buffer)[:end])
            del child.buffer[: end + 1]
            self._heed(child, message)

    def _heed(self, child: Child, message: dict[str, Any]) -> None:
        child.heard = time.monotonic()
        kind = message.get("tell")
        if kind == "ready":
            child.ready = message["ready"]
        elif kind in ("counts", "last"):
            child.record = message["record"]
        elif kind == "metrics?":
            self._asking.append(child)
            self._asked_at = self._asked_at or time.monotonic()
            for other in self.children.values():
                if other is not child:
                    self._tell(other, {"do": "count"})
        elif message.get("do") == "switch":
            for other in self.children.values():
                if other is not child:
                    self._tell(other, message)

    def _tell_all(self, message: dict[str, Any]) -> None:
        for child in self.children.values():
            self._tell(child, message)

    def _tell(self, child: Child, message: dict[str, Any]) -> None:
        child.unsent += orjson.dumps(message) + b"\n"
        self._push(child)

    def _push(self, child: Child) -> None:
        with contextlib.suppress(OSError):
            while child.unsent:
                sent = child.line.send(child.unsent)
                del child.unsent[:sent]

    # ---- each turn -------------------------------------------------------------------------------------------------

    def _turn(self, watch: Watch) -> None:
        now = time.monotonic()
        for number in [number for number, at in self._respawn.items() if at <= now]:
            del self._respawn[number]
            self._spawn(number)
        if now >= self._next_look:
            self._next_look = now + self.settings.watch_seconds
            if changes := watch.changes():
                self._tell_all({"do": "changed", "what": changes})
        if self._asking and (len(self.children) == 1 or now - self._asked_at >= _ASKED_SECONDS):
            self._answer_metrics()
        for child in list(self.children.values()):
            self._push(child)
            overdue = now - child.heard > self.settings.stall_seconds
            if overdue or (self.draining and now > self._drain_until):
                log.error("worker %d (process %d) does not respond and is ended", child.number, child.pid)
                os.kill(child.pid, signal.SIGKILL)
                child.heard = now
        for client in [client for client, since in self._clients.items() if now - since > 2]:
            self._drop(client)

    def _answer_metrics(self) -> None:
        text = metrics.exposition(self.record()).decode()
        for child in self._asking:
            self._tell(child, {"do": "metrics", "text": text})
        self._asking, self._asked_at = [], 0.0

    def record(self) -> dict[str, Any]:
        """The counts of all workers, past ones included; a busy worker's are those of its last second."""
        total = self.retired
        for child in self.children.values():
            total = metrics.merged(total, child.record)
        gauges = {**total["gauges"], "workers": len(self.children)}
        return {**total, "gauges": gauges}

    @property
    def ready(self) -> bool:
        """True if a worker answers and none that is alive says otherwise."""
        return not self.draining and any(child.ready for child in self.children.values())

    # ---- health ----------------------------------------------------------------------------------------------------

    def _on_health(self, listener: Any) -> None:
        with contextlib.suppress(OSError):
            client, _ = listener.accept()
            if len(self._clients) >= _MOST_HEALTH_CLIENTS:
                client.close()
                return
            client.setblocking(False)
            self._clients[client] = time.monotonic()
            self._selector.register(client, selectors.EVENT_READ, self._on_client)

    def _on_client(self, client: Any) -> None:
        # One short request per connection, read in one piece: this port is for probes and scrapers on the inside.
        with contextlib.suppress(OSError):
            request = client.recv(4096)
            if request:
                client.setblocking(True)
                client.settimeout(1.0)
                client.sendall(self._health_answer(request))
                client.shutdown(socket.SHUT_WR)
        self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        self._clients.pop(client, None)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(client)
        client.close()

    def _health_answer(self, request: bytes) -> bytes:
        path = request.split(b" ", 2)[1] if request.count(b" ") >= 2 else b""
        status, kind, body = b"404 Not Found", b"application/json", b'{"error":"no such path"}'
        if path == b"/v2/health/live":
            status, body = b"200 OK", b'{"live":true}'
        elif path == b"/v2/health/ready":
            status, body = (
                (b"200 OK", b'{"ready":true}') if self.ready else (b"503 Service Unavailable", b'{"error":"not ready"}')
            )
        elif path == b"/metrics":
            status, kind, body = b"200 OK", metrics.TEXT.encode(), metrics.exposition(self.record())
        head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        return head % (status, kind, len(body)) + body

    def _refuse_the_rest(self) -> None:
        """Connections that came after the last worker stopped get an answer, not a reset."""
        answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                with contextlib.suppress(OSError), client:
                    client.settimeout(0.2)
                    if not self.settings.tls_certificate:
                        client.recv(65536)
                        client.sendall(answer)
