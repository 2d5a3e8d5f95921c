"""The classic scoring call: ``{"data": [[…], …]}`` → ``{"result": […]}``; and float64 rows as raw bytes.

``data`` also takes objects (column name to value). A classification answers labels in ``result`` with ``probabilities``
beside them. ``application/octet-stream`` carries rows of little-endian float64 and gets the same back: one number per
row for a regression, one probability per class and row for a classification; ``Accept: application/json`` gets JSON.
"""

from __future__ import annotations

import numpy as np
import orjson

from ridgeway_server.answers import Answer
from ridgeway_server.documents import Body, load_object, table_in_pieces
from ridgeway_server.errors import Refusal
from ridgeway_server.exchange import JSON, OCTETS, Asked, Parsed, Reply, WireProtocol
from ridgeway_server.models import Model
from ridgeway_server.signature import Table

EXPECTED = 'an object {"data": [[…], …]}, each row a list of values or an object'
_FORM = "application/x-www-form-urlencoded"
JSON_TYPES = ("", JSON, _FORM)
"""``curl -d`` names the form type when it is told none."""


class ScoreProtocol(WireProtocol):
    """``/score``."""

    name = "score"

    def parse(self, model: Model, body: Body, asked: Asked) -> Parsed:
        """Rows from JSON or from raw float64."""
        if asked.content_type == OCTETS:
            return Parsed(octet_rows(model, body), "" if asked.accept == JSON else OCTETS)
        if asked.content_type not in JSON_TYPES:
            raise Refusal(415, f"content type {asked.content_type!r}", f"{JSON} or {OCTETS}")
        pieces = table_in_pieces(body, model.signature, asked.limits)
        if pieces is not None and pieces[0] == "data":
            return Parsed(pieces[1])
        document = load_object(body, asked.limits, EXPECTED)
        if document.keys() != {"data"}:
            raise Refusal(400, f"an object with the keys {list(document)[:10]!r}", EXPECTED)
        rows = document["data"]
        if type(rows) is list and rows and type(rows[0]) is dict:
            return Parsed(model.signature.from_records(rows))
        return Parsed(model.signature.from_rows(rows, plain=is_plain(body)))

    def encode(self, model: Model, answer: Answer, parsed: Parsed) -> Reply:
        """The result in the form that the rows came in."""
        rows = parsed.table.rows
        if parsed.memory == OCTETS:
            numbers = answer.values if answer.values is not None else answer.probabilities
            if numbers is None:
                raise Refusal(406, "a classifier without probabilities", f"Accept: {JSON}")
            return Reply(200, OCTETS, np.ascontiguousarray(numbers, "<f8").tobytes(), rows=rows)
        if answer.values is not None:
            return Reply(200, JSON, orjson.dumps({"result": answer.values.tolist()}), rows=rows)
        document = {"result": model.labels(answer)}
        if answer.probabilities is not None:
            document["probabilities"] = answer.probabilities.tolist()
        return Reply(200, JSON, orjson.dumps(document), rows=rows)

    def error(self, status: int, sentence: str) -> bytes:  # noqa: ARG002 - MLflow's form has use for it
        """``{"error": …}``."""
        return orjson.dumps({"error": sentence})


def is_plain(body: Body) -> bool:
    """True if a body ``{"data": …}`` is sure to hold no text, null, true or false: single letters are found fastest."""
    return not isinstance(body, memoryview) and b"u" not in body and b"f" not in body and body.count(b'"') == 2


def octet_rows(model: Model, body: Body) -> Table:
    """A table from raw little-endian float64 rows."""
    width = model.signature.width
    if len(body) == 0 or len(body) % (8 * width):
        raise Refusal(400, f"{len(body)} bytes", f"a multiple of {8 * width}: rows of {width} little-endian float64")
    matrix = np.frombuffer(body, "<f8").reshape(-1, width)
    return model.signature.from_matrix(matrix)
