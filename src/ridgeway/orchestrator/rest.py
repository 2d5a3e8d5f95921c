"""Prefect's REST API, as little of it as is needed where Prefect itself would take seconds to import."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ridgeway.credentials import for_url
from ridgeway.errors import Permanent, RidgewayError, Transient, Unreachable, UsageError

# The local server is never asked through a proxy; a remote one is, where the environment names one.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_BY_ENVIRONMENT = urllib.request.build_opener()


def is_healthy(url: str, *, timeout_seconds: float, headers: Mapping[str, str] | None = None) -> bool:
    """Whether a Prefect server answers at ``url`` (which ends in ``/api``)."""
    try:
        return call(f"{url}/health", None, timeout_seconds=timeout_seconds, headers=headers) is True
    except (OSError, ValueError):
        return False


def call(
    url: str, content: Any = None, *, timeout_seconds: float = 10, headers: Mapping[str, str] | None = None
) -> Any:
    """The JSON answer to a GET, or to a POST of ``content`` as JSON.

    Raises:
        OSError: Nothing answers, or it answers with an error (``urllib.error.HTTPError``).
        ValueError: The answer is not JSON.
    """
    method = "GET" if content is None else "POST"
    return send(method, url, content, timeout_seconds=timeout_seconds, headers=headers).content


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered."""

    status: int
    content: Any
    date: str = ""
    """The server's clock, as HTTP writes it; to the second."""


def send(
    method: str,
    url: str,
    content: Any = None,
    *,
    timeout_seconds: float = 10,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """The answer to one request; raises as ``call`` does."""
    body = None if content is None else json.dumps(content).encode()
    known = for_url(url)
    sent = headers or ({"Authorization": known.header} if known else {})
    request = urllib.request.Request(  # noqa: S310 - http and https, checked where the setting is read
        url, data=body, method=method, headers={"Content-Type": "application/json", **sent}
    )
    opener = _DIRECT if request.host.startswith("127.0.0.1") else _BY_ENVIRONMENT
    with opener.open(request, timeout=timeout_seconds) as answer:
        return Answer(answer.status, json.loads(answer.read() or b"null"), answer.headers.get("Date") or "")


# ---- what went wrong -------------------------------------------------------------------------------------------------


def explained(error: OSError | ValueError, doing: str, url: str) -> RidgewayError:
    """Our error for one of ``call`` and ``send``.

    Args:
        error: As it was raised.
        doing: What could not be done, such as ``cannot publish``.
        url: The server's API.
    """
    if not isinstance(error, urllib.error.HTTPError):
        return Unreachable(
            f"{doing}: the Prefect server does not answer",
            where=url,
            problem=str(getattr(error, "reason", error)),
            expected="a Prefect server at this address",
            next_step="ridgeway up     or     ridgeway settings servers.prefect",
        )
    said = _said(error)
    if error.code in (401, 403):
        return Permanent(
            f"{doing}: the Prefect server wants to know who asks",
            where=url,
            problem=f"status {error.code}: {said}",
            next_step="set RIDGEWAY_SERVERS__PASSWORD for a server of `ridgeway up`;\n"
            "for another one PREFECT_API_AUTH_STRING (user:password) or PREFECT_API_KEY",
        )
    if error.code >= 500 or error.code in (408, 429):
        return Transient(f"{doing}: the Prefect server failed", where=url, problem=f"status {error.code}: {said}")
    return UsageError(f"{doing}: the Prefect server refused", where=url, problem=f"status {error.code}: {said}")


def _said(error: urllib.error.HTTPError) -> str:
    """What stands in the answer to a request that was refused; the fields of a form with what is wrong with each."""
    text = error.read().decode("utf-8", "replace")
    try:
        content = json.loads(text)
    except ValueError:
        return text[:200]
    told = content.get("detail") or content.get("exception_detail") or content if isinstance(content, dict) else content
    if isinstance(told, list):
        return "; ".join(_field(one) if isinstance(one, dict) else str(one) for one in told)
    return str(told)


def _field(problem: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in problem.get("loc", ()) if part != "body")
    return f"{place}: {problem.get('msg', '')}"
