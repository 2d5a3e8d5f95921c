"""What is done with a request once its bytes are together: which route, who may, which model, what answer."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

import orjson

from ridgeway_server import __version__
from ridgeway_server.access import Keys
from ridgeway_server.answers import Answer
from ridgeway_server.batching import Batcher
from ridgeway_server.budget import Budget
from ridgeway_server.errors import Refusal
from ridgeway_server.exchange import JSON, OCTETS, Limits, Parsed, Reply
from ridgeway_server.heads import Head, read_head
from ridgeway_server.journal import Journal
from ridgeway_server.metrics import TEXT, Metrics, exposition
from ridgeway_server.models import Model
from ridgeway_server.openapi import document
from ridgeway_server.protocols.score import JSON_TYPES
from ridgeway_server.protocols.v2 import metadata
from ridgeway_server.repository import Entry, Repository
from ridgeway_server.routes import SCORE, match
from ridgeway_server.settings import Settings
from ridgeway_server.shortcut import one_row, raw_rows

log = logging.getLogger("ridgeway_server")
Done = Callable[[Reply], None]
_MOST_HEADS, _LARGEST_HEAD = 1024, 2048
RETRY = (("Retry-After", "1"),)


class Application:
    """One worker's state and decisions.

    ``heads`` remembers heads by their bytes: clients repeat them, and equal bytes mean an equal head until a key, a
    model or the state changes (``forget``). Looking one up costs 0.3 µs where reading and judging it costs 13.
    """

    def __init__(self, settings: Settings, repository: Repository, journal: Journal, budget: Budget) -> None:
        self.settings = settings
        self.repository = repository
        self.journal = journal
        self.budget = budget
        self.metrics = Metrics()
        self.keys: Keys | None = None
        self.limits = Limits(settings.max_rows, settings.max_parse_bytes)
        self.heads: dict[bytes, Head] = {}
        self.draining = False
        self.served = 0
        self.waiting = 0
        self.later: Callable[[Callable[[], None]], object] = lambda call: call()
        self.connections: Callable[[], dict[str, int]] = dict
        self.collect: Callable[[Callable[[bytes], None]], None] | None = None
        self.broadcast: Callable[[dict[str, Any]], None] = lambda _message: None
        self.id_prefix = os.urandom(4).hex().encode() + b"-"
        self.epoch = time.time() - time.perf_counter()
        self.stamp = b""
        self.ok_json, self.ok_octets = [b""], [b""]
        self.new_second()
        repository.changed = self.forget
        repository.loaded = self._note_load

    # ---- state ------------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Judge every head anew: something changed that the judgement rests on."""
        self.heads.clear()

    def drain(self) -> None:
        """From now on: not ready, and each answer is the last on its connection."""
        self.draining = True
        self.forget()

    def new_second(self) -> None:
        """Renew the Date header."""
        self.stamp = time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT\r\n", time.gmtime()).encode()
        for start, kind in ((self.ok_json, JSON), (self.ok_octets, OCTETS)):
            start[0] = (
                f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n".encode()
                + self.stamp
                + b"X-Request-Id: "
                + self.id_prefix
            )

    @property
    def ready(self) -> bool:
        """True if requests will be answered well."""
        return not self.draining and self.repository.ready

    def _note_load(self, model: Model, seconds: float) -> None:
        self.metrics.load_seconds[f"{model.name}/{model.version}"] = seconds

    # ---- heads ------------------------------------------------------------------------------------------------------

    def head(self, raw: bytes) -> Head:
        """The head in ``raw``, read and judged; what it is refused for is in ``refusal``.

        Raises:
            Refusal: It cannot be read, so that nothing is known about where its body ends.
        """
        head = self.heads.get(raw)
        if head is None:
            head = read_head(raw, self.limits, self.settings.max_headers)
            self._judge(head)
            if head.reusable and head.refusal is None and not self.draining and len(raw) <= _LARGEST_HEAD:
                if len(self.heads) >= _MOST_HEADS:
                    self.heads.clear()
                self.heads[raw] = head
        return head

    def _judge(self, head: Head) -> None:
        head.route, head.name, head.version = match(head.path)
        head.metrics = self.metrics.route(head.route.template)
        trace = b"" if head.traceparent is None else b',"traceparent":"%b"' % head.traceparent
        head.log_part = b'"method":"%b","path":%b%b' % (head.method.encode(), orjson.dumps(head.path[:200]), trace)
        head.refusal = head.refusal or self._refusal(head)
        if self.draining:
            head.keep_alive = False
        if head.refusal is None and head.route.action == "predict":
            self._shorten(head)

    def _refusal(self, head: Head) -> Refusal | None:
        if head.route.action == "unknown":
            return Refusal(404, f"no path {head.path[:200]!r}", "one of those in /openapi.json")
        if head.method not in head.route.methods:
            allowed = ", ".join(head.route.methods)
            return Refusal(405, f"method {head.method}", allowed, (("Allow", allowed),))
        if self.keys is not None and not head.route.open and not (head.key and self.keys.admits(head.key)):
            problem = "no key" if not head.key else "a key that is not valid"
            ask = (("WWW-Authenticate", 'Bearer realm="ridgeway"'),)
            return Refusal(401, problem, "Authorization: Bearer KEY", ask)
        largest = self.settings.max_body_bytes
        if head.length > largest:
            return Refusal(413, f"a body of {head.length} bytes", f"at most {largest}")
        return None

    def _shorten(self, head: Head) -> None:
        """Find the model once for all equal heads, and the shortcut for one row where there is one."""
        try:
            head.entry = self.repository.find(head.name, head.version)
        except Refusal:
            return
        model = head.entry.model
        if model is None or not (
            head.keep_alive and head.minor == 1 and head.reusable and head.route.protocol is SCORE
        ):
            return
        sketch = self.metrics.sketch(f"{model.name}/{model.version}")
        if head.asked.content_type in JSON_TYPES:
            head.fast, head.start = one_row(model, sketch.pending), self.ok_json
        elif head.asked.content_type == OCTETS and head.asked.accept != JSON:
            head.fast, head.start = raw_rows(model, sketch.add), self.ok_octets

    # ---- requests ---------------------------------------------------------------------------------------------------

    def handle(self, head: Head, body: bytes | bytearray, done: Done) -> Reply | None:
        """The reply; or None, and ``done`` will be called with it in a later turn of the loop."""
        if head.refusal is not None:
            return self.refused(head, head.refusal)
        try:
            action: Callable[..., Reply | None] = getattr(self, "_do_" + head.route.action)
            return action(head, body, done)
        except Refusal as refusal:
            return self.refused(head, refusal)
        except Exception:
            log.exception("a request to %s failed", head.path[:200])
            return self.refused(head, Refusal(500, "the server failed on this request; its log says why"))

    def refused(self, head: Head | None, refusal: Refusal) -> Reply:
        """A refusal as a reply in the form of the protocol that was spoken."""
        protocol = SCORE if head is None or head.route is None else head.route.protocol
        lines = "".join(f"{name}: {value}\r\n" for name, value in refusal.headers).encode()
        return Reply(refusal.status, JSON, protocol.error(refusal.status, refusal.sentence), lines)

    def _do_predict(self, head: Head, body: bytes | bytearray, done: Done) -> Reply | None:
        entry: Entry = head.entry
        if entry is None or entry.model is None:
            entry = self.repository.find(head.name, head.version)
        if entry.model is None:
            head.entry = None
            return self._load_first(entry, head, body, done)
        return self._predict(entry.model, entry, head, body, done)

    def _predict(self, model: Model, entry: Entry, head: Head, body: bytes | bytearray, done: Done) -> Reply | None:
        entry.used = self.served
        parsed = head.route.protocol.parse(model, body, head.asked)
        if parsed.table.rows > self.limits.rows:
            raise Refusal(413, f"{parsed.table.rows} rows", f"at most {self.limits.rows} in one request")
        if not model.costly:
            return self._answer(model, head, parsed, model.predict(parsed.table))
        self._queue_up()

        def predicted(outcome: Answer | Exception) -> None:
            self.waiting -= 1
            done(self._answer_or_refusal(model, head, parsed, outcome))

        if model.batcher is None:
            model.batcher = Batcher(model, self.settings.batch_rows, self.later)
        model.batcher.add(parsed, predicted)
        return None

    def _queue_up(self) -> None:
        if self.waiting >= self.settings.max_queue:
            raise Refusal(503, f"{self.waiting} requests are waiting already", "another try in a second", RETRY)
        self.waiting += 1

    def _answer_or_refusal(self, model: Model, head: Head, parsed: Parsed, outcome: Answer | Exception) -> Reply:
        if isinstance(outcome, Answer):
            try:
                return self._answer(model, head, parsed, outcome)
            except Refusal as refusal:
                outcome = refusal
        if isinstance(outcome, Refusal):
            return self.refused(head, outcome)
        log.error("model %s/%s failed", model.name, model.version, exc_info=outcome)
        return self.refused(head, Refusal(500, "the model failed on these rows; the server's log says why"))

    def _answer(self, model: Model, head: Head, parsed: Parsed, answer: Answer) -> Reply:
        reply: Reply = head.route.protocol.encode(model, answer, parsed)
        reply.headers += model.header
        sketch = self.metrics.sketch(f"{model.name}/{model.version}")
        if answer.values is not None:
            sketch.add(answer.values)
        elif answer.probabilities is not None:
            sketch.add(answer.probabilities[:, -1])
        return reply

    # ---- all else that can be asked --------------------------------------------------------------------------------

    def _do_welcome(self, _head: Head, _body: Any, _done: Done) -> Reply:
        return _json({"name": "ridgeway", "score": "/score", "ready": "/v2/health/ready", "api": "/openapi.json"})

    def _do_live(self, _head: Head, _body: Any, _done: Done) -> Reply:
        return _json({"live": True})

    def _do_ready(self, head: Head, _body: Any, _done: Done) -> Reply:
        if self.ready:
            return _json({"ready": True})
        reasons = [entry["reason"] for entry in self.repository.index() if entry["reason"]]
        why = "the server is shutting down" if self.draining else "; ".join(reasons[:3]) or "no model is loaded"
        return self.refused(head, Refusal(503, f"not ready: {why}"))

    def _do_version(self, _head: Head, _body: Any, _done: Done) -> Reply:
        return Reply(200, "text/plain", __version__.encode())

    def _do_server(self, _head: Head, _body: Any, _done: Done) -> Reply:
        extensions = ["binary_tensor_data", "model_repository"]
        facts = {"name": "ridgeway", "version": __version__, "extensions": extensions}
        return _json({**facts, "image": self.settings.image} if self.settings.image else facts)

    def _do_metrics(self, _head: Head, _body: Any, done: Done) -> Reply | None:
        if self.collect is None:
            return Reply(200, TEXT, exposition(self.record()))
        self.collect(lambda text: done(Reply(200, TEXT, text)))
        return None

    def _do_openapi(self, _head: Head, _body: Any, _done: Done) -> Reply:
        return Reply(200, JSON, orjson.dumps(document(self.repository, keys=self.keys is not None)))

    def _do_metadata(self, head: Head, body: Any, done: Done) -> Reply | None:
        entry = self.repository.find(head.name, head.version)
        if entry.model is None:
            return self._load_first(entry, head, body, done)
        return _json(metadata(entry.model, sorted(self.repository.entries[head.name])))

    def _do_model_ready(self, head: Head, body: Any, done: Done) -> Reply | None:
        entry = self.repository.find(head.name, head.version)
        if entry.model is None:
            return self._load_first(entry, head, body, done)
        return _json({"name": entry.name, "ready": not self.draining})

    def _load_first(self, entry: Entry, head: Head, body: Any, done: Done) -> Reply | None:
        """Load the model and handle the request again: its name may then mean an older version, if this is damaged."""
        self._queue_up()

        def loaded() -> None:
            self.waiting -= 1
            reply = self.handle(head, body, done)
            if reply is not None:
                done(reply)

        self.repository.load(entry, loaded)
        return None

    def _do_index(self, _head: Head, body: Any, _done: Done) -> Reply:
        ready_only = False
        if body:
            try:
                ready_only = bool(orjson.loads(body).get("ready", False))
            except (orjson.JSONDecodeError, AttributeError):
                raise Refusal(400, "a body that is not a JSON object", '{} or {"ready": true}') from None
        return _json([entry for entry in self.repository.index() if not ready_only or entry["state"] == "READY"])

    def _do_load(self, head: Head, _body: Any, done: Done) -> Reply | None:
        self._control_allowed()
        self.repository.switch(head.name, on=True)
        self.broadcast({"do": "switch", "name": head.name, "on": True})
        entry = self.repository.find(head.name)
        if entry.model is not None:
            return _json({})

        def loaded() -> None:
            try:
                self.repository.find(head.name)
                done(_json({}))
            except Refusal as refusal:
                done(self.refused(head, refusal))

        self.repository.load(entry, loaded)
        return None

    def _do_unload(self, head: Head, _body: Any, _done: Done) -> Reply:
        self._control_allowed()
        self.repository.switch(head.name, on=False)
        self.broadcast({"do": "switch", "name": head.name, "on": False})
        return _json({})

    def _control_allowed(self) -> None:
        if not self.settings.repository_control:
            raise Refusal(403, "loading and unloading over HTTP is off", "the setting repository_control")

    def record(self) -> dict[str, Any]:
        """All counts of this worker as JSON can carry them."""
        entries = self.repository.index()
        self.metrics.gauges.update(
            **self.connections(),
            queue=self.waiting,
            body_bytes=self.budget.own,
            models=len(entries),
            models_loaded=sum(entry["state"] == "READY" for entry in entries),
            models_memory_bytes=self.repository.memory_used,
        )
        self.metrics.counters["log_lines_dropped"] = self.journal.dropped
        return self.metrics.record()


def _json(value: Any) -> Reply:
    return Reply(200, JSON, orjson.dumps(value))
