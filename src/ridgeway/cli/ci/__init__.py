"""``ridgeway ci``: the CI files of a project tried, and checked, before they are pushed."""

from __future__ import annotations

import click

from ridgeway.cli.lazy import LazyGroup

SUBCOMMANDS = ("run", "check")
"""Each is the module of that name here."""


class Subcommands(LazyGroup):
    """`run` and `check`."""

    package, names, within = "ridgeway.cli.ci", SUBCOMMANDS, " in ci"


@click.command(
    name="ci",
    cls=Subcommands,
    short_help="CI files, tried and checked before a push.",
    epilog="\b\nExample\n  ridgeway ci run templates/azure-pipelines/build.yml --plan\n"
    "  ridgeway ci run templates/azure-pipelines/release.yml --approve production\n"
    "  ridgeway ci check",
)
def command() -> None:
    """The project's CI files, tried on this machine: `run` an Azure pipeline or its plan, `check` all files."""
