"""Where an endpoint listens, for kinds that open a port of this machine themselves."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from ridgeway.artifacts import Deployment
from ridgeway.errors import UsageError


@dataclass(frozen=True, slots=True)
class Address:
    """An address taken apart."""

    scheme: str
    host: str
    port: int

    @property
    def place(self) -> str:
        """``HOST:PORT``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def listening_address(deployment: Deployment) -> Address:
    """The declared address as host and port.

    Raises:
        UsageError: There is none, it has no port or a path, or its scheme does not fit the certificate.
    """
    split = urlsplit(deployment.address)
    try:
        port = split.port
    except ValueError:
        port = None
    scheme = "https" if deployment.certificate else "http"
    if not split.hostname or not port or split.scheme != scheme or split.path not in ("", "/") or split.query:
        raise UsageError(
            f"{deployment.kind}://{deployment.target}/{deployment.name} has no usable address",
            where=f"targets.{deployment.target}.address = {deployment.address!r}",
            problem="host and port to listen on are taken from it",
            expected=f"{scheme}://HOST:PORT, such as {scheme}://127.0.0.1:8082"
            + (" (with a certificate it is https)" if deployment.certificate else " (https needs tls.certificate)"),
            next_step=f"set targets.{deployment.target}.address in the settings",
        )
    return Address(scheme, split.hostname, port)
