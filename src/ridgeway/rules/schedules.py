"""What a cron expression may be. Pure: the moment to reckon from is given."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

NAME = re.compile(r"[a-z]([a-z0-9_-]{0,40}[a-z0-9])?")
"""Of a schedule: it names the schedule on the server."""
_FROM = datetime(2024, 1, 1, tzinfo=UTC)
"""A leap year: what fires on 29 February does so at once."""


def cron_problem(expression: str) -> str:
    """What is wrong with a cron expression; empty where it is understood and will fire.

    Example:
        >>> cron_problem("0 4 * * 1")
        ''
        >>> cron_problem("0 4 31 2 *")
        'it never fires: no month of it has such a day'
        >>> cron_problem("0 4 * *")
        'it has 4 fields'
        >>> cron_problem("61 4 * * 1")
        'bad minute'
    """
    from cronsim import CronSim, CronSimError

    fields = expression.split()
    if len(fields) != 5:
        return f"it has {len(fields)} field{'' if len(fields) == 1 else 's'}"
    try:
        next(CronSim(expression, _FROM))
    except CronSimError as error:
        return _never_or(str(error), fields)
    except StopIteration:
        return "it never fires"
    return ""


def _never_or(said: str, fields: list[str]) -> str:
    """The library's word; it tells of a day that no month has as of a wrong day."""
    from cronsim import CronSim, CronSimError

    try:
        CronSim(" ".join([*fields[:3], "*", fields[4]]), _FROM)
    except CronSimError:
        return f"{said[0].lower()}{said[1:]}"
    return "it never fires: no month of it has such a day"


def timezone_problem(name: str) -> str:
    """What is wrong with the name of a time zone; empty where it is known on this machine.

    Example:
        >>> timezone_problem("Europe/Berlin")
        ''
        >>> timezone_problem("Europe/Belin")
        'did you mean Europe/Berlin?'
    """
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return did_you_mean(name, available_timezones()) or "no time zone has a name like it"
    return ""


def did_you_mean(word: str, known: Collection[str]) -> str:
    """``did you mean …?`` with the known word that is nearest; empty where none is near.

    Example:
        >>> did_you_mean("retrainig", ["build", "retraining"])
        'did you mean retraining?'
    """
    lower = {one.lower(): one for one in sorted(known)}
    close = difflib.get_close_matches(word.lower(), lower, n=1)
    return f"did you mean {lower[close[0]]}?" if close else ""
