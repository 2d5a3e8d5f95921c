"""The nouns of a release: images, endpoints, probes, people, approvals, roll-outs, and the record of them all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

Kind = Literal["memory", "process", "docker", "kubernetes"]
"""How a target is driven."""
Health = Literal["absent", "starting", "healthy", "unhealthy", "stopped"]
Severity = Literal["pass", "warn", "fail"]
State = Literal[
    "started",
    "waiting",
    "approved",
    "released",
    "rejected",
    "refused",
    "expired",
    "rolled_back",
    "failed",
    "frozen",
    "cancelled",
]
"""Of a release. ``waiting``: for an approval. ``rejected``: a trial found something. ``failed``: before production was
touched; the same command tries again. ``frozen``: production is neither the new nor the proven previous image; a person
must act."""


@dataclass(frozen=True, slots=True)
class Image:
    """What is released: one model with the server that answers for it, known by content and never only by a tag."""

    repository: str
    """With the registry's address. ``folder/NAME`` for an image that is a folder of this machine, for processes."""
    digest: str
    """``sha256:…``: of the manifest in the registry, or of the folder's content."""
    model: str
    """Handle of the model."""
    model_digest: str
    package: str
    """Digest of the compiled package in it, ``sha256:…``."""
    inputs: str
    """Digest of all that went into it, known before building: what it is looked up by."""
    runtime: str = ""
    """The image below, by digest: server and locked dependencies."""
    base: str = ""
    """What that one stands on, by digest."""

    @property
    def handle(self) -> str:
        """``REPOSITORY@sha256:…``."""
        return f"{self.repository}@{self.digest}"

    @property
    def is_folder(self) -> bool:
        """Whether it can only run as a process of this machine."""
        return self.repository.startswith("folder/")


@dataclass(frozen=True, slots=True)
class InstanceType:
    """A kind of machine (share): what a replica gets, and where it may run."""

    name: str
    cpu: float
    memory_mib: int
    gpus: dict[str, int] = field(default_factory=dict)
    """Devices by resource name."""
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Deployment:
    """What an endpoint shall be: everything that a target needs to know to make it so, secrets left out."""

    target: str
    kind: Kind
    name: str
    """The endpoint's name: the project's."""
    image: Image
    release: str
    """Handle of the release that asks for it."""
    instance: InstanceType
    replicas: int = 1
    address: str = ""
    """What clients call; empty: as the target finds it."""
    access: Literal["keys", "none"] = "keys"
    certificate: str = ""
    """PEM file; empty: plain HTTP."""
    certificate_key: str = ""
    expose: str = "ClusterIP"
    server: dict[str, Any] = field(default_factory=dict)
    """Settings of the scoring server by name."""
    deadline_seconds: float = 300
    when_full: Literal["in_place", "refuse"] = "in_place"

    @property
    def digest(self) -> str:
        """``sha256:…``, equal exactly where two deployments run the same image the same way."""
        facts = dataclasses.asdict(self)
        for name in ("release", "deadline_seconds", "when_full"):
            del facts[name]
        return f"sha256:{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an image answers, and how it is."""

    target: str
    kind: Kind
    name: str
    state: Health
    address: str = ""
    image: str = ""
    """Handle of the image; empty where there is none."""
    model: str = ""
    release: str = ""
    since: str = ""
    """ISO 8601, UTC: when this image took its place."""
    ready: int = 0
    replicas: int = 0
    reason: str = ""
    """Why it is not healthy, in the words of whatever runs it."""
    frozen: str = ""
    """Why nothing may be rolled out here until a person acts; empty where it may."""
    memory_mib: float | None = None
    """Measured, of the largest replica."""
    memory_limit_mib: float | None = None

    @property
    def handle(self) -> str:
        """``KIND://TARGET/NAME``."""
        return f"{self.kind}://{self.target}/{self.name}"

    @property
    def image_digest(self) -> str:
        """``sha256:…``; empty where nothing runs."""
        return self.image.partition("@")[2]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what came of it, and what to do about it."""

    check: str
    """What was looked at, such as ``image registry``."""
    outcome: Severity
    sentence: str
    next_step: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What an endpoint answered when it was asked: as many findings as checks, and the numbers."""

    endpoint: str
    """Handle."""
    image: str
    """Handle of the image that should answer."""
    findings: tuple[Finding, ...]
    rows: int = 0
    """Golden rows that were sent."""
    largest_error: float | None = None
    """Largest |answer - stored prediction| / max(1, |stored prediction|)."""
    requests: int = 0
    """Sent as load."""
    failed: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None

    @property
    def ok(self) -> bool:
        """Whether it may be trusted."""
        return all(finding.outcome != "fail" for finding in self.findings)

    @property
    def failures(self) -> tuple[Finding, ...]:
        """Why not."""
        return tuple(finding for finding in self.findings if finding.outcome == "fail")

    @property
    def sentence(self) -> str:
        """What came of it, in a line."""
        if self.failures:
            return self.failures[0].sentence
        load = f", p99 {self.p99_ms:.1f} ms over {self.requests} requests" if self.p99_ms is not None else ""
        error = f" within {self.largest_error:.1e}" if self.largest_error is not None else ""
        return f"{self.rows} golden rows answered as trained{error}{load}"


@dataclass(frozen=True, slots=True)
class Person:
    """Who acts, and how well that is known."""

    name: str
    source: Literal["ci", "kubernetes", "system", "server"]
    """A CI system's signed-in user, a cluster's, or the operating system's; server: nobody, it happened by itself."""
    strength: Literal["signed-in", "cluster", "ci-environment", "local"]
    """``local``: anyone with an account here could say so."""
    link: str = ""
    """Where it can be looked up, such as the CI run's page."""


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's yes or no to one release, bound to the evidence that was seen."""

    release: str
    decision: Literal["yes", "no"]
    person: Person
    role: str
    at: str
    """ISO 8601, UTC."""
    expires_at: str
    evidence: str
    """Digest of the evidence that was seen, ``sha256:…``."""
    image: str
    """Handle of the image."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Rollout:
    """From which image to which on one endpoint, and what came of it."""

    endpoint: str
    before: Deployment | None
    """What ran there; None for a first deployment."""
    after: Deployment
    state: Literal["started", "done", "unchanged", "returning", "returned", "stuck"]
    """``returning``: on the way back. ``returned``: the previous image is back and proven. ``stuck``: neither is."""
    strategy: str = ""
    """``first``, ``surge``, ``in_place`` or ``none``."""
    gap_seconds: float = 0.0
    """Time without a ready replica: announced beforehand as the most it can be."""
    reason: str = ""
    probe: ProbeReport | None = None
    """Of the new image in its place."""
    probe_back: ProbeReport | None = None
    """Of the previous image after it came back."""
    answering_at: str = ""
    """When the new image had answered as it should, before it was watched; ISO 8601, UTC."""


@dataclass(frozen=True, slots=True)
class ReleaseStep:
    """One finished step: known by the digest of what went in, so that it is never done twice."""

    name: str
    stage: str
    inputs: str
    """Digest of all that it depends on."""
    started_at: str
    ended_at: str
    sentence: str
    output: dict[str, Any] = field(default_factory=dict)
    """The JSON form of the noun it made."""


@dataclass(frozen=True, slots=True)
class Release:
    """The record that ties a release together: every step with digests, times and people."""

    name: str
    number: int
    run_id: str
    """The MLflow run that holds the record: 32 hex digits."""
    kind: Literal["release", "rollback"]
    model: str
    """Handle of the model."""
    model_digest: str
    stages: tuple[str, ...]
    state: State
    requested_by: Person
    requested_at: str
    """ISO 8601, UTC."""
    sentence: str = ""
    """What came of it, or what it waits for."""
    next_step: str = ""
    evidence: str = ""
    """Digest of what an approver is shown; empty before there is any."""
    steps: tuple[ReleaseStep, ...] = ()
    image: Image | None = None
    rollout: Rollout | None = None
    """Of the last stage."""
    ended_at: str = ""
    commit: str = ""
    settings: str = ""
    """Digest of the settings in force."""
    build_url: str = ""
    reason: str = ""
    """Why a person asked for it."""

    EXIT_CODES: ClassVar[dict[str, int]] = {
        "started": 1,
        "waiting": 5,
        "approved": 5,
        "released": 0,
        "rejected": 7,
        "refused": 3,
        "expired": 3,
        "rolled_back": 6,
        "failed": 1,
        "frozen": 8,
        "cancelled": 3,
    }

    @property
    def handle(self) -> str:
        """``releases:/NAME/NUMBER``."""
        return f"releases:/{self.name}/{self.number}"

    @property
    def is_open(self) -> bool:
        """Whether the same command would carry it on."""
        return self.state in ("started", "waiting", "approved", "failed", "frozen")

    @property
    def exit_code(self) -> int:
        """What a command that leaves it in this state exits with."""
        return self.EXIT_CODES[self.state]

    def step(self, name: str, stage: str = "") -> ReleaseStep | None:
        """The finished step of this name and stage."""
        return next((step for step in self.steps if (step.name, step.stage) == (name, stage)), None)
