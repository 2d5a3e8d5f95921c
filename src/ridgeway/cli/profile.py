"""``ridgeway profile``: a first expectation suite, or the new distribution as reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ridgeway.cli import console, options


@click.command(
    name="profile",
    short_help="A first expectation suite, or a new reference.",
    epilog="\b\nExample\n  ridgeway profile data/churn.parquet\n"
    '  ridgeway profile data/new.csv --rebase --reason "the clinic takes older patients since May"',
)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--rebase", is_flag=True, help="Take the rows as the new reference; key columns stay.")
@click.option("--reason", help="Why the reference changes; kept in the suite.")
@options.plan
@options.common
def command(
    file: Path | None, *, rebase: bool, reason: str | None, plan: bool, as_json: bool, overrides: Sequence[str]
) -> int:
    """An expectation suite made from the rows of FILE (the project's data by default).

    The first one also lays down the key columns, which decide for ever what rows are sealed for judgement.
    """
    from ridgeway.actions import profile
    from ridgeway.project import open_project

    if rebase and not reason:
        raise click.UsageError('--rebase needs --reason "why the reference changes"')
    project = open_project(Path.cwd(), overrides=overrides)
    with console.story():
        made = profile.profile(project, file, reason=reason if rebase else None)
        if not plan:
            profile.keep(project, made)
    console.say(made.sentence + (" (nothing written)" if plan else ""))
    console.result(str(project.settings.data.suite), made.suite, as_json=as_json)
    return 0
