"""What is asked of a server at its own address."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path

from ridgeway.artifacts import Deployment
from ridgeway.targets.addresses import listening_address

_SECONDS = 5.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - translated, never listened on


def takes_key(deployment: Deployment, key: str, root: Path) -> bool:
    """Whether a request with this key, on a connection of its own, is let in."""
    address = listening_address(deployment)
    host = _EVERYWHERE.get(address.host, address.host)
    connection: http.client.HTTPConnection
    if address.scheme == "https":
        connection = http.client.HTTPSConnection(
            host, address.port, timeout=_SECONDS, context=_own_certificate(root / deployment.certificate)
        )
    else:
        connection = http.client.HTTPConnection(host, address.port, timeout=_SECONDS)
    try:
        connection.request("GET", "/v2", headers={"Authorization": f"Bearer {key}"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _own_certificate(certificate: Path) -> ssl.SSLContext:
    """Trusts the endpoint's own certificate and nothing else; its names are for clients to check."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(certificate)
    return context
