"""What is known of the local server: its address and its two processes, in a file that lives as long as they do."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from ridgeway.orchestrator.environment import home
from ridgeway.run_log import Process
from ridgeway.run_log.record import write

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class ServerState:
    """The local server: the supervisor that was started, and the server that it runs."""

    url: str
    supervisor: Process
    server: Process | None = None
    """None while the supervisor has not come to start it."""
    lasting: bool = False
    """Whether it stays until somebody ends it, with schedules and workers: that of `ridgeway up`."""


def read_state(root: Path) -> ServerState | None:
    """The server's state as last written; whether its processes still live is for the reader to see."""
    try:
        content = json.loads(_path(root).read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            return None
        server = content["server"]
        lasting = bool(content.get("lasting", False))
        process = Process(**server) if server else None
        return ServerState(content["url"], Process(**content["supervisor"]), process, lasting)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_state(root: Path, state: ServerState) -> None:
    """Writes the server's state.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    write(_path(root), {"schema": SCHEMA, **dataclasses.asdict(state)})


def forget(root: Path) -> None:
    """Removes what tells of a server; the log stays, for whoever wants to know why it ended."""
    for name in ("server.json", "used"):
        (home(root) / name).unlink(missing_ok=True)


def _path(root: Path) -> Path:
    return home(root) / "server.json"
