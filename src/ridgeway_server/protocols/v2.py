"""The Open Inference Protocol, version 2, over REST: tensors as JSON or, by the binary extension, as raw bytes.

A model of plain numbers takes one FP64 tensor ``input`` of shape (rows, columns); any model takes one tensor per
column of shape (rows) or (rows, 1). Any other numeric type is taken too. It answers ``predict`` (rows) and, for a
classifier that has them, ``probabilities`` (rows, classes).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ridgeway_server.answers import Answer
from ridgeway_server.documents import Body, load_object, weigh
from ridgeway_server.errors import Refusal
from ridgeway_server.exchange import JSON, OCTETS, Asked, Limits, Parsed, Reply, WireProtocol
from ridgeway_server.models import Model
from ridgeway_server.protocols.score import JSON_TYPES
from ridgeway_server.signature import Signature, Table, numbers_with_gaps

DATATYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "BYTES": "O",
}  # fmt: skip
COLUMN_DATATYPES = {"number": "FP64", "integer": "INT64", "boolean": "BOOL", "string": "BYTES"}
_TEXT_BYTES = 64
"""Of a short text and its place in an array."""
EXPECTED = 'an object {"inputs": [{"name", "shape", "datatype", "data"}, …]}'


@dataclass(slots=True)
class Wanted:
    """How a V2 client wants its answer: its id, and which outputs, each in binary or not (None: all)."""

    id: Any
    outputs: dict[str, bool] | None
    binary: bool


class V2Protocol(WireProtocol):
    """``/v2/models/{name}/infer``."""

    name = "v2"

    def parse(self, model: Model, body: Body, asked: Asked) -> Parsed:
        """Rows from tensors."""
        if asked.content_type not in (*JSON_TYPES, OCTETS):
            raise Refusal(415, f"content type {asked.content_type!r}", f"{JSON}, or {OCTETS} with binary tensors")
        length = len(body) if asked.json_bytes is None else asked.json_bytes
        if length > len(body):
            raise Refusal(400, f"Inference-Header-Content-Length {length} in a body of {len(body)} bytes", "less")
        document = load_object(memoryview(body)[:length] if length < len(body) else body, asked.limits, EXPECTED)
        tensors = _tensors(document, memoryview(body)[length:], asked.limits)
        return Parsed(_table(model.signature, tensors), _wanted(model, document))

    def encode(self, model: Model, answer: Answer, parsed: Parsed) -> Reply:
        """The wanted outputs as tensors."""
        wanted: Wanted = parsed.memory
        arrays = _outputs(model, answer)
        chosen = dict.fromkeys(arrays, wanted.binary) if wanted.outputs is None else wanted.outputs
        document: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
        if wanted.id is not None:
            document["id"] = wanted.id
        chunks: list[bytes] = []
        document["outputs"] = [
            _output(name, *arrays[name], chunks if binary else None) for name, binary in chosen.items()
        ]
        head = orjson.dumps(document)
        if not chunks:
            return Reply(200, JSON, head, rows=parsed.table.rows)
        length = b"Inference-Header-Content-Length: %d\r\n" % len(head)
        return Reply(200, OCTETS, b"".join([head, *chunks]), length, parsed.table.rows)

    def error(self, status: int, sentence: str) -> bytes:  # noqa: ARG002 - MLflow's form has use for it
        """``{"error": …}``."""
        return orjson.dumps({"error": sentence})


def metadata(model: Model, versions: list[str]) -> dict[str, Any]:
    """The answer to ``GET /v2/models/{name}``: a model's tensors, and in ``parameters`` our own facts about it."""
    signature = model.signature
    if signature.numeric:
        inputs = [{"name": "input", "datatype": "FP64", "shape": [-1, signature.width]}]
    else:
        inputs = [
            {"name": column.name, "datatype": COLUMN_DATATYPES[column.type], "shape": [-1, 1]}
            for column in signature.columns
        ]
    outputs = [{"name": "predict", "datatype": label_datatype(model), "shape": [-1]}]
    if model.classes and model.manifest.get("probabilities", True):
        outputs.append({"name": "probabilities", "datatype": "FP64", "shape": [-1, len(model.classes)]})
    columns = [{"name": c.name, "type": c.type, "missing": c.missing} for c in signature.columns]
    facts = {"digest": model.digest, "version": model.version, "kind": model.kind, "task": model.task,
             "columns": columns, "classes": model.classes, "lineage": model.manifest["lineage"]}  # fmt: skip
    return {"name": model.name, "versions": versions, "platform": f"ridgeway_{model.kind}",
            "inputs": inputs, "outputs": outputs, "parameters": facts}  # fmt: skip


def label_datatype(model: Model) -> str:
    """The tensor type of the predictions."""
    if not model.classes:
        return "FP64"
    kinds = {type(label) for label in model.classes}
    if kinds == {bool}:
        return "BOOL"
    if kinds == {int}:
        return "INT64"
    return "FP64" if kinds <= {int, float} else "BYTES"


# ---- requests ------------------------------------------------------------------------------------------------------


def _tensors(document: dict[str, Any], binary: memoryview, limits: Limits) -> dict[str, NDArray[Any]]:
    inputs = document.get("inputs")
    if type(inputs) is not list or not inputs:
        raise Refusal(400, "no inputs", EXPECTED)
    tensors: dict[str, NDArray[Any]] = {}
    used = 0
    for tensor in inputs:
        name, shape, datatype = _head_of(tensor)
        size = _parameters(tensor, f"input {name!r}").get("binary_data_size")
        if name in tensors:
            raise Refusal(400, f"input {name!r} twice", "each once")
        if size is None:
            tensors[name] = _from_json(name, shape, datatype, tensor.get("data"))
            continue
        if type(size) is not int or size < 0 or used + size > len(binary) or "data" in tensor:
            raise Refusal(
                400, f"input {name!r} with binary_data_size {size!r}", f"at most the {len(binary) - used} bytes left"
            )
        if datatype == "BYTES":
            weigh(size // 4 * _TEXT_BYTES, limits, "texts")
        tensors[name] = _from_bytes(name, shape, datatype, binary[used : used + size])
        used += size
    if used != len(binary):
        raise Refusal(400, f"{len(binary) - used} bytes behind the last tensor", "none")
    return tensors


def _head_of(tensor: Any) -> tuple[str, list[int], str]:
    if type(tensor) is not dict:
        raise Refusal(400, "an input that is not an object", EXPECTED)
    name, shape, datatype = tensor.get("name"), tensor.get("shape"), tensor.get("datatype")
    if type(name) is not str or type(datatype) is not str or datatype not in DATATYPES:
        raise Refusal(
            400, f"input {name!r} of datatype {datatype!r}"[:200], f"a name and one of {', '.join(DATATYPES)}"
        )
    sound = type(shape) is list and 1 <= len(shape) <= 2 and all(type(n) is int and 0 <= n < 2**31 for n in shape)
    if not sound:
        raise Refusal(400, f"input {name!r} of shape {shape!r}"[:200], "(rows) or (rows, columns)")
    assert type(shape) is list
    return name, shape, datatype


def _parameters(holder: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = holder.get("parameters")
    if parameters is not None and type(parameters) is not dict:
        raise Refusal(400, f"parameters of {where} that are not an object", "an object")
    return parameters or {}


def _from_json(name: str, shape: list[int], datatype: str, data: Any) -> NDArray[Any]:
    if type(data) is not list:
        raise Refusal(400, f"input {name!r} without data", "a list, or binary_data_size")
    if len(shape) == 2 and data and type(data[0]) is list:
        if any(type(row) is not list or len(row) != shape[1] for row in data):
            raise Refusal(400, f"input {name!r} with ragged data", f"rows of {shape[1]} values")
        data = [cell for row in data for cell in row]
    if len(data) != np.prod(shape, dtype=np.int64):
        raise Refusal(400, f"input {name!r} with {len(data)} values for shape {shape}", "as many as the shape says")
    return _cells(name, datatype, data).reshape(shape)


def _cells(name: str, datatype: str, data: list[Any]) -> NDArray[Any]:
    kinds = {type(cell) for cell in data}
    numbers: set[type] = {int, float} if datatype.startswith("FP") else {int}
    special: dict[str, set[type]] = {"BOOL": {bool}, "BYTES": {str}}
    allowed = special.get(datatype, numbers)
    if not kinds <= allowed | {type(None)}:
        wrong = next(cell for cell in data if type(cell) not in allowed and cell is not None)
        raise Refusal(
            400, f"input {name!r} of datatype {datatype} with the value {wrong!r}"[:200], "values of that type"
        )
    if datatype == "BYTES" or (datatype == "BOOL" and type(None) in kinds):
        cells = np.empty(len(data), object)
        cells[:] = data
        return cells
    if datatype == "BOOL":
        return np.array(data, np.bool_)
    return numbers_with_gaps(data)


def _from_bytes(name: str, shape: list[int], datatype: str, raw: memoryview) -> NDArray[Any]:
    count = int(np.prod(shape, dtype=np.int64))
    if datatype == "BYTES":
        return _texts(name, count, raw).reshape(shape)
    dtype = np.dtype(DATATYPES[datatype])
    if len(raw) != count * dtype.itemsize:
        raise Refusal(400, f"input {name!r} with {len(raw)} bytes", f"{count * dtype.itemsize} for shape {shape}")
    if datatype == "BOOL" and count and max(raw) > 1:
        raise Refusal(400, f"input {name!r} of BOOL with bytes above 1", "0 or 1")
    return np.frombuffer(raw, dtype).reshape(shape)


def _texts(name: str, count: int, raw: memoryview) -> NDArray[Any]:
    if count * 4 > len(raw):
        raise Refusal(
            400, f"input {name!r} with {len(raw)} bytes for {count} texts", "4 bytes of length before each text"
        )
    texts, at = np.empty(count, object), 0
    for place in range(count):
        size = struct.unpack_from("<I", raw, at)[0] if at + 4 <= len(raw) else len(raw)
        if at + 4 + size > len(raw):
            raise Refusal(400, f"input {name!r} is cut short at text {place + 1}", f"{count} texts")
        try:
            texts[place] = bytes(raw[at + 4 : at + 4 + size]).decode()
        except UnicodeDecodeError:
            raise Refusal(400, f"input {name!r}, text {place + 1} is not UTF-8", "UTF-8") from None
        at += 4 + size
    if at != len(raw):
        raise Refusal(400, f"input {name!r} with {len(raw) - at} bytes behind its last text", "none")
    return texts


def _table(signature: Signature, tensors: dict[str, NDArray[Any]]) -> Table:
    if len(tensors) == 1 and signature.numeric:
        ((name, tensor),) = tensors.items()
        if tensor.ndim == 2 and name not in signature.positions:
            if tensor.dtype.kind not in "iuf":
                raise Refusal(400, f"input {name!r} of {tensor.dtype}", "numbers")
            return signature.from_matrix(tensor.astype(np.float64))
    return signature.from_columns(dict(tensors))


def _wanted(model: Model, document: dict[str, Any]) -> Wanted:
    every = {"predict", "probabilities"} if model.classes and model.manifest.get("probabilities", True) else {"predict"}
    binary = _parameters(document, "the request").get("binary_data_output", False) is True
    identity = document.get("id")
    if identity is not None and type(identity) is not str:
        raise Refusal(400, "an id that is not a text", "a text")
    outputs = document.get("outputs")
    if not outputs:
        return Wanted(identity, None, binary)
    if type(outputs) is not list or not all(type(output) is dict for output in outputs):
        raise Refusal(400, "outputs in another form", '[{"name": …}, …]')
    names = [output.get("name") for output in outputs]
    if not all(type(name) is str and name in every for name in names) or len(set(names)) != len(names):
        raise Refusal(400, f"outputs {names!r}"[:200], f"of {sorted(every)!r}, each once")
    flags = {output["name"]: _parameters(output, "an output").get("binary_data", binary) is True for output in outputs}
    return Wanted(identity, flags, binary)


# ---- answers -------------------------------------------------------------------------------------------------------


def _outputs(model: Model, answer: Answer) -> dict[str, tuple[str, Any, list[int]]]:
    """Per output its datatype, values (an array, or a list of labels) and shape."""
    if answer.values is not None:
        return {"predict": ("FP64", answer.values, [len(answer.values)])}
    labels = model.labels(answer)
    outputs: dict[str, tuple[str, Any, list[int]]] = {"predict": (label_datatype(model), labels, [len(labels)])}
    if answer.probabilities is not None:
        outputs["probabilities"] = ("FP64", answer.probabilities, list(answer.probabilities.shape))
    return outputs


def _output(name: str, datatype: str, values: Any, shape: list[int], chunks: list[bytes] | None) -> dict[str, Any]:
    output: dict[str, Any] = {"name": name, "shape": shape, "datatype": datatype}
    if datatype == "BYTES":
        values = [value if isinstance(value, str) else orjson.dumps(value).decode() for value in values]
    if chunks is None:
        output["data"] = values if isinstance(values, list) else values.ravel().tolist()
        return output
    if datatype == "BYTES":
        encoded = [value.encode() for value in values]
        raw = b"".join(struct.pack("<I", len(text)) + text for text in encoded)
    else:
        raw = np.ascontiguousarray(values, DATATYPES[datatype]).tobytes()
    chunks.append(raw)
    output["parameters"] = {"binary_data_size": len(raw)}
    return output
