"""Options that many commands share, each declared once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from ridgeway.cli.console import DEBUG

Command = TypeVar("Command", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
plan = click.option("--plan", is_flag=True, help="Print exactly what would be done, and do nothing.")
overrides = click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="A setting for this command only; VALUE is TOML."
)
# Read by console.story and by the entry point, so no command has to hand it on.
debug = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    callback=lambda context, _, value: context.meta.update({DEBUG: value}),
    help="Show every log line, and the whole trace of an error.",
)
_ci = click.option(
    "--ci", is_flag=True, help="Run as a CI job: 3, 4 and 5 end with 0, and a local registry is refused."
)


def ci(command: Command) -> Command:
    """``--ci``: beside what its help says, the outcome goes into output variables and the summary of the CI run."""

    @functools.wraps(command)
    def told(**arguments: Any) -> Any:
        if not arguments["ci"] or arguments.get("plan"):
            return command(**arguments)
        from ridgeway.cli import ci_job

        return ci_job.carry_out(command, arguments)

    return _ci(cast(Command, told))


def refuse_local_registry(project: Any) -> None:
    """What ``--ci`` asks first of every command that has it, with ``--plan`` too.

    Raises:
        UsageError: The project's registry is a file on this machine.
    """
    from ridgeway.registry import refuse_local_in_ci

    refuse_local_in_ci(project.settings.registry.uri)


def common(command: Command) -> Command:
    """``--json``, ``--set`` and ``--debug``: what every command takes."""
    return as_json(overrides(debug(command)))
