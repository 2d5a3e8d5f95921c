"""``ridgeway approve``: a person's yes to a release, which then goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ridgeway.cli import console, options


@click.command(
    name="approve",
    short_help="Your yes to a release; it then goes on to production.",
    epilog="\b\nExample\n  ridgeway show releases:/diabetes/12\n  ridgeway approve releases:/diabetes/12",
)
@click.argument("release")
@click.option("--reason", default="", metavar="TEXT", help="Why; kept with your yes.")
@click.option("--evidence", default="", metavar="DIGEST", help="Approve only if the evidence is still this one.")
@options.plan
@options.ci
@options.common
def command(
    release: str, *, reason: str, evidence: str, plan: bool, ci: bool, as_json: bool, overrides: Sequence[str]
) -> int:
    """Your yes to RELEASE (releases:/NAME/12) on the evidence it shows; with the last yes that it needs it goes on.

    Your name comes from the CI system, the cluster or the operating system, and is kept with what you saw. A yes is
    void when the evidence or the image changes, and it expires.
    """
    from ridgeway.actions import approval, carried_on
    from ridgeway.cli.run import release as flow
    from ridgeway.cli.run.request import Request
    from ridgeway.project import open_project, prepare_state

    with console.story():
        if plan:
            what = approval.plan(open_project(Path.cwd(), overrides=overrides), release)
            console.result(what, {"schema": 1, "plan": what}, as_json=as_json)
            return 0
        project = carried_on.open_at(release, overrides=overrides)
        prepare_state(project)
        if ci:
            options.refuse_local_registry(project)
        said = approval.say_yes(project, release, reason=reason, seen=evidence)
        console.say(f"{said.approval.person.name} approves {release} as {said.approval.role}")
        if not said.decision.granted:
            sentence = said.decision.sentence
            console.say(sentence)
            record = {"schema": 1, "handle": release, "outcome": "waiting", "sentence": sentence, "exit_code": 5}
            console.result(release, record, as_json=as_json)
            return console.soften(5, ci=ci)
        summary = flow.carry_out(Request(tuple(overrides), ci=ci, subject=release))
        console.say()
        flow.say(summary, as_json=as_json)
        return console.soften(summary["exit_code"], ci=ci)
