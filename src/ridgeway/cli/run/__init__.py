"""``ridgeway run``: a flow, here and now."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import click

from ridgeway.artifacts import parse_handle
from ridgeway.cli import console, options
from ridgeway.errors import UsageError

FLOWS = ("build", "retraining", "release")
OF_BUILD = ("--only", "--tests", "--commit", "--repository")
HELP = """A flow, from start to end: build, retraining, or release of MODEL (models:/NAME/7, models:/NAME@challenger).

\b
build       look at code, tests and data side by side, show all
            findings, and publish the flows if there is none
retraining  load the data, check it, train, judge against the
            model in production, register what is better
release     build the model's image, deploy and test it on each
            stage, ask for approval, roll out to production; on
            any failure there the previous image is back

What was finished before an interruption is not done again. The same inputs end as `unchanged`."""


@click.command(
    name="run",
    help=HELP,
    short_help="A flow: build, retraining or release.",
    epilog="\b\nExample\n  ridgeway run build --only code\n  ridgeway run retraining --data november.csv --plan\n"
    "  ridgeway run release models:/diabetes@challenger --until qa\n"
    "  ridgeway run retraining --detach --key november",
)
@click.argument("flow", metavar="FLOW")
@click.argument("model", metavar="[MODEL]", required=False)
@click.option("--data", metavar="FILE", help="retraining: a delivery to take in place of data.source.")
@click.option(
    "--only", metavar="PART", help="build: gates, code, tests, data or publish alone; a part of it publishes nothing."
)
@click.option(
    "--tests", type=click.Choice(["quick", "slow", "all"]), help="build: all but the slow tests, the slow ones, or all."
)
@click.option("--commit", metavar="REV", help="build: look at this commit, not at the working tree.")
@click.option("--repository", metavar="PATH", help="build --commit: of that repository, such as the one pushed to.")
@click.option("--on", metavar="TYPE", help="retraining: as a job in a cluster, on this instance type.")
@click.option("--allow-dirty", is_flag=True, help="--on: take what git tracks as it is now, not as in the commit.")
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
    only: str | None,
    tests: str | None,
    commit: str | None,
    repository: str | None,
    on: str | None,
    allow_dirty: bool,
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
    from ridgeway.cli.run import build, detached, release, retraining
    from ridgeway.cli.run import on as remote
    from ridgeway.cli.run.request import Request

    of_build = {"--only": only, "--tests": tests, "--commit": commit, "--repository": repository}
    _refuse_wrong(flow, model, {"--data": data, "--until": until, "--format": form, **of_build})
    if form and not plan:
        raise UsageError(
            "--format is a way to print a plan", next_step=f"ridgeway run {flow} {model or ''} --plan --format {form}"
        )
    if key and not detach:
        raise UsageError("--key is for --detach", next_step=f"ridgeway run {flow} {model or ''} --detach --key {key}")
    _refuse_wrong_on(flow, on, allow_dirty=allow_dirty, detach=detach)
    request = Request(
        tuple(overrides),
        ci=ci,
        source=data or "",
        subject=model or "",
        until=until or "",
        only=only or "",
        tests=tests or "quick",
        commit=commit or "",
        repository=repository or "",
        manifests=form == "manifests",
        plan=plan,
        key=key or "",
        on=on or "",
        allow_dirty=allow_dirty,
    )
    if detach:
        return detached.run(flow, request, as_json=as_json)
    of_retraining = (remote.run, remote.plan) if on else (retraining.run, retraining.plan)
    run, planned = {
        "build": (build.run, build.plan),
        "retraining": of_retraining,
        "release": (release.run, release.plan),
    }[flow]
    with console.story():
        return planned(request, as_json=as_json) if plan else run(request, as_json=as_json)


def _refuse_wrong(flow: str, model: str | None, options_given: Mapping[str, str | None]) -> None:
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
    own = {"build": OF_BUILD, "retraining": ("--data",), "release": ("MODEL", "--until", "--format")}[flow]
    given = [name for name, value in {"MODEL": model, **options_given}.items() if value and name not in own]
    if given:
        raise UsageError(f"run {flow} takes no {given[0]}", next_step="ridgeway run --help")
    if model:
        parse_handle(model)


def _refuse_wrong_on(flow: str, on: str | None, *, allow_dirty: bool, detach: bool) -> None:
    """Nothing, if what was said of a job in a cluster belongs together."""
    if on and flow != "retraining":
        raise UsageError(f"run {flow} takes no --on", next_step="ridgeway run --help")
    if on and detach:
        raise UsageError(
            "--on and --detach do not go together",
            expected="published runs go where flows.pools sends them",
            next_step=f'--set flows.pools.{flow}="{on}" with `ridgeway publish`     or     without --detach',
        )
    if allow_dirty and not on:
        raise UsageError("--allow-dirty is for --on", next_step=f"ridgeway run {flow} --on TYPE --allow-dirty")
