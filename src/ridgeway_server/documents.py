"""JSON bodies to Python values and float arrays, within a stated amount of memory.

JSON grows in memory: ``[],`` is 3 bytes on the wire and 64 as a list. A body is therefore weighed before it is parsed,
by counting its punctuation; and large tables of numbers, which are the honest reason for large bodies, are parsed in
pieces, so that 100 MB of them need little more than their own size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from ridgeway_server.errors import Refusal
from ridgeway_server.exchange import Limits
from ridgeway_server.signature import Matrix, Signature, Table

Body = bytes | bytearray | memoryview
_SMALL = 2**20
_PIECE = 2**20
_CONTAINER_BYTES, _VALUE_BYTES = 72, 40
"""Of an empty list or object with its place in its parent; of a number with its place (CPython 3.11, 64 bit)."""
_OPENING = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"(data|inputs|instances)"[ \t\r\n]*:[ \t\r\n]*\[')
_CLOSING = re.compile(rb"[ \t\r\n]*\][ \t\r\n]*\}[ \t\r\n]*\Z")
_COMMA = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*")


def parsed_size(body: bytes | bytearray) -> int:
    """An upper estimate of the bytes that the parsed form of a JSON text takes.

    Example:
        >>> parsed_size(b"[[],[]]") > 3 * 64
        True
    """
    containers = body.count(b"[") + body.count(b"{")
    return containers * _CONTAINER_BYTES + (body.count(b",") + body.count(b":")) * _VALUE_BYTES + 2 * len(body)


def weigh(size: int, limits: Limits, what: str) -> None:
    """Refuse what would take more memory than a request may.

    Raises:
        Refusal: 413.
    """
    if size > limits.parse_bytes:
        raise Refusal(
            413,
            f"{what} that would take {size >> 20} MiB once parsed",
            f"at most {limits.parse_bytes >> 20} MiB: send fewer rows per request, or application/octet-stream",
        )


def load_json(body: Body, limits: Limits) -> Any:
    """The value of a JSON text.

    Raises:
        Refusal: 400 if it is not JSON in UTF-8 (orjson also refuses NaN, 1e400 and nesting deeper than 1024); 413 if
        its parsed form would take more memory than the limit.
    """
    if len(body) > _SMALL:
        weigh(parsed_size(body if isinstance(body, bytes | bytearray) else bytes(body)), limits, "JSON")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        shown = "an empty body" if not len(body) else f"a body that is not JSON ({error})"
        raise Refusal(400, shown, "JSON in UTF-8") from None
    except RecursionError:
        raise Refusal(400, "JSON nested too deeply", "at most 1024 levels") from None


def load_object(body: Body, limits: Limits, expected: str) -> dict[str, Any]:
    """The JSON object in a body; ``expected`` describes it for the refusal of anything else."""
    document = load_json(body, limits)
    if type(document) is not dict:
        kind = {list: "a list", str: "a text", type(None): "null", bool: "a boolean"}.get(type(document), "a number")
        raise Refusal(400, f"{kind} at the top of the body", expected)
    return document


def table_in_pieces(body: Body, signature: Signature, limits: Limits) -> tuple[str, Table] | None:
    """The key and rows of a large ``{"data": [[…], …]}`` of numbers, parsed piece by piece; None for any other body.

    Cutting behind a ``]`` is sound because without quotation marks no bracket is inside a text; a cut inside a nested
    list does not parse and ends the attempt.

    Raises:
        Refusal: 413: more rows, or more memory for their numbers, than one request may have.
    """
    if len(body) <= _SMALL or not signature.numeric or isinstance(body, memoryview):
        return None
    opening = _OPENING.match(body)
    closing = _CLOSING.search(body, max(0, len(body) - 64))
    if opening is None or closing is None or body.find(b'"', opening.end()) != -1:
        return None
    matrix, rows = np.empty((0, signature.width)), 0
    for piece, done in _pieces(body, opening.end(), closing.start(), signature):
        if piece is None:
            return None
        rows += len(piece)
        if rows > limits.rows:
            raise Refusal(413, f"more than {limits.rows} rows", f"at most {limits.rows} in one request")
        if rows > len(matrix):
            # Room for all that is to come, if it goes on like this: growing bit by bit would copy everything again.
            expected = int(rows * max(1.0, 1.02 / done)) + 1
            weigh(expected * signature.width * 8, limits, "numbers")
            matrix = np.concatenate(
                [matrix[: rows - len(piece)], np.empty((expected - rows + len(piece), signature.width))]
            )
        matrix[rows - len(piece) : rows] = piece
    return (opening[1].decode(), Table(rows, matrix[:rows])) if rows else None


def _pieces(
    body: bytes | bytearray, start: int, end: int, signature: Signature
) -> Iterator[tuple[Matrix | None, float]]:
    """The rows of each piece and the share of the body that is done with it; None for rows ends the attempt."""
    begin, length = start, end - start
    while start < end:
        stop = body.rfind(b"]", start, min(start + _PIECE, end)) + 1
        comma = _COMMA.match(body, stop, end)
        if stop <= start or (comma is None) != (stop == end):
            yield None, 0.0
            return
        try:
            rows = orjson.loads(b"[" + body[start:stop] + b"]")
        except orjson.JSONDecodeError:
            rows = None
        table = signature.quick_table(rows) if rows else None
        start = comma.end() if comma else end
        if table is None or (comma and start >= end):
            yield None, 0.0
            return
        yield table.matrix, (start - begin) / length
