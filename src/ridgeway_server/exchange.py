"""What passes between the protocols and whatever carries them: what was asked, read from it, and answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ridgeway_server.signature import Table

if TYPE_CHECKING:
    from ridgeway_server.answers import Answer
    from ridgeway_server.models import Model

JSON = "application/json"
OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may ask for: rows, and bytes of memory while its JSON is turned into numbers."""

    rows: int = 1_000_000
    parse_bytes: int = 2**30


@dataclass(frozen=True, slots=True)
class Asked:
    """The parts of a request's head that a protocol looks at. Types are lower case, without parameters."""

    content_type: str = ""
    accept: str = ""
    json_bytes: int | None = None
    """Of a V2 request with binary tensors: the length of its JSON part."""
    limits: Limits = Limits()


@dataclass(slots=True)
class Parsed:
    """Checked rows, and what the protocol must remember to answer in kind."""

    table: Table
    memory: Any = None


@dataclass(slots=True)
class Reply:
    """An answer: status, type, body, and further header lines, each as it goes on the wire with its CRLF."""

    status: int = 200
    content_type: str = JSON
    body: bytes = b""
    headers: bytes = b""
    rows: int = 0


class WireProtocol:
    """How one family of clients speaks: how rows are read from a request, how an answer and an error are written."""

    name = ""

    def parse(self, model: Model, body: bytes | bytearray | memoryview, asked: Asked) -> Parsed:
        """The checked rows of a request.

        Raises:
            Refusal: They cannot be read, or do not fit the model's signature.
        """
        raise NotImplementedError

    def encode(self, model: Model, answer: Answer, parsed: Parsed) -> Reply:
        """The answer to a parsed request."""
        raise NotImplementedError

    def error(self, status: int, sentence: str) -> bytes:
        """The body of an error answer in the form that this protocol's clients read."""
        raise NotImplementedError
