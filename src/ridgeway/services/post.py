"""A worker's post: where it works, for whom, and how it gives back what it cannot carry out."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ridgeway.orchestrator import rest


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker works, and for whom."""

    home: Path
    """The project's working folder."""
    project: str
    url: str
    """The Prefect server's API."""
    limit: int = 2
    """How many runs at once."""
    pools: tuple[str, ...] = ("ridgeway", "ridgeway-kubernetes")
    """The first is made where it is missing; the others are looked at where somebody has published to them."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """What the server wants to see of a client."""

    @property
    def name(self) -> str:
        """The worker's, on the server."""
        return f"{self.project}@{socket.gethostname()}"


def put_back(place: Place, flow_run_id: str, message: str, *, delay_seconds: float = 0) -> None:
    """Lets a flow run that was taken wait again, for any worker.

    Raises:
        OSError: The server does not answer.
    """
    due = datetime.now(UTC) + timedelta(seconds=delay_seconds)
    state = {
        "type": "SCHEDULED",
        "name": "AwaitingRetry",
        "message": message,
        "state_details": {"scheduled_time": due.isoformat()},
    }
    content = {"state": state, "force": True}
    rest.call(f"{place.url}/flow_runs/{flow_run_id}/set_state", content, headers=place.headers)
