"""Who may ask a server, decided from a request's head alone."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from ridgeway.guard import Guard, guarded, judge

GUARD = Guard(names=("localhost", "hub", "mlflow.example:8443"), pages=("mlflow.example:8443",))


def scope(host: str = "127.0.0.1:5050", kind: str = "http", path: str = "/api", **headers: str) -> dict[str, Any]:
    named = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": kind, "method": "POST", "path": path, "headers": [(b"host", host.encode()), *named]}


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


@pytest.mark.parametrize(
    "host", ["127.0.0.1:5050", "10.97.0.1", "[::1]:5050", "localhost:1", "LOCALHOST", "hub:4200", "mlflow.example:8443"]
)
def test_names_that_a_server_is_known_by(host: str) -> None:
    assert judge(GUARD, scope(host)) is None


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example",
        "rebound.example:5050",
        "10.rebound.example",
        "127.0.0.1.rebound.example",
        "mlflow.example",
        "localhost@rebound.example",
        "localhost/rebound",
        "",
        "[::1",
        "hub:port",
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_names_that_a_page_may_have_invented(host: str, kind: str) -> None:
    refusal = judge(GUARD, scope(host, kind))
    assert refusal is not None
    assert refusal.status == 403


def test_two_names_at_once() -> None:
    twice = scope()
    twice["headers"].append((b"Host", b"rebound.example"))
    assert judge(GUARD, twice) is not None
    assert judge(GUARD, {**twice, "headers": []}) is not None


@pytest.mark.parametrize(
    ("page", "may"),
    [
        ("http://127.0.0.1:5050", True),
        ("https://mlflow.example:8443", True),
        ("http://127.0.0.1:8000", False),
        ("http://localhost:5050", False),
        ("https://rebound.example", False),
        ("null", False),
        ("file://127.0.0.1:5050", False),
    ],
)
def test_pages_that_ask(page: str, may: bool) -> None:
    """Another port of this machine is another program, and its pages are not ours."""
    assert (judge(GUARD, scope(origin=page)) is None) is may
    assert (judge(GUARD, scope(kind="websocket", origin=page)) is None) is may


def test_user_and_password() -> None:
    guard = Guard(secret="ridgeway:quiet-river", open_paths=("/health",))

    def status(given: str = "", path: str = "/api", kind: str = "http") -> int:
        refusal = judge(guard, scope(path=path, kind=kind, **({"authorization": given} if given else {})))
        return refusal.status if refusal else 200

    assert status(basic("ridgeway:quiet-river")) == 200
    assert status(basic("ridgeway:quiet-river").replace("Basic", "basic")) == 200
    for wrong in (
        "",
        basic("ridgeway:quiet-rive"),
        basic("admin:password1234"),
        "Basic !",
        "Basic",
        "Bearer quiet-river",
    ):
        assert status(wrong) == 401
    assert status(path="/health") == 200
    assert status(path="/health/") == status(path="//health") == status(path="/HEALTH") == 401
    assert status(path="/health", kind="websocket") == 401
    assert "quiet-river" not in repr(guard)


def test_what_a_client_hears() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        heard.append("through")

    heard: list[Any] = []

    async def send(message: Any) -> None:
        heard.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    assert guarded(application, {}) is application
    stands = guarded(application, Guard(secret="a:b").to_environment())
    asyncio.run(stands(scope(), receive, send))
    start, body = heard
    assert start["status"] == 401
    assert (b"www-authenticate", b'Basic realm="ridgeway"') in start["headers"]
    assert "RIDGEWAY_SERVERS__PASSWORD" in json.loads(body["body"])["message"]
    heard.clear()
    asyncio.run(stands(scope("rebound.example", "websocket"), receive, send))
    assert heard[0]["type"] == "websocket.close"
    heard.clear()
    asyncio.run(stands(scope(authorization=basic("a:b")), receive, send))
    asyncio.run(stands({"type": "lifespan"}, receive, send))
    assert heard == ["through", "through"]
