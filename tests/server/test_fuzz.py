"""Random and mutated input to the core, to the HTTP reader and to the routes: no crash, no hang, no wrong answer."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ridgeway_server.application import Application
from ridgeway_server.budget import Budget
from ridgeway_server.chunks import ChunkReader
from ridgeway_server.connection import Connection
from ridgeway_server.errors import Refusal
from ridgeway_server.exchange import Asked
from ridgeway_server.journal import Journal
from ridgeway_server.repository import Repository, Rules
from ridgeway_server.routes import MLFLOW, SCORE, V2
from ridgeway_server.settings import Settings
from tests.server.toys import PackageMaker, _one_answer, request


class Wire:
    """A transport that keeps what is written and knows whether it was closed."""

    def __init__(self) -> None:
        self.sent, self.closed = bytearray(), False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.sent += data

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Host:
    """What a connection needs of a worker."""

    tick, stopping = 1.0, False

    def __init__(self) -> None:
        self.connections: set[Connection] = set()


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    maker = PackageMaker(tmp_path_factory.mktemp("fuzz"))
    maker.linear()
    maker.logistic()
    maker.mixed()
    maker.tree()
    maker.logistic("plain", fill=False)
    given = Settings(models=str(maker.root), port=0, default_model="toy", access_log=False, max_body_mib=0.05)
    repository = Repository(Rules(maker.root, "toy"), lambda work, done: done(work()))
    journal = Journal(1, 0.0)
    made = Application(given, repository, journal, Budget(10**8))
    repository.start()
    yield made
    journal.close()


def exchange(app: Application, parts: list[bytes]) -> tuple[list[Any], bool]:
    """All answers to these pieces of bytes on a new connection, and whether the server closed it."""
    wire, connection = Wire(), Connection(app, Host())
    connection.connection_made(wire)  # type: ignore[arg-type]
    for part in parts:
        connection.data_received(part)
    answers, rest = [], bytes(wire.sent)
    while (parsed := _one_answer(rest)) is not None:
        answers.append(parsed[0])
        rest = parsed[1]
    assert rest == b"", "an answer is cut short or has bytes behind it"
    connection.connection_lost(None)
    return answers, wire.closed


def naive(body: bytes) -> list[float] | None:
    """What the toy model answers to a body ``{"data": rows}``, worked out the slow and obvious way; None: refused."""

    def strictly(text: str) -> float:
        raise ValueError(text)

    try:
        document = json.loads(body.decode(), parse_constant=strictly)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or set(document) != {"data"} or not isinstance(document["data"], list):
        return None
    results = []
    for row in document["data"]:
        cells = [row.get(name) for name in ("age", "bmi", "sex")] if isinstance(row, dict) else row
        known = not isinstance(row, dict) or set(row) == {"age", "bmi", "sex"}
        if not known or not isinstance(cells, list) or len(cells) != 3:
            return None
        if any(type(cell) not in (int, float) or not math.isfinite(float(cell)) for cell in cells) or cells[2] % 1:
            return None
        results.append(0.5 * cells[0] + 2 * cells[1] - cells[2] + 10)
    return results or None


SEEDS = [
    request(),
    request(b'{"data":[[10,1,1],[2.5,-3e2,7]]}'),
    request(b'{"data":[{"age":1,"bmi":2.5,"sex":1}]}'),
    request(b'{"inputs":[[10,1,1]]}', path="/invocations"),
    request(b"age,bmi,sex\n1,2,3\n", "Content-Type: text/csv", path="/invocations"),
    request(
        b'{"inputs":[{"name":"input","shape":[1,3],"datatype":"FP64","data":[10,1,1]}]}', path="/v2/models/toy/infer"
    ),
    request(np.array([[10.0, 1, 1]]).tobytes(), "Content-Type: application/octet-stream"),
    request(b'{"data":[[1,null]]}', path="/models/sort/score"),
    request(b'{"data":[[1,"oslo",true]]}', path="/models/mixed/score"),
    b"GET /v2/models/toy HTTP/1.1\r\nHost: t\r\n\r\n",
    b"GET /metrics HTTP/1.0\r\n\r\n",
    b'POST /score HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n13\r\n{"data":[[10,1,1]]}\r\n0\r\n\r\n',
]
WORDS = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\0",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"null",
    b"true",
    b"false",
    b"NaN",
    b"1e400",
    b"-0",
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b",",
    b":",
    b"\xff",
    b"9" * 30,
    b"e",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"/",
    b"%",
    b"..",
    b"\\u0000",
    b"data",
    b"1",
    b"0.5",
    b"-",
    b" ",
]


def mutate(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(changed) + 1)
        kind = chance.randrange(6)
        if kind == 0 and changed:
            changed[at % len(changed)] = chance.randrange(256)
        elif kind == 1:
            changed[at:at] = chance.choice(WORDS)
        elif kind == 2:
            del changed[at : at + chance.randrange(1, 20)]
        elif kind == 3:
            stop = at + chance.randrange(1, 30)
            changed[at:at] = changed[at:stop]
        elif kind == 4:
            other = chance.choice(SEEDS)
            changed[at:] = other[chance.randrange(len(other)) :]
        else:
            changed[at : at + 1] = bytes([chance.choice(b'0123456789.,-+eE[]{}":trufalsn \r\n')])
    return bytes(changed)


def cut(chance: random.Random, data: bytes) -> list[bytes]:
    places = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice((0, 0, 1, 3))))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def fuzz_bytes(app: Application, count: int, seed: int) -> None:
    chance = random.Random(seed)
    good = request()
    statuses: set[int] = set()
    for number in range(count):
        data = mutate(chance, b"".join(chance.choices(SEEDS, k=chance.choice((1, 1, 2)))))
        answers, closed = exchange(app, cut(chance, data))
        statuses |= {answer.status for answer in answers}
        assert all(answer.status != 500 for answer in answers), data
        if any(answer.status >= 400 and answer.headers.get("connection") == "close" for answer in answers):
            assert closed
        if number % 100 == 0:
            assert exchange(app, [good])[0][0].json == {"result": [16.0]}
    assert {200, 400} <= statuses
    assert app.budget.used == 0


def fuzz_bodies(app: Application, count: int, seed: int) -> None:
    chance = random.Random(seed)
    bodies = [b'{"data":[[10,1,1]]}', b'{"data":[[1.5,2e3,3],[4,5,6]]}', b'{"data":[{"age":1,"bmi":2.5,"sex":1}]}']
    for _ in range(count):
        body = mutate(chance, chance.choice(bodies))
        answers, _ = exchange(app, [request(body)])
        expected = naive(body)
        (answer,) = answers
        if answer.status == 200:
            assert expected is not None, body
            np.testing.assert_allclose(answer.json["result"], expected, rtol=1e-12, err_msg=repr(body))
        else:
            assert answer.status in (400, 413, 422), body
            assert expected is None or answer.status == 422 or b"\\u" in body, body


def fuzz_pieces(app: Application, count: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(count):
        numbers = [chance.randrange(1000) for _ in range(chance.randrange(1, 6))]
        stream = b"".join(_sound(chance, number) for number in numbers)
        answers, _ = exchange(app, cut(chance, stream))
        assert [answer.json["result"][0] for answer in answers] == [number / 2 + 10 for number in numbers]


def _sound(chance: random.Random, number: int) -> bytes:
    body = b'{"data":[[%d,0,0]]}' % number
    if chance.random() < 0.5:
        return request(body)
    pieces = [piece for piece in cut(chance, body) if piece]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"POST /score HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def test_mutated_requests(app) -> None:
    fuzz_bytes(app, 6000, 1)


def test_mutated_bodies_are_answered_rightly_or_refused(app) -> None:
    fuzz_bodies(app, 6000, 2)


def test_sound_requests_cut_anywhere(app) -> None:
    fuzz_pieces(app, 1500, 3)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(4))
def test_a_million_inputs(app, seed) -> None:
    fuzz_bytes(app, 120_000, 100 + seed)
    fuzz_bodies(app, 100_000, 200 + seed)
    fuzz_pieces(app, 30_000, 300 + seed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["data", "age", "bmi", "sex", "inputs", "name", "shape", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
MODELS, KEYS = ("toy", "sort", "mixed", "tree"), ("data", "inputs", "instances", "dataframe_records", "dataframe_split")


@given(
    JSON,
    st.sampled_from([SCORE, MLFLOW, V2]),
    st.sampled_from(["toy", "sort", "mixed", "tree"]),
    st.sampled_from(["data", "inputs", "instances", "dataframe_records", "dataframe_split", None]),
)
@settings(max_examples=400, deadline=None)
def test_any_json_is_answered_or_refused(app, value, protocol, name, key) -> None:
    model = app.repository.find(name).model
    body = json.dumps(value if key is None else {key: value}).encode("utf-8", "surrogatepass")
    try:
        parsed = protocol.parse(model, body, Asked())
        status = protocol.encode(model, model.predict(parsed.table), parsed).status
    except Refusal as refusal:
        status = refusal.status
    assert status == 200 or 400 <= status < 500


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
@settings(max_examples=300, deadline=None)
def test_chunks_come_out_the_same_however_they_arrive(data, places) -> None:
    def run(pieces: list[bytes]) -> tuple[str, bytes]:
        reader, buffer = ChunkReader(1000), bytearray()
        try:
            for piece in pieces:
                buffer += piece
                if reader.feed(buffer):
                    return "whole", bytes(reader.body)
        except Refusal as refusal:
            return str(refusal.status), b""
        return "more", b""

    body = b"5\r\nhello\r\n0;x\r\nA: b\r\n\r\n" + data
    cuts = sorted(min(place, len(body)) for place in places)
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert run(pieces) == run([body]) == ("whole", b"hello")


NUMBER = st.floats() | st.integers(-(2**63), 2**64 - 1) | st.integers(-9, 9)


@given(st.lists(st.lists(NUMBER, min_size=2, max_size=4), min_size=1, max_size=3), st.sampled_from(["toy", "plain"]))
@settings(max_examples=400, deadline=None)
def test_shortcuts_answer_as_the_general_way(app, rows, name) -> None:
    """Heads with an id of their own never take the short way; the same head a second time does."""
    path = f"/models/{name}/score"
    for body, lines in [
        (json.dumps({"data": rows}).encode(), ()),
        (b"".join(np.array(row, "<f8").tobytes() for row in rows), ("Content-Type: application/octet-stream",)),
    ]:
        (general,), _ = exchange(app, [request(body, "X-Request-Id: own", *lines, path=path)])
        exchange(app, [request(body, *lines, path=path)])
        (short,), _ = exchange(app, [request(body, *lines, path=path)])
        assert short.status == general.status
        if general.status != 200:
            assert short.body == general.body
        elif lines:
            np.testing.assert_allclose(np.frombuffer(short.body), np.frombuffer(general.body), rtol=1e-12)
        else:
            assert short.json.keys() == general.json.keys()
            if name == "plain":
                assert short.json["result"] == general.json["result"]
            for key in set(short.json) - ({"result"} if name == "plain" else set()):
                np.testing.assert_allclose(short.json[key], general.json[key], rtol=1e-9, atol=1e-12)


def test_the_exact_sum_of_newer_pythons_gives_the_same(app, monkeypatch) -> None:
    from ridgeway_server import shortcut

    monkeypatch.setattr(
        shortcut, "_SUMPRODUCT", lambda row, weights: math.fsum(a * b for a, b in zip(row, weights, strict=True))
    )
    taken = shortcut.one_row(app.repository.find("toy").model, [])
    assert json.loads(taken(b'{"data":[[10,1,1]]}')) == {"result": [16.0]}
    assert taken(b'{"data":[[10,1,"x"]]}') is None
