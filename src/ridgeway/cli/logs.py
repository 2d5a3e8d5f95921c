"""``ridgeway logs``: what a run or an endpoint said, also when every server is gone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ridgeway.cli import console, options
from ridgeway.errors import UsageError


@click.command(
    name="logs",
    short_help="What a run, a release or a target said.",
    epilog="\b\nExample\n  ridgeway logs runs:/3f2a --only train_model\n  ridgeway logs production -f",
)
@click.argument("subject", metavar="HANDLE|TARGET")
@click.option("--only", metavar="STEP", default="", help="Only this step's log.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is yet to come.")
@options.common
def command(subject: str, *, only: str, follow: bool, as_json: bool, overrides: Sequence[str]) -> int:
    """The log of a run (runs:/ID, or the beginning of it), of one of its steps, of a release, or of a target.

    Runs of other machines are read from the registry. A target's lines are those of the server that answers there.
    """
    from ridgeway.actions import logs
    from ridgeway.project import open_project

    if follow and as_json:
        raise UsageError("logs: --follow has no end, and JSON needs one", next_step=f"ridgeway logs {subject} --follow")
    project = open_project(Path.cwd(), overrides=overrides)
    lines = logs.lines(project, subject, step=only, follow=follow)
    if as_json:
        console.result("", {"schema": 1, "run": subject, "step": only, "lines": list(lines)}, as_json=True)
        return 0
    for line in lines:
        console.result(line)
    return 0
