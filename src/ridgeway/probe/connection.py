"""HTTP with an endpoint: one answer at a time, straight (no proxy, no redirect followed), faults told in words."""

from __future__ import annotations

import json
import logging
import ssl
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import httpx

from ridgeway.probe.request import ProbeRequest

JSON = "application/json"
OCTETS = "application/octet-stream"
# It logs each request at level INFO.
logging.getLogger("httpx").setLevel(logging.WARNING)


class Fault(Exception):
    """No answer came; the sentence says why. ``passing``: it may come in a moment."""

    def __init__(self, sentence: str, next_step: str = "", *, passing: bool = False) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.next_step = next_step
        self.passing = passing


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. The body may tell about rows that were sent, so it is not shown."""

    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def kind(self) -> str:
        """The content type without its parameters."""
        return str(self.headers.get("content-type", "")).partition(";")[0].strip().lower()

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object in the body; empty where there is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def description(self) -> str:
        """What came, for a person who expected something else: status, type, server, never the body."""
        location = self.headers.get("location", "")
        if 300 <= self.status < 400:
            return f"a redirect to {location[:200]!r} (status {self.status})"
        server = self.headers.get("server", "")
        return f"status {self.status}, {self.kind or 'no content type'}{f', by {server[:60]!r}' if server else ''}"


def trust(request: ProbeRequest) -> ssl.SSLContext | None:
    """Whom to trust for this address; None for plain HTTP.

    Raises:
        Fault: The authority's file cannot be read.
    """
    if not request.address.startswith("https://"):
        return None
    try:
        return ssl.create_default_context(cafile=request.authority or None)
    except (OSError, ssl.SSLError) as error:
        raise Fault(
            f"the authority {request.authority} cannot be read: {error.strerror or error}",
            f"ridgeway settings targets.{request.target}.tls.authority",
        ) from error


class Session:
    """A connection that is kept, with the primary key on every request unless another is given."""

    def __init__(self, request: ProbeRequest, context: ssl.SSLContext | None) -> None:
        self._request = request
        # Without a proxy of the environment: a key and persons' rows go to the endpoint and to nobody on the way.
        self._client = httpx.Client(
            base_url=request.address,
            verify=context if context is not None else False,
            trust_env=False,
            follow_redirects=False,
            timeout=request.timeout_seconds,
        )

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, *, key: str | None = None) -> Answer:
        """The answer to a GET.

        Raises:
            Fault: None came.
        """
        return self._ask("GET", path, key=key)

    def post(self, path: str, body: bytes, kind: str = JSON, *, key: str | None = None, accept: str = "") -> Answer:
        """The answer to a POST; with an empty ``key`` none is sent.

        Raises:
            Fault: None came.
        """
        return self._ask("POST", path, key=key, body=body, headers={"content-type": kind, "accept": accept or "*/*"})

    def _ask(
        self, method: str, path: str, *, key: str | None, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        chosen = self._request.primary if key is None else key
        signed = {"authorization": f"Bearer {chosen}"} if chosen else {}
        try:
            response = self._client.request(method, path, content=body or None, headers={**(headers or {}), **signed})
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise self._fault(error) from error
        return Answer(response.status_code, response.headers, response.content)

    def _fault(self, error: Exception) -> Fault:
        address, target = self._request.address, self._request.target
        reason = _tls_reason(error)
        if reason:
            return _tls_fault(reason, self._request)
        if isinstance(error, httpx.TimeoutException):
            passing = isinstance(error, httpx.ConnectTimeout)
            # A server of plain HTTP waits for more of what it takes for a request.
            hint = "; is it an http:// address?" if passing and address.startswith("https://") else ""
            return Fault(f"{address} does not answer in time{hint}", f"ridgeway logs {target}", passing=passing)
        if isinstance(error, httpx.ConnectError | httpx.ReadError | httpx.WriteError):
            return Fault(f"{address} cannot be reached: {_cause(error)}", f"ridgeway show {target}", passing=True)
        if isinstance(error, httpx.RemoteProtocolError):
            # Also what a server says to plain HTTP on its TLS port, and one that is just going away.
            hint = "; is it an https:// address?" if address.startswith("http://") else ""
            return Fault(
                f"{address} ends the connection without an answer in HTTP{hint}",
                f"ridgeway settings targets.{target}.address",
                passing=True,
            )
        return Fault(
            f"{address} cannot be asked: {type(error).__name__}", f"ridgeway settings targets.{target}.address"
        )


def _tls_fault(reason: str, request: ProbeRequest) -> Fault:
    if "WRONG_VERSION" in reason or "record layer" in reason.lower() or "HTTP_REQUEST" in reason:
        return Fault(
            f"{request.address} does not speak TLS; is it an http:// address?",
            f"ridgeway settings targets.{request.target}.address",
        )
    by = f"the authority {request.authority}" if request.authority else "the machine's own list of authorities"
    return Fault(
        f"the certificate of {request.address} is not trusted by {by}: {reason}",
        f"ridgeway settings targets.{request.target}.tls.authority",
    )


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _tls_reason(error: Exception) -> str:
    """Why TLS failed, in OpenSSL's words; empty where it did not."""
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message or "it does not verify"
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return cause.reason or str(cause)
    return ""


def _cause(error: Exception) -> str:
    for cause in reversed(_chain(error)):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return str(error) or type(error).__name__
