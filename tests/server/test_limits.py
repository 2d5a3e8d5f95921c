"""Limits that protect the server: connections, bodies in flight, the queue, slow readers, memory."""

from __future__ import annotations

import socket
import time

from tests.server.toys import read_answers, request


def _tree(value: int) -> bytes:
    return request(b'{"data":[[%d]]}' % value, path="/models/tree/score")


def test_one_connection_too_many_is_told_so(packages, serve) -> None:
    packages.linear()
    client = serve(max_connections=3)
    kept = [client.connect() for _ in range(3)]
    time.sleep(0.1)
    (answer,) = client.raw(request())
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    kept.pop().close()
    time.sleep(0.1)
    assert client.alive()
    for connection in kept:
        connection.close()


def test_bodies_in_flight_share_a_budget(packages, serve) -> None:
    packages.linear()
    client = serve(max_body_mib=3, max_bodies_mib=4)
    large = request(b'{"data":[[10,1,1]]}' + b" " * 3_000_000)
    with client.connect() as first:
        first.sendall(large[:-1])
        time.sleep(0.2)
        (refused,) = client.raw(large[:-1])
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert client.alive()
        first.sendall(large[-1:])
        assert read_answers(first, 1)[0].json == {"result": [16.0]}
    assert client.raw(large, count=1)[0].status == 200
    assert client.server.worker.app.budget.used == 0


def test_bodies_of_clients_that_go_away_are_given_back(packages, serve) -> None:
    packages.linear()
    client = serve(max_body_mib=3, max_bodies_mib=4)
    for _ in range(5):
        with client.connect() as connection:
            connection.sendall(request(b" " * 3_000_000)[:-1000])
        time.sleep(0.1)
    assert client.server.worker.app.budget.used == 0
    chunked = b"POST /score HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n" + b"100000\r\n" + b" " * 900_000
    with client.connect() as connection:
        connection.sendall(chunked)
        time.sleep(0.3)
        assert client.server.worker.app.budget.used > 900_000
    time.sleep(0.2)
    assert client.server.worker.app.budget.used == 0


def test_a_full_queue_says_so(packages, serve) -> None:
    packages.linear()
    packages.tree()
    client = serve(max_queue=0)
    answer = client.post("/models/tree/score", {"data": [[1]]})
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert client.alive()


def test_requests_of_one_turn_are_predicted_together(packages, serve) -> None:
    packages.linear()
    packages.tree()
    client = serve()
    client.post("/models/tree/score", {"data": [[1]]})
    model = client.server.worker.repository.find("tree").model
    calls, predictor = [], model.predictor
    model.predictor = lambda table: (calls.append(table.rows), time.sleep(0.05), predictor(table))[2]
    connections = [client.connect() for _ in range(12)]
    time.sleep(0.2)  # The loop accepts one connection per turn.
    for number, connection in enumerate(connections):
        connection.sendall(_tree(number % 2))
    results = [read_answers(connection, 1)[0].json["result"] for connection in connections]
    assert results == [[1.0 + number % 2] for number in range(12)]
    assert sum(calls) == 12
    assert len(calls) < 6
    model.row_wise = False
    for connection in connections:
        connection.close()


def test_one_bad_row_does_not_spoil_its_neighbours(packages, serve) -> None:
    packages.linear()
    packages.tree()
    client = serve()
    client.post("/models/tree/score", {"data": [[1]]})
    model = client.server.worker.repository.find("tree").model
    predictor = model.predictor

    def picky(table):
        time.sleep(0.03)
        if (table.matrix == 666).any():
            raise ArithmeticError("666")
        return predictor(table)

    model.predictor = picky
    connections = [client.connect() for _ in range(6)]
    time.sleep(0.2)
    for number, connection in enumerate(connections):
        connection.sendall(_tree(666 if number == 3 else 1))
    statuses = [read_answers(connection, 1)[0].status for connection in connections]
    assert statuses == [200, 200, 200, 500, 200, 200]
    for connection in connections:
        connection.close()


def test_readers_that_do_not_read_are_cut_off_and_cost_little(packages, serve) -> None:
    packages.linear()
    client = serve(write_seconds=0.5)
    many = request(b'{"data":[' + b",".join([b"[1,1,1]"] * 5000) + b"]}") * 400
    with client.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(5)
        try:
            connection.sendall(many)
            time.sleep(1.5)
            connection.sendall(many)
            cut = False
        except (ConnectionError, TimeoutError):
            cut = True
        assert cut
    assert client.alive()
    assert client.server.worker.app.metrics.counters["connections_aborted"] == 1


def test_idle_connections_are_closed(packages, serve) -> None:
    packages.linear()
    client = serve(idle_seconds=0.3)
    with client.connect() as connection:
        connection.sendall(request())
        assert read_answers(connection, 1)[0].status == 200
        connection.settimeout(5)
        assert connection.recv(100) == b""
