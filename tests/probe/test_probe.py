"""The probe against real servers, good ones and wrong ones."""

from __future__ import annotations

import dataclasses
import http.server
import logging
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import exp
from pathlib import Path
from typing import Any

import httpx
import pytest

from ridgeway.artifacts import ProbeReport
from ridgeway.probe import Budget, Expected, Golden, probe
from ridgeway.probe.load import Load, latency_finding, load_finding, quantile
from tests.probe.conftest import BUDGET, IMAGE, KEYS, MODEL, PLANTED, Endpoints, question, toy_golden


def outcome(report: ProbeReport) -> dict[str, str]:
    return {finding.check: finding.outcome for finding in report.findings}


def only_failure(report: ProbeReport) -> str:
    """The sentence of the one thing that was found."""
    assert len(report.failures) == 1, report.findings
    assert report.failures[0].next_step.startswith("ridgeway ")
    return report.failures[0].sentence


# ---- as it should be -------------------------------------------------------------------------------------------------


def test_the_released_model_passes_every_check(address: str) -> None:
    told: list[str] = []
    report = probe(question(address, **KEYS, budget=BUDGET), say=told.append)
    assert outcome(report) == dict.fromkeys(
        ["reachable", "identity", "keys", "golden rows", "one golden row", "golden rows by V2", "golden rows as octets",
         "bad input", "load", "latency"], "pass",
    )  # fmt: skip
    assert report.ok
    assert report.rows == 50
    assert report.largest_error is not None
    assert report.largest_error < 1e-12
    assert (report.endpoint, report.image) == ("process://qa/toy", f"folder/toy@{IMAGE}")
    assert report.requests > 40
    assert report.failed == 0
    assert report.p50_ms is not None
    assert report.p99_ms is not None
    assert 0 < report.p50_ms <= report.p99_ms
    assert told == [f"asking {address}", f"load on {address} for 0.3 s"]
    assert report.sentence.startswith("50 golden rows answered as trained within ")


def test_without_load_it_takes_no_time_and_sends_no_more_rows_than_asked_for(address: str) -> None:
    probe(question(address, **KEYS))
    began = time.perf_counter()
    report = probe(question(address, **KEYS, rows=7))
    assert time.perf_counter() - began < 0.5
    assert report.ok
    assert (report.rows, report.requests, report.p99_ms) == (7, 0, None)


def test_an_endpoint_without_keys(endpoints: Endpoints) -> None:
    endpoints.packages.linear(lineage={"model": MODEL})
    report = probe(question(endpoints.start()))
    assert report.ok
    assert "keys" not in outcome(report)


def test_one_that_is_just_starting_is_waited_for(endpoints: Endpoints, closed_port: int) -> None:
    endpoints.packages.linear(lineage={"model": MODEL})
    timer = threading.Timer(0.5, lambda: endpoints.start(port=closed_port))
    timer.start()
    try:
        report = probe(question(f"http://127.0.0.1:{closed_port}", patience_seconds=20))
    finally:
        timer.join()
    assert report.ok
    assert report.findings[0].seconds > 0.4


# ---- nobody, or somebody else ----------------------------------------------------------------------------------------


def test_nobody_is_there(closed_port: int) -> None:
    address = f"http://127.0.0.1:{closed_port}"
    began = time.perf_counter()
    report = probe(question(address, patience_seconds=0.3))
    assert only_failure(report) == f"{address} cannot be reached: Connection refused"
    assert 0.3 <= time.perf_counter() - began < 3
    assert report.rows == 0


def test_a_name_that_nobody_has_and_an_address_that_is_none() -> None:
    assert "cannot be reached: " in only_failure(probe(question("http://no-such-host.invalid:1")))
    assert "cannot be asked: UnsupportedProtocol" in only_failure(probe(question("127.0.0.1:80")))


Handler = http.server.BaseHTTPRequestHandler
Answering = Callable[[Handler, bytes], None]


@contextmanager
def peer(answer: Answering | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """Python's own server, as it is or with another answer; its address and the bodies that it was sent."""
    bodies: list[bytes] = []

    class Peer(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            answer(self, b"") if answer else super().do_GET()

        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            answer(self, bodies[-1]) if answer else self.send_error(501)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Peer)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def respond(handler: Handler, status: int, body: bytes, kind: str = "application/json", location: str = "") -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    if location:
        handler.send_header("Location", location)
    handler.end_headers()
    handler.wfile.write(body)


def test_a_server_of_files_is_no_endpoint() -> None:
    with peer() as (address, bodies):
        sentence = only_failure(probe(question(address)))
    assert sentence.startswith(f"{address} is answered by another server: status 404, text/html, by 'SimpleHTTP/")
    assert bodies == []


def test_a_page_with_status_200_is_no_endpoint() -> None:
    with peer(lambda to, _: respond(to, 200, b"<html>Sign in</html>", kind="text/html; charset=utf-8")) as (
        at,
        _,
    ):
        assert "by another server: status 200, text/html" in only_failure(probe(question(at)))


def test_a_redirect_is_told_and_not_followed(address: str) -> None:
    with peer(lambda to, _: respond(to, 308, b"", location=f"{address}{to.path}")) as (at, bodies):
        sentence = only_failure(probe(question(at, **KEYS)))
    assert sentence == (f"{at} is answered by another server: a redirect to '{address}/v2/health/ready' (status 308)")
    assert bodies == []


def test_one_that_is_not_ready_says_why(endpoints: Endpoints) -> None:
    endpoints.packages.linear(form={"tables": [{"file": "gone.npy"}]})
    sentence = only_failure(probe(question(endpoints.start())))
    assert "is not ready: not ready: " in sentence


@pytest.mark.parametrize(
    ("expected", "sentence"),
    [
        (Expected("toy", image=f"folder/toy@sha256:{'2' * 64}"), f"runs image {IMAGE}, not sha256:{'2' * 64}"),
        (Expected("other"), "serves no model other"),
        (Expected("toy", version="2"), "serves version 1 of toy, not 2"),
        (Expected("toy", model_digest="sha256:b"), f"serves trained model {MODEL} of toy, not sha256:b"),
        (Expected("toy", package_digest="sha256:c"), " of toy, not sha256:c"),
    ],
    ids=["image", "name", "version", "model", "package"],
)
def test_another_identity_is_told_and_gets_no_row(address: str, expected: Expected, sentence: str) -> None:
    with peer(in_front_of(address, lambda *_: None)) as (at, bodies):
        report = probe(question(at, **KEYS, expected=expected, budget=BUDGET))
    assert outcome(report) == {"reachable": "pass", "identity": "fail"}
    assert sentence in only_failure(report)
    assert bodies == []


def test_several_replicas_are_each_asked_who_they_are(address: str) -> None:
    asked: list[Any] = []

    def fault(to: Handler, _: bytes) -> int | None:
        asked.extend([to.client_address] if to.path == "/v2" and has(to, KEYS["primary"]) else [])
        return 401 if to.path == "/v2" and len(set(asked)) == 4 else None

    with peer(in_front_of(address, fault)) as (at, bodies):
        report = probe(question(at, **KEYS, replicas=3))
    assert only_failure(report).startswith("on one of several connections: ")
    assert (len(set(asked)), bodies) == (4, [])


def test_an_endpoint_that_does_not_name_its_image(endpoints: Endpoints) -> None:
    endpoints.packages.linear(lineage={"model": MODEL})
    assert "does not name its image, which should be sha256:1" in only_failure(
        probe(question(endpoints.start(image="")))
    )


def test_a_model_of_other_columns(address: str) -> None:
    golden = toy_golden()
    turned = dataclasses.replace(golden, columns=golden.columns[::-1])
    assert "other columns than it was trained on" in only_failure(probe(question(address, **KEYS, golden=turned)))


# ---- answers ---------------------------------------------------------------------------------------------------------


def test_altered_predictions_are_found_in_every_protocol(
    endpoints: Endpoints, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoints.packages.linear(lineage={"model": MODEL}, offset=10.001)
    report = probe(question(endpoints.start(), budget=BUDGET))
    wrong = ["golden rows", "one golden row", "golden rows by V2", "golden rows as octets"]
    assert [finding.check for finding in report.failures] == wrong
    assert report.failures[0].sentence.startswith(
        "golden rows of toy: 50 of 50 differ from training, the largest by 2."
    )
    assert report.requests == 0, "what is wrong already needs no load"
    assert str(PLANTED)[:6] not in f"{report}{question('')!r}{caplog.text}"


def test_a_stated_tolerance_counts(endpoints: Endpoints) -> None:
    endpoints.packages.linear(lineage={"model": MODEL}, offset=10.001)
    golden = dataclasses.replace(toy_golden(), tolerance=1e-4)
    assert probe(question(endpoints.start(), golden=golden)).ok


def test_rows_that_the_endpoint_refuses_are_found_without_a_value(address: str) -> None:
    golden = toy_golden()
    broken = dataclasses.replace(golden, rows=((PLANTED, None, 1), *golden.rows[1:]))
    report = probe(question(address, **KEYS, golden=broken))
    assert "golden rows of toy: they got status 400, application/json" in report.failures[0].sentence
    assert str(PLANTED)[:6] not in str(report)


def test_without_golden_rows_nothing_is_proven(address: str) -> None:
    report = probe(question(address, **KEYS, golden=Golden(toy_golden().columns, (), ())))
    assert only_failure(report) == "there are no golden rows to ask"


def test_a_classifier_answers_its_probabilities_and_labels(endpoints: Endpoints) -> None:
    endpoints.packages.logistic("toy")
    address = endpoints.start()
    second = 1 / (1 + exp(-(1.0 * -1.5 + 2.0 * -0.5)))
    columns = toy_golden().columns[:1]
    golden = Golden(
        (dataclasses.replace(columns[0], name="a"), dataclasses.replace(columns[0], name="b")),
        ((1.0, None), (1.0, 2.0)),
        ((1 - second, second),) * 2,
        ("no", "no"),
    )
    request = question(address, expected=Expected("toy"), golden=golden)
    assert probe(request).ok
    other = dataclasses.replace(request, golden=dataclasses.replace(golden, labels=("no", "yes")))
    assert only_failure(probe(other)).startswith("golden rows of toy: 1 of 2 differ from training")


# ---- bad input, keys, TLS --------------------------------------------------------------------------------------------


def in_front_of(address: str, fault: Callable[[Handler, bytes], int | None]) -> Answering:
    """Hands everything on to the real server, but answers itself where ``fault`` gives a status, or hangs up for 0."""

    def answer(to: Handler, body: bytes) -> None:
        status = fault(to, body)
        if status == 0:
            to.close_connection = True
            return
        if status is not None:
            respond(to, status, b'{"error": "mended by hand"}')
            return
        named = {name: to.headers[name] for name in ("authorization", "content-type", "accept") if name in to.headers}
        got = httpx.request(
            to.command, address + to.path, content=body or None, headers=named, trust_env=False, verify=False
        )
        respond(to, got.status_code, got.content, kind=got.headers["content-type"])

    return answer


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (lambda _, body: 500 if body == b'{"data": [[' else None, "a body that is not JSON with status 500"),
        (lambda _, body: 200 if b"[[0, 0, 0, 0]]" in body else None, "a row with a value too many with status 200"),
        (lambda _, body: 422 if body == b"0" else None, "text/plain with status 422 instead of 415"),
        (lambda _, body: 0 if b'"no": "value"' in body else None, "ends the connection without an answer"),
    ],
    ids=["not JSON", "wide row", "text", "crash"],
)
def test_bad_input_that_is_not_refused(
    address: str, fault: Callable[[Handler, bytes], int | None], sentence: str
) -> None:
    with peer(in_front_of(address, fault)) as (at, _):
        report = probe(question(at, **KEYS))
    assert sentence in only_failure(report)
    assert outcome(report)["golden rows"] == "pass"


def has(to: Handler, key: str) -> bool:
    return str(to.headers["authorization"]).endswith(key)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (
            lambda to, _: 400 if "authorization" not in to.headers and to.path == "/score" else None,
            "no key with status",
        ),
        (lambda to, _: 200 if has(to, "0000") else None, "a wrong key with status 200 instead of 401"),
        (lambda to, _: 401 if has(to, KEYS["secondary"]) else None, "does not take the secondary key"),
    ],
    ids=["none", "wrong", "secondary"],
)
def test_keys_that_are_not_kept(address: str, fault: Callable[[Handler, bytes], int | None], sentence: str) -> None:
    with peer(in_front_of(address, fault)) as (at, _):
        assert sentence in only_failure(probe(question(at, **KEYS)))


def test_an_endpoint_that_asks_for_a_key(address: str) -> None:
    report = probe(question(address))
    assert only_failure(report) == f"{address} asks for a key, and none was given"
    report = probe(question(address, primary="another-key-of-something"))
    assert only_failure(report) == f"{address} does not take the primary key"
    assert report.failures[0].next_step == "ridgeway keys qa"


def test_no_key_is_ever_told(address: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    request = question(address, **KEYS)
    report = probe(request)
    for key in KEYS.values():
        assert key not in f"{report}{request!r}{caplog.text}"


def certificate(folder: Path) -> tuple[str, str]:
    """Of an authority of its own, for 127.0.0.1."""
    paths = str(folder / "tls.crt"), str(folder / "tls.key")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    name = ["-subj", "/CN=toy", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *name, "-out", paths[0], "-keyout", paths[1]], check=True, capture_output=True)
    return paths


def test_tls_with_the_authority_that_clients_trust(endpoints: Endpoints, tmp_path: Path) -> None:
    endpoints.packages.linear(lineage={"model": MODEL})
    crt, key = certificate(tmp_path)
    address = endpoints.start(tls_certificate=crt, tls_key=key)
    report = probe(question(address, authority=crt, budget=BUDGET))
    assert report.ok, report.failures
    assert report.requests > 20
    untrusted = probe(question(address))
    assert only_failure(untrusted).startswith(f"the certificate of {address} is not trusted by the machine's own list")
    assert untrusted.failures[0].next_step == "ridgeway settings targets.qa.tls.authority"
    by_name = probe(question(address.replace("127.0.0.1", "localhost"), authority=crt))
    assert "is not trusted by the authority" in only_failure(by_name)
    plain = probe(question(address.replace("https", "http")))
    assert "without an answer in HTTP; is it an https:// address?" in only_failure(plain)
    gone = probe(question(address, authority=str(tmp_path / "gone.pem")))
    assert "gone.pem cannot be read: No such file" in only_failure(gone)


def test_tls_to_a_server_without(address: str) -> None:
    address = address.replace("http", "https")
    sentence = only_failure(probe(question(address, **KEYS, timeout_seconds=0.3)))
    assert sentence == f"{address} does not answer in time; is it an http:// address?"
    with peer() as (at, _):
        sentence = only_failure(probe(question(at.replace("http", "https"))))
    assert sentence.endswith("does not speak TLS; is it an http:// address?")


# ---- load ------------------------------------------------------------------------------------------------------------


def slow(to: Handler, body: bytes) -> None:
    if len(body) < 100 and PLANTED_TEXT in body:
        time.sleep(0.05)


PLANTED_TEXT = str(PLANTED)[:4].encode()


def test_answers_that_come_too_late(address: str) -> None:
    with peer(in_front_of(address, slow)) as (at, _):
        report = probe(question(at, **KEYS, rows=5, budget=Budget(p50_ms=20, load_seconds=1.0)))
    assert outcome(report)["load"] == "pass"
    assert "more than 20 ms for p50" in only_failure(report)
    assert report.p50_ms is not None
    assert report.p50_ms > 50


def test_requests_that_fail_under_load(address: str) -> None:
    seen: list[bytes] = []

    def fault(_: Handler, body: bytes) -> int | None:
        seen.extend([body] if PLANTED_TEXT in body and len(body) < 100 else [])
        return {10: 503, 12: 0}.get(len(seen))

    with peer(in_front_of(address, fault)) as (at, _):
        report = probe(question(at, **KEYS, rows=5, budget=Budget(load_seconds=1.0)))
    assert report.failed >= 2
    assert "requests failed under load; the first: " in only_failure(report)
    assert report.p99_ms is not None


def test_an_answer_that_is_wrong_only_under_load(address: str) -> None:
    seen: list[bytes] = []

    def answer(to: Handler, body: bytes) -> None:
        seen.extend([body] if PLANTED_TEXT in body and len(body) < 100 else [])
        if len(seen) == 20:
            seen.append(b"")
            respond(to, 200, b'{"result": [1.0]}')
        else:
            in_front_of(address, lambda *_: None)(to, body)

    with peer(answer) as (at, _):
        report = probe(question(at, **KEYS, rows=5, budget=Budget(load_seconds=1.0)))
    assert report.failed == 1
    assert "an answer differs from training" in only_failure(report)


def loaded(latencies: list[float], late: list[float]) -> Load:
    return Load(requests=len(latencies), latencies_ms=latencies, late_ms=late)


def test_a_busy_machine_is_not_taken_for_a_slow_server() -> None:
    request = question("http://toy", budget=Budget(p50_ms=10, p99_ms=50))
    good = latency_finding(request, loaded([1.0] * 99 + [49.0], [0.1] * 100))
    assert (good.outcome, good.sentence) == ("pass", "p50 1.0 ms, p99 1.0 ms")
    slow_server = latency_finding(request, loaded([1.0] * 90 + [80.0] * 10, [0.1] * 100))
    assert slow_server.outcome == "fail"
    assert slow_server.sentence == "p50 1.0 ms, p99 80.0 ms: more than 50 ms for p99"
    assert slow_server.next_step == "ridgeway settings release.probe.p99_ms"
    busy = latency_finding(request, loaded([1.0] * 90 + [80.0] * 10, [0.1] * 90 + [40.0] * 10))
    assert busy.outcome == "warn"
    assert "this machine itself was up to 40.0 ms late: not judged" in busy.sentence


def test_no_answer_at_all_is_a_failure() -> None:
    finding = load_finding(question("http://toy"), Load(requests=4, failed=4, reason="the connection was lost"))
    assert (finding.outcome, finding.sentence) == (
        "fail",
        "http://toy answered nothing under load: the connection was lost",
    )


def test_quantiles() -> None:
    assert quantile([], 0.99) == 0
    assert quantile([float(number) for number in range(1, 101)], 0.99) == 99
    assert quantile([5.0], 0.5) == 5
