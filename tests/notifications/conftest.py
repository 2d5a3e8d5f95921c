"""A webhook of the test's own: a real HTTP server that checks signatures as any receiver would, and fails on demand."""

from __future__ import annotations

import base64
import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from ridgeway.notifications import Message, Outbox, Receiver, Told, message
from ridgeway.notifications.outbox import _file_name

KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()
SECRET_PATH = "T0-very-secret-path"


@dataclass
class Hook:
    """What came in, and what is answered."""

    url: str = ""
    key: str = KEY
    answers: list[int | float] = field(default_factory=list)
    """For the next requests: a status, or seconds of silence as a float; 204 when there are none left."""
    headers: dict[str, str] = field(default_factory=dict)
    seen: list[dict[str, str]] = field(default_factory=list)
    """Headers of every request, names in small letters, whatever was answered."""
    taken: list[dict[str, Any]] = field(default_factory=list)
    """Bodies whose signature was right and that were answered with 2xx."""
    ids: list[str] = field(default_factory=list)

    @property
    def handles(self) -> list[str]:
        """What the taken messages are about, in the order in which they came."""
        return [body["data"]["handle"] for body in self.taken]

    @property
    def receiver(self) -> Receiver:
        """This hook, for a sender that signs with its key."""
        return Receiver(self.url, (self.key,))


def _handler(hook: Hook) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): text for name, text in self.headers.items()}
            hook.seen.append(headers)
            answer = hook.answers.pop(0) if hook.answers else 204
            if isinstance(answer, float):
                threading.Event().wait(answer)
                return
            if 200 <= answer < 300:
                # As a receiver has it: raises where the signature, the id or the time is not right.
                hook.taken.append(Webhook(hook.key).verify(body, headers))
                hook.ids.append(headers["webhook-id"])
            self.send_response(answer)
            for name, text in hook.headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A receiver that takes everything."""
    hook = Hook()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(hook)) as server:
        server.daemon_threads = True
        hook.url = f"http://127.0.0.1:{server.server_port}/{SECRET_PATH}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield hook
        server.shutdown()
        thread.join()


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    """An empty outbox below the test's folder."""
    return Outbox(tmp_path)


def told(handle: str = "releases:/d/1", **changes: Any) -> Told:
    """Something that happened."""
    usual = {
        "event": "released",
        "flow": "release",
        "outcome": "released",
        "sentence": "models:/d/1 answers on production",
        "at": "2026-11-22T08:00:00.000Z",
    }
    return Told(handle=handle, **{**usual, **changes})


def made(handle: str = "releases:/d/1", *, created_at: str = "", **changes: Any) -> Message:
    """A message about it, written now."""
    moment = created_at or datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return message("d", told(handle, **changes), created_at=moment)


@pytest.fixture
def fill(outbox: Outbox) -> Callable[[int], list[Message]]:
    """Puts so many messages about different things into the outbox, a millisecond apart."""

    def put(count: int) -> list[Message]:
        start = datetime.now(UTC) - timedelta(seconds=60)
        messages = [
            made(f"releases:/d/{number}", created_at=(start + timedelta(milliseconds=number)).isoformat())
            for number in range(1, count + 1)
        ]
        outbox.prepare()
        for one in messages:
            # As Outbox.add does it, but without waiting for the disk each time.
            record = {"schema": 1, **dataclasses.asdict(one)}
            (outbox.folder / "waiting" / _file_name(one)).write_text(json.dumps(record), encoding="utf-8")
        return messages

    return put


def files(folder: Path) -> list[dict[str, Any]]:
    """The records in a folder of the outbox."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
