"""A run asked for by REST: what a person's `--detach`, a schedule of another system and our own watchers do alike."""

from __future__ import annotations

import json
import re
import urllib.error
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from ridgeway.artifacts import Triggered
from ridgeway.errors import NotFound, UsageError
from ridgeway.orchestrator import rest

_NAMED = (r"for field '([^']+)'", r"'([^']+)' is a required property", r"\('([^']+)' was unexpected\)")
"""How Prefect names the parameter that it refuses."""


def trigger(
    server_url: str,
    deployment: str,
    parameters: Mapping[str, Any],
    *,
    idempotency_key: str = "",
    headers: Mapping[str, str] | None = None,
) -> Triggered:
    """The flow run that was asked for; a worker of the deployment's pool carries it out.

    Args:
        server_url: The server's API; ends in ``/api``.
        deployment: ``FLOW/PROJECT``, such as ``retraining/diabetes``.
        parameters: The flow's arguments by name, as JSON knows them; those left out have the deployment's defaults.
        idempotency_key: The same key again gives the run that it gave before, whatever became of it. It counts within
            the deployment: Prefect's own counts within all projects that have a flow of this name.
        headers: What the server wants to see of a client.

    Raises:
        NotFound: Nothing of this name is published there.
        UsageError: A parameter is wrong, missing or unknown; says which.
        Unreachable: The server does not answer.
        Transient: It answers with a fault of its own.
        Permanent: It does not know who asks.
    """
    doing = f"cannot start {deployment}"
    flow, _, project = deployment.partition("/")
    try:
        found = rest.call(f"{server_url}/deployments/name/{quote(flow)}/{quote(project)}", headers=headers)
        content: dict[str, Any] = {"parameters": dict(parameters), "state": {"type": "SCHEDULED"}}
        if idempotency_key:
            content["idempotency_key"] = f"{deployment} {idempotency_key}"
        answer = rest.send("POST", f"{server_url}/deployments/{found['id']}/create_flow_run", content, headers=headers)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise _not_published(deployment, server_url) from None
        raise (_wrong_parameter(error, deployment) or rest.explained(error, doing, server_url)) from error
    except (OSError, ValueError) as error:
        raise rest.explained(error, doing, server_url) from error
    run = answer.content["id"]
    return Triggered(run, f"{server_url.removesuffix('/api')}/runs/flow-run/{run}", answer.status == 201)


def _not_published(deployment: str, server_url: str) -> NotFound:
    return NotFound(
        f"{deployment} is not published",
        where=server_url,
        problem="the Prefect server has no deployment of this name",
        next_step="ridgeway publish     or     ridgeway list flows",
    )


def _wrong_parameter(error: urllib.error.HTTPError, deployment: str) -> UsageError | None:
    """What is wrong with which parameter; None where the server refuses for another reason."""
    if error.code != 409:
        return None
    said = error.read().decode("utf-8", "replace")
    with suppress(ValueError, KeyError, TypeError):
        said = str(json.loads(said)["detail"])
    names = [found[1] for pattern in _NAMED if (found := re.search(pattern, said))]
    reason = said.partition("Failure reason: ")[2] or said
    return UsageError(
        f"{deployment} takes other parameters",
        where=f"parameter {names[0]}" if names else "",
        problem=reason,
        expected="what the flow's own signature says",
        next_step="ridgeway list flows",
    )
