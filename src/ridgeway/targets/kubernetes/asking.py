"""Whether the address really leads to the new image only: each node's proxy hears of a change a moment later."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ridgeway.artifacts import Deployment

SETTLE_SECONDS = 30.0
"""The most that a node's proxy is waited for: on a node with much to do it may hear of a change many seconds later, and
a probe that the old image answers would be taken for a failure of the new one."""
_IN_A_ROW_PER_REPLICA = 20
"""Fresh connections that must all reach the new image. It is tried again and again until then, so that one old replica
beside the new ones must practically never be missed: with n new ones by chance ((n / (n + 1)) ** (20 n) < 1e-6)."""
_MOST_IN_A_ROW = 200
_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    address: str
    key: str = ""
    certificate: Path | None = None
    """The endpoint's own chain, trusted whatever name it was made out to; None: plain HTTP."""


def settled(caller: Caller, deployment: Deployment, *, seconds: float = SETTLE_SECONDS) -> bool:
    """Whether the image answered all of several fresh connections in a row; False if the address cannot be reached.

    An address that this machine cannot reach (a name inside the cluster) is not waited for.
    """
    deadline, row, reached = time.monotonic() + seconds, 0, False
    enough = min(_MOST_IN_A_ROW, _IN_A_ROW_PER_REPLICA * deployment.replicas)
    while time.monotonic() < deadline:
        image = answering_image(caller)
        if image is None and not reached and time.monotonic() > deadline - seconds + 1.0:
            return False
        reached = reached or image is not None
        row = row + 1 if image == deployment.image.digest else 0
        if row >= enough:
            return True
        if not row:
            time.sleep(0.1)
    return False


def answering_image(caller: Caller) -> str | None:
    """The digest that a fresh connection is answered with; empty if the answer has none, None if nothing answers."""
    where = urlsplit(caller.address)
    connection = _connection(caller, where.hostname or "", where.port)
    try:
        connection.request("GET", "/v2", headers={"Authorization": f"Bearer {caller.key}"} if caller.key else {})
        body = connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    try:
        return str(json.loads(body).get("image", ""))
    except (ValueError, AttributeError):
        return ""


def _connection(caller: Caller, host: str, port: int | None) -> http.client.HTTPConnection:
    if not caller.address.startswith("https"):
        return http.client.HTTPConnection(host, port or 80, timeout=_SECONDS)
    context = ssl.create_default_context(cafile=str(caller.certificate) if caller.certificate else None)
    # It is known by its chain, not by its name: a node's or a loopback address is in no certificate.
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return http.client.HTTPSConnection(host, port or 443, timeout=_SECONDS, context=context)
