"""``ridgeway logs``: what a run said, also when every server is gone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ridgeway.cli import console, options


@click.command(
    name="logs",
    short_help="What a run said, or one of its steps.",
    epilog="\b\nExample\n  ridgeway logs runs:/3f2a\n  ridgeway logs runs:/3f2a --only train_model -f",
)
@click.argument("run")
@click.option("--only", metavar="STEP", default="", help="Only this step's log.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@options.common
def command(run: str, *, only: str, follow: bool, as_json: bool, overrides: Sequence[str]) -> int:
    """The log of RUN (runs:/ID, or the beginning of it), or of one of its steps.

    Runs of other machines are read from the registry.
    """
    from ridgeway.actions import logs
    from ridgeway.project import open_project

    project = open_project(Path.cwd(), overrides=overrides)
    lines = logs.lines(project, run, step=only, follow=follow)
    if as_json:
        console.result("", {"schema": 1, "run": run, "step": only, "lines": list(lines)}, as_json=True)
        return 0
    for line in lines:
        console.result(line)
    return 0
