"""What every kind of target can do; one contract suite holds all of them to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from ridgeway.artifacts import Deployment, Endpoint, Finding, Kind, Person

Say = Callable[[str], None]
"""Told in one line how long work goes on."""


@dataclass(frozen=True, slots=True)
class PlannedAction:
    """One thing that carrying a plan out would do."""

    verb: Literal["create", "change", "replace", "delete", "keep"]
    subject: str
    """Such as ``Deployment diabetes`` or ``process diabetes on 127.0.0.1:8082``."""
    detail: str = ""
    """What of it, such as ``image sha256:9c41… → sha256:77ab…``."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Exactly what would be done to make an endpoint what it shall be; printable, and carried out as it stands."""

    deployment: Deployment
    actions: tuple[PlannedAction, ...]
    """``keep`` for what is already as it shall be; a plan of nothing else changes nothing."""
    strategy: Literal["first", "surge", "in_place", "none"]
    """``first``: nothing runs yet. ``surge``: the new beside the old. ``in_place``: one by one. ``none``: no change."""
    gap_seconds: float = 0.0
    """The most time without a ready replica; 0: none at all."""
    notes: tuple[str, ...] = ()
    """Sentences a person should read before, such as the arithmetic of free capacity or measured memory."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """The kind's own: manifests for Kubernetes, arguments for Docker. No secrets."""

    @property
    def changes(self) -> bool:
        """Whether anything would be done."""
        return any(action.verb != "keep" for action in self.actions)


@dataclass(frozen=True, slots=True)
class Observed:
    """How a target was found: what its plans are made from."""

    endpoint: Endpoint
    deployment: Deployment | None
    """What was last asked for there, as the target itself remembers it; None where nothing was."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The kind's own: live objects, free capacity, other managers' fields."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a deployment has become healthy, and if not, why, in the words of whatever runs it."""

    healthy: bool
    reason: str = ""
    """A code such as ``ImagePullBackOff``, ``CrashLoopBackOff``, ``Insufficient nvidia.com/gpu``, ``deadline``."""
    sentence: str = ""
    log: tuple[str, ...] = ()
    """The last log lines of what failed."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What clients of an endpoint send. Never printed but by the command that is asked for them."""

    primary: str = field(repr=False)
    secondary: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Room:
    """How much of an instance type fits into a target now."""

    instance_type: str
    free: int | None
    """Further replicas that fit; None where it is not known."""
    detail: str = ""
    """The arithmetic: ``gpu-1: 8 nvidia.com/gpu, 6 in use``."""


class Target(Protocol):
    """A named place where images run.

    Every method but ``plan`` talks to the outside and raises:
        Unreachable: What drives the place does not answer.
        Permanent: No rights, or a wish that it refuses.
        UsageError: A setting names what does not exist there, such as a namespace.
    """

    name: str
    """Of the target, in the settings."""
    kind: Kind

    def observe(self) -> Observed:
        """How it is now, quickly and without changing anything. An endpoint that is not there has state ``absent``."""

    def plan(self, deployment: Deployment, observed: Observed) -> Plan:
        """What would be done. Pure: no clock, network, files; equal arguments give equal plans.

        Raises:
            Permanent: It cannot be done there: no room and ``when_full = refuse``, or limits that do not fit.
        """

    def apply(self, plan: Plan, *, package: Path | None, say: Say) -> None:
        """Carries a plan out; returns once all is asked for, not once it is healthy. Doing it again changes nothing.

        Args:
            plan: Made from a recent ``observe``.
            package: The folder of the model's package, for kinds that run folders.
            say: Told of each action.
        """

    def wait(self, deployment: Deployment, *, seconds: float, say: Say) -> Outcome:
        """Returns when every replica of it runs the deployment's image and is ready, or cannot become so, or too late.

        Whatever cannot heal by itself (an image that cannot be pulled, a crash loop, a quota) is told as soon as it is
        sure, not at the deadline. ``say`` hears progress: replicas, events.
        """

    def address(self, deployment: Deployment) -> str:
        """What clients call: the declared address, or the one that the target has given."""

    def remove(self) -> tuple[str, ...]:
        """Takes the endpoint away, with all that was made for it; what was removed, a line each. Nothing there: ()."""

    def logs(self, *, follow: bool = False, lines: int = 200) -> Iterator[str]:
        """The last log lines of all replicas, and with ``follow`` what comes after."""

    def hold(self, holder: str, *, seconds: float = 30) -> AbstractContextManager[None]:
        """Nobody else, on any machine, may change this endpoint meanwhile.

        Renewed while held; after a crash it is free for others when ``seconds`` have passed without renewal.

        Raises:
            Busy: Someone holds it; the message says who and since when.
        """

    def freeze(self, reason: str) -> None:
        """Marks the endpoint: nothing may be rolled out here until a person acts. An empty reason lifts it."""

    def keys(self, *, create: bool = False) -> Keys | None:
        """The endpoint's keys; with ``create`` made where there are none, before anything is deployed."""

    def rotate(self, which: Literal["primary", "secondary"], *, say: Say) -> Keys:
        """The keys with a new one in that place, once every replica takes it; the other stays valid all the time."""

    def rooms(self) -> tuple[Room, ...]:
        """For each instance type of the settings, how many more replicas fit."""

    def check(self, deployment: Deployment | None) -> Iterator[Finding]:
        """The preflight of this place, in the order of need: reachable, rights, quota, pool, pull."""

    def person(self) -> Person | None:
        """Who the place says we are; None where it cannot say."""
