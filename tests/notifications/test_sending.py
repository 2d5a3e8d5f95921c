from __future__ import annotations

import base64
import hashlib
import hmac
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from ridgeway import __version__
from ridgeway.notifications import Message, Receiver
from ridgeway.notifications.sending import headers, post
from tests.notifications.conftest import KEY, SECRET_PATH, Hook, made

NEW = "whsec_" + base64.b64encode(b"n" * 32).decode()


def test_a_message_is_taken_and_its_signature_verified(hook: Hook) -> None:
    assert post(made(), hook.receiver, timeout_seconds=5).status == 204
    assert hook.handles == ["releases:/d/1"]
    assert hook.seen[0]["user-agent"] == f"ridgeway/{__version__}"
    assert hook.seen[0]["content-type"] == "application/json"
    assert "authorization" not in hook.seen[0]


def test_the_published_example_is_signed_as_published() -> None:
    """From the reference libraries' own tests, so that not only our signer and its twin agree."""
    example = Message("msg_p5jXN8AQM9LWM0D4loKWxJek", "", "", "", '{"test": 2432232314}')
    receiver = Receiver("", ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",))
    signed = headers(example, receiver, at=datetime.fromtimestamp(1614265330, UTC))
    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert (signed["webhook-id"], signed["webhook-timestamp"]) == ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330")


def test_the_signature_by_hand() -> None:
    message, at = made(sentence="größer als zuvor"), datetime(2026, 11, 22, 8, tzinfo=UTC)
    signed = headers(message, Receiver("", (KEY,)), at=at)
    content = f"{message.id}.{int(at.timestamp())}.{message.body}".encode()
    mac = hmac.new(b"k" * 32, content, hashlib.sha256).digest()
    assert signed["webhook-signature"] == f"v1,{base64.b64encode(mac).decode()}"


@pytest.mark.parametrize("known", [KEY, NEW])
def test_while_a_key_is_being_changed_receivers_with_either_can_check(hook: Hook, known: str) -> None:
    hook.key = known
    assert post(made(), Receiver(hook.url, (NEW, KEY)), timeout_seconds=5).status == 204
    assert len(hook.taken) == 1


def test_a_receiver_with_another_key_does_not_take_it() -> None:
    signed = headers(made(), Receiver("", (NEW,)), at=datetime.now(UTC))
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(KEY).verify(made().body, signed)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirection_is_not_followed(hook: Hook, status: int) -> None:
    hook.answers, hook.headers = [status], {"Location": "https://elsewhere.example/T9/hidden"}
    answer = post(made(), hook.receiver, timeout_seconds=5)
    assert answer.status == status
    assert "elsewhere.example" in answer.problem
    assert "hidden" not in answer.problem
    assert len(hook.seen) == 1


def test_how_long_a_receiver_asks_to_wait(hook: Hook) -> None:
    hook.answers = [429, 429, 429]
    found = []
    for text in ("120", "Sun, 22 Nov 2999 08:00:00 GMT", "soon"):
        hook.headers = {"Retry-After": text}
        found.append(post(made(), hook.receiver, timeout_seconds=5).retry_after_seconds)
    assert found[0] == 120
    assert found[1] > 1e9
    assert found[2] == 0


def test_silence_is_no_answer(hook: Hook) -> None:
    hook.answers = [3.0]
    started = time.monotonic()
    answer = post(made(), hook.receiver, timeout_seconds=0.3)
    assert (answer.status, answer.problem != "") == (0, True)
    assert time.monotonic() - started < 1.5


def test_a_byte_now_and_then_is_no_answer_either() -> None:
    """A timeout of the socket alone would begin anew with each of them."""

    class Dripping(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            for _ in range(40):
                try:
                    self.wfile.write(b"H")
                except OSError:
                    return
                time.sleep(0.05)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Dripping) as server:
        thread = threading.Thread(target=server.handle_request, daemon=True)
        thread.start()
        started = time.monotonic()
        answer = post(made(), Receiver(f"http://127.0.0.1:{server.server_port}/", (KEY,)), timeout_seconds=0.4)
        assert (answer.status, answer.problem) == (0, "no answer within 0 s")
        assert time.monotonic() - started < 1.5
        thread.join(5)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/T0/hidden", "http://no-such-host.invalid/T0/hidden", "http://[::1]:9/"]
)
def test_nobody_there(url: str) -> None:
    answer = post(made(), Receiver(url, (KEY,)), timeout_seconds=5)
    assert answer.status == 0
    assert answer.problem
    assert "hidden" not in answer.problem


def test_an_answer_that_is_no_http(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        got = post(made(), Receiver(f"http://127.0.0.1:{server.getsockname()[1]}/", (KEY,)), timeout_seconds=5)
        thread.join(5)
    assert got.status == 0


def test_user_and_password_of_the_address_become_a_header(hook: Hook) -> None:
    url = hook.url.replace("http://", "http://ada:p%40w@")
    assert post(made(), Receiver(url, (KEY,)), timeout_seconds=5).status == 204
    assert hook.seen[0]["authorization"] == "Basic " + base64.b64encode(b"ada:p@w").decode()


def test_a_proxy_is_asked_for_other_machines_and_never_for_this_one(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.handle_request, daemon=True)
        thread.start()
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("no_proxy", "")
        assert post(made(), hook.receiver, timeout_seconds=5).status == 204
        assert asked == []
        there = Receiver("http://hooks.example/T0", (KEY,))
        assert post(made(), there, timeout_seconds=5).status == 202
        thread.join(5)
    assert asked == ["http://hooks.example/T0"]
    assert SECRET_PATH in hook.url
