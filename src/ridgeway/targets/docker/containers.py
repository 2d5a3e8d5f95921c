"""The containers of one endpoint, and what can be seen of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import APIError, NotFound

from ridgeway.artifacts import Deployment
from ridgeway.targets.docker.planning import PREFIX, READY, Names
from ridgeway.targets.remembered import from_text
from ridgeway.targets.server_log import last_error

_CRASHES = 3
_WRONG_SETTINGS = 2
"""The server's exit code for settings that do not fit together."""


@dataclass(frozen=True, slots=True)
class Stack:
    """What there is: the one that answers, and what a replacement in progress (or cut short) has made."""

    main: Any = None
    trial: Any = None
    new: Any = None
    previous: Any = None

    @classmethod
    def of(cls, client: docker.DockerClient, names: Names) -> Stack:
        """As the engine has it now."""
        return cls(*(_get(client, name) for name in (names.main, names.trial, names.new, names.previous)))

    @property
    def leftovers(self) -> tuple[Any, ...]:
        """All but the main one."""
        return tuple(one for one in (self.trial, self.new, self.previous) if one is not None)

    @property
    def all(self) -> tuple[Any, ...]:
        """All that there are."""
        return (*((self.main,) if self.main is not None else ()), *self.leftovers)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a container does not become ready by itself."""

    reason: str
    sentence: str
    log: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """What can be seen of a container just now."""

    client: docker.DockerClient
    container: Any

    @property
    def since(self) -> str:
        """When it was made; a restart after a crash does not change that."""
        return str(self.container.attrs["Created"])[:19] + "+00:00"

    def is_ready(self) -> bool:
        """Whether the engine's last look found it ready, or, before there was one, whether it says so itself."""
        state = self.container.attrs["State"]
        health = (state.get("Health") or {}).get("Status")
        return state["Status"] == "running" and (health == "healthy" or (health == "starting" and self.asks_ready()))

    def asks_ready(self) -> bool:
        """Whether the server says now that it is ready; asked inside, because the engine may be on another machine."""
        if self.container.status != "running":
            return False
        python = self.container.attrs["Config"]["Entrypoint"][0]
        try:
            return bool(self.container.exec_run([python, "-c", READY]).exit_code == 0)
        except APIError:
            return False  # It has ended since.

    def log(self, lines: int = 20) -> tuple[str, ...]:
        """The last lines."""
        return tuple(self.container.logs(tail=lines).decode("utf-8", "replace").splitlines())

    def trouble(self, *, patient: bool) -> Trouble | None:
        """Why it cannot become ready by itself; None where it still may.

        Args:
            patient: Whether a server that runs, and tells of an error, gets more time.
        """
        state, restarts = self.container.attrs["State"], self.container.attrs["RestartCount"]
        code, lines = state["ExitCode"], self.log()
        error = last_error(lines)
        if state.get("OOMKilled"):
            limit = self.container.attrs["HostConfig"]["Memory"] // 2**20
            return Trouble("OOMKilled", f"the server took more than its {limit} MiB", lines)
        if code == _WRONG_SETTINGS and (restarts or state["Status"] == "exited"):
            return Trouble("Refused", error or "the server refuses its settings", lines)
        if restarts >= _CRASHES:
            told = error or f"the server ended {restarts} times, the last time with exit code {code}"
            return Trouble("CrashLoopBackOff", told, lines)
        if state["Status"] in ("exited", "dead", "created"):
            return Trouble("Exited", error or state.get("Error") or f"the container is {state['Status']}", lines)
        if error and not patient:
            return Trouble("NotReady", error, lines)
        return None

    def memory_mib(self) -> float | None:
        """What it takes, the file cache that could be given back left out; None where it does not run."""
        if self.container.status != "running":
            return None
        usage = self.client.api.stats(self.container.id, stream=False, one_shot=True)["memory_stats"]
        details = usage.get("stats", {})
        cache = details.get("total_inactive_file", details.get("inactive_file", 0))
        return round((usage["usage"] - cache) / 2**20, 1) if "usage" in usage else None


def deployment_of(container: Any) -> Deployment | None:
    """What a container was made for."""
    return None if container is None else from_text(container.labels.get(f"{PREFIX}deployment", ""))


def _get(client: docker.DockerClient, name: str) -> Any:
    try:
        return client.containers.get(name)
    except NotFound:
        return None
