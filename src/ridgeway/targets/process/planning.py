"""What would be done, and what the server is told. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ridgeway.artifacts import Deployment
from ridgeway.errors import Permanent
from ridgeway.targets.addresses import listening_address
from ridgeway.targets.interface import Observed, Plan, PlannedAction
from ridgeway.targets.process.folder import Folder
from ridgeway.targets.remembered import differences, short
from ridgeway.targets.server_settings import as_arguments, budgets, server_settings

WATCH_SECONDS = 0.2
"""How soon a server takes up new keys; a look costs it 50 µs."""
DRAIN_SECONDS = 5.0
DRAIN_LIMIT_SECONDS = 30.0
"""Defaults of the server."""
MOVE_SECONDS = 5.0
"""From the end of the old daemon to a server that answers at the new address, on a busy machine."""
_PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV")
_PASSED_ON_PREFIXES = ("LC_", "PYTHON", "COVERAGE")


def make_plan(deployment: Deployment, observed: Observed) -> Plan:
    """What would be done to make this machine's endpoint what it shall be.

    Raises:
        Permanent: A container image, or more than one replica with no server to share the work.
        UsageError: An address or a setting of the server that cannot be.
    """
    place = listening_address(deployment).place
    server_settings(deployment)
    if not deployment.image.is_folder:
        raise Permanent(
            f"cannot run {deployment.image.handle} as a process",
            where=f'targets.{deployment.target}.kind = "process"',
            problem="it is a container image",
            expected="a folder image: releases make one where all stages are processes",
            next_step=f"ridgeway run release {deployment.image.model}",
        )
    subject, notes = f"process {deployment.name} on {place}", _notes(deployment, observed)
    before, state = observed.deployment, observed.endpoint.state
    detail = f"image {short(deployment.image.digest)}"
    if before is None:
        return Plan(deployment, (PlannedAction("create", subject, detail),), "first", notes=notes)
    if state == "stopped":
        return Plan(deployment, (PlannedAction("create", subject, f"{detail}, it was stopped"),), "first", notes=notes)
    if before.digest == deployment.digest:
        if state != "unhealthy":
            return Plan(deployment, (PlannedAction("keep", subject),), "none", notes=notes)
        action = PlannedAction("replace", subject, f"started anew: {observed.endpoint.reason}")
        return Plan(deployment, (action,), "surge", notes=notes)
    action = PlannedAction("replace", subject, ", ".join(differences(before, deployment)))
    if listening_address(before).place == place:
        return Plan(deployment, (action,), "surge", notes=notes)
    return Plan(deployment, (action,), "in_place", gap_seconds=stop_seconds(before) + MOVE_SECONDS, notes=notes)


def _notes(deployment: Deployment, observed: Observed) -> tuple[str, ...]:
    notes = []
    if deployment.replicas > 1:
        notes.append(f"replicas = {deployment.replicas}: this kind runs one server; server.workers shares its work")
    used, limit = observed.endpoint.memory_mib, deployment.instance.memory_mib
    if used is not None:
        verdict = "above" if used > limit else "of"
        notes.append(f"the server takes {used:g} MiB, {verdict} {limit} MiB of {deployment.instance.name}")
    if deployment.instance.gpus:
        notes.append(f"{deployment.instance.name} asks for devices; a process sees whatever this machine has")
    return tuple(notes)


def stop_seconds(deployment: Deployment) -> float:
    """The longest that a server takes to end by itself."""
    asked = deployment.server
    return float(asked.get("drain_seconds", DRAIN_SECONDS)) + float(
        asked.get("drain_limit_seconds", DRAIN_LIMIT_SECONDS)
    )


def server_arguments(deployment: Deployment, folder: Folder, package: str, root: Path) -> tuple[str, ...]:
    """The server's command line, but for its sockets.

    Args:
        deployment: What it shall be.
        folder: The endpoint's state folder.
        package: Name of the copy to serve.
        root: The project's: certificates are relative to it.
    """
    asked = server_settings(deployment)
    own: dict[str, object] = {
        "models": folder.packages / package,
        "image": deployment.image.digest,
        "access": deployment.access,
    }
    if deployment.access == "keys":
        own["keys_dir"] = folder.keys_folder
    if deployment.certificate:
        own |= {
            "tls_certificate": root / deployment.certificate,
            "tls_key": root / deployment.certificate_key,
        }
    memory = budgets(deployment.instance.memory_mib, asked)
    return as_arguments({"watch_seconds": WATCH_SECONDS, **memory, **asked, **own})


def server_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a server sees of the environment of whoever started it: no secrets, and no settings but ours.

    Example:
        >>> server_environment({"PATH": "/bin", "RIDGEWAY_SERVER_PORT": "1", "AWS_SECRET_ACCESS_KEY": "x"})
        {'PATH': '/bin'}
    """
    return {
        name: value for name, value in environment.items() if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
