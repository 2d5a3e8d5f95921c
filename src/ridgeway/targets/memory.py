"""A place that exists in this process only: for tests of whatever rolls out, watches and goes back.

It behaves as the others do, in microseconds, and ``Place`` has the knobs for bad days: images that never become
healthy or crash while they are watched, no room, nobody who answers, someone else who holds it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from ridgeway.artifacts import Deployment, Endpoint, Finding, Kind, Person
from ridgeway.errors import Busy, Permanent, Unreachable
from ridgeway.targets.access_keys import exchanged, new_key, new_keys
from ridgeway.targets.interface import Keys, Observed, Outcome, Plan, PlannedAction, Room, Say
from ridgeway.targets.remembered import differences, short

if TYPE_CHECKING:
    from ridgeway.project import Project


@dataclass
class Place:
    """What a target of this kind holds, and how it shall behave. All of it may be changed while it is in use."""

    never_healthy: dict[str, str] = field(default_factory=dict)
    """Image digest → reason, such as ``ImagePullBackOff``."""
    crashes_after_seconds: dict[str, float] = field(default_factory=dict)
    """Image digest → seconds from the moment it is applied: it is healthy until then."""
    capacity: int | None = None
    """Replicas that fit in all; None: as many as one likes."""
    unreachable: bool = False
    """Whether everything but ``plan`` raises Unreachable."""
    held_by: str = ""
    """Who holds the endpoint."""
    answers: bool = False
    """Whether the scoring server answers at the address, from a thread of this process; needs packages."""
    person: Person | None = None
    """Who the place says we are."""
    clock: Callable[[], float] = time.monotonic
    """Seconds; what crashes are timed with."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    deployment: Deployment | None = None
    since: str = ""
    frozen: str = ""
    key_pair: Keys | None = None
    log: list[str] = field(default_factory=list)
    applied: list[Plan] = field(default_factory=list)
    """Every plan that was carried out and changed something."""
    applied_at: float = 0.0
    package: Path | None = None
    server: ExitStack = field(default_factory=ExitStack)

    def failure(self) -> str:
        """Why the deployment is not healthy now; empty where it is."""
        assert self.deployment is not None
        digest = self.deployment.image.digest
        if digest in self.never_healthy:
            return self.never_healthy[digest]
        lifetime = self.crashes_after_seconds.get(digest)
        return "CrashLoopBackOff" if lifetime is not None and self.clock() - self.applied_at >= lifetime else ""


_PLACES: dict[tuple[Path, str], Place] = {}


def place(root: Path, name: str) -> Place:
    """The place of this name in the project at ``root``; the same one every time within a process."""
    return _PLACES.setdefault((root.resolve(), name), Place())


def open_target(project: Project, name: str) -> MemoryTarget:
    """The target ``name`` of the project's settings."""
    types = {key: (one.cpu, one.memory_mib) for key, one in project.settings.instance_types.items()}
    return MemoryTarget(name, project.name, place(project.home, name), tuple(types))


@dataclass
class MemoryTarget:
    """See ``ridgeway.targets.interface.Target``."""

    name: str
    endpoint: str
    place: Place
    instance_types: tuple[str, ...] = ()
    kind: Kind = "memory"

    def observe(self) -> Observed:
        """How it is now."""
        self._reach()
        place, deployment = self.place, self.place.deployment
        if deployment is None:
            absent = Endpoint(self.name, self.kind, self.endpoint, "absent", frozen=place.frozen)
            return Observed(absent, None, {"capacity": place.capacity})
        reason = place.failure()
        endpoint = Endpoint(
            self.name, self.kind, self.endpoint, "unhealthy" if reason else "healthy", self.address(deployment),
            image=deployment.image.handle, model=deployment.image.model, release=deployment.release, since=place.since,
            ready=0 if reason else deployment.replicas, replicas=deployment.replicas, reason=reason,
            frozen=place.frozen, memory_mib=100.0, memory_limit_mib=deployment.instance.memory_mib,
        )  # fmt: skip
        return Observed(endpoint, deployment, {"capacity": place.capacity})

    def plan(self, deployment: Deployment, observed: Observed) -> Plan:
        """What would be done.

        Raises:
            Permanent: No room, and ``when_full = refuse`` or not even room for one set of replicas.
        """
        before, subject = observed.deployment, f"place {self.endpoint}"
        if before is None:
            self._room_for(deployment.replicas, deployment, observed)
            action = PlannedAction("create", subject, f"image {short(deployment.image.digest)}")
            return Plan(deployment, (action,), "first")
        if before.digest == deployment.digest:
            return Plan(deployment, (PlannedAction("keep", subject),), "none")
        action = PlannedAction("replace", subject, ", ".join(differences(before, deployment)))
        if self._room_for(before.replicas + deployment.replicas, deployment, observed):
            return Plan(deployment, (action,), "surge")
        return Plan(deployment, (action,), "in_place", gap_seconds=1.0)

    def apply(self, plan: Plan, *, package: Path | None, say: Say) -> None:
        """Carries a plan out."""
        self._reach()
        if not plan.changes:
            return
        self.keys(create=plan.deployment.access == "keys")
        place = self.place
        place.deployment, place.package = plan.deployment, package
        place.since, place.applied_at = place.now().isoformat(timespec="seconds"), place.clock()
        place.applied.append(plan)
        for action in plan.actions:
            line = f"{action.verb} {action.subject}: {action.detail}"
            place.log.append(line)
            say(line)
        place.server.close()
        if place.answers and package is not None:
            place.server.enter_context(_answering(plan.deployment, package))

    def wait(self, deployment: Deployment, *, seconds: float, say: Say) -> Outcome:  # noqa: ARG002 - sure at once
        """Whether it is healthy: that is sure at once here."""
        self._reach()
        if self.place.deployment is None or self.place.deployment.digest != deployment.digest:
            return Outcome(False, "NotAsked", "something else was asked for since")
        reason = self.place.failure()
        if reason:
            return Outcome(False, reason, f"{deployment.name} is not healthy: {reason}", tuple(self.place.log[-20:]))
        say(f"{deployment.replicas} of {deployment.replicas} ready")
        return Outcome(True)

    def address(self, deployment: Deployment) -> str:
        """The declared address, or one that names this place."""
        return deployment.address or f"memory://{self.name}/{self.endpoint}"

    def remove(self) -> tuple[str, ...]:
        """Takes it away; the knobs stay as they are."""
        self._reach()
        place = self.place
        if place.deployment is None and place.key_pair is None and not place.frozen:
            return ()
        place.server.close()
        place.deployment, place.key_pair, place.since, place.frozen = None, None, "", ""
        place.log.clear()
        return (f"place {self.endpoint}",)

    def logs(self, *, follow: bool = False, lines: int = 200) -> Iterator[str]:  # noqa: ARG002 - nothing follows
        """What was done here; nothing ever comes after."""
        self._reach()
        yield from self.place.log[-lines:] if lines else []

    @contextmanager
    def hold(self, holder: str, *, seconds: float = 30) -> Iterator[None]:  # noqa: ARG002 - ends with the process
        """Nobody else in this process may change it meanwhile.

        Raises:
            Busy: Someone holds it.
        """
        self._reach()
        if self.place.held_by:
            raise Busy(
                f"{self.kind}://{self.name}/{self.endpoint} is being changed",
                problem=f"held by {self.place.held_by}",
                expected="one at a time",
                next_step="wait for it to end, then the same command again",
            )
        self.place.held_by = holder
        try:
            yield
        finally:
            self.place.held_by = ""

    def freeze(self, reason: str) -> None:
        """Marks it; an empty reason lifts the mark."""
        self._reach()
        self.place.frozen = reason

    def keys(self, *, create: bool = False) -> Keys | None:
        """Its keys."""
        self._reach()
        if create and self.place.key_pair is None:
            self.place.key_pair = new_keys()
        return self.place.key_pair

    def rotate(self, which: Literal["primary", "secondary"], *, say: Say) -> Keys:
        """The keys with a new one in that place."""
        self._reach()
        self.place.key_pair = exchanged(self.place.key_pair or new_keys(), which, new_key())
        say(f"{which} key made")
        return self.place.key_pair

    def rooms(self) -> tuple[Room, ...]:
        """What fits: the capacity less what runs."""
        self._reach()
        capacity, running = self.place.capacity, self.place.deployment
        free = None if capacity is None else max(0, capacity - (running.replicas if running else 0))
        detail = "no limit" if capacity is None else f"{capacity} in all"
        return tuple(Room(name, free, detail) for name in self.instance_types)

    def check(self, deployment: Deployment | None) -> Iterator[Finding]:  # noqa: ARG002 - nothing depends on it
        """That it can be reached."""
        if self.place.unreachable:
            yield Finding("place", "fail", f"{self.name} does not answer", "ridgeway preflight " + self.name)
            return
        yield Finding("place", "pass", f"{self.name} is in this process")

    def person(self) -> Person | None:
        """Who ``Place.person`` says."""
        return self.place.person

    def _reach(self) -> None:
        if self.place.unreachable:
            raise Unreachable(
                f"cannot reach {self.kind}://{self.name}/{self.endpoint}",
                problem="nobody answers",
                next_step=f"ridgeway preflight {self.name}",
            )

    def _room_for(self, replicas: int, deployment: Deployment, observed: Observed) -> bool:
        """Whether so many fit at once; refuses where going on in place is not wanted or not possible either."""
        capacity = observed.facts.get("capacity")
        if capacity is None or replicas <= capacity:
            return True
        if deployment.when_full == "in_place" and deployment.replicas <= capacity and observed.deployment is not None:
            return False
        raise Permanent(
            f"no room for {deployment.name} on {self.name}",
            problem=f"{replicas} replicas are needed at once, {capacity} fit",
            expected='room for all, or rollout.when_full = "in_place"',
            next_step=f"make room, or ridgeway … --set targets.{self.name}.rollout.when_full=in_place",
        )


@contextmanager
def _answering(deployment: Deployment, package: Path) -> Iterator[None]:
    """The real server on a thread, at the deployment's address."""
    from ridgeway_server.embedded import running
    from ridgeway_server.settings import Settings

    address = urlsplit(deployment.address)
    settings = Settings(
        models=str(package), host=address.hostname or "127.0.0.1", port=address.port or 0, access="none",
        image=deployment.image.digest, access_log=False, drain_seconds=0.0, drain_limit_seconds=1.0,
    )  # fmt: skip
    with running(dataclasses.replace(settings, **deployment.server)):
        yield
