"""``ridgeway down``: stops what Ridgeway started on this machine for the project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ridgeway.cli import console, options


@click.command(name="down", short_help="Stops this project's local servers.", epilog="\b\nExample\n  ridgeway down")
@options.plan
@options.common
def command(*, plan: bool, as_json: bool, overrides: Sequence[str]) -> int:
    """Stops the local servers of this project; everything that ran stays on record."""
    from ridgeway import orchestrator
    from ridgeway.project import open_project

    project = open_project(Path.cwd(), overrides=overrides)
    running = orchestrator.running_server(project.root)
    if running is None:
        console.say("nothing runs here")
    elif plan:
        console.say(f"would stop the Prefect server at {running.url}")
    else:
        orchestrator.stop_server(project.root)
        console.say(f"stopped the Prefect server at {running.url}")
    urls = [running.url] if running else []
    record = {"schema": 1, "stopped": [] if plan else urls, "would_stop": urls if plan else []}
    console.result("", record, as_json=as_json)
    return 0
