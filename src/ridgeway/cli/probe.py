"""``ridgeway probe``: is an endpoint what it should be, and does it answer as the model was trained?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ridgeway.cli import console, options
from ridgeway.cli.findings import table


@click.command(
    name="probe",
    short_help="Asks an endpoint whether its answers are right.",
    epilog="\b\nExample\n  ridgeway probe qa",
)
@click.argument("target")
@options.plan
@options.common
def command(target: str, *, plan: bool, as_json: bool, overrides: Sequence[str]) -> int:
    """Sends TARGET golden rows of the holdout and compares its answers with the trained model's.

    Also who it is, whom it lets in, how it takes bad input, and on the targets in release.probe.load_on how fast it is.
    """
    from ridgeway.actions import operations
    from ridgeway.artifacts import to_json
    from ridgeway.project import open_project

    project = open_project(Path.cwd(), overrides=overrides)
    if plan:
        lines = operations.probe_plan(project, target)
        console.result("\n".join(lines), {"schema": 1, "plan": list(lines)}, as_json=as_json)
        return 0
    with console.story():
        report = operations.probe(project, target)
    console.result(table(report.findings, console.width()), to_json(report), as_json=as_json)
    console.say(report.sentence)
    return 0 if report.ok else 7
