"""What would be done, and what the engine is asked for. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ridgeway.artifacts import Deployment
from ridgeway.errors import Permanent
from ridgeway.targets.addresses import listening_address
from ridgeway.targets.interface import Observed, Plan, PlannedAction
from ridgeway.targets.remembered import as_text, differences, short
from ridgeway.targets.server_settings import as_arguments, server_settings

PREFIX = "ridgeway.dev/"
MEMORY_LIMIT_MIB = 48 * 1024
MODEL_LIMIT_BYTES = 10**9
PORT, HEALTH_PORT = 8080, 8081
"""Inside the container; as the image says."""
USER = 65532
SECRETS = "/secrets"
DRAIN_SECONDS = 0.5
"""Nothing moves clients to another server meanwhile: longer only makes the gap longer."""
OPEN_REQUESTS_SECONDS = 10.0
"""What open requests get to finish when a container is replaced."""
START_SECONDS = 10.0
"""From the start of a proven image to ready, at most: then the old one is started again."""
BACK_SECONDS = 5.0
"""From the start of the old one to ready."""

READY = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{HEALTH_PORT}/v2/health/ready', timeout=3)"
"""Asked inside the container by its own Python; any answer but 200 is an exit code."""


@dataclass(frozen=True, slots=True)
class Names:
    """Names of everything that belongs to one endpoint on an engine."""

    endpoint: str
    target: str

    @property
    def main(self) -> str:
        """The container that answers."""
        return f"ridgeway-{self.endpoint}-{self.target}"

    @property
    def trial(self) -> str:
        """A new image on trial beside it, without the port."""
        return f"{self.main}-trial"

    @property
    def new(self) -> str:
        """The one that takes the port next."""
        return f"{self.main}-new"

    @property
    def previous(self) -> str:
        """The one before, for the moment between two names."""
        return f"{self.main}-previous"

    @property
    def keeper(self) -> str:
        """Never started: what is remembered beside the containers, and the way to the volume."""
        return f"{self.main}-keeper"

    @property
    def lock(self) -> str:
        """Never started: who may change the endpoint."""
        return f"{self.main}-lock"

    @property
    def volume(self) -> str:
        """Keys and certificate."""
        return f"{self.main}-secrets"


def make_plan(deployment: Deployment, observed: Observed) -> Plan:
    """What would be done to make the container what it shall be.

    Raises:
        Permanent: A folder image, or more than the engine has or one container may have.
        UsageError: An address or a setting of the server that cannot be.
    """
    address = listening_address(deployment)
    server_settings(deployment)
    _check(deployment, observed)
    names = Names(deployment.name, deployment.target)
    subject, facts = f"container {names.main} on {address.place}", observed.facts
    serving: Deployment | None = facts.get("serving")
    notes, details = _notes(deployment), {"arguments": container_arguments(deployment)}
    detail = f"image {short(deployment.image.digest)}"
    if serving is None:
        action = PlannedAction("create", subject, detail)
        return Plan(deployment, (action,), "first", notes=notes, details=details)
    left = tuple(PlannedAction("delete", f"container {name}", "left behind") for name in facts.get("leftovers", ()))
    if serving.digest == deployment.digest and facts.get("running"):
        return Plan(deployment, (PlannedAction("keep", subject), *left), "none", notes=notes, details=details)
    changes = ", ".join(differences(serving, deployment)) or "started anew"
    action = PlannedAction("replace", subject, changes)
    if not facts.get("running"):
        return Plan(deployment, (*left, action), "first", notes=notes, details=details)
    gap = drain_limit(serving) + START_SECONDS + BACK_SECONDS
    notes = (*notes, f"no answers for up to {gap:g} s: one port cannot be published by two containers")
    return Plan(deployment, (*left, action), "in_place", gap_seconds=gap, notes=notes, details=details)


def _check(deployment: Deployment, observed: Observed) -> None:
    instance, where = deployment.instance, f"instance_types.{deployment.instance.name}"
    if deployment.image.is_folder:
        raise Permanent(
            f"cannot run {deployment.image.handle} in a container",
            problem="it is a folder of one machine",
            expected="a container image: releases make one where a stage is docker or kubernetes",
            next_step=f"ridgeway run release {deployment.image.model}",
        )
    if instance.memory_mib >= MEMORY_LIMIT_MIB:
        raise _too_much(deployment, f"{where}.memory_mib = {instance.memory_mib}", f"below {MEMORY_LIMIT_MIB} MiB")
    memory, cores = observed.facts.get("memory_mib"), observed.facts.get("cores")
    if memory and instance.memory_mib > memory:
        raise _too_much(deployment, f"{where}.memory_mib = {instance.memory_mib}", f"the engine has {memory} MiB")
    if cores and instance.cpu > cores:
        raise _too_much(deployment, f"{where}.cpu = {instance.cpu:g}", f"the engine has {cores}")


def _too_much(deployment: Deployment, where: str, limit: str) -> Permanent:
    return Permanent(
        f"no container of {deployment.instance.name} can be run on {deployment.target}",
        where=where,
        problem="more than may be",
        expected=limit,
        next_step=f"ridgeway … --set targets.{deployment.target}.instance_type=NAME     or     ridgeway list targets",
    )


def _notes(deployment: Deployment) -> tuple[str, ...]:
    if deployment.replicas > 1:
        return (f"replicas = {deployment.replicas}: this kind runs one container; server.workers shares its work",)
    return ()


def drain_limit(deployment: Deployment) -> float:
    """What a container gets between SIGTERM and SIGKILL when it is replaced."""
    asked = deployment.server
    own = float(asked.get("drain_seconds", DRAIN_SECONDS))
    return own + min(float(asked.get("drain_limit_seconds", OPEN_REQUESTS_SECONDS)), OPEN_REQUESTS_SECONDS)


def container_arguments(deployment: Deployment) -> tuple[str, ...]:
    """What the server in the container is told. No secrets: those are files."""
    own: dict[str, object] = {"access": deployment.access, "image": deployment.image.digest}
    if deployment.access == "keys":
        own["keys_dir"] = f"{SECRETS}/keys"
    if deployment.certificate:
        own |= {"tls_certificate": f"{SECRETS}/tls/certificate.pem", "tls_key": f"{SECRETS}/tls/key.pem"}
    defaults = {"watch_seconds": 0.2, "drain_seconds": DRAIN_SECONDS}
    return as_arguments({**defaults, **server_settings(deployment), **own})


def container_options(deployment: Deployment, names: Names, python: str, *, publish: bool) -> dict[str, Any]:
    """The container, as the Docker SDK's ``create`` takes it.

    Args:
        deployment: What it shall be.
        names: Of the endpoint.
        python: The interpreter inside the image, for the health check.
        publish: Whether it gets the port; one on trial does not.
    """
    address, instance = listening_address(deployment), deployment.instance
    options: dict[str, Any] = {
        "command": list(container_arguments(deployment)),
        "labels": {
            f"{PREFIX}endpoint": deployment.name,
            f"{PREFIX}target": deployment.target,
            f"{PREFIX}deployment": as_text(deployment),
        },
        "healthcheck": {
            "test": ["CMD", python, "-c", READY],
            # In nanoseconds. Each look costs a start of Python, 50 ms of a core.
            "interval": 5 * 10**9,
            "timeout": 5 * 10**9,
            "retries": 3,
            "start_period": 30 * 10**9,
        },
        "nano_cpus": int(instance.cpu * 10**9),
        "mem_limit": f"{instance.memory_mib}m",
        # Swap would make a server that outgrows its limit slow for all instead of restarting it.
        "memswap_limit": f"{instance.memory_mib}m",
        "restart_policy": {"Name": "unless-stopped"},
        "read_only": True,
        "tmpfs": {"/tmp": "size=64m,mode=1777"},  # noqa: S108 - the container's
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "pids_limit": 200,
        "volumes": {names.volume: {"bind": SECRETS, "mode": "ro"}},
        "log_config": {"type": "json-file", "config": {"max-size": "10m", "max-file": "3"}},
    }
    if publish:
        options["ports"] = {f"{PORT}/tcp": (address.host, address.port)}
    return options
