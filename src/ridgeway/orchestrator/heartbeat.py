"""A run's signs of life, for those who cannot see its process: the same events that Prefect's own runs send.

Prefect sends them from a thread that sleeps in steps of a second and is waited for at the end of each flow, which costs
up to that second. This one is woken, so that the end costs nothing; and each sign is a request of its own, so that a
server that was away is found again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from ridgeway.orchestrator import rest
from ridgeway.rules.triggers import PULSE_SECONDS

EVENT = "prefect.flow-run.heartbeat"
_TIMEOUT_SECONDS = 5.0
_logger = logging.getLogger("ridgeway.orchestrator")


@contextlib.contextmanager
def heartbeats(
    flow_run_id: str, url: str, *, headers: Mapping[str, str] | None = None, every_seconds: float = PULSE_SECONDS
) -> Iterator[None]:
    """Meanwhile the server hears every few seconds that this flow run lives; the first time at once.

    A server that does not answer is no reason for a run to end.

    Args:
        flow_run_id: The server's id of it.
        url: The server's API.
        headers: What the server wants to see of a client.
        every_seconds: How often.
    """
    over = threading.Event()

    def beat() -> None:
        while True:
            _send(flow_run_id, url, headers)
            if over.wait(every_seconds):
                return

    thread = threading.Thread(target=beat, name="heartbeats", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        # Asleep it is gone within a millisecond; one that waits for an answer is left to it.
        thread.join(0.05)


def _send(flow_run_id: str, url: str, headers: Mapping[str, str] | None) -> None:
    event = {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": EVENT,
        "resource": {"prefect.resource.id": f"prefect.flow-run.{flow_run_id}"},
        "related": [],
        "payload": {},
    }
    try:
        rest.call(f"{url}/events", [event], timeout_seconds=_TIMEOUT_SECONDS, headers=headers)
    except (OSError, ValueError) as error:
        _logger.debug("no sign of life could be sent: %s", error)
