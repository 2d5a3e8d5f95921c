"""``ridgeway run``: a flow, here and now."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import click

from ridgeway.artifacts import parse_handle
from ridgeway.cli import console, options
from ridgeway.errors import UsageError

FLOWS = ("retraining", "release")
HELP = """A flow, from start to end: retraining, or the release of MODEL (models:/NAME/7, models:/NAME@challenger).

\b
retraining  load the data, check it, train, judge against the
            model in production, register what is better
release     build the model's image, deploy and test it on each
            stage, ask for approval, roll out to production; on
            any failure there the previous image is back

What was finished before an interruption is not done again. The same inputs end as `unchanged`."""


@click.command(
    name="run",
    help=HELP,
    short_help="A flow: retraining or release.",
    epilog="\b\nExample\n  ridgeway run retraining --data november.csv --plan\n"
    "  ridgeway run release models:/diabetes@challenger --until qa\n"
    "  ridgeway run retraining --detach --key november",
)
@click.argument("flow", metavar="FLOW")
@click.argument("model", metavar="[MODEL]", required=False)
@click.option("--data", metavar="FILE", help="retraining: a delivery to take in place of data.source.")
@click.option("--until", metavar="STAGE", help="release: stop after this stage.")
@click.option("--detach", is_flag=True, help="Ask the server for a run of what is published, and return at once.")
@click.option("--key", metavar="TEXT", help="--detach: the same key again asks for nothing new.")
@options.plan
@click.option(
    "--format", "form", type=click.Choice(["text", "manifests"]), help="release --plan: Kubernetes manifests."
)
@options.ci
@options.common
def command(
    flow: str,
    model: str | None,
    *,
    data: str | None,
    until: str | None,
    detach: bool,
    key: str | None,
    plan: bool,
    form: str | None,
    ci: bool,
    as_json: bool,
    overrides: Sequence[str],
) -> int:
    """Carries a flow out, or prints what it would do."""
    from ridgeway.cli.run import detached, release, retraining
    from ridgeway.cli.run.request import Request

    _refuse_wrong(flow, model, data, until, form)
    if form and not plan:
        raise UsageError(
            "--format is a way to print a plan", next_step=f"ridgeway run {flow} {model or ''} --plan --format {form}"
        )
    if key and not detach:
        raise UsageError("--key is for --detach", next_step=f"ridgeway run {flow} {model or ''} --detach --key {key}")
    request = Request(
        tuple(overrides),
        ci=ci,
        source=data or "",
        subject=model or "",
        until=until or "",
        manifests=form == "manifests",
        plan=plan,
        key=key or "",
    )
    if detach:
        return detached.run(flow, request, as_json=as_json)
    run, planned = {
        "retraining": (retraining.run, retraining.plan),
        "release": (release.run, release.plan),
    }[flow]
    with console.story():
        return planned(request, as_json=as_json) if plan else run(request, as_json=as_json)


def _refuse_wrong(flow: str, model: str | None, data: str | None, until: str | None, form: str | None) -> None:
    """Nothing, if flow, argument and options belong together."""
    if flow not in FLOWS:
        close = difflib.get_close_matches(flow, FLOWS, n=1)
        raise UsageError(
            f"no flow {flow!r}",
            problem=f"did you mean {close[0]}?" if close else "",
            expected=f"one of {', '.join(FLOWS)}",
        )
    if flow == "release" and not model:
        raise UsageError(
            "run release: which model?", expected="models:/NAME/NUMBER or …@ALIAS", next_step="ridgeway list models"
        )
    foreign = {"retraining": {"MODEL": model, "--until": until, "--format": form}, "release": {"--data": data}}[flow]
    given = [name for name, value in foreign.items() if value]
    if given:
        raise UsageError(f"run {flow} takes no {given[0]}", next_step="ridgeway run --help")
    if model:
        parse_handle(model)
