"""The order of the checks: reachable, identity, keys, golden rows, bad input, load; what makes no sense is left out."""

from __future__ import annotations

import dataclasses
import logging
import ssl
import time
from collections.abc import Callable

from ridgeway.artifacts import Finding, ProbeReport
from ridgeway.probe.answers import demands_keys, golden_findings, refuses_bad_input
from ridgeway.probe.connection import Fault, Session, trust
from ridgeway.probe.identity import connections, identify, reach
from ridgeway.probe.load import latency_finding, load_finding, measure, quantile
from ridgeway.probe.request import ProbeRequest

log = logging.getLogger("ridgeway.probe_endpoint")
Say = Callable[[str], None]
Check = Callable[[Session, ProbeRequest], Finding]


def probe(request: ProbeRequest, *, say: Say = log.info) -> ProbeReport:
    """What an endpoint answers when it is asked: as many findings as checks, and the numbers.

    Golden rows and load are only sent to an endpoint that has proven to be the released one: rows of persons are no
    business of any other server. Faults of the endpoint and of the way to it are findings, never errors.

    Args:
        request: Where, who, what, how fast.
        say: Told in a line what goes on.
    """
    probing = _Probing(request)
    try:
        context = trust(request)
    except Fault as fault:
        probing.note(Finding("reachable", "fail", fault.sentence, fault.next_step))
        return probing.report()
    with Session(request, context) as session:
        proven = probing.check(reach, session) and probing.check(identify, session) and probing.others(context)
        if proven:
            say(f"asking {request.address}")
            probing.ask(session)
    if proven and request.budget.load_seconds and not probing.failed:
        say(f"load on {request.address} for {request.budget.load_seconds:g} s")
        probing.load(context)
    return probing.report()


class _Probing:
    """A probe under way: its findings and numbers so far."""

    def __init__(self, request: ProbeRequest) -> None:
        self.request = request
        self.findings: list[Finding] = []
        self.rows = 0
        self.errors: list[float] = []
        self.numbers: dict[str, float | int] = {}
        self._began = time.perf_counter()

    @property
    def failed(self) -> bool:
        """Whether something was found that must not be."""
        return any(finding.outcome == "fail" for finding in self.findings)

    def note(self, finding: Finding) -> bool:
        """Keeps a finding with the time since the one before; whether it is none that fails."""
        now = time.perf_counter()
        self.findings.append(dataclasses.replace(finding, seconds=now - self._began))
        self._began = now
        return finding.outcome != "fail"

    def check(self, check: Check, session: Session) -> bool:
        """What a check finds; a fault of the connection is found too."""
        return self.note(_found(check, session, self.request))

    def others(self, context: ssl.SSLContext | None) -> bool:
        """Whether whoever answers further connections is the released one too; noted only where not."""
        for _ in range(connections(self.request) - 1):
            with Session(self.request, context) as another:
                finding = _found(identify, another, self.request)
            if finding.outcome == "fail":
                sentence = f"on one of several connections: {finding.sentence}"
                return self.note(dataclasses.replace(finding, sentence=sentence))
        return True

    def ask(self, session: Session) -> None:
        """All that one request at a time can tell."""
        if self.request.primary:
            self.check(demands_keys, session)
        if not self.request.golden.rows:
            self.note(Finding("golden rows", "fail", "there are no golden rows to ask", "ridgeway run retraining"))
            return
        for finding, difference in golden_findings(session, self.request):
            self.note(finding)
            self.rows = max(self.rows, difference.rows)
            self.errors.append(difference.largest_error)
        self.check(refuses_bad_input, session)

    def load(self, context: ssl.SSLContext | None) -> None:
        """What many requests at a time can tell."""
        load = measure(self.request, context)
        self.numbers = {"requests": load.requests, "failed": load.failed}
        if self.note(load_finding(self.request, load)) or load.latencies_ms:
            self.note(latency_finding(self.request, load))
            self.numbers["p50_ms"] = quantile(load.latencies_ms, 0.5)
            self.numbers["p99_ms"] = quantile(load.latencies_ms, 0.99)

    def report(self) -> ProbeReport:
        """All of it."""
        return ProbeReport(
            endpoint=self.request.endpoint,
            image=self.request.expected.image,
            findings=tuple(self.findings),
            rows=self.rows,
            largest_error=max(self.errors) if self.errors else None,
            requests=int(self.numbers.get("requests", 0)),
            failed=int(self.numbers.get("failed", 0)),
            p50_ms=self.numbers.get("p50_ms"),
            p99_ms=self.numbers.get("p99_ms"),
        )


def _found(check: Check, session: Session, request: ProbeRequest) -> Finding:
    try:
        return check(session, request)
    except Fault as fault:
        return Finding(check.__name__.replace("_", " "), "fail", fault.sentence, fault.next_step)
