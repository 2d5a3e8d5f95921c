"""A flow's own minimal deployment, because Prefect suspends only what belongs to one: no schedule, no work pool."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from uuid import UUID

from ridgeway.orchestrator.dead_runs import carrier, server_name
from ridgeway.run_log import RunRecord

BY_HAND = "ridgeway-by-hand"


def deployment_name(root: Path) -> str:
    """The name of the deployment, without the flow's: two projects on one server do not take each other's place.

    Example:
        >>> deployment_name(Path("/p"))
        'ridgeway-by-hand-00d74baf'
    """
    return f"{BY_HAND}-{hashlib.sha256(str(root).encode()).hexdigest()[:8]}"


def ensure_deployment(client: Any, flow: Any, entrypoint: str, root: Path) -> UUID:
    """The id of the deployment; published if there is none yet, and again if it does not say what it should.

    It holds the project's folder, the file and the form of its parameters, no value and no secret. A work pool that a
    person gave it stays.

    Args:
        client: Prefect's, synchronous.
        flow: The flow, loaded.
        entrypoint: File and function, relative to ``root``.
        root: The project's root, absolute.
    """
    from prefect.exceptions import ObjectNotFound

    wanted = _wanted(flow, entrypoint, root)
    try:
        found = client.read_deployment_by_name(f"{flow.name}/{deployment_name(root)}")
    except ObjectNotFound:
        found = None
    if found is not None and all(getattr(found, name) == value for name, value in wanted.items()):
        return UUID(str(found.id))
    # Where one of this name is there, the server changes it and keeps its id.
    return UUID(str(client.create_deployment(client.create_flow(flow), deployment_name(root), **wanted)))


def _wanted(flow: Any, entrypoint: str, root: Path) -> dict[str, Any]:
    return {
        "entrypoint": entrypoint,
        "path": str(root),
        "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": str(root)}}],
        "parameter_openapi_schema": flow.parameters.model_dump(exclude_unset=True),
        # Run by hand, the flow itself says which parameter is wrong, in words of ours.
        "enforce_parameter_schema": False,
        "description": "Made by `ridgeway run`, so that a run of it can be suspended while it waits for a person.",
        "tags": ["ridgeway"],
    }


def create_flow_run(client: Any, flow: Any, deployment_id: UUID, arguments: dict[str, Any], record: RunRecord) -> Any:
    """A new flow run of the deployment, in state Pending: taken by this run, and not for any worker to take."""
    from prefect.states import Pending

    return client.create_flow_run_from_deployment(
        deployment_id,
        parameters=flow.serialize_parameters(arguments),
        name=server_name(record),
        state=Pending(message=carrier(record)),
    )
