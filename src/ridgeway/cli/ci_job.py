"""What ``--ci`` adds around a command: 3, 4 and 5 end with 0, and the CI system is told the outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ridgeway.ci import outputs
from ridgeway.cli import console
from ridgeway.errors import RidgewayError


def carry_out(command: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Calls the command, and writes output variables and summary whatever came of it.

    Raises:
        BaseException: That of the command, unless its exit code is soft.
    """
    context = click.get_current_context()
    words = _words(context, arguments)
    began = time.time()
    try:
        code = command(**arguments)
    except BaseException as error:
        ended = _code(error)
        _tell(outputs.of_error(words, error, ended, report=outputs.newest_report(Path.cwd(), began)), arguments)
        if isinstance(error, RidgewayError) and ended in console.SOFT_CODES:
            console.report(error, debug=False)
            return console.soften(ended, ci=True)
        raise
    record = context.meta.get(console.RECORD) or {}
    report = outputs.newest_report(Path.cwd(), began)
    _tell(outputs.of_record(words, record, code or 0, report=report), arguments)
    return code


def _words(context: click.Context, arguments: dict[str, Any]) -> str:
    return f"{context.info_name} {arguments['flow']}" if arguments.get("flow") else str(context.info_name)


def _code(error: BaseException) -> int:
    if isinstance(error, RidgewayError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return console.INTERRUPTED
    return error.exit_code if isinstance(error, click.ClickException) else 1


def _tell(told: outputs.Outcome, arguments: dict[str, Any]) -> None:
    try:
        lines = outputs.tell(told, root=Path.cwd())
    except OSError as error:
        console.say(f"! ci               the outcome could not be written for the CI system: {error}")
        return
    for line in lines:
        click.echo(line, err=bool(arguments.get("as_json")))  # stdout is one JSON value then
