"""Load: a few connections that each wait for their answer before they ask again, and ask at most so often.

Written on asyncio's transports and httptools, because a general client takes ten times as long for a request as the
server does, and half of what is measured would be the client's. The pace leaves the machine room: what is asked is
whether answers come in time, not how many a second there can be. How late the client's own clock rings is measured
too, so that a busy machine is not taken for a slow server.
"""

from __future__ import annotations

import asyncio
import json
import math
import ssl
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httptools

from ridgeway.artifacts import Finding
from ridgeway.probe.comparison import compare, read_score, score_body
from ridgeway.probe.request import Budget, Golden, ProbeRequest

CONNECTIONS = 4
PACE_SECONDS = 0.01
"""Between two requests of one connection: 400 a second in all, at most."""


@dataclass(slots=True)
class Load:
    """What was measured; times in milliseconds."""

    requests: int = 0
    failed: int = 0
    reason: str = ""
    """Of the first failure."""
    latencies_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    """How late the client's own clock was at each request."""

    def fail(self, reason: str) -> None:
        """Counts a request that was not answered as it should."""
        self.failed += 1
        self.reason = self.reason or reason


def quantile(values: list[float], share: float) -> float:
    """The least value that ``share`` of all values do not exceed; 0 for none.

    Example:
        >>> quantile([1.0, 2.0, 3.0, 4.0], 0.5)
        2.0
    """
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


def measure(request: ProbeRequest, context: ssl.SSLContext | None) -> Load:
    """Puts the endpoint under load for ``budget.load_seconds``; every answer is compared with the stored prediction."""
    load = Load()
    # On a thread of its own: the caller's may have a loop that runs.
    worker = threading.Thread(target=lambda: asyncio.run(_run(request, context, load)), daemon=True)
    worker.start()
    worker.join()
    return load


async def _run(request: ProbeRequest, context: ssl.SSLContext | None, load: Load) -> None:
    golden, until = request.golden.head(request.rows), time.perf_counter() + request.budget.load_seconds
    clients = [_Client(request, context, golden, load) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(client.run(place, until) for place, client in enumerate(clients)))


class _Client:
    """One connection's worth of load."""

    def __init__(self, request: ProbeRequest, context: ssl.SSLContext | None, golden: Golden, load: Load) -> None:
        parts = urlsplit(request.address)
        self.host, self.port = parts.hostname or "", parts.port or (443 if context else 80)
        self.context = context
        self.timeout_seconds = request.timeout_seconds
        self.golden = [golden.only(place) for place in range(len(golden.rows))]
        self.requests = [_bytes(parts.netloc, request.primary, score_body(one.rows)) for one in self.golden]
        self.known: list[bytes] = [b""] * len(self.golden)
        self.load = load
        self.connection: _Connection | None = None

    async def run(self, place: int, until: float) -> None:
        """Asks until the time is over, each row in turn."""
        loop = asyncio.get_running_loop()
        due = loop.time() + place * PACE_SECONDS / CONNECTIONS
        while time.perf_counter() < until:
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
                self.load.late_ms.append(1000 * (loop.time() - due))
            due = max(due + PACE_SECONDS, loop.time())
            place += 1
            await self._ask(place % len(self.requests))
        if self.connection is not None:
            await self.connection.end()

    async def _ask(self, place: int) -> None:
        self.load.requests += 1
        try:
            async with asyncio.timeout(self.timeout_seconds):
                if self.connection is None or self.connection.is_closed:
                    self.connection = await self._connect()
                began = time.perf_counter()
                status, body, ended = await self.connection.ask(self.requests[place])
        except (OSError, TimeoutError, ssl.SSLError) as error:
            self.load.fail("no answer in time" if isinstance(error, TimeoutError) else "the connection was lost")
            if self.connection is not None:
                self.connection.close()
            self.connection = None
            return
        self.load.latencies_ms.append(1000 * (ended - began))
        if status != 200:
            self.load.fail(f"status {status}")
        elif body != self.known[place] and not self._is_right(place, body):
            self.load.fail("an answer differs from training")

    def _is_right(self, place: int, body: bytes) -> bool:
        """Whether an answer is right; its bytes are remembered, so that equal ones need not be read again."""
        try:
            document = json.loads(body)
        except ValueError:
            return False
        right = isinstance(document, dict) and compare(self.golden[place], read_score(document)).ok
        if right:
            self.known[place] = body
        return right

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            _Connection, self.host, self.port, ssl=self.context, server_hostname=self.host if self.context else None
        )
        return connection


def _bytes(host: str, key: str, body: bytes) -> bytes:
    signed = f"Authorization: Bearer {key}\r\n" if key else ""
    head = f"POST /score HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{signed}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class _Connection(asyncio.Protocol):
    """One request at a time; the time of an answer is that of its last byte's arrival here."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.parser = httptools.HttpResponseParser(self)
        self.body = b""
        self.answer: asyncio.Future[tuple[int, bytes, float]] | None = None
        self.is_closed = False
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._lose()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop's interface
        """Called by the loop."""
        self._lose()
        self.gone.set()

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self.body += body

    def on_message_complete(self) -> None:
        """Called by the parser."""
        now, (body, self.body) = time.perf_counter(), (self.body, b"")
        if self.answer is not None and not self.answer.done():
            self.answer.set_result((self.parser.get_status_code(), body, now))
        if not self.parser.should_keep_alive():
            self.close()

    async def ask(self, request: bytes) -> tuple[int, bytes, float]:
        """Status, body, and when the last byte came.

        Raises:
            ConnectionError: The connection ended before.
        """
        assert self.transport is not None
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.answer

    def close(self) -> None:
        """Ends the connection."""
        self.is_closed = True
        if self.transport is not None:
            self.transport.close()

    async def end(self) -> None:
        """Ends the connection and returns once nothing of it is left; the other side is not waited for."""
        self.is_closed = True
        if self.transport is not None:
            self.transport.abort()
            await self.gone.wait()

    def _lose(self) -> None:
        self.close()
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(ConnectionError("lost"))


# ---- the judgement ---------------------------------------------------------------------------------------------------


def load_finding(request: ProbeRequest, load: Load) -> Finding:
    """Whether every answer came and was right."""
    logs = f"ridgeway logs {request.target}"
    if not load.latencies_ms:
        why = load.reason or "the time was too short"
        return Finding("load", "fail", f"{request.address} answered nothing under load: {why}", logs)
    if load.failed:
        sentence = f"{load.failed} of {load.requests} requests failed under load; the first: {load.reason}"
        return Finding("load", "fail", sentence, logs)
    return Finding("load", "pass", f"{load.requests} requests over {CONNECTIONS} connections, each answered as trained")


def latency_finding(request: ProbeRequest, load: Load) -> Finding:
    """Whether answers came in time; not judged where the client's own lateness accounts for what is too much."""
    budget, late = request.budget, load.late_ms
    p50, p99 = quantile(load.latencies_ms, 0.5), quantile(load.latencies_ms, 0.99)
    over = _over(budget, p50, p99)
    seen = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    if not over:
        return Finding("latency", "pass", seen)
    if not _over(budget, p50 - quantile(late, 0.5), p99 - quantile(late, 0.99)):
        sentence = f"{seen}: {over}; this machine itself was up to {quantile(late, 0.99):.1f} ms late: not judged"
        return Finding("latency", "warn", sentence, f"ridgeway probe {request.target}, on a machine with less to do")
    setting = "release.probe.p99_ms" if "p99" in over else "release.probe.p50_ms"
    return Finding("latency", "fail", f"{seen}: {over}", f"ridgeway settings {setting}")


def _over(budget: Budget, p50_ms: float, p99_ms: float) -> str:
    """What is too much; empty if nothing is."""
    pairs = (("p50", p50_ms, budget.p50_ms), ("p99", p99_ms, budget.p99_ms))
    return " and ".join(f"more than {limit:g} ms for {name}" for name, ms, limit in pairs if limit and ms > limit)
