"""A published flow in the words of Prefect's REST API, and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ridgeway.artifacts import Origin, PublishedFlow, Schedule

TAG = "ridgeway"
PULL_STEP = "ridgeway.orchestrator.publication.pull.checkout"
"""What a worker calls to get the code, also one that is not ours."""
_OVERLAP, _MISSED = "ridgeway.overlap.", "ridgeway.missed."
"""Labels with a schedule's name behind: what Prefect's own schedules have no field for."""


def to_record(flow: PublishedFlow) -> dict[str, Any]:
    """The content of the request that makes a server know the flow; whole in itself, without the flow's own id.

    Whether a person has paused the deployment is left as it is.
    """
    labels: dict[str, str] = {f"{_OVERLAP}{one.name}": one.overlap for one in flow.schedules}
    labels |= {f"{_MISSED}{one.name}": one.missed for one in flow.schedules}
    origin = flow.origin
    return {
        "name": flow.project,
        "version": origin.commit,
        "tags": [TAG, f"project:{flow.project}", f"commit:{origin.commit[:12]}"],
        "labels": labels,
        "entrypoint": flow.entrypoint,
        "pull_steps": [
            {
                PULL_STEP: {
                    "repository": origin.repository,
                    "commit": origin.commit,
                    "folder": origin.folder,
                    "home": origin.home,
                }
            }
        ],
        "description": flow.description,
        "parameter_openapi_schema": flow.parameter_schema,
        "enforce_parameter_schema": True,
        "parameters": {},
        "work_pool_name": flow.pool,
        "job_variables": flow.job_variables,
        "concurrency_limit": flow.concurrency or None,
        "concurrency_options": {"collision_strategy": "ENQUEUE"} if flow.concurrency else None,
        "schedules": [_schedule_record(one) for one in flow.schedules],
    }


def _schedule_record(schedule: Schedule) -> dict[str, Any]:
    return {
        "slug": schedule.name,
        "schedule": {"cron": schedule.cron, "timezone": schedule.timezone},
        "active": schedule.active,
        "parameters": schedule.parameters,
    }


def from_record(record: Mapping[str, Any], flow: str) -> PublishedFlow:
    """The published flow that a server tells of; fields that somebody else has emptied come back empty.

    Args:
        record: As the server answers it.
        flow: The flow's name.
    """
    labels = record.get("labels") or {}
    limit = record.get("global_concurrency_limit") or {}
    return PublishedFlow(
        flow=flow,
        project=str(record["name"]),
        entrypoint=record.get("entrypoint") or "",
        origin=_origin(record),
        parameter_schema=record.get("parameter_openapi_schema") or {},
        description=record.get("description") or "",
        pool=record.get("work_pool_name") or "",
        job_variables=record.get("job_variables") or {},
        concurrency=int(limit.get("limit") or 0),
        schedules=tuple(sorted((_schedule(one, labels) for one in record["schedules"]), key=lambda one: one.name)),
        id=str(record["id"]),
    )


def _origin(record: Mapping[str, Any]) -> Origin:
    steps: list[Mapping[str, Any]] = record.get("pull_steps") or [{}]
    told: Mapping[str, str] = steps[0].get(PULL_STEP) or {}
    return Origin(*(str(told.get(name, "")) for name in ("repository", "commit", "folder", "home")))


def _schedule(record: Mapping[str, Any], labels: Mapping[str, Any]) -> Schedule:
    """One of ours, or what somebody has made on the server's page: then without a name, or no cron at all."""
    name, when = record.get("slug") or "", record["schedule"]
    return Schedule(
        name=name,
        cron=str(when.get("cron", "not a cron")),
        timezone=when.get("timezone") or "UTC",
        overlap=labels.get(f"{_OVERLAP}{name}", "queue"),
        missed=labels.get(f"{_MISSED}{name}", "all"),
        parameters=record.get("parameters") or {},
        active=bool(record.get("active", True)),
    )
