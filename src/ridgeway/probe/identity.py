"""Who answers: is it there and ready, is it Ridgeway's server, is it the released model in the released image?"""

from __future__ import annotations

import time
from typing import Any

from ridgeway.artifacts import Finding
from ridgeway.probe.connection import Answer, Fault, Session
from ridgeway.probe.request import ProbeRequest

_PAUSE_SECONDS = 0.1
_MOST_CONNECTIONS = 8


def reach(session: Session, request: ProbeRequest) -> Finding:
    """Whether it answers and is ready; what may pass in a moment is waited for."""
    until = time.monotonic() + request.patience_seconds
    while True:
        finding, passing = _look(session, request)
        if finding.outcome == "pass" or not passing or time.monotonic() >= until:
            return finding
        time.sleep(_PAUSE_SECONDS)


def _look(session: Session, request: ProbeRequest) -> tuple[Finding, bool]:
    try:
        answer = session.get("/v2/health/ready")
    except Fault as fault:
        return Finding("reachable", "fail", fault.sentence, fault.next_step), fault.passing
    if answer.status == 200 and answer.document.get("ready") is True:
        return Finding("reachable", "pass", f"{request.address} is ready"), False
    if answer.status == 503:
        why = str(answer.document.get("error", "")) or "it gives no reason"
        logs = f"ridgeway logs {request.target}"
        return Finding("reachable", "fail", f"{request.address} is not ready: {why[:300]}", logs), True
    return stranger(request, answer, "reachable"), False


def stranger(request: ProbeRequest, answer: Answer, check: str) -> Finding:
    """What to say of a server that does not answer as Ridgeway's does."""
    return Finding(
        check,
        "fail",
        f"{request.address} is answered by another server: {answer.description}",
        f"ridgeway settings targets.{request.target}.address",
    )


def identify(session: Session, request: ProbeRequest) -> Finding:
    """Whether image, model, version and digests are the released ones."""
    expected = request.expected
    server = session.get("/v2")
    if server.status in (401, 403):
        return _no_admission(request)
    if server.status != 200 or "name" not in server.document:
        return stranger(request, server, "identity")
    problem = _wrong_image(request, server) or _wrong_model(request, session.get(f"/v2/models/{expected.model}"))
    if problem:
        return Finding("identity", "fail", f"{request.address} {problem}", f"ridgeway show {request.target}")
    version = f"/{expected.version}" if expected.version else ""
    place = f" in image {expected.image_digest[:19]}" if expected.image else ""
    return Finding("identity", "pass", f"it is {expected.model}{version}{place}")


def _wrong_image(request: ProbeRequest, answer: Answer) -> str:
    """How the image is another than expected; empty if it is not."""
    image, wanted = str(answer.document.get("image", "")).rpartition("@")[2], request.expected.image_digest
    if not wanted or image == wanted:
        return ""
    return f"runs image {image[:100]}, not {wanted}" if image else f"does not name its image, which should be {wanted}"


def _wrong_model(request: ProbeRequest, answer: Answer) -> str:
    """How the model is another than expected; empty if it is not."""
    name = request.expected.model
    if answer.status == 404:
        return f"serves no model {name}"
    facts = answer.document.get("parameters")
    if answer.status != 200 or not isinstance(facts, dict):
        return f"tells nothing of model {name}: {answer.description}"
    return _wrong_fact(request, facts)


def _wrong_fact(request: ProbeRequest, facts: dict[str, Any]) -> str:
    """The first fact about the model that is another than expected; empty if none is."""
    expected, lineage = request.expected, facts.get("lineage")
    model = lineage.get("model", "") if isinstance(lineage, dict) else ""
    pairs = (
        ("version", str(facts.get("version", "")), expected.version),
        ("trained model", str(model), expected.model_digest),
        ("package", str(facts.get("digest", "")), expected.package_digest),
    )
    for name, found, wanted in pairs:
        if wanted and found != wanted:
            return f"serves {name} {found or '(not named)'} of {expected.model}, not {wanted}"
    columns = facts.get("columns")
    names = [one.get("name") for one in columns if isinstance(one, dict)] if isinstance(columns, list) else []
    if request.golden.rows and names != [column.name for column in request.golden.columns]:
        return f"serves {expected.model} with other columns than it was trained on"
    return ""


def _no_admission(request: ProbeRequest) -> Finding:
    if request.primary:
        problem, next_step = "does not take the primary key", f"ridgeway keys {request.target}"
    else:
        problem = "asks for a key, and none was given"
        next_step = f"ridgeway settings targets.{request.target}.access.mode"
    return Finding("keys", "fail", f"{request.address} {problem}", next_step)


def connections(request: ProbeRequest) -> int:
    """How many connections ask who answers, so that each replica is likely to be met."""
    return 1 if request.replicas <= 1 else min(2 * request.replicas, _MOST_CONNECTIONS)
