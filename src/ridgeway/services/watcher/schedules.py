"""Scheduled runs that shall not be carried out: missed during an outage, or due while the one before still runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

from ridgeway.orchestrator import flow_runs
from ridgeway.orchestrator.flow_runs import Api, FlowRun
from ridgeway.orchestrator.publication.records import from_record
from ridgeway.rules.triggers import Cancellation, Policy, ScheduledRun, runs_to_cancel

FOREIGN = Policy(overlap="queue", missed="all")
"""For a schedule that somebody made on the server's page: nothing was said, nothing is cancelled."""
log = logging.getLogger("ridgeway.triggers")


def settle(api: Api, project: str, now: datetime | None = None) -> frozenset[str]:
    """Cancels the due scheduled runs that shall not be carried out; the ids of all that must not be taken.

    For the watcher at each look, and for a worker before it takes a scheduled run. Costs one request where nothing is
    due.

    Args:
        api: The Prefect server.
        project: Whose runs.
        now: By the server's clock, where it is known already.

    Raises:
        OSError: The server does not answer, or refuses.
        ValueError: It answers in a way that nobody foresaw.
    """
    now = now or api.now()
    due = flow_runs.waiting(api, project, now)
    if not due:
        return frozenset()
    gone = to_cancel(due, flow_runs.under_way(api, project), policies(api, project), now)
    for one in gone:
        if flow_runs.cancel(api, one.id, one.message):
            log.info("run %s %s", one.id, one.message)
    return frozenset(one.id for one in gone)


def to_cancel(
    due: Sequence[FlowRun], under_way: Sequence[FlowRun], chosen: Mapping[tuple[str, str], Policy], now: datetime
) -> tuple[Cancellation, ...]:
    """What shall not be carried out of these runs. Pure."""
    fresh = [run for run in due if not run.was_taken and run.due is not None]
    active = {run.deployment: run.name for run in [*(one for one in due if one.was_taken), *under_way]}
    runs = [
        ScheduledRun(run.id, run.deployment, run.schedule, run.due, run.is_queued)
        for run in fresh
        if run.due is not None
    ]
    found: list[Cancellation] = []
    for (deployment, schedule), policy in _policies(runs, chosen).items():
        own = [run for run in runs if (run.deployment, run.schedule) == (deployment, schedule)]
        found += runs_to_cancel(own, active, {schedule: policy}, now)
    return tuple(found)


def _policies(runs: Sequence[ScheduledRun], chosen: Mapping[tuple[str, str], Policy]) -> dict[tuple[str, str], Policy]:
    return {(run.deployment, run.schedule): chosen.get((run.deployment, run.schedule), FOREIGN) for run in runs}


def policies(api: Api, project: str) -> dict[tuple[str, str], Policy]:
    """(Deployment, schedule) → what its owner wants, as it was published.

    Raises:
        OSError: The server does not answer.
        ValueError: It answers in a way that nobody foresaw.
    """
    wanted = {"deployments": {"tags": {"all_": ["ridgeway", f"project:{project}"]}}}
    found = {}
    for record in api.call("deployments/filter", wanted):
        published = from_record(record, "")
        for schedule in published.schedules:
            if schedule.name:
                found[published.id, schedule.name] = Policy(schedule.overlap, schedule.missed)
    return found
