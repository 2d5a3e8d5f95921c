"""HTTP/1.1 as clients send it, well and badly; after each bad request the server must answer a good one."""

from __future__ import annotations

import socket
import time

import numpy as np
import pytest

from tests.server.toys import read_answers, request

GOOD = request()
RIGHT = {"result": [16.0]}


def chunked(body: bytes, size: int = 7, path: str = "/models/toy/score") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


# ---- as it should be ------------------------------------------------------------------------------------------------


def test_keep_alive_and_close(shared) -> None:
    with shared.connect() as connection:
        for _ in range(3):
            connection.sendall(GOOD)
            (answer,) = read_answers(connection, 1)
            assert (answer.status, answer.json) == (200, RIGHT)
            assert "connection" not in answer.headers
    answers = shared.raw(request(b'{"data":[[10,1,1]]}', "Connection: close"))
    assert [answer.json for answer in answers] == [RIGHT]
    assert answers[0].headers["connection"] == "close"


def test_http_1_0_closes_unless_asked(shared) -> None:
    old = GOOD.replace(b"HTTP/1.1", b"HTTP/1.0")
    assert shared.raw(old)[0].headers["connection"] == "close"
    kept = shared.raw(old.replace(b"Host: test", b"Connection: keep-alive"))
    assert (kept[0].headers["connection"], kept[0].json) == ("keep-alive", RIGHT)


def test_pipelined_requests_are_answered_in_order(shared) -> None:
    bodies = [f'{{"data":[[{number},0,0]]}}'.encode() for number in range(200)]
    answers = shared.raw(b"".join(map(request, bodies)), count=200)
    assert [answer.json["result"][0] for answer in answers] == [10 + number / 2 for number in range(200)]


def test_pipelined_requests_of_models_that_answer_later_stay_in_order(shared) -> None:
    parts = []
    for number in range(20):
        parts.append(request(b'{"data":[[%d]]}' % (number % 2), path="/models/tree/score"))
        parts.append(request(b'{"data":[[%d,0,0]]}' % number))
    answers = shared.raw(b"".join(parts), count=40)
    expected = [value for number in range(20) for value in (1.0 + number % 2, 10 + number / 2)]
    assert [answer.json["result"][0] for answer in answers] == expected


def test_a_request_cut_anywhere_is_put_together(shared) -> None:
    whole = GOOD + chunked(b'{"data":[[20,1,1]]}') + GOOD
    for cut in range(1, len(whole), 7):
        with shared.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(whole[:cut])
            time.sleep(0.001)
            connection.sendall(whole[cut:])
            assert [answer.json["result"] for answer in read_answers(connection, 3)] == [[16.0], [21.0], [16.0]]


def test_one_byte_at_a_time(shared) -> None:
    with shared.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in GOOD:
            connection.sendall(bytes([byte]))
        assert read_answers(connection, 1)[0].json == RIGHT


def test_expect_continue(shared) -> None:
    head, body = GOOD.split(b"\r\n\r\n")
    with shared.connect() as connection:
        connection.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert read_answers(connection, 1)[0].json == RIGHT
    large = b"POST /score HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n"
    assert [answer.status for answer in shared.raw(large)] == [413]
    assert shared.raw(GOOD.replace(b"Host", b"Expect: a miracle\r\nHost"))[0].status == 417


def test_chunked_bodies(shared) -> None:
    for size in (1, 3, 1000):
        assert shared.raw(chunked(b'{"data":[[10,1,1]]}', size) + GOOD, count=2)[0].json == RIGHT
    trailers = chunked(b'{"data":[[10,1,1]]}').replace(b"0\r\n\r\n", b"0\r\nX-Check: 1\r\n\r\n")
    extended = trailers.replace(b"7\r\n", b"7;a=b\r\n", 1)
    assert [answer.json for answer in shared.raw(extended + GOOD, count=2)] == [RIGHT, RIGHT]


def test_head_answers_without_a_body(shared) -> None:
    with shared.connect() as connection:
        connection.sendall(b"HEAD /v2/health/ready HTTP/1.1\r\nHost: t\r\n\r\n")
        time.sleep(0.2)
        answer = connection.recv(1000)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 14" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_half_closed_clients_still_get_their_answers(shared) -> None:
    assert [answer.json for answer in shared.raw(GOOD + GOOD, shut=True)] == [RIGHT, RIGHT]
    tree = request(b'{"data":[[1]]}', path="/models/tree/score")
    assert [answer.json for answer in shared.raw(tree, shut=True)] == [{"result": [2.0]}]
    assert shared.raw(GOOD[:-3], shut=True) == []
    assert shared.alive()


def test_a_connection_that_is_reset_in_the_middle_harms_nobody(shared) -> None:
    for part in (GOOD[:20], GOOD[:-5], GOOD * 50):
        connection = shared.connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.sendall(part)
        connection.close()
    assert shared.alive()


def test_ids_are_taken_over_or_made(shared) -> None:
    given = shared.post("/score", {"data": [[10, 1, 1]]}, X_Request_Id="abc-123")
    assert given.headers["x-request-id"] == "abc-123"
    first, second = (shared.post("/score", {"data": [[10, 1, 1]]}).headers["x-request-id"] for _ in range(2))
    assert first != second
    assert shared.raw(request(b"{}", "X-Request-Id: a b"))[0].headers["x-request-id"] != "a b"


# ---- what is refused -------------------------------------------------------------------------------------------------

HOST = b"Host: t\r\n"
POST = b"POST /score HTTP/1.1\r\n" + HOST
BAD_HEADS = {
    "nonsense": (b"hello\r\n\r\n", 400),
    "binary": (bytes(range(256)) + b"\r\n\r\n", 400),
    "tls to a plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "no version": (b"GET /score\r\n\r\n", (400, 505)),
    "http/0.9": (b"GET / HTTP/0.9\r\n" + HOST + b"\r\n", 505),
    "http/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "http/1.7": (b"GET / HTTP/1.7\r\n" + HOST + b"\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: t\n\n", 400),
    "a bare line feed": (b"GET / HTTP/1.1\r\nHost: t\nA: b\r\n\r\n", 400),
    "nul": (b"GET / HTTP/1.1\r\nHost: t\r\nA: \0\r\n\r\n", 400),
    "space before colon": (b"GET / HTTP/1.1\r\nHost : t\r\n\r\n", 400),
    "folded header": (b"GET / HTTP/1.1\r\nHost: t\r\nA: b\r\n c\r\n\r\n", 400),
    "both lengths": (
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        400,
    ),
    "two lengths": (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
    "two equal lengths": (
        POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        400,
    ),
    "negative length": (POST + b"Content-Length: -1\r\n\r\n", 400),
    "signed length": (POST + b"Content-Length: +2\r\n\r\n{}", 400),
    "hex length": (POST + b"Content-Length: 0x2\r\n\r\n{}", 400),
    "list of lengths": (POST + b"Content-Length: 2, 2\r\n\r\n{}", 400),
    "endless length": (POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n", 400),
    "another coding": (POST + b"Transfer-Encoding: gzip\r\n\r\n", (400, 501)),
    "two codings": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "hidden coding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n", (400, 501)),
    "long line": (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
    "header bomb": (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 1500 + b"\r\n", 431),
    "endless header": (b"GET / HTTP/1.1\r\nA: " + b"b" * 100_000, 431),
    "bad chunk size": (chunked(b"{}").replace(b"2\r\n{}", b"zz\r\n{}"), 400),
    "negative chunk": (chunked(b"{}").replace(b"2\r\n{}", b"-2\r\n{}"), 400),
    "chunk longer than said": (chunked(b"{}").replace(b"2\r\n{}", b"1\r\n{}"), 400),
    "endless chunk size": (chunked(b"{}").replace(b"2\r\n{}", b"2" * 1000), 400),
    "huge chunk": (chunked(b"{}").replace(b"2\r\n{}", b"ffffffffff\r\n"), 413),
    "chunk lines with line feeds": (chunked(b"{}").replace(b"2\r\n", b"2\n"), 400),
    "trailer bomb": (chunked(b"{}").replace(b"0\r\n\r\n", b"0\r\n" + b"A: b\r\n" * 3000), 400),
    "chunks in http/1.0": (chunked(b"{}").replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
    "bad target": (b"GET http://[::1 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "bad json length": (request(b"{}", "Inference-Header-Content-Length: x"), 400),
}


@pytest.mark.parametrize("name", BAD_HEADS)
def test_what_could_be_read_in_two_ways_is_refused_and_the_connection_closed(shared, name) -> None:
    raw, expected = BAD_HEADS[name]
    answers = shared.raw(raw + GOOD)
    assert answers, "no answer"
    assert answers[0].status in (expected if isinstance(expected, tuple) else (expected,))
    assert "error" in answers[0].json
    assert len(answers) == 1, "what follows a broken request must not be taken for another"
    assert answers[0].headers["connection"] == "close"
    assert shared.alive()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/score", 405),
        ("PUT", "/score", 405),
        ("DELETE", "/v2/models/toy", 405),
        ("POST", "/metrics", 405),
        ("OPTIONS", "/score", 405),
        ("GET", "/nothing", 404),
        ("GET", "/v2/nothing", 404),
        ("POST", "/models/none/score", 404),
        ("POST", "/models/toy/versions/9/score", 404),
        ("GET", "/v2/models/none", 404),
        ("GET", "/v2/models/none/ready", 404),
        ("POST", "/v2/models/none/infer", 404),
        ("GET", "/models/toy/score", 405),
        ("POST", "/models//score", 404),
        ("POST", "/models/%74oy/score", 400),
        ("POST", "/models/../score", 404),
        ("POST", "/v2/repository/models/toy/load", 403),
        ("POST", "/v2/repository/models/toy/unload", 403),
        ("GET", "//", 404),
        ("POST", "/models/toy/versions//score", 404),
    ],
)
def test_wrong_methods_and_paths(shared, method, path, status) -> None:
    answer = shared.ask(method, path, b"" if method == "POST" else None)
    assert answer.status == status
    assert answer.json.get("error") or answer.json["message"]
    if status == 405:
        assert answer.headers["allow"] in ("POST", "GET, HEAD")
    assert shared.alive()


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/xml",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
        "text/html",
    ],
)
def test_other_content_types(shared, kind) -> None:
    for path in ("/score", "/invocations", "/v2/models/toy/infer"):
        assert shared.post(path, b"{}", Content_Type=kind).status == 415
    assert shared.alive()


def test_types_that_are_taken(shared) -> None:
    body = b'{"data":[[10,1,1]]}'
    for lines in (
        [],
        ["Content-Type: application/json"],
        ["Content-Type: Application/JSON; charset=UTF-8"],
        ["Content-Type: application/x-www-form-urlencoded"],
    ):
        assert shared.raw(request(body, *lines), count=1)[0].json == RIGHT
    octets = np.array([[10.0, 1, 1]]).tobytes()
    answer = shared.post("/score", octets, Content_Type="application/octet-stream")
    assert (answer.headers["content-type"], np.frombuffer(answer.body).tolist()) == ("application/octet-stream", [16.0])
    assert shared.post("/score", body, Content_Encoding="gzip").status == 415


BAD_BODIES = [
    b"",
    b"{",
    b"\xff\xfe",
    b'{"data":[[1,2,"\xff"]]}',
    b'{"data":[[NaN,1,1]]}',
    b'{"data":[[1e400,1,1]]}',
    b'{"data":[[1,2]]}',
    b'{"data":[[1,2,3],[1]]}',
    b'{"data":[["1",2,3]]}',
    b"[" * 100_000,
    b'{"data":' * 30_000,
    b'{"data":[[1,2,3.5]]}',
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_a_good_request_behind_a_bad_body_is_answered(shared, body) -> None:
    for path in ("/models/toy/score", "/models/toy/invocations", "/v2/models/toy/infer"):
        answers = shared.raw(request(body, path=path) + GOOD, count=2)
        assert [answer.status for answer in answers] == [400, 200]
        assert answers[1].json == RIGHT


def test_a_good_request_behind_an_unknown_path_is_answered(shared) -> None:
    answers = shared.raw(
        request(b"x" * 1000, path="/nothing") + request(b"{}", path="/v2/models/no/infer") + GOOD, count=3
    )
    assert [answer.status for answer in answers] == [404, 404, 200]


def test_slow_senders_are_told_and_cut_off(shared) -> None:
    started = time.monotonic()
    assert [a.status for a in _patiently(shared, b"POST /score HT")] == [408]
    assert [a.status for a in _patiently(shared, GOOD[:-2])] == [408]
    assert [a.status for a in _patiently(shared, chunked(b"{}")[:-4])] == [408]
    assert time.monotonic() - started < 10
    assert shared.alive()


def _patiently(client, part: bytes):
    with client.connect() as connection:
        connection.sendall(part)
        return read_answers(connection, patience=4)


def test_a_drip_of_bytes_does_not_extend_the_time(shared) -> None:
    with shared.connect() as connection:
        started = time.monotonic()
        connection.settimeout(0.1)
        received = b""
        while time.monotonic() - started < 5 and not received:
            connection.sendall(b"X")
            try:
                received = connection.recv(1000)
            except TimeoutError:
                continue
    assert received.startswith(b"HTTP/1.1 408")


def test_too_large_bodies_declared_and_streamed(shared) -> None:
    limit = 2 * 2**20
    exact = b'{"data":[[10,1,1]]}' + b" " * (limit - 19)
    assert shared.raw(request(exact) + GOOD, count=2)[0].json == RIGHT
    assert [answer.status for answer in shared.raw(request(exact + b" ")[:2000])] == [413]
    streamed = chunked(b" " * (limit + 1), 100_000)
    assert [answer.status for answer in shared.raw(streamed)] == [413]
    exact_chunked = chunked(exact, 100_000)
    assert [answer.json for answer in shared.raw(exact_chunked + GOOD, count=2)] == [RIGHT, RIGHT]
    assert shared.alive()


def test_too_many_rows(shared) -> None:
    answer = shared.post("/score", {"data": [[1, 1, 1]] * 5001})
    assert (answer.status, answer.json) == (413, {"error": "5001 rows; expected at most 5000 in one request"})
    assert len(shared.post("/score", {"data": [[1, 1, 1]] * 5000}).json["result"]) == 5000
