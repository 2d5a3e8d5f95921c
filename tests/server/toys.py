"""Hand-made packages (these tests need no scikit-learn), and a client that speaks properly or in any bytes."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ridgeway_server.embedded import Running
from ridgeway_server.packages import manifest_digest

COLUMNS = ("age", "bmi", "sex")
WEIGHTS = np.array([[0.5], [2.0], [-1.0]])
OFFSET = 10.0


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array), allow_pickle=False)
    return buffer.getvalue()


def column(name: str, kind: str = "number", *, missing: bool = False) -> dict[str, Any]:
    return {"name": name, "type": kind, "missing": missing}


@dataclass
class PackageMaker:
    """Writes packages by hand; every part can be changed."""

    root: Path

    def write(self, folder: Path, manifest: dict[str, Any], files: dict[str, bytes]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        manifest["files"] = {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in files.items()
        }
        manifest["digest"] = manifest_digest(manifest)
        (folder / "model.json.new").write_bytes(orjson.dumps(manifest))
        (folder / "model.json.new").rename(folder / "model.json")
        return folder

    def linear(self, name: str = "toy", version: str = "1", offset: float = OFFSET, **changes: Any) -> Path:
        """value = 0.5 age + 2 bmi − sex + offset; age and bmi are numbers, sex a whole number."""
        manifest = {
            "schema": 1, "name": name, "version": version, "kind": "linear", "task": "regression", "classes": [],
            "signature": {"columns": [column("age"), column("bmi"), column("sex", "integer")], "allow_infinity": False},
            "form": {}, "requires": [], "row_wise": True, "lineage": {"data": "data://toy"}, "parity": {}, **changes,
        }  # fmt: skip
        return self.write(
            self.root / name / version, manifest, {"weights.npy": npy(WEIGHTS), "offset.npy": npy([offset])}
        )

    def logistic(
        self, name: str = "sort", version: str = "1", classes: tuple[Any, ...] = ("no", "yes"), *, fill: bool = True
    ) -> Path:
        """Two numbers; with ``fill`` b may be missing and then counts as 2."""
        scores = 1 if len(classes) == 2 else len(classes)
        weights = np.arange(2.0 * scores).reshape(2, scores) - 1.5
        manifest = {
            "schema": 1, "name": name, "version": version, "kind": "logistic", "task": "classification",
            "classes": list(classes), "signature": {"columns": [column("a"), column("b", missing=fill)]},
            "form": {}, "requires": [], "row_wise": True, "lineage": {}, "parity": {},
        }  # fmt: skip
        files = {"weights.npy": npy(weights), "offset.npy": npy(np.zeros(scores))}
        if fill:
            files["fill.npy"] = npy([np.nan, 2.0])
        return self.write(self.root / name / version, manifest, files)

    def mixed(self, name: str = "mixed", version: str = "1", unknown: str = "zero") -> Path:
        """value = 2 size + (10 for oslo, 20 for rome, 5 for a missing city, 0 for others) + 100 if new."""
        columns = [column("size"), column("city", "string", missing=True), column("new", "boolean")]
        table = {"column": 1, "values": ["oslo", "rome", None], "unknown": unknown, "file": "table.npy"}
        manifest = {
            "schema": 1, "name": name, "version": version, "kind": "linear", "task": "regression", "classes": [],
            "signature": {"columns": columns}, "form": {"tables": [table]}, "requires": [], "row_wise": True,
            "lineage": {}, "parity": {},
        }  # fmt: skip
        files = {
            "weights.npy": npy([[2.0], [100.0]]),
            "offset.npy": npy([0.0]),
            "table.npy": npy([[10.0], [20.0], [5.0], [0.0]]),
        }
        return self.write(self.root / name / version, manifest, files)

    def tree(self, name: str = "tree", version: str = "1") -> Path:
        """One stump: 1.0 up to a = 0.5, 2.0 above, 3.0 … costly per call, so its requests are batched."""
        manifest = {
            "schema": 1, "name": name, "version": version, "kind": "trees", "task": "regression", "classes": [],
            "signature": {"columns": [column("a", missing=True)]},
            "form": {"depth": 1, "single": False, "link": "identity", "output": []}, "requires": [], "row_wise": True,
            "lineage": {}, "parity": {},
        }  # fmt: skip
        files = {
            "feature": np.zeros(3, np.int32), "threshold": np.array([0.5, 0, 0]), "left": np.array([1, 1, 2], np.int32),
            "right": np.array([2, 1, 2], np.int32), "missing_left": np.array([1, 0, 0], np.uint8),
            "roots": np.zeros(1, np.int32), "values": np.array([[0.0], [1.0], [2.0]]), "base": np.zeros(1),
        }  # fmt: skip
        return self.write(
            self.root / name / version, manifest, {f"{key}.npy": npy(value) for key, value in files.items()}
        )


@dataclass
class Answered:
    """An answer, taken apart."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """Speaks to one server: properly (``post``, ``get``) or in any bytes (``raw``, ``connect``)."""

    server: Running
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answered:
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=20)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, {**self.headers, **named})
            response = connection.getresponse()
            return Answered(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answered:
        return self.ask("GET", path, **headers)

    def post(self, path: str, document: Any, **headers: str) -> Answered:
        body = document if isinstance(document, bytes) else orjson.dumps(document)
        return self.ask("POST", path, body, **headers)

    def connect(self, timeout: float = 20) -> socket.socket:
        return socket.create_connection((self.server.host, self.server.port), timeout=timeout)

    def raw(self, *parts: bytes, shut: bool = False, count: int = 0) -> list[Answered]:
        """Answers to these bytes on one connection: ``count`` of them, or until the server closes or is silent."""
        with self.connect() as connection:
            for part in parts:
                connection.sendall(part)
            if shut:
                connection.shutdown(socket.SHUT_WR)
            return read_answers(connection, count)

    def alive(self) -> bool:
        """True if the server still gives the right answer."""
        answer = self.post("/models/toy/score", {"data": [[10, 1, 1]]})
        return answer.status == 200 and answer.json == {"result": [16.0]}


def read_answers(connection: socket.socket, count: int = 0, patience: float = 0.4) -> list[Answered]:
    """Answers off a socket: ``count`` of them, or all that come until the server closes or is silent for a while."""
    answers: list[Answered] = []
    data = b""
    connection.settimeout(20 if count else patience)
    while not count or len(answers) < count:
        while (parsed := _one_answer(data)) is not None:
            answer, data = parsed
            if answer.status != 100:
                answers.append(answer)
        if count and len(answers) >= count:
            break
        try:
            piece = connection.recv(65536)
        except TimeoutError:
            break
        except ConnectionResetError:
            answers.append(Answered(-1, {}, b"reset"))
            break
        if not piece:
            break
        data += piece
    return answers


def _one_answer(data: bytes) -> tuple[Answered, bytes] | None:
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return None
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", 0))
    if len(rest) < length:
        return None
    return Answered(int(first.split()[1]), headers, rest[:length]), rest[length:]


def request(
    body: bytes = b'{"data":[[10,1,1]]}', *lines: str, path: str = "/models/toy/score", method: str = "POST"
) -> bytes:
    """A sound request as bytes; ``lines`` are further header lines."""
    head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: test", f"Content-Length: {len(body)}", *lines])
    return head.encode() + b"\r\n\r\n" + body
