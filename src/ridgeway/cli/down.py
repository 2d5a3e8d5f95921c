"""``ridgeway down``: stops what Ridgeway started on this machine for the project."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ridgeway.cli import console, options
from ridgeway.errors import Busy


@click.command(
    name="down", short_help="Stops all that runs on this machine for it.", epilog="\b\nExample\n  ridgeway down"
)
@click.option("--force", is_flag=True, help="Also while a run is under way; it goes on with the next `ridgeway up`.")
@options.plan
@options.common
def command(*, force: bool, plan: bool, as_json: bool, overrides: Sequence[str]) -> int:
    """Stops all that `ridgeway up` runs, the local Prefect server, and endpoints that are processes of this machine.

    Everything that ran stays on record, what is scheduled or waits goes on when `ridgeway up` is given again, and a
    release of the same model brings its endpoint back. While a published run is under way it asks first.
    """
    from ridgeway.project import open_project

    project = open_project(Path.cwd(), overrides=overrides)
    if not plan:
        _refuse_under_way(project.home, force=force)
    stopped = [*_endpoints(project, plan=plan), *_services(project.home, plan=plan), *_server(project.home, plan=plan)]
    for line in stopped:
        console.say(f"would stop {line}" if plan else f"stopped {line}")
    if not stopped:
        console.say("nothing runs here")
    record = {"schema": 1, "stopped": [] if plan else stopped, "would_stop": stopped if plan else []}
    if as_json:
        console.result("", record, as_json=True)
    return 0


def _refuse_under_way(root: Path, *, force: bool) -> None:
    """Nothing, if no published run is under way, or somebody wants it interrupted.

    Raises:
        Busy: One is, and nobody has said that it may be interrupted.
    """
    from ridgeway.services import launch
    from ridgeway.services.state import running

    runs = [] if force or running(root) is None else launch.active_runs(root)
    if not runs:
        return
    named = ", ".join(f"runs:/{run.id[:12]} ({run.flow})" for run in runs)
    if sys.stdin.isatty() and sys.stderr.isatty():
        console.say(f"under way: {named}")
        if click.confirm("Interrupt? It goes on with the next `ridgeway up`.", err=True):
            return
    raise Busy(
        "a run is under way",
        problem=named,
        expected="no run that would be interrupted",
        next_step="wait for its end (ridgeway logs RUN -f)     or     ridgeway down --force",
    )


def _services(root: Path, *, plan: bool) -> list[str]:
    """What `ridgeway up` has started."""
    from ridgeway.services import launch
    from ridgeway.services.state import running

    state = running(root)
    if not plan:
        launch.stop(root)
    alive = [one for one in state.services if one.process and one.condition != "done"] if state else []
    return [f"{one.name}{f' at {one.address}' if one.address else ''}" for one in alive]


def _server(root: Path, *, plan: bool) -> list[str]:
    from ridgeway import orchestrator

    running = orchestrator.running_server(root)
    if running is None or (plan and running.is_lasting):
        return []
    if not plan:
        orchestrator.stop_server(root)
    return [f"the Prefect server at {running.url}"]


def _endpoints(project: Any, *, plan: bool) -> list[str]:
    from ridgeway.actions import operations

    return list(operations.stop_processes(project, only_plan=plan))
