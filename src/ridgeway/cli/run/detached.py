"""``ridgeway run FLOW --detach``: asks the server for a run of what is published; a worker carries it out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ridgeway.cli import console, options
from ridgeway.cli.run.request import Request


def run(flow: str, request: Request, *, as_json: bool) -> int:
    """Starts a published flow and returns at once; with ``plan`` says what would be asked for."""
    from ridgeway.actions import publication
    from ridgeway.orchestrator.environment import client_headers
    from ridgeway.orchestrator.publication import trigger
    from ridgeway.project import open_project

    project = open_project(Path.cwd(), overrides=request.overrides)
    if request.ci and flow != "build":
        options.refuse_local_registry(project)
    deployment, parameters = f"{flow}/{project.name}", parameters_of(flow, request)
    server = publication.destination(project)
    if request.plan:
        record = {"schema": 1, "plan": [{"start": deployment, "parameters": parameters, "server": server.url}]}
        console.result(
            f"start {deployment} on {server.page} with {parameters or 'its defaults'}", record, as_json=as_json
        )
        return 0
    asked = trigger(server.url, deployment, parameters, idempotency_key=request.key, headers=client_headers(os.environ))
    new = "asked for; a worker carries it out" if asked.is_new else f"asked for before, with the key {request.key!r}"
    console.say(f"{deployment}: {new}")
    console.say("  follow    ridgeway list     or     ridgeway logs runs:/…, once a worker has taken it")
    record = {
        "schema": 1,
        "deployment": deployment,
        "flow_run": asked.flow_run_id,
        "page": asked.page,
        "is_new": asked.is_new,
    }
    console.result(asked.page, record, as_json=as_json)
    return 0


def parameters_of(flow: str, request: Request) -> dict[str, Any]:
    """The flow's arguments by name, those left out that nobody has given.

    Example:
        >>> parameters_of("release", Request(subject="models:/diabetes/1", until="qa"))
        {'model': 'models:/diabetes/1', 'until': 'qa'}
    """
    source = str((Path.cwd() / request.source).resolve()) if request.source else ""
    # The worker stands elsewhere; what is no folder here is an address.
    is_folder = bool(request.repository) and Path(request.repository).is_dir()
    repository = str(Path(request.repository).resolve()) if is_folder else request.repository
    tests = "" if request.tests == "quick" else request.tests
    given = {
        "build": {"commit": request.commit, "repository": repository, "only": request.only, "tests": tests},
        "retraining": {"source": source},
        "release": {"model": request.subject, "until": request.until},
    }.get(flow, {})
    # Which server is asked is no business of the run.
    overrides = [text for text in request.overrides if not text.startswith("servers.")]
    every: dict[str, Any] = {**given, "overrides": overrides, "ci": request.ci and flow != "build"}
    return {name: value for name, value in every.items() if value}
