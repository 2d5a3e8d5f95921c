"""``ridgeway refuse``: a person's no to a release, which ends there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ridgeway.cli import console, options


@click.command(
    name="refuse",
    short_help="Your no to a release; it ends there.",
    epilog='\b\nExample\n  ridgeway refuse releases:/diabetes/12 --reason "the older patients are worse off"',
)
@click.argument("release")
@click.option("--reason", required=True, metavar="TEXT", help="Why; kept with your no.")
@options.plan
@options.common
def command(release: str, *, reason: str, plan: bool, as_json: bool, overrides: Sequence[str]) -> int:
    """Your no to RELEASE (releases:/NAME/12). Production stays as it is; the record says who refused, and why."""
    from ridgeway.actions import approval
    from ridgeway.project import open_project, prepare_state

    project = open_project(Path.cwd(), overrides=overrides)
    if plan:
        approval.plan(project, release)  # what could not be refused is an error here too
        what = f"{release} would end as refused: {reason}"
        console.result(what, {"schema": 1, "plan": what}, as_json=as_json)
        return 0
    prepare_state(project)
    with console.story():
        ended = approval.say_no(project, release, reason=reason)
    console.say(ended.sentence)
    record = {"schema": 1, "handle": ended.handle, "outcome": ended.state, "sentence": ended.sentence}
    console.result(ended.handle, record, as_json=as_json)
    return 0
