"""The API as an OpenAPI 3.1 document, true to the models that are loaded: their columns, types, labels."""

from __future__ import annotations

from typing import Any

from ridgeway_server import __version__
from ridgeway_server.errors import Refusal
from ridgeway_server.models import Model
from ridgeway_server.protocols.v2 import DATATYPES, label_datatype
from ridgeway_server.repository import Repository
from ridgeway_server.signature import Column

_MOST_MODELS = 50
"""Models beyond this are described by the general paths alone: the document stays readable."""
_TYPES = {"number": "number", "integer": "integer", "boolean": "boolean", "string": "string"}
_FAULTS = {
    "400": "the request is not what the model takes", "404": "no such model", "413": "too large",
    "415": "a content type that is not taken", "422": "a prediction that is not a finite number",
    "503": "busy, shutting down, or the model cannot be loaded",
}  # fmt: skip


def document(repository: Repository, *, keys: bool) -> dict[str, Any]:
    """The OpenAPI document; models that are not in memory are described once they are."""
    try:
        default = repository.find().model
    except Refusal:
        default = None
    paths: dict[str, Any] = _fixed_paths()
    loaded = [entry.model for versions in repository.entries.values() for entry in versions.values() if entry.model]
    described = {model.name for model in loaded} if len(repository.entries) <= _MOST_MODELS else set()
    if default is not None:
        paths["/score"] = {"post": _score(default)}
        paths["/invocations"] = {"post": _invocations(default)}
    for name in sorted(described):
        model = repository.find(name).model
        if model is not None:
            paths[f"/models/{name}/score"] = {"post": _score(model)}
            paths[f"/models/{name}/invocations"] = {"post": _invocations(model)}
            paths[f"/v2/models/{name}/infer"] = {"post": _infer(model)}
            paths[f"/v2/models/{name}"] = {"get": _get("what the model takes and gives")}
            paths[f"/v2/models/{name}/ready"] = {"get": _get("whether the model answers")}
    top = {"openapi": "3.1.0", "info": {"title": "Ridgeway scoring server", "version": __version__}, "paths": paths}
    if not keys:
        return top
    bearer = {"key": {"type": "http", "scheme": "bearer"}}
    return {**top, "components": {"securitySchemes": bearer}, "security": [{"key": []}]}


def _fixed_paths() -> dict[str, Any]:
    texts = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "/": {"get": {**_get("where to go from here"), "security": []}},
        "/ping": {"get": {**_get("ready, as MLflow's clients ask"), "security": []}},
        "/version": {
            "get": {"responses": {**_responses(), "200": {"description": "the server's version", "content": texts}}}
        },
        "/metrics": {
            "get": {"responses": {**_responses(), "200": {"description": "counts for Prometheus", "content": texts}}}
        },
        "/v2": {"get": _get("the server's name, version and extensions")},
        "/v2/health/live": {"get": {**_get("the process answers"), "security": []}},
        "/v2/health/ready": {"get": {**_get("requests will be answered well"), "security": []}},
    }


def _get(text: str) -> dict[str, Any]:
    return {"summary": text, "responses": {**_responses(), "200": _answer({"type": "object"}, text)}}


def _responses() -> dict[str, Any]:
    faults = {"401": "no key, or one that is not valid", "408": "too slow", **_FAULTS}
    error = {"application/json": {"schema": {"type": "object"}}}
    return {status: {"description": text, "content": error} for status, text in faults.items()}


def _answer(schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _post(model: Model, text: str, bodies: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    return {
        "summary": f"{text} ({model.name}/{model.version})",
        "requestBody": {"required": True, "content": {kind: {"schema": schema} for kind, schema in bodies.items()}},
        "responses": {**_responses(), "200": _answer(answer, text)},
    }


def _cell(column: Column) -> dict[str, Any]:
    kind: Any = _TYPES[column.type]
    return {"type": [kind, "null"] if column.missing else kind, "title": column.name}


def _row(model: Model) -> dict[str, Any]:
    columns = model.signature.columns
    return {
        "type": "array",
        "prefixItems": [_cell(c) for c in columns],
        "items": False,
        "minItems": len(columns),
        "maxItems": len(columns),
    }


def _record(model: Model, *, extra: bool) -> dict[str, Any]:
    columns = model.signature.columns
    properties = {column.name: _cell(column) for column in columns}
    required = [column.name for column in columns if not column.missing]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": extra}


def _rows(model: Model, *, extra: bool) -> dict[str, Any]:
    return {"anyOf": [_some(_row(model)), _some(_record(model, extra=extra))]}


def _some(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


def _label(model: Model) -> dict[str, Any]:
    return {"enum": list(model.classes)} if model.classes else {"type": "number"}


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _score(model: Model) -> dict[str, Any]:
    answer = {"result": {"type": "array", "items": _label(model)}}
    if model.classes:
        answer["probabilities"] = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
    body = _object({"data": _rows(model, extra=False)}, ["data"])
    return _post(model, "predictions for rows", {"application/json": body}, _object(answer, ["result"]))


def _invocations(model: Model) -> dict[str, Any]:
    rows = _rows(model, extra=True)
    names = {"type": "array", "items": {"type": "string"}, "const": list(model.signature.names)}
    split = _object({"columns": names, "data": _some(_row(model))}, ["columns", "data"])
    forms = {
        "inputs": rows,
        "instances": rows,
        "dataframe_split": split,
        "dataframe_records": _some(_record(model, extra=True)),
    }
    body = {"oneOf": [_object({name: schema}, [name]) for name, schema in forms.items()]}
    answer = _object({"predictions": {"type": "array", "items": _label(model)}}, ["predictions"])
    return _post(model, "predictions, as MLflow's clients ask", {"application/json": body}, answer)


def _infer(model: Model) -> dict[str, Any]:
    tensor = _object(
        {"name": {"type": "string"},
         "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
         "datatype": {"enum": list(DATATYPES)}, "parameters": {"type": "object"}, "data": {"type": "array"}},
        ["name", "shape", "datatype", "data"],
    )  # fmt: skip
    body = {"type": "object", "properties": {"id": {"type": "string"}, "inputs": _some(tensor)}, "required": ["inputs"]}
    output = _object(
        {"name": {"enum": ["predict", "probabilities"]}, "shape": {"type": "array", "items": {"type": "integer"}},
         "datatype": {"enum": sorted({"FP64", label_datatype(model)})}, "data": {"type": "array"}},
        ["name", "shape", "datatype", "data"],
    )  # fmt: skip
    answer = {
        "type": "object",
        "properties": {"model_name": {"const": model.name}, "outputs": _some(output)},
        "required": ["model_name", "outputs"],
    }
    return _post(model, "predictions by the Open Inference Protocol", {"application/json": body}, answer)
