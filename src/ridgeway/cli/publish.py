"""``ridgeway publish``: the flows of a commit, on the server that lasts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ridgeway.cli import console, options


@click.command(
    name="publish",
    short_help="The flows of a commit, for schedules, triggers and workers.",
    epilog="\b\nExample\n  ridgeway publish --plan\n  ridgeway publish --commit v1.4",
)
@click.option("--commit", default="HEAD", metavar="COMMIT", help="Which one: HEAD, a branch, a tag, a hash.")
@click.option("--allow-dirty", is_flag=True, help="Publish HEAD although files differ from it; they are left out.")
@options.plan
@options.ci
@options.common
def command(*, commit: str, allow_dirty: bool, plan: bool, ci: bool, as_json: bool, overrides: Sequence[str]) -> int:
    """Makes the Prefect server know the flows of a commit and their schedules. The same commit again changes nothing.

    Runs work in a clone of that commit: editing files afterwards changes nothing in them. All flows are imported before
    anything is sent, so that a broken one leaves the previous publication as it is. With --ci, workers get the commit
    from the repository's remote.
    """
    from ridgeway.actions import publication
    from ridgeway.project import open_project

    project = open_project(Path.cwd(), overrides=overrides)
    if ci:
        options.refuse_local_registry(project)
    with console.story():
        done = publication.publish(project, commit=commit, allow_dirty=allow_dirty, only_plan=plan, ci=ci)
    _say(done, plan=plan, as_json=as_json)
    return 0


def _say(done: Any, *, plan: bool, as_json: bool) -> None:
    if done.left_out:
        names = ", ".join(done.left_out[:5]) + (f" and {len(done.left_out) - 5} more" if done.left_out[5:] else "")
        console.say(f"left out, because they are not in the commit: {names}")
    lines = [change.sentence for change in done.changes]
    sentence = done.sentence
    if plan:
        sentence = "\n".join(lines) or "nothing would change"
    record = {
        "schema": 1,
        "commit": done.publication.commit,
        "plan" if plan else "changes": lines,
        "flows": [flow.deployment for flow in done.publication.flows],
        "left_out": list(done.left_out),
        "page": done.page,
    }
    if not plan and done.changes:
        console.say(f"  page      {done.page}")
        console.say("  next      ridgeway list flows     or     ridgeway run retraining --detach")
    console.result(sentence, record, as_json=as_json)
