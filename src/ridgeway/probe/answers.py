"""What is answered: golden rows as trained in each protocol, bad input refused, keys demanded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ridgeway.artifacts import Finding
from ridgeway.probe.comparison import (
    Difference,
    Given,
    compare,
    octet_body,
    read_octets,
    read_score,
    read_v2,
    score_body,
    v2_body,
)
from ridgeway.probe.connection import JSON, OCTETS, Answer, Fault, Session
from ridgeway.probe.request import Golden, ProbeRequest

_NO_KEY = "not-a-key-of-this-endpoint-0000"


def golden_findings(session: Session, request: ProbeRequest) -> Iterator[tuple[Finding, Difference]]:
    """Golden rows in every protocol that takes them: together, one alone, and in the opposite order by V2."""
    golden = request.golden.head(request.rows)
    yield _golden(request, "golden rows", lambda: _score(session, golden))
    yield _golden(request, "one golden row", lambda: _score(session, golden.head(1)))
    yield _golden(request, "golden rows by V2", lambda: _v2(session, request.expected.model, golden.turned()))
    if golden.numeric:
        yield _golden(request, "golden rows as octets", lambda: _octets(session, golden))


def _score(session: Session, golden: Golden) -> Difference:
    answer = session.post("/score", score_body(golden.rows))
    return _judged(golden, answer, JSON, read_score(answer.document))


def _v2(session: Session, model: str, golden: Golden) -> Difference:
    answer = session.post(f"/v2/models/{model}/infer", v2_body(golden))
    return _judged(golden, answer, JSON, read_v2(answer.document))


def _octets(session: Session, golden: Golden) -> Difference:
    answer = session.post("/score", octet_body(golden), OCTETS, accept=OCTETS)
    return _judged(golden, answer, OCTETS, read_octets(answer.body, len(golden.numbers[0])))


def _judged(golden: Golden, answer: Answer, kind: str, given: Given | None) -> Difference:
    if answer.status != 200 or answer.kind != kind:
        return Difference(rows=len(golden.rows), form=f"they got {answer.description}")
    return compare(golden, given)


def _golden(request: ProbeRequest, check: str, ask: Callable[[], Difference]) -> tuple[Finding, Difference]:
    try:
        difference = ask()
    except Fault as fault:
        difference = Difference(form=fault.sentence)
    if difference.ok:
        sentence = f"{difference.rows} answered as trained, within {difference.largest_error:.1e}"
        return Finding(check, "pass", sentence), difference
    sentence = f"{check} of {request.expected.model}: {difference.sentence}"
    return Finding(check, "fail", sentence, f"ridgeway logs {request.target}"), difference


# ---- bad input -------------------------------------------------------------------------------------------------------


def refuses_bad_input(session: Session, request: ProbeRequest) -> Finding:
    """Whether made-up bad requests get a 4xx each, and the server lives on."""
    width = len(request.golden.columns)
    cases: tuple[tuple[str, bytes, str, tuple[int, ...]], ...] = (
        ("a body that is not JSON", b'{"data": [[', JSON, ()),
        ("a row with a value too many", score_body([[0] * (width + 1)]), JSON, ()),
        ("an object in place of a value", score_body([[{"no": "value"}] * width]), JSON, ()),
        ("text/plain", b"0", "text/plain", (415,)),
    )
    for what, body, kind, wanted in cases:
        status = session.post("/score", body, kind).status
        if status not in (wanted or range(400, 500)):
            expected = " or ".join(map(str, wanted)) or "a status from 400 to 499"
            return _wrong(request, "bad input", f"answers {what} with status {status} instead of {expected}")
    if session.get("/v2/health/ready").status != 200:
        return _wrong(request, "bad input", "is no longer ready after bad input")
    return Finding("bad input", "pass", f"{len(cases)} kinds of bad input are refused")


def demands_keys(session: Session, request: ProbeRequest) -> Finding:
    """Whether no key and a wrong key get a 401, and both keys are taken."""
    for what, key in (("no key", ""), ("a wrong key", _NO_KEY)):
        for status in (session.post("/score", b"{}", key=key).status, session.get("/v2", key=key).status):
            if status != 401:
                return _wrong(request, "keys", f"answers a request with {what} with status {status} instead of 401")
    given = {"primary": request.primary, "secondary": request.secondary}
    for name, key in given.items():
        if key and session.get("/v2", key=key).status != 200:
            return Finding(
                "keys",
                "fail",
                f"{request.address} does not take the {name} key",
                f"ridgeway keys {request.target} --rotate {name}",
            )
    return Finding("keys", "pass", f"{' and '.join(name for name, key in given.items() if key)} taken, others refused")


def _wrong(request: ProbeRequest, check: str, problem: str) -> Finding:
    return Finding(check, "fail", f"{request.address} {problem}", f"ridgeway logs {request.target}")
