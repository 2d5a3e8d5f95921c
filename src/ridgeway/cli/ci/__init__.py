"""``ridgeway ci``: the CI files of a project tried, and checked, before they are pushed."""

from __future__ import annotations

import difflib
import importlib

import click

SUBCOMMANDS = ("run", "check")
"""Each is the module of that name here."""


class Subcommands(click.Group):
    """The group that imports a subcommand's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All names."""
        return [*SUBCOMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """The subcommand ``cmd_name``, or None."""
        if cmd_name not in SUBCOMMANDS:
            return None
        command: click.Command = importlib.import_module(f"ridgeway.cli.ci.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with a suggestion for a name that is nearly right."""
        if args[0] not in SUBCOMMANDS and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], SUBCOMMANDS, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise click.UsageError(f"no command {args[0]!r} in ci.{hint}", ctx)
        return super().resolve_command(ctx, args)


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
