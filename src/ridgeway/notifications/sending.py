"""One attempt: a signed POST to the receiver, and what it answered. Never longer than it may take, whatever happens."""

from __future__ import annotations

import base64
import ipaddress
import queue
import threading
import urllib.error
import urllib.request
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from standardwebhooks import Webhook

from ridgeway import __version__
from ridgeway.notifications.message import Message
from ridgeway.notifications.receiver import Receiver
from ridgeway.rules.notifications import Answer


def post(message: Message, receiver: Receiver, *, timeout_seconds: float) -> Answer:
    """What the receiver answers to one message.

    Addresses of this machine are asked directly, all others through the proxy that the environment names, if it names
    one. A redirection is not followed: the body would go to somebody whom nobody has chosen.

    Args:
        message: What to send.
        receiver: To whom, and signed with which keys.
        timeout_seconds: For all of it, the look-up of the name included.
    """
    answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    # Of its own thread, because neither a name server nor one byte a second can be timed out otherwise. A daemon: what
    # is still under way when the process ends is sent again later, under the same id.
    threading.Thread(
        target=lambda: answers.put(_attempt(message, receiver, timeout_seconds)), daemon=True, name="notification"
    ).start()
    try:
        return answers.get(timeout=timeout_seconds)
    except queue.Empty:
        return Answer(problem=f"no answer within {timeout_seconds:.0f} s")


def headers(message: Message, receiver: Receiver, *, at: datetime) -> dict[str, str]:
    """The headers of an attempt: id, time, and one signature for each key.

    Args:
        message: What is sent.
        receiver: Its keys sign, the newest first: while a key is being changed, receivers with either can check.
        at: The time of the attempt, which receivers compare with their clock.
    """
    signatures = [Webhook(key).sign(message.id, at.astimezone(UTC), message.body) for key in receiver.keys]
    return {
        "Content-Type": "application/json",
        "User-Agent": f"ridgeway/{__version__}",
        "webhook-id": message.id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


class _Unfollowed(urllib.request.HTTPRedirectHandler):
    """Leaves a redirection as the answer that it is."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """None: nothing is asked in its place."""


_DIRECT = urllib.request.build_opener(_Unfollowed, urllib.request.ProxyHandler({}))


def _attempt(message: Message, receiver: Receiver, timeout_seconds: float) -> Answer:
    url, authorisation = _split_user(receiver.url)
    request = urllib.request.Request(  # noqa: S310 - http and https only, checked where the address is read
        url,
        data=message.body.encode(),
        headers={**headers(message, receiver, at=datetime.now(UTC)), **authorisation},
        method="POST",
    )
    # Built anew each time: a proxy may be set or unset while a server of ours runs.
    opener = _DIRECT if _is_local(url) else urllib.request.build_opener(_Unfollowed)
    try:
        with opener.open(request, timeout=timeout_seconds) as answer:
            return Answer(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return _refused(error)
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Answer(problem=receiver.cleaned(str(reason) or type(error).__name__))


def _refused(error: urllib.error.HTTPError) -> Answer:
    problem = f"status {error.code}"
    if 300 <= error.code < 400:
        host = urlsplit(error.headers.get("Location", "")).hostname
        problem += f": it leads on{f' to {host}' if host else ''}, and is not followed; set the address itself"
    return Answer(error.code, problem, _retry_after(error.headers.get("Retry-After", "")))


def _retry_after(text: str) -> float:
    """Seconds that the receiver asks to wait; 0 where it does not say, or cannot be understood."""
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _split_user(url: str) -> tuple[str, dict[str, str]]:
    """The address without user and password, and the header that carries them instead."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url, {}
    user, _, host = parts.netloc.rpartition("@")
    token = base64.b64encode(unquote(user).encode()).decode("ascii")
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": f"Basic {token}"}
