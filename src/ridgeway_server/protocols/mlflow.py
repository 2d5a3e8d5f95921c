"""MLflow's scoring protocol: ``/invocations`` takes its four JSON forms (``FORMS``) and CSV.

Names that the model does not know are ignored here, as MLflow ignores them. In CSV an empty field is a missing value.
"""

from __future__ import annotations

import csv
import io
from typing import Any

import orjson

from ridgeway_server.answers import Answer
from ridgeway_server.documents import Body, load_object, table_in_pieces, weigh
from ridgeway_server.errors import Refusal
from ridgeway_server.exchange import JSON, Asked, Parsed, Reply, WireProtocol
from ridgeway_server.models import Model
from ridgeway_server.protocols.score import JSON_TYPES
from ridgeway_server.signature import Signature, Table

CSV = "text/csv"
FORMS = ("inputs", "instances", "dataframe_split", "dataframe_records")
EXPECTED = f"an object with one of {', '.join(FORMS)}"
_FIELD_BYTES = 130
"""Of a short text, its number, and a place for each in a row and in a column."""
_CODES = {400: "BAD_REQUEST", 401: "UNAUTHENTICATED", 404: "RESOURCE_DOES_NOT_EXIST", 500: "INTERNAL_ERROR"}


class MlflowProtocol(WireProtocol):
    """``/invocations``."""

    name = "mlflow"

    def parse(self, model: Model, body: Body, asked: Asked) -> Parsed:
        """Rows from any of MLflow's forms."""
        if asked.content_type == CSV:
            weigh(csv_size(bytes(body)), asked.limits, "CSV")
            return Parsed(_from_csv(model.signature, body))
        if asked.content_type not in JSON_TYPES:
            raise Refusal(415, f"content type {asked.content_type!r}", f"{JSON} or {CSV}")
        pieces = table_in_pieces(body, model.signature, asked.limits)
        if pieces is not None and pieces[0] != "data":
            return Parsed(pieces[1])
        document = load_object(body, asked.limits, EXPECTED)
        forms = [form for form in FORMS if form in document]
        strange = document.keys() - {*FORMS, "params"}
        if len(forms) != 1 or strange or document.get("params"):
            raise Refusal(400, f"an object with the keys {list(document)[:10]!r}", f"{EXPECTED}; params are not taken")
        return Parsed(_from_form(model.signature, forms[0], document[forms[0]]))

    def encode(self, model: Model, answer: Answer, parsed: Parsed) -> Reply:
        """``{"predictions": […]}``: values, or labels."""
        predictions = answer.values.tolist() if answer.values is not None else model.labels(answer)
        return Reply(200, JSON, orjson.dumps({"predictions": predictions}), rows=parsed.table.rows)

    def error(self, status: int, sentence: str) -> bytes:
        """``{"error_code": …, "message": …}``."""
        code = _CODES.get(status, "BAD_REQUEST" if status < 500 else "TEMPORARILY_UNAVAILABLE")
        return orjson.dumps({"error_code": code, "message": sentence})


def csv_size(body: bytes) -> int:
    """An upper estimate of the bytes that the parsed form of a CSV text takes."""
    return (body.count(b",") + body.count(b"\n") + body.count(b"\r")) * _FIELD_BYTES + 3 * len(body)


def _from_form(signature: Signature, form: str, value: Any) -> Table:
    if form == "dataframe_split":
        if type(value) is not dict or not {"data"} <= value.keys() <= {"data", "columns", "index"}:
            raise Refusal(400, "dataframe_split in another form", '{"columns": […], "data": [[…], …]}')
        names = value.get("columns")
        if names is not None and (type(names) is not list or not all(isinstance(name, str) for name in names)):
            raise Refusal(400, "dataframe_split with columns that are not names", "a list of column names")
        return signature.from_rows(value["data"], names, extra=True)
    if type(value) is dict and form != "dataframe_records":
        return signature.from_columns(value, extra=True)
    if type(value) is list and value and type(value[0]) is dict:
        return signature.from_records(value, extra=True)
    if form == "dataframe_records":
        raise Refusal(400, "dataframe_records without objects in it", "a list of objects, column name to value")
    return signature.from_rows(value)


def _from_csv(signature: Signature, body: Body) -> Table:
    try:
        text = bytes(body).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refusal(400, f"CSV that is not UTF-8 at byte {error.start}", "UTF-8") from None
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except csv.Error as error:
        raise Refusal(400, f"CSV that cannot be read ({error})", "comma-separated values") from None
    if len(lines) < 2:
        raise Refusal(400, f"CSV with {len(lines)} lines", "a header of column names and at least one row")
    header, rows = lines[0], lines[1:]
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise Refusal(400, f"row {number} has {len(row)} values", f"{len(header)}, as the header")
    if len(set(header)) != len(header):
        raise Refusal(400, "a column name twice in the header", "each once")
    types = {column.name: column.type for column in signature.columns}
    columns = {
        name: [_cell(field, types[name], number, name) for number, field in enumerate(fields, 1)]
        for name, fields in zip(header, zip(*rows, strict=True), strict=True)
        if name in types
    }
    return signature.from_columns(columns, extra=True)


def _cell(field: str, kind: str, number: int, name: str) -> Any:
    if field == "":
        return None
    if kind == "string":
        return field
    if kind == "boolean" and field.lower() in ("true", "false"):
        return field.lower() == "true"
    try:
        value = float(field)
    except ValueError:
        value = None
    if value is None or "_" in field or kind == "boolean":
        expected = {"boolean": "true or false", "integer": "a whole number"}.get(kind, "a number")
        raise Refusal(400, f"row {number}, column {name!r} is {field[:100]!r}", expected)
    return value
