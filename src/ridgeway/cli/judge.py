"""``ridgeway judge``: a judgement on demand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ridgeway.cli import console, options


@click.command(
    name="judge",
    short_help="A judgement on demand; nothing is registered.",
    epilog="\b\nExample\n  ridgeway judge runs:/3f2a/model --against models:/diabetes/1",
)
@click.argument("candidate")
@click.option("--against", metavar="MODEL", help="Opponent: models:/NAME/7, champion, challenger or mean.")
@options.plan
@options.ci
@options.common
def command(
    candidate: str, *, against: str | None, plan: bool, ci: bool, as_json: bool, overrides: Sequence[str]
) -> int:
    """A judgement of CANDIDATE (runs:/ID/model, or a registered model) on demand.

    Nothing is registered; it counts as a look at the holdout, because looking often finds chance gains.
    """
    from ridgeway import report
    from ridgeway.actions import demand
    from ridgeway.artifacts import to_json
    from ridgeway.project import open_project

    project = open_project(Path.cwd(), overrides=overrides)
    if ci:
        options.refuse_local_registry(project)
    with console.story():
        if plan:
            facts = demand.plan(project, candidate, against)
            text = "\n".join(f"{name:<9}  {what}" for name, what in facts.items())
            console.result(text, {"schema": 1, "plan": facts}, as_json=as_json)
            return 0
        verdict = demand.judge(project, candidate, against)
    if not as_json:
        console.say(report.render_noun(verdict, width=console.width(), color=console.colour()).rstrip("\n"))
    console.result(verdict.outcome, to_json(verdict), as_json=as_json)
    return console.soften(verdict.exit_code, ci=ci)
