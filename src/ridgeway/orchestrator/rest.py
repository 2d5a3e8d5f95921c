"""Prefect's REST API, as little of it as is needed where Prefect itself would take seconds to import."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

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
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(  # noqa: S310 - http and https, checked where the setting is read
        url, data=body, headers={"Content-Type": "application/json", **(headers or {})}
    )
    opener = _DIRECT if request.host.startswith("127.0.0.1") else _BY_ENVIRONMENT
    with opener.open(request, timeout=timeout_seconds) as answer:
        return json.loads(answer.read() or b"null")
