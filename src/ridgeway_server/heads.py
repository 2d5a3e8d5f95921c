"""The head of an HTTP/1.1 request, read strictly: anything that two readers could understand differently is refused."""

from __future__ import annotations

from typing import Any

import httptools

from ridgeway_server.errors import Refusal
from ridgeway_server.exchange import Asked, Limits

CHUNKED = -1
_ONCE = (b"content-length", b"transfer-encoding", b"host", b"authorization", b"x-api-key", b"content-type", b"expect",
         b"content-encoding", b"inference-header-content-length")  # fmt: skip
_VISIBLE = frozenset(range(0x21, 0x7F)) - {0x22, 0x5C}


class Head:
    """What the first lines of a request say, and what the application has made of them (``route`` and below)."""

    __slots__ = (
        "asked", "entry", "expects", "fast", "keep_alive", "key", "length", "log_part", "method", "metrics", "minor",
        "name", "path", "refusal", "request_id", "reusable", "route", "start", "traceparent", "version",
    )  # fmt: skip

    def __init__(self) -> None:
        self.method = ""
        self.path = ""
        self.length = 0
        """Of the body, in bytes; ``CHUNKED`` if it comes in chunks."""
        self.keep_alive = True
        self.minor = 1
        self.expects = False
        self.key: bytes | None = None
        self.request_id: bytes | None = None
        self.traceparent: bytes | None = None
        self.asked = Asked()
        self.reusable = True
        """True if equal bytes always mean an equal head: no id of this one request is in it."""
        self.route: Any = None
        self.name = self.version = ""
        self.refusal: Refusal | None = None
        self.entry: Any = None
        self.fast: Any = None
        self.start: Any = None
        self.metrics: Any = None
        self.log_part = b""


class _Collector:
    """Takes what httptools finds."""

    __slots__ = ("complete", "headers", "url")

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.url = b""
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True


def read_head(raw: bytes, limits: Limits, max_headers: int = 100) -> Head:
    """The head in ``raw``, which ends with the empty line.

    Raises:
        Refusal: 400 if it is not HTTP/1.1 in every detail that could be read in two ways; 417, 431, 501, 505.
    """
    # A lone line feed ends a line for some readers and not for others.
    if raw.count(b"\n") != raw.count(b"\r\n") or b"\0" in raw:
        raise Refusal(400, "a head with stray control characters", "lines that end with CR LF")
    found, parser = _parsed(raw)
    if len(found.headers) > max_headers:
        raise Refusal(431, f"{len(found.headers)} header lines", f"at most {max_headers}")
    if parser.get_http_version() not in ("1.1", "1.0"):
        raise Refusal(505, f"HTTP version {parser.get_http_version()}", "1.1")
    headers = _once_only(found.headers)
    head = Head()
    head.minor = int(parser.get_http_version()[-1])
    head.method = parser.get_method().decode()
    head.keep_alive = parser.should_keep_alive()
    if head.minor == 1 and b"host" not in headers:
        raise Refusal(400, "no Host header", "one")
    head.path = _path(found.url)
    head.length = _length(headers)
    if head.minor == 0 and head.length == CHUNKED:
        raise Refusal(400, "chunks in HTTP/1.0", "a Content-Length")
    _rest(head, headers, limits)
    return head


def _parsed(raw: bytes) -> tuple[_Collector, httptools.HttpRequestParser]:
    found = _Collector()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # An offer of another protocol may be left alone.
    except httptools.HttpParserError as error:
        raise Refusal(400, f"not an HTTP request ({error})", "HTTP/1.1") from None
    if not found.complete:
        raise Refusal(400, "not a complete HTTP request head", "HTTP/1.1")
    return found, parser


def _once_only(lines: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    headers = dict(lines)
    if len(headers) != len(lines):
        names = [name for name, _ in lines]
        for name in _ONCE:
            if names.count(name) > 1:
                raise Refusal(400, f"the header {name.decode()} twice", "once")
    return headers


def _path(url: bytes) -> str:
    try:
        parsed = httptools.parse_url(url)
        return (parsed.path or b"/").decode("ascii")
    except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
        raise Refusal(400, "a request target that is not a URL", "a path such as /score") from None


def _length(headers: dict[bytes, bytes]) -> int:
    coding, length = headers.get(b"transfer-encoding"), headers.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise Refusal(400, "both Content-Length and Transfer-Encoding", "one of them")
        if coding.strip().lower() != b"chunked":
            raise Refusal(501, f"transfer coding {coding[:50].decode('latin-1')!r}", "chunked, or a Content-Length")
        return CHUNKED
    if length is None:
        return 0
    if not length.isdigit() or len(length) > 15:
        raise Refusal(400, f"Content-Length {length[:50].decode('latin-1')!r}", "a whole number of bytes")
    return int(length)


def _rest(head: Head, headers: dict[bytes, bytes], limits: Limits) -> None:
    expect = headers.get(b"expect")
    if expect is not None and expect.lower() != b"100-continue":
        raise Refusal(417, f"Expect {expect[:50].decode('latin-1')!r}", "100-continue")
    head.expects = expect is not None and head.minor == 1
    encoding = headers.get(b"content-encoding", b"identity").lower()
    if encoding != b"identity":
        shown = encoding[:50].decode("latin-1")
        head.refusal = Refusal(415, f"content encoding {shown!r}", "identity", (("Accept-Encoding", "identity"),))
    head.key = _key(headers)
    head.request_id = _identifier(headers.get(b"x-request-id"))
    head.traceparent = _identifier(headers.get(b"traceparent"))
    head.reusable = head.request_id is None and head.traceparent is None and not head.expects
    json_bytes = headers.get(b"inference-header-content-length")
    if json_bytes is not None and (not json_bytes.isdigit() or len(json_bytes) > 15):
        raise Refusal(400, "Inference-Header-Content-Length that is not a number", "a whole number of bytes")
    head.asked = Asked(
        _media_type(headers.get(b"content-type", b"")),
        _media_type(headers.get(b"accept", b"")),
        None if json_bytes is None else int(json_bytes),
        limits,
    )


def _key(headers: dict[bytes, bytes]) -> bytes | None:
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return credentials.strip()
    return headers.get(b"x-api-key")


def _identifier(value: bytes | None) -> bytes | None:
    """An id as sent, if it is short and plain enough to be echoed and logged; else none."""
    return value if value and len(value) <= 128 and _VISIBLE.issuperset(value) else None


def _media_type(value: bytes) -> str:
    kind, _, parameters = value.partition(b";")
    text = kind.strip().lower().decode("latin-1")[:100]
    charset = parameters.lower().replace(b" ", b"").replace(b'"', b"")
    if charset.startswith(b"charset=") and charset[8:] not in (b"utf-8", b"utf8", b"us-ascii"):
        return f"{text}; {charset[:50].decode('latin-1')}"
    return text
