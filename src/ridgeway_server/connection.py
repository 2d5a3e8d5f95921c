"""HTTP/1.1 on one connection: requests are taken off the wire strictly in order, answered in order, within time limits.

A request that is already whole when it is read, with a head that was seen before, never touches the general machinery:
``data_received`` answers it in one go. Everything else is collected in ``_buffer`` and goes through ``_advance``.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from time import perf_counter
from typing import Any, cast

import orjson

from ridgeway_server.application import RETRY, Application
from ridgeway_server.chunks import ChunkReader
from ridgeway_server.errors import Refusal
from ridgeway_server.exchange import Reply
from ridgeway_server.heads import CHUNKED, Head

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LINGER_SECONDS, _LINGER_LIMIT_SECONDS = 2.0, 30.0
"""How long a client that has got its last answer may go on sending before it is cut off: in silence, and in all."""
_LARGEST_UNREAD = 256 * 1024
"""Bytes of further requests that are held while one is being answered; beyond, reading pauses."""
_SHORT = 16 * 1024
"""A longer body is always entered in the budget of bodies in flight."""
_SLOWEST_BYTES_PER_SECOND = 256 * 1024
"""A large body that comes faster than this is given the time it needs, beyond ``body_seconds``."""
_BUDGET_STEP = 2**20


class Connection(asyncio.Protocol):
    """One client. ``app.tick`` is the worker's coarse clock, in seconds."""

    __slots__ = (
        "_body", "_body_at", "_budgeted", "_buffer", "_busy", "_chunks", "_closing", "_ended", "_head", "_paused",
        "_quiet", "_reading", "_since", "_started", "_transport", "_worker", "app", "touched",
    )  # fmt: skip

    def __init__(self, app: Application, worker: Any) -> None:
        self.app = app
        self._worker = worker
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._buffer = bytearray()
        self._head: Head | None = None
        self._body: bytearray | None = None
        self._body_at = 0
        self._chunks: ChunkReader | None = None
        self._budgeted = 0
        self._quiet = True  # Nothing buffered, pending, paused or ending: the short way is open.
        self._busy = self._paused = self._closing = self._ended = False
        self._reading = True
        self._since = 0.0  # When the present wait began (tick), 0 while there is none.
        self._started = 0.0
        self.touched = 0.0

    # ---- called by the event loop -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come; one too many is told so and let go."""
        self._transport = cast(asyncio.Transport, transport)
        self.touched = self._worker.tick
        connections = self._worker.connections
        connections.add(self)
        if len(connections) > self.app.settings.max_connections:
            self.app.metrics.add("connections_refused")
            refusal = Refusal(503, f"{len(connections) - 1} connections are open", "another try in a second", RETRY)
            self._send(None, self.app.refused(None, refusal), last=True)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client has gone, or we have closed."""
        self._closing, self._quiet = True, False
        self._worker.connections.discard(self)
        self._give_back()
        self._buffer.clear()
        self._body = self._chunks = self._head = None

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        app = self.app
        if self._quiet:
            end = data.find(b"\r\n\r\n") + 4
            head = app.heads.get(data[:end])
            if head is not None and head.length == len(data) - end < _SHORT:
                started = perf_counter()
                self.touched = self._worker.tick
                if head.fast is not None and (body := head.fast(data[end:])) is not None:
                    # From here on written out, call by call: it is what nearly all requests consist of.
                    app.served = number = app.served + 1
                    entry = head.entry
                    entry.used = number
                    self._transport.write(
                        b"%b%x\r\n%bContent-Length: %d\r\n\r\n%b"
                        % (head.start[0], number, entry.model.header, len(body), body)
                    )
                    seconds = perf_counter() - started
                    head.metrics.good.append(seconds)
                    if not number % app.journal.every or head.start is not app.ok_json:
                        self._note(head, number, body, started, seconds)
                    return
                self._started = started
                self._quiet = False
                self._respond(head, data[end:])
                return
        self._general(data)

    def _note(self, head: Head, number: int, body: bytes, started: float, seconds: float) -> None:
        """What only some answers need: the rows of raw ones, and the line in the log of those that are sampled."""
        app, rows = self.app, 1
        if head.start is not app.ok_json:
            rows = len(body) >> 3
            head.metrics.rows += rows - 1
        if number % app.journal.every == 0:
            app.journal.lines.append(
                b'{"time":%.3f,"id":"%b%x",%b,"status":200,"rows":%d,"ms":%.3f}\n'
                % (app.epoch + started, app.id_prefix, number, head.log_part, rows, seconds * 1000)
            )

    def _general(self, data: bytes) -> None:
        self.touched = self._worker.tick
        if self._closing:
            return  # What comes behind the last answer is read and dropped, so that the answer is not lost to a reset.
        self._buffer += data
        if self._busy or self._paused:
            if len(self._buffer) > _LARGEST_UNREAD and self._reading:
                self._reading = False
                self._transport.pause_reading()
            return
        self._advance()

    def eof_received(self) -> bool:
        """The client sends no more. An open request is still answered; TLS cannot be half open."""
        self._ended = True
        self._quiet = False
        if self._closing or (not self._busy and not self._paused):
            self._transport.close()
        return self._busy or self._paused

    def pause_writing(self) -> None:
        """The client does not read its answers: no more are made until it does."""
        self._paused, self._quiet = True, False
        self._since = self._worker.tick

    def resume_writing(self) -> None:
        """It reads again."""
        self._paused = False
        self._since = self._worker.tick if self._closing else 0.0
        if not self._closing:
            self._advance()

    # ---- time ------------------------------------------------------------------------------------------------------

    def check_time(self, tick: float) -> None:
        """Called by the worker a few times a second: end what takes too long."""
        settings = self.app.settings
        if self._paused or self._closing:
            limit = settings.write_seconds if self._paused else _LINGER_SECONDS
            last_sign = self._since if self._paused else max(self._since, self.touched)
            if tick - last_sign > limit or tick - self._since > max(limit, _LINGER_LIMIT_SECONDS):
                self.app.metrics.add("connections_aborted")
                self._transport.abort()
        elif self._busy:
            return
        elif self._head is not None:
            received = len(self._chunks.body) if self._chunks is not None else self._body_at or len(self._buffer)
            if tick - self._since > settings.body_seconds + received / _SLOWEST_BYTES_PER_SECOND:
                self._refuse(Refusal(408, "a body that did not arrive in time", f"within {settings.body_seconds:g} s"))
        elif self._buffer:
            if tick - self._since > settings.head_seconds:
                self._refuse(Refusal(408, "a head that did not arrive in time", f"within {settings.head_seconds:g} s"))
        elif tick - self.touched > (settings.idle_seconds if not self._worker.stopping else 0.5):
            self._end()

    @property
    def in_flight(self) -> bool:
        """True while a request is being read or answered."""
        return self._busy or self._head is not None

    # ---- the general way -------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Take requests from the buffer until it holds no whole one, or one has to be waited for."""
        while self._buffer and not (self._busy or self._paused or self._closing):
            try:
                if not (self._next_head() if self._head is None else self._next_body()):
                    break
            except Refusal as refusal:
                self._refuse(refusal)
        if self._closing or self._busy or self._paused:
            return
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        if self._ended:
            self._transport.close()
        self._quiet = self._head is None and not self._buffer and not self._ended
        if self._quiet:
            self._since = 0.0
        elif not self._since:
            self._since = self._worker.tick

    def _next_head(self) -> bool:
        buffer = self._buffer
        if buffer.startswith(b"\r\n"):
            del buffer[:2]
            return bool(buffer)
        largest = self.app.settings.max_head_kib * 1024
        end = buffer.find(b"\r\n\r\n", 0, largest)
        if end < 0:
            if len(buffer) >= largest:
                raise Refusal(431, f"a head of more than {largest} bytes", f"at most {largest}")
            if buffer.find(b"\n\n", 0, largest) >= 0:
                raise Refusal(400, "lines that end with LF alone", "CR LF")
            return False
        raw = bytes(memoryview(buffer)[: end + 4])
        del buffer[: end + 4]
        self._started = perf_counter()
        head = self.app.head(raw)
        self._since = 0.0
        if head.length == 0:
            self._respond(head, b"")
            return True
        self._head = head
        self._expect_body(head)
        return True

    def _expect_body(self, head: Head) -> None:
        """Refuse now what must not even be read, make room for the rest, and tell a client that waits to go on."""
        large = head.length == CHUNKED or head.length > _LARGEST_UNREAD
        if head.refusal is not None and (large or head.expects):
            raise head.refusal
        if head.length == CHUNKED:
            self._chunks = ChunkReader(self.app.settings.max_body_bytes)
        else:
            self._take(head.length)
            if head.length > _LARGEST_UNREAD:
                self._body, self._body_at = bytearray(head.length), 0
        if head.expects and not self._buffer:
            self._transport.write(_CONTINUE)
        if not self._buffer:
            self._since = self._worker.tick

    def _next_body(self) -> bool:
        head, buffer = self._head, self._buffer
        assert head is not None
        if self._chunks is not None:
            complete = self._chunks.feed(buffer)
            if len(self._chunks.body) > self._budgeted:
                self._take(len(self._chunks.body) - self._budgeted + _BUDGET_STEP)
            if not complete:
                return False
            return self._complete(head, self._chunks.body)
        if self._body is not None:
            piece = min(len(buffer), head.length - self._body_at)
            self._body[self._body_at : self._body_at + piece] = memoryview(buffer)[:piece]
            del buffer[:piece]
            self._body_at += piece
            return self._body_at == head.length and self._complete(head, self._body)
        if len(buffer) < head.length:
            return False
        body = bytes(memoryview(buffer)[: head.length])
        del buffer[: head.length]
        return self._complete(head, body)

    def _complete(self, head: Head, body: bytes | bytearray) -> bool:
        self._head = self._chunks = self._body = None
        self._body_at = 0
        self._since = 0.0
        self._respond(head, body)
        return True

    def _take(self, count: int) -> None:
        if not self.app.budget.take(count):
            problem = "the bodies of other requests fill the memory set aside for them"
            raise Refusal(503, problem, "another try in a second", RETRY)
        self._budgeted += count

    def _give_back(self) -> None:
        if self._budgeted:
            self.app.budget.give(self._budgeted)
            self._budgeted = 0

    # ---- answers ---------------------------------------------------------------------------------------------------

    def _respond(self, head: Head, body: bytes | bytearray) -> None:
        self._busy = True
        started = self._started

        def done(reply: Reply) -> None:
            if self._busy:
                self._started = started
                self._finish(head, reply)
                if not self._closing and not self._paused:
                    self._advance()

        reply = self.app.handle(head, body, done)
        if reply is not None:
            self._finish(head, reply)
            if not (self._buffer or self._closing or self._paused or self._ended):
                self._quiet = True

    def _finish(self, head: Head, reply: Reply) -> None:
        self._busy = False
        self._give_back()
        self._send(head, reply, last=not head.keep_alive or self.app.draining)

    def _refuse(self, refusal: Refusal) -> None:
        """Refuse a request whose end is not known or not waited for: the answer is the last on this connection."""
        head, self._head = self._head, None
        self._chunks = self._body = None
        self._give_back()
        self._send(head, self.app.refused(head, refusal), last=True)

    def _send(self, head: Head | None, reply: Reply, *, last: bool) -> None:
        app = self.app
        app.served += 1
        identity = (head.request_id if head is not None else None) or b"%b%x" % (app.id_prefix, app.served)
        if last:
            ending = b"Connection: close\r\n"
        else:
            ending = b"" if head is None or head.minor else b"Connection: keep-alive\r\n"
        body = b"" if head is not None and head.method == "HEAD" else reply.body
        if not self._transport.is_closing():
            self._transport.write(
                b"%bContent-Type: %b\r\n%bX-Request-Id: %b\r\n%b%bContent-Length: %d\r\n\r\n%b"
                % (_STATUS_LINES[reply.status], reply.content_type.encode(), app.stamp, identity, reply.headers,
                   ending, len(reply.body), body)
            )  # fmt: skip
        self._account(head, reply, identity)
        if last:
            self._end()

    def _account(self, head: Head | None, reply: Reply, identity: bytes) -> None:
        app = self.app
        seconds = perf_counter() - self._started if self._started else 0.0
        metrics = app.metrics.route("unread") if head is None or head.metrics is None else head.metrics
        metrics.count(reply.status, reply.rows, seconds)
        if not app.settings.access_log or (reply.status < 400 and app.served % app.journal.every):
            return
        part = b'"method":"","path":""' if head is None else head.log_part
        why = b"" if reply.status < 400 else b',"error":%b' % orjson.dumps(reply.body[:300].decode("utf-8", "replace"))
        app.journal.lines.append(
            b'{"time":%.3f,"id":"%b",%b,"status":%d,"rows":%d,"ms":%.3f%b}\n'
            % (
                app.epoch + (self._started or perf_counter()),
                identity,
                part,
                reply.status,
                reply.rows,
                seconds * 1000,
                why,
            )
        )

    def _end(self) -> None:
        """Close so that the last answer arrives: first our side; all of it once the client has closed, or 2 s later."""
        self._closing, self._quiet = True, False
        self._since = self._worker.tick
        self._buffer.clear()
        transport = self._transport
        if self._ended or transport.is_closing() or not transport.can_write_eof():
            transport.close()
            return
        if not self._reading:
            self._reading = True
            transport.resume_reading()
        transport.write_eof()

    def abort(self) -> None:
        """Cut the connection off."""
        self._transport.abort()
