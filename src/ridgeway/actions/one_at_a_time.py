"""One retraining of a model at a time, on however many machines: a lease in the registry that they share.

On one machine a lock of the kernel sees to it. A CI agent, a worker and a person's own machine share only the tracking
server, so each retraining says there until when it is under way, and says so again as long as it is.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from ridgeway.errors import Busy, RidgewayError
from ridgeway.registry import Registry, Run

LEASE_TAG = "ridgeway.lease"
"""Until when a run is under way, ISO 8601 in UTC."""
RENEW_SECONDS = 30.0
LEASE_SECONDS = 150.0
"""Machines' clocks may differ by two minutes before one takes another's lease for over."""
FORSAKEN_SECONDS = 3600.0
"""A run whose lease is over for this long is ended by whoever comes next: its machine is gone."""
log = logging.getLogger("ridgeway.retraining")


def check_free(registry: Registry, flow: str) -> None:
    """Nothing, if no other machine has this flow of the model under way; before anything is begun.

    Raises:
        Busy: One has.
    """
    if registry.is_shared:
        _refuse(registry, flow, [run for run in _running(registry, flow) if _lasts(run)])


@contextmanager
def alone(registry: Registry, flow: str, run_id: str) -> Iterator[None]:
    """Meanwhile the run holds the lease. Of two that begin at once the one that began first, by its record, goes on.

    Raises:
        Busy: Another machine was first.
    """
    if not registry.is_shared:
        yield
        return
    _renew(registry, run_id)
    running = _running(registry, flow)
    mine = next((_order(run) for run in running if run.run_id == run_id), ("", ""))
    _refuse(registry, flow, [run for run in running if _lasts(run) and _order(run) < mine])
    _end_forsaken(registry, running)
    over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(registry, run_id, over), name="lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join(5)


def _running(registry: Registry, flow: str) -> list[Run]:
    return [run for run in registry.running(flow) if LEASE_TAG in run.tags]


def _keep(registry: Registry, run_id: str, over: threading.Event) -> None:
    while not over.wait(RENEW_SECONDS):
        try:
            _renew(registry, run_id)
        except RidgewayError as error:
            log.debug("the lease could not be renewed: %s", error)


def _renew(registry: Registry, run_id: str) -> None:
    until = datetime.now(UTC) + timedelta(seconds=LEASE_SECONDS)
    registry.tag_run(run_id, {LEASE_TAG: until.isoformat(timespec="seconds")})


def _order(run: Run) -> tuple[str, str]:
    return run.started_at, run.run_id


def _lasts(run: Run) -> bool:
    return _over_for(run) < 0


def _over_for(run: Run) -> float:
    """Seconds since when the lease is over; negative while it lasts."""
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(run.tags[LEASE_TAG])).total_seconds()
    except (ValueError, TypeError):
        return FORSAKEN_SECONDS


def _end_forsaken(registry: Registry, running: list[Run]) -> None:
    for run in running:
        if _over_for(run) >= FORSAKEN_SECONDS:
            log.info("%s is ended: its machine has not been heard of for an hour", run.handle)
            registry.end_run(run.run_id, "KILLED")


def _refuse(registry: Registry, flow: str, others: list[Run]) -> None:
    if others:
        first = min(others, key=_order)
        raise Busy(
            f"{flow} {registry.name} is already under way",
            where=registry.uri,
            problem=f"{first.handle}, since {first.started_at}, on another machine",
            expected="one at a time",
            next_step="wait for it to end, then the same command again",
        )
