"""``ridgeway cancel``: ends a run that is under way, or a release that waits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ridgeway.cli import console, options


@click.command(
    name="cancel",
    short_help="Ends a run, or a release that waits.",
    epilog="\b\nExample\n  ridgeway cancel releases:/diabetes/12\n  ridgeway cancel runs:/3f2a",
)
@click.argument("subject", metavar="RUN|RELEASE")
@click.option("--reason", default="", metavar="TEXT", help="Why; kept with the record.")
@options.plan
@options.common
def command(subject: str, *, reason: str, plan: bool, as_json: bool, overrides: Sequence[str]) -> int:
    """Ends a run of this machine (runs:/ID), or a release that waits (releases:/NAME/12). What was finished is kept."""
    from ridgeway.actions import cancel
    from ridgeway.project import open_project

    project = open_project(Path.cwd(), overrides=overrides)
    with console.story():
        sentence = cancel.cancel(project, subject, reason=reason, only_plan=plan)
    record = {"schema": 1, "subject": subject, "plan" if plan else "sentence": sentence}
    console.result(sentence, record, as_json=as_json)
    return 0
