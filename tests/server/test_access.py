"""Keys, certificates, the access log."""

from __future__ import annotations

import datetime
import http.client
import json
import socket
import ssl
import time
from pathlib import Path

import pytest

from ridgeway_server.errors import SettingError
from ridgeway_server.settings import Settings, checked, read_settings
from tests.server.test_repository import wait_for
from tests.server.toys import read_answers, request

FIRST, SECOND, THIRD = "first-key-0123456789", "second-key-0123456789", "third-key-0123456789"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / "primary").write_text(FIRST + "\n")
    (folder / "secondary").write_text(SECOND)
    return folder


def test_who_may_ask(packages, serve, keys) -> None:
    packages.linear()
    client = serve(keys_dir=str(keys))
    body = {"data": [[10, 1, 1]]}
    for key in (FIRST, SECOND):
        assert client.post("/score", body, Authorization=f"Bearer {key}").status == 200
        assert client.post("/score", body, X_Api_Key=key).status == 200
    for wrong in (
        {},
        {"Authorization": f"Bearer {THIRD}"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {FIRST}"},
        {"X_Api_Key": FIRST[:-1]},
    ):
        for path in ("/score", "/invocations", "/v2/models/toy/infer"):
            answer = client.post(path, body, **wrong)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == 'Bearer realm="ridgeway"'
            assert "Authorization: Bearer KEY" in json.dumps(answer.json)
    for path in ("/metrics", "/openapi.json", "/v2/models/toy", "/v2", "/version"):
        assert client.get(path).status == 401
        assert client.get(path, Authorization=f"Bearer {FIRST}").status == 200
    for path in ("/ping", "/v2/health/live", "/v2/health/ready", "/"):
        assert client.get(path).status == 200


def test_a_key_is_changed_without_a_refusal(packages, serve, keys) -> None:
    packages.linear()
    client = serve(keys_dir=str(keys))
    body = {"data": [[10, 1, 1]]}

    def status(key: str) -> int:
        return client.post("/score", body, Authorization=f"Bearer {key}").status

    (keys / "primary").write_text(THIRD)
    statuses = []
    wait_for(lambda: statuses.append(status(SECOND)) or status(THIRD) == 200)
    assert set(statuses) == {200}
    assert status(FIRST) == 401
    with client.connect() as connection:
        good = request(b'{"data":[[10,1,1]]}', f"X-Api-Key: {SECOND}")
        connection.sendall(good)
        assert read_answers(connection, 1)[0].status == 200
        (keys / "secondary").write_text(FIRST)
        wait_for(lambda: status(FIRST) == 200)
        connection.sendall(good)
        assert read_answers(connection, 1)[0].status == 401
    (keys / "primary").unlink()
    (keys / "secondary").unlink()
    time.sleep(0.3)
    assert status(FIRST) == 200


def test_a_refused_key_with_a_large_body_is_answered_before_the_body(packages, serve, keys) -> None:
    packages.linear()
    client = serve(keys_dir=str(keys))
    head = b"POST /score HTTP/1.1\r\nHost: t\r\nContent-Length: 50000000\r\n\r\n"
    (answer,) = client.raw(head + b"x" * 100_000)
    assert answer.status == 401


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"host": "0.0.0.0"}, "needs keys"),
        ({"access": "keys"}, "needs keys_dir"),
        ({"tls_certificate": "a"}, "go together"),
        ({"workers": 0}, "at least 1"),
        ({"max_body_mib": 10, "max_bodies_mib": 5}, "below max_body_mib"),
        ({"access_log_sample": 2}, "between 0 and 1"),
        ({"models": "/nowhere"}, "not a folder"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, settings, says) -> None:
    with pytest.raises(SettingError, match=says):
        checked(Settings(**{"models": str(tmp_path), **settings}))


def test_settings_from_all_sides(tmp_path) -> None:
    environment = {
        "RIDGEWAY_SERVER_MODELS": str(tmp_path),
        "RIDGEWAY_SERVER_PORT": "1",
        "RIDGEWAY_SERVER_ACCESS_LOG": "no",
    }
    settings = read_settings(["--port", "2", "--max-body-mib", "1.5"], environment)
    assert (settings.port, settings.max_body_bytes, settings.access_log, settings.idle_seconds) == (
        2,
        1_572_864,
        False,
        75.0,
    )
    assert checked(Settings(models=str(tmp_path), host="0.0.0.0", access="none")).keys_on is False
    for wrong in (["--port", "x"], ["--access", "maybe"], ["--access-log", "perhaps"], ["--workers", "1.5"]):
        with pytest.raises(SettingError, match="expected"):
            read_settings(wrong, environment)


def test_keys_that_are_not_there_stop_the_start(packages, serve, tmp_path) -> None:
    packages.linear()
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingError, match="no keys in"):
        serve(keys_dir=str(tmp_path / "empty"))


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + day)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    paths = folder / "tls.crt", folder / "tls.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return paths


def test_tls_and_its_renewal(packages, serve, tmp_path) -> None:
    packages.linear()
    crt, key = certificate(tmp_path, "one")
    client = serve(tls_certificate=str(crt), tls_key=str(key))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def ask() -> tuple[bytes, int]:
        connection = http.client.HTTPSConnection(client.server.host, client.server.port, context=context, timeout=20)
        connection.request("POST", "/score", b'{"data":[[10,1,1]]}')
        response = connection.getresponse()
        assert json.loads(response.read()) == {"result": [16.0]}
        shown = connection.sock.getpeercert(binary_form=True)
        connection.close()
        return shown, response.status

    first, status = ask()
    assert status == 200
    key.write_bytes(b"broken")
    time.sleep(0.4)
    assert ask()[0] == first
    certificate(tmp_path, "two")
    wait_for(lambda: ask()[0] != first)
    with client.connect() as plain:
        plain.sendall(request())
        plain.settimeout(5)
        assert b"200 OK" not in _drained(plain)
    assert ask()[1] == 200


def _drained(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1000)
    except OSError:
        return b""


def test_the_access_log_tells_all_but_secrets(packages, serve, keys, tmp_path) -> None:
    packages.linear()
    client = serve(keys_dir=str(keys))
    secret = b'{"data":[[4711,1,1]]}'
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    client.post("/score", secret, Authorization=f"Bearer {FIRST}", X_Request_Id="abc", Traceparent=trace)
    client.post("/score", secret, Authorization=f"Bearer {THIRD}")
    client.get('/no"thing\n'.replace("\n", "%0a"), Authorization=f"Bearer {FIRST}")
    client.raw(b"broken\r\n\r\n")
    log = tmp_path / "access.log"
    wait_for(lambda: log.read_text().count("\n") >= 4)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["status"] for line in lines] == [200, 401, 404, 400]
    assert lines[0] == {**lines[0], "id": "abc", "traceparent": trace, "method": "POST", "path": "/score", "rows": 1}
    assert abs(lines[0]["time"] - time.time()) < 60
    assert 0 < lines[0]["ms"] < 1000
    assert lines[2]["path"] == '/no"thing%0a'
    for word in (FIRST, THIRD, "4711"):
        assert word not in log.read_text()


def test_good_answers_are_sampled_and_errors_are_not(packages, serve, tmp_path) -> None:
    packages.linear()
    client = serve(access_log_sample=0.1)
    good, bad = request() * 100, request(b"{")
    client.raw(good, count=100)
    client.raw(bad * 7, count=7)
    wait_for(lambda: (tmp_path / "access.log").read_text().count('"status":400') == 7)
    assert (tmp_path / "access.log").read_text().count('"status":200') == 10


def test_a_log_that_nobody_reads_delays_no_answer(packages) -> None:
    import os

    from ridgeway_server.embedded import running
    from tests.server.toys import Client

    packages.linear()
    reader, writer = os.pipe()
    settings = Settings(models=str(packages.root), port=0, drain_seconds=0, drain_limit_seconds=1)
    with running(settings, log_descriptor=writer) as server:
        client = Client(server)
        for _ in range(30):
            assert len(client.raw(request() * 100, count=100)) == 100
        assert client.alive()
        os.close(reader)
    os.close(writer)
