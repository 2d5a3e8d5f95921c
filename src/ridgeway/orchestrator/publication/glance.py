"""Light looks at published runs: what is scheduled or asked for and yet to run, and which flow a run is of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ridgeway.artifacts import Publication, PublishedFlow
from ridgeway.orchestrator import rest
from ridgeway.orchestrator.publication.applying import Door
from ridgeway.orchestrator.publication.records import from_record

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


def read_published(
    url: str, flow_run_id: str, *, headers: Mapping[str, str]
) -> tuple[Mapping[str, Any], Mapping[str, Any], PublishedFlow]:
    """A flow run and its deployment as the server has them, and the published flow that this is.

    Args:
        url: The server's API.
        flow_run_id: On that server.
        headers: What the server wants to see of a client.

    Raises:
        OSError: Nothing answers, or there is no such flow run, or it is one of no deployment.
        ValueError: The answer is not JSON.
    """
    flow_run = rest.call(f"{url}/flow_runs/{flow_run_id}", headers=headers)
    record = rest.call(f"{url}/deployments/{flow_run['deployment_id']}", headers=headers)
    flow = rest.call(f"{url}/flows/{flow_run['flow_id']}", headers=headers)
    return flow_run, record, from_record(record, flow["name"])
