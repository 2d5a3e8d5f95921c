"""What is yet to run, in one light request: scheduled, or asked for and not yet taken by a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ridgeway.artifacts import Publication
from ridgeway.orchestrator.publication.applying import Door

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Coming:
    """A flow run that has not begun."""

    flow: str
    at: str
    """When it is due; ISO 8601, UTC."""
    schedule: str
    """Name of the schedule that it comes from; empty where somebody has asked for it."""
    state: str
    """The server's word: Scheduled, Late, AwaitingConcurrencySlot, …"""
    flow_run_id: str


def coming(door: Door, publication: Publication) -> tuple[Coming, ...]:
    """The flow runs of a project that have not begun, the next one first; at most 200.

    Args:
        door: The server.
        publication: What is published there of the project.

    Raises:
        Unreachable: The server does not answer.
    """
    names = {flow.id: flow.flow for flow in publication.flows}
    if not names:
        return ()
    wanted = {
        "deployments": {"id": {"any_": list(names)}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
        "sort": "NEXT_SCHEDULED_START_TIME_ASC",
        "limit": _PAGE,
    }
    found = door.ask("cannot read what is scheduled", "/flow_runs/filter", wanted)
    return tuple(_coming(one, names[one["deployment_id"]]) for one in found)


def _coming(record: Mapping[str, Any], flow: str) -> Coming:
    maker = record.get("created_by") or {}
    is_scheduled = bool(record.get("auto_scheduled")) or maker.get("type") == "SCHEDULE"
    at = record.get("next_scheduled_start_time") or record.get("expected_start_time") or ""
    schedule = str(maker.get("display_value") or "") if is_scheduled else ""
    return Coming(flow, str(at), schedule, str(record.get("state_name") or ""), str(record["id"]))
