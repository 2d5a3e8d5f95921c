"""``ridgeway rollback``: an earlier image back in production, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ridgeway.cli import console, options


@click.command(
    name="rollback",
    short_help="The previous image back on a target.",
    epilog="\b\nExample\n  ridgeway rollback production\n  ridgeway rollback production --to models:/diabetes/1 --plan",
)
@click.argument("target")
@click.option("--to", "model", default="", metavar="MODEL", help="A model that was released there; default: the last.")
@click.option("--reason", default="", metavar="TEXT", help="Why; kept with the record.")
@options.plan
@options.ci
@options.common
def command(
    target: str, *, model: str, reason: str, plan: bool, ci: bool, as_json: bool, overrides: Sequence[str]
) -> int:
    """The image that TARGET ran before, by digest, in place of the present one; `champion` follows.

    It needs no approval: it puts back what was approved once. It is recorded as a release of its own, and it lifts the
    mark of an endpoint that waits for a person.
    """
    from ridgeway.actions import rollback
    from ridgeway.project import open_project, prepare_state

    project = open_project(Path.cwd(), overrides=overrides)
    if ci:
        options.refuse_local_registry(project)
    with console.story():
        if plan:
            lines = rollback.plan(project, target, model)
            record = {"schema": 1, "plan": lines}
            console.result("\n".join(lines), record, as_json=as_json)
            return 0
        prepare_state(project)
        done = rollback.roll_back(project, target, model, reason=reason)
    console.say()
    console.say(done.sentence)
    console.say(f"  more      ridgeway show {done.handle}")
    record = {"schema": 1, "handle": done.handle, "outcome": done.state, "sentence": done.sentence, "model": done.model}
    record["exit_code"] = done.exit_code
    console.result(done.handle, record, as_json=as_json)
    return done.exit_code
