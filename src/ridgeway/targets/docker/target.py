"""The target: one container that answers, and beside it for a while one on trial that takes its place."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import docker

from ridgeway.artifacts import Deployment, Endpoint, Finding, Health, InstanceType, Kind, Person
from ridgeway.errors import StorageError, Transient
from ridgeway.targets.access_keys import exchanged, new_key, new_keys
from ridgeway.targets.docker import lock
from ridgeway.targets.docker.containers import Look, Stack, deployment_of
from ridgeway.targets.docker.engine import connect, pull, told
from ridgeway.targets.docker.findings import findings, rooms
from ridgeway.targets.docker.keeper import Keeper
from ridgeway.targets.docker.planning import Names, make_plan
from ridgeway.targets.docker.replacing import replace, start_first, tidy
from ridgeway.targets.interface import Keys, Observed, Outcome, Plan, Room, Say
from ridgeway.targets.key_check import takes_key

_LOOK_SECONDS = 0.1
_SURE = 4
"""So many looks in a row at a server that says why it is not ready."""


@dataclass(frozen=True)
class DockerTarget:
    """See ``ridgeway.targets.interface.Target``."""

    name: str
    endpoint: str
    root: Path
    context: str = ""
    instance_types: tuple[InstanceType, ...] = ()
    kind: Kind = "docker"

    @property
    def names(self) -> Names:
        """What everything of it is called."""
        return Names(self.endpoint, self.name)

    def observe(self) -> Observed:
        """How it is now, as the engine says."""
        with self._engine("looking at containers") as client:
            stack, keeper = Stack.of(client, self.names), Keeper(client, self.names)
            marks, info = keeper.state(), client.info()
            serving = deployment_of(stack.main)
            facts = {
                "serving": serving,
                "running": stack.main is not None and stack.main.status == "running",
                "leftovers": tuple(one.name for one in stack.leftovers),
                "memory_mib": info["MemTotal"] // 2**20,
                "cores": info["NCPU"],
            }
            wanted = deployment_of(stack.trial) or deployment_of(stack.new) or serving
            if wanted is None:
                return Observed(
                    Endpoint(self.name, self.kind, self.endpoint, "absent", frozen=marks.get("frozen", "")), None, facts
                )
            state, reason = self._state(client, stack, wanted, marks.get("failure"))
            running = Look(client, stack.main) if stack.main is not None else None
            endpoint = Endpoint(
                self.name, self.kind, self.endpoint, state, wanted.address, image=wanted.image.handle,
                model=wanted.image.model, release=wanted.release, since=running.since if running else "",
                ready=1 if state == "healthy" else 0, replicas=1, reason=reason, frozen=marks.get("frozen", ""),
                memory_mib=running.memory_mib() if running else None, memory_limit_mib=wanted.instance.memory_mib,
            )  # fmt: skip
            return Observed(endpoint, wanted, facts)

    def _state(
        self, client: docker.DockerClient, stack: Stack, wanted: Deployment, failure: dict[str, Any] | None
    ) -> tuple[Health, str]:
        if stack.trial is not None or stack.new is not None:
            if failure and failure["deployment"] == wanted.digest:
                return "unhealthy", failure["reason"]
            return ("starting" if stack.main and stack.main.status == "running" else "stopped"), "being replaced"
        look = Look(client, stack.main)
        if look.is_ready():
            return "healthy", ""
        trouble = look.trouble(patient=False)
        if trouble is None:
            return "starting", ""
        return ("stopped" if trouble.reason == "Exited" else "unhealthy"), trouble.reason

    def plan(self, deployment: Deployment, observed: Observed) -> Plan:
        """What would be done; see ``make_plan``."""
        return make_plan(deployment, observed)

    def apply(self, plan: Plan, *, package: Path | None, say: Say) -> None:  # noqa: ARG002 - images hold their package
        """Carries a plan out. A new image is proven on trial, beside the old one, before it takes the port.

        A trial that fails is no error here: the old container answers on, and ``wait`` says why.

        Raises:
            NotFound: There is no such image.
            Permanent: The engine refuses, or the port is taken.
        """
        if not plan.changes:
            return
        deployment = plan.deployment
        with self._engine(f"deploying {deployment.image.handle}") as client:
            keeper = Keeper(client, self.names)
            tidy(client, self.names, say)
            keeper.keep(failure=None)
            stack = Stack.of(client, self.names)
            serving = deployment_of(stack.main)
            running = stack.main is not None and stack.main.status == "running"
            if running and serving is not None and serving.digest == deployment.digest:
                return
            pull(client, deployment.image)
            self._keep_secrets(keeper, deployment)
            for action in plan.actions:
                say(f"{action.verb} {action.subject}: {action.detail}")
            if running:
                replace(client, self.names, deployment, say)
            else:
                start_first(client, self.names, deployment)

    def _keep_secrets(self, keeper: Keeper, deployment: Deployment) -> None:
        if deployment.access == "keys" and keeper.keys() is None:
            self._keep_keys(keeper, new_keys())
        if not deployment.certificate:
            return
        try:
            files = {
                "tls/certificate.pem": (self.root / deployment.certificate).read_bytes(),
                "tls/key.pem": (self.root / deployment.certificate_key).read_bytes(),
            }
        except OSError as error:
            raise StorageError(
                "cannot read the endpoint's certificate",
                where=f"targets.{self.name}.tls",
                problem=str(error),
                expected="PEM files, relative to the project",
                next_step="ridgeway settings targets",
            ) from error
        keeper.keep_secrets(files)

    @staticmethod
    def _keep_keys(keeper: Keeper, keys: Keys) -> None:
        keeper.keep_secrets({"keys/primary": keys.primary.encode(), "keys/secondary": keys.secondary.encode()})

    def wait(self, deployment: Deployment, *, seconds: float, say: Say) -> Outcome:
        """Returns when the container is ready, cannot become so, or too late."""
        deadline, told_state = time.monotonic() + seconds, ""
        with self._engine("watching a container") as client:
            failure = Keeper(client, self.names).state().get("failure")
            if failure and failure["deployment"] == deployment.digest:
                return Outcome(False, failure["reason"], failure["sentence"], tuple(failure["log"]))
            suspected = 0
            while True:
                main = Stack.of(client, self.names).main
                running = deployment_of(main)
                if main is None or running is None or running.digest != deployment.digest:
                    return Outcome(False, "NotAsked", "something else was asked for since")
                look = Look(client, main)
                if look.asks_ready():
                    return Outcome(True)
                trouble = look.trouble(patient=suspected < _SURE)
                suspected += 1
                if trouble is not None:
                    return Outcome(False, trouble.reason, trouble.sentence, trouble.log)
                if told_state != main.status:
                    say(f"container {main.name} is {main.status}")
                    told_state = main.status
                if time.monotonic() >= deadline:
                    sentence = f"{main.name} was not ready within {seconds:g} s"
                    return Outcome(False, "deadline", sentence, look.log())
                time.sleep(_LOOK_SECONDS)

    def address(self, deployment: Deployment) -> str:
        """The declared address: its port is what the container publishes."""
        return deployment.address

    def remove(self) -> tuple[str, ...]:
        """Takes away the containers, the keys and whatever is remembered."""
        with self._engine("removing containers") as client:
            lines = []
            for one in Stack.of(client, self.names).all:
                if one.status == "running":
                    one.stop(timeout=10)
                one.remove(force=True)
                lines.append(f"container {one.name}")
            if Keeper(client, self.names).remove():
                lines.append(f"keys and marks in {self.names.keeper}, volume {self.names.volume}")
            return tuple(lines)

    def logs(self, *, follow: bool = False, lines: int = 200) -> Iterator[str]:
        """The last lines of the container that answers, or of the one on trial where it failed."""
        with self._engine("reading logs") as client:
            stack = Stack.of(client, self.names)
            container = stack.trial or stack.main
            if container is None:
                return
            rest = b""
            stream = container.logs(stream=True, follow=follow, tail=lines) if lines or follow else ()
            for block in stream:
                *whole, rest = (rest + block).split(b"\n")
                yield from (line.decode("utf-8", "replace") for line in whole)
            if rest:
                yield rest.decode("utf-8", "replace")

    @contextlib.contextmanager
    def hold(self, holder: str, *, seconds: float = 30) -> Iterator[None]:
        """Nobody else may change this endpoint meanwhile, from whichever machine.

        Raises:
            Busy: Someone holds it.
        """
        with lock.held(self._connect, self.names, holder, seconds):
            yield

    def freeze(self, reason: str) -> None:
        """Marks the endpoint; an empty reason lifts the mark."""
        with self._engine("marking the endpoint") as client:
            Keeper(client, self.names).keep(frozen=reason)

    def keys(self, *, create: bool = False) -> Keys | None:
        """The endpoint's keys, from the volume that its server reads."""
        with self._engine("reading the keys") as client:
            keeper = Keeper(client, self.names)
            keys = keeper.keys()
            if keys is None and create:
                keys = new_keys()
                self._keep_keys(keeper, keys)
            return keys

    def rotate(self, which: Literal["primary", "secondary"], *, say: Say) -> Keys:
        """The keys with a new one in that place, once the server takes it.

        Raises:
            Transient: The server does not take the new key; the volume holds it already.
        """
        with self._engine("changing a key") as client:
            keeper = Keeper(client, self.names)
            before = keeper.keys()
            keys = exchanged(before or new_keys(), which, new_key())
            if before is None:
                self._keep_keys(keeper, keys)
            else:
                keeper.keep_secrets({f"keys/{which}": getattr(keys, which).encode()})
        observed = self.observe()
        if observed.endpoint.state == "healthy" and observed.deployment and observed.deployment.access == "keys":
            say(f"waiting for the server to take the new {which} key")
            self._await_key(observed.deployment, getattr(keys, which))
        return keys

    def _await_key(self, deployment: Deployment, key: str) -> None:
        # Each worker takes a key up by itself, and a new connection may reach any of them.
        wanted = 1 if (workers := int(deployment.server.get("workers", 1))) == 1 else 8 * workers
        taken, deadline = 0, time.monotonic() + 20
        while taken < wanted:
            taken = taken + 1 if takes_key(deployment, key, self.root) else 0
            if time.monotonic() >= deadline:
                raise Transient(
                    f"{self.kind}://{self.name}/{self.endpoint} does not take the new key",
                    problem="it answers 401, or not at all",
                    expected="the server to read its keys again",
                    next_step=f"ridgeway logs {self.name}",
                )
            if not taken:
                time.sleep(_LOOK_SECONDS)

    def rooms(self) -> tuple[Room, ...]:
        """How many further containers of each type the engine's cores and memory hold."""
        with self._engine("counting what runs") as client:
            return rooms(client, self.instance_types)

    def check(self, deployment: Deployment | None) -> Iterator[Finding]:
        """The engine, its room, the image, the port, the keys."""
        yield from findings(self._connect, self.names, self.instance_types, deployment)

    def person(self) -> Person | None:
        """Nobody: an engine does not know who asks."""
        return None

    def _connect(self) -> docker.DockerClient:
        return connect(self.context, f"targets.{self.name}.context = {self.context!r}")

    @contextlib.contextmanager
    def _engine(self, doing: str) -> Iterator[docker.DockerClient]:
        client = self._connect()
        with contextlib.closing(client), told(doing, setting=f"targets.{self.name}"):
            yield client
