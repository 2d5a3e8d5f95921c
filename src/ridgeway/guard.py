"""What stands before both servers: who may ask is looked at before any code of theirs sees a request.

A server on one's own machine is open to every web page that its browser shows: a page can let its own name point to
127.0.0.1 (DNS rebinding) or post a form there. So a request must call the server by a name that it is known by, and
what a page sends must come from a page of the server itself. Addresses in figures are always such a name: rebinding
needs a name that an attacker owns.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

VARIABLE = "_RIDGEWAY_GUARD"
"""In the environment of a server's process: who may ask. Set by whoever starts it, read by the process alone."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Who may ask a server."""

    names: tuple[str, ...] = ()
    """Names that the server is known by, in small letters; one with a port only at that port."""
    pages: tuple[str, ...] = ()
    """Names whose pages may ask although the request calls the server by another: a proxy may have changed that."""
    secret: str = field(default="", repr=False)
    """``user:password`` that each request must carry; empty where the server asks itself, or nobody does."""
    open_paths: tuple[str, ...] = ()
    """What may be read without: signs of life for those who watch the server."""

    def to_environment(self) -> dict[str, str]:
        """The variable that ``guarded`` reads in the server's process."""
        return {VARIABLE: json.dumps(asdict(self))}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not let through."""

    status: int
    sentence: str


def guarded(application: Application, environ: Mapping[str, str]) -> Application:
    """The application behind the guard that the environment describes; the application itself where it has none."""
    text = environ.get(VARIABLE)
    if not text:
        return application
    content = json.loads(text)
    names, pages, open_paths = (tuple(content[key]) for key in ("names", "pages", "open_paths"))
    guard = Guard(names, pages, content["secret"], open_paths)

    async def stand_before(scope: Message, receive: Receive, send: Send) -> None:
        refusal = judge(guard, scope) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await application(scope, receive, send)
        else:
            await _refuse(refusal, scope, receive, send)

    return stand_before


def judge(guard: Guard, scope: Mapping[str, Any]) -> Refusal | None:
    """Why a request is refused, from its ASGI scope alone; None when it may pass.

    Example:
        >>> scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"rebound.example:4200")]}
        >>> judge(Guard(names=("localhost",)), scope).status
        403
        >>> judge(Guard(), {**scope, "headers": [(b"host", b"127.0.0.1:4200")]})
    """
    headers = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1 or not is_known(guard.names, hosts[0]):
        named = hosts[0] if len(hosts) == 1 else "no name, or several"
        return Refusal(403, f"this server is not known as {named!r}; its names stand in servers.allowed_hosts")
    origins = [value for name, value in headers if name == b"origin"]
    if any(not _is_own_page(guard.pages, page, hosts[0]) for page in origins):
        return Refusal(403, f"a page of {origins[0]!r} may not ask this server; see servers.allowed_hosts")
    if not guard.secret or (scope["type"] == "http" and scope["path"] in guard.open_paths):
        return None
    given = [value for name, value in headers if name == b"authorization"]
    if len(given) == 1 and _is_right(given[0], guard.secret):
        return None
    return Refusal(401, "this server wants user and password (RIDGEWAY_SERVERS__PASSWORD)")


def is_known(names: tuple[str, ...], host: str) -> bool:
    """Whether a server may be called so, in a header ``Host``: by an address in figures, or by one of its names.

    Example:
        >>> is_known(("localhost", "mlflow.example:8443"), "mlflow.example:8443")
        True
        >>> is_known(("localhost", "mlflow.example:8443"), "mlflow.example"), is_known((), "[::1]:5050")
        (False, True)
        >>> is_known((), "10.rebound.example")
        False
    """
    try:
        parts = urlsplit(f"//{host}")
        name, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if parts.path or parts.username is not None or "@" in host:
        return False
    return _is_address(name) or name.removesuffix(".") in names or host.lower() in names


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_own_page(pages: tuple[str, ...], page: str, host: str) -> bool:
    """Whether a page comes from the server: by the very name and port that the request has, or by a declared one."""
    try:
        parts = urlsplit(page)
    except ValueError:
        return False
    netloc = parts.netloc.lower()
    return parts.scheme in ("http", "https") and (netloc == host.lower() or netloc in pages or parts.hostname in pages)


def _is_right(given: str, secret: str) -> bool:
    scheme, _, encoded = given.partition(" ")
    try:
        text = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    # In a time that does not tell how much of it was right.
    return scheme.lower() == "basic" and hmac.compare_digest(text, secret.encode())


async def _refuse(refusal: Refusal, scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.sentence[:120]})
        return
    # The names under which MLflow's and Prefect's clients look for a sentence.
    content = {"error_code": "PERMISSION_DENIED", "message": refusal.sentence, "exception_message": refusal.sentence}
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b'Basic realm="ridgeway"'))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
