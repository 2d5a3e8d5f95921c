"""``ridgeway show``: all about one thing, its reason first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ridgeway.cli import console, options


@click.command(
    name="show",
    short_help="All about a model, a run or data.",
    epilog="\b\nExample\n  ridgeway show models:/diabetes@challenger\n  ridgeway show runs:/3f2a",
)
@click.argument("handle")
@options.common
def command(handle: str, *, as_json: bool, overrides: Sequence[str]) -> int:
    """All about HANDLE: a model (models:/NAME/7, models:/NAME@challenger), a run (runs:/ID), or data (data://…)."""
    from ridgeway import report
    from ridgeway.actions import show
    from ridgeway.project import open_project

    project = open_project(Path.cwd(), overrides=overrides)
    found = show.find(project, handle)
    if as_json:
        console.result("", found.record, as_json=True)
        return 0
    if found.kind == "record":
        text = report.render_terminal(found.record, width=console.width(), color=console.colour())
    else:
        text = report.render_noun(found.noun, width=console.width(), color=console.colour())
    console.result(text.rstrip("\n"))
    if found.page is not None:
        console.say(f"  page      {found.page}")
    return 0
