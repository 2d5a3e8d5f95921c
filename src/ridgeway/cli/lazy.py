"""Groups of commands that import a command's module when the command is asked for."""

from __future__ import annotations

import difflib
import importlib
from typing import ClassVar

import click


class LazyGroup(click.Group):
    """A group whose commands are the modules of their names in a package."""

    package: ClassVar[str] = ""
    names: ClassVar[tuple[str, ...]] = ()
    """In the order of the help."""
    within: ClassVar[str] = ""
    """How an error goes on where the group is not the whole program, such as `` in ci``."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All names."""
        return [*self.names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """The command ``cmd_name``, or None."""
        if cmd_name not in self.names:
            return None
        command: click.Command = importlib.import_module(f"{self.package}.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with a suggestion for a name that is nearly right."""
        if args[0] not in self.names and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], self.names, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise click.UsageError(f"no command {args[0]!r}{self.within}.{hint}", ctx)
        return super().resolve_command(ctx, args)
