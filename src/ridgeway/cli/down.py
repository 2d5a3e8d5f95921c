"""``ridgeway down``: stops what Ridgeway started on this machine for the project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ridgeway.cli import console, options


@click.command(
    name="down", short_help="Stops all that runs on this machine for it.", epilog="\b\nExample\n  ridgeway down"
)
@options.plan
@options.common
def command(*, plan: bool, as_json: bool, overrides: Sequence[str]) -> int:
    """Stops the local servers of this project, and the endpoints that are processes of this machine.

    Everything that ran stays on record, and a release of the same model brings its endpoint back.
    """
    from ridgeway.project import open_project

    project = open_project(Path.cwd(), overrides=overrides)
    stopped = [*_endpoints(project, plan=plan), *_server(project, plan=plan)]
    for line in stopped:
        console.say(f"would stop {line}" if plan else f"stopped {line}")
    if not stopped:
        console.say("nothing runs here")
    record = {"schema": 1, "stopped": [] if plan else stopped, "would_stop": stopped if plan else []}
    if as_json:
        console.result("", record, as_json=True)
    return 0


def _server(project: Any, *, plan: bool) -> list[str]:
    from ridgeway import orchestrator

    running = orchestrator.running_server(project.root)
    if running is None:
        return []
    if not plan:
        orchestrator.stop_server(project.root)
    return [f"the Prefect server at {running.url}"]


def _endpoints(project: Any, *, plan: bool) -> list[str]:
    from ridgeway.actions import operations

    return list(operations.stop_processes(project, only_plan=plan))
