"""The command line: one file per command, and the only code that prints or exits.

Commands import what they need when they run, so that ``ridgeway --help`` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from ridgeway import __version__
from ridgeway.cli import console
from ridgeway.cli.lazy import LazyGroup

COMMANDS = (
    "new", "profile", "run", "judge", "serve", "list", "show", "logs", "approve", "refuse", "cancel", "rollback",
    "probe", "preflight", "keys", "remove", "settings", "publish", "ci", "up", "down",
    "backup", "restore",
)  # fmt: skip
"""In the order in which a newcomer needs them; each is the module of that name."""

EXAMPLE_AND_EXIT_CODES = """\b
Example
  ridgeway new diabetes && cd diabetes
  ridgeway run retraining
  ridgeway run release models:/diabetes/1
  ridgeway approve releases:/diabetes/1

\b
Exit codes
  0    done, accepted, or unchanged
  1    anything not listed
  2    wrong usage or setting
  3    rejected, or refused
  4    hold: not enough evidence
  5    waiting for approval
  6    rolled back: the previous image is back and proven
  7    a gate, a probe or the preflight found something
  8    production is not proven: call a person
  65   bad data
  75   try again later
  130  interrupted
With --ci, 3, 4 and 5 become 0."""


class Commands(LazyGroup):
    """All commands, in a newcomer's order."""

    package, names = "ridgeway.cli", COMMANDS


@click.command(
    cls=Commands,
    epilog=EXAMPLE_AND_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="ridgeway")
def program() -> None:
    """From a data file to a production endpoint, with gates, verdicts and a way back."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits with its code; what ``ridgeway`` on the command line is."""
    sys.exit(invoke(arguments))


def invoke(arguments: Sequence[str] | None = None) -> int:
    """The exit code of one command, its result printed to stdout and its story to stderr. Never raises."""
    debug = "--debug" in (sys.argv[1:] if arguments is None else arguments)
    with console.signals():
        try:
            result: Any = program.main(
                args=None if arguments is None else [*arguments], prog_name="ridgeway", standalone_mode=False
            )
        except BaseException as error:  # noqa: BLE001 - the one place where every error becomes a message and a code
            return console.report(error, debug=debug)
    return result if isinstance(result, int) else 0
