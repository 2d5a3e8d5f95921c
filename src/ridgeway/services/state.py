"""What is known of the services: each with its process, address and log, in a file that lives as long as they do."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ridgeway.run_log import Process, is_alive
from ridgeway.run_log.record import write

SCHEMA = 1
LOCK = "services"
"""The lock that the supervisor holds for as long as it lives."""

Condition = Literal["waiting", "starting", "ready", "restarting", "done", "failed", "stopping"]
"""``waiting``: for what it is made from. ``done``: ended well, as it should. ``failed``: not tried again."""


@dataclass(frozen=True, slots=True)
class ServiceState:
    """One service as it is now."""

    name: str
    condition: Condition
    address: str = ""
    """Where people and programs reach it; empty for what has no address."""
    log: str = ""
    """Path of its log file."""
    process: Process | None = None
    restarts: int = 0
    """How often it had to be started again."""
    note: str = ""
    """What there is to say about it, in one line."""


@dataclass(frozen=True, slots=True)
class UpState:
    """All services of a project, and the supervisor that looks after them."""

    supervisor: Process
    version: str
    services: tuple[ServiceState, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Whether nothing is still to come."""
        return all(service.condition in ("ready", "done", "failed") for service in self.services)

    def service(self, name: str) -> ServiceState | None:
        """The service of that name."""
        return next((service for service in self.services if service.name == name), None)


def folder(root: Path) -> Path:
    """Where services keep what they keep: their state, their logs, and what the worker has taken."""
    return root / ".ridgeway" / "services"


def log_file(root: Path, name: str) -> Path:
    """The log of a service."""
    return folder(root) / f"{name}.log"


def ready_file(root: Path, name: str) -> Path:
    """What a service without an address writes its process's number into when it is ready."""
    return folder(root) / f"{name}.ready"


def read_state(root: Path) -> UpState | None:
    """The state as last written; None where there is none. Whether its processes live is for the reader to see."""
    try:
        content = json.loads(_path(root).read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            return None
        services = tuple(_service(one) for one in content["services"])
        return UpState(Process(**content["supervisor"]), content["version"], services)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def running(root: Path) -> UpState | None:
    """The state of services whose supervisor lives; None where there is none."""
    state = read_state(root)
    return state if state is not None and is_alive(state.supervisor) else None


def write_state(root: Path, state: UpState) -> None:
    """Writes the state.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    write(_path(root), {"schema": SCHEMA, **dataclasses.asdict(state)})


def forget(root: Path) -> None:
    """Removes what tells of running services; logs stay, for whoever wants to know why something ended."""
    with contextlib.suppress(OSError):
        for path in (_path(root), *folder(root).glob("*.ready"), *folder(root).glob(".services.json.*")):
            path.unlink(missing_ok=True)


def is_kept(root: Path) -> bool:
    """Whether the file is still there: who deletes ``.ridgeway`` deletes what the services are found by."""
    return _path(root).exists()


def _service(content: Mapping[str, Any]) -> ServiceState:
    process = content["process"]
    return ServiceState(**{**content, "process": Process(**process) if process else None})


def _path(root: Path) -> Path:
    return folder(root) / "services.json"
