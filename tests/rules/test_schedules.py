"""Cron expressions and time zones, and that the server reads them as we say it does."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from ridgeway.rules.schedules import cron_problem, did_you_mean, timezone_problem


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("0 4 * * 1", ""),
        ("*/5 9-17 * * mon-fri", ""),
        ("0 0 29 2 *", ""),
        ("0 0 L * *", ""),
        ("0 4 31 2 *", "it never fires: no month of it has such a day"),
        ("0 4 31 4,6,9,11 *", "it never fires: no month of it has such a day"),
        ("0 4 30 feb *", "it never fires: no month of it has such a day"),
        ("0 25 * * *", "bad hour"),
        ("0 4 * * 9", "bad day-of-week"),
        ("0 4 0 * *", "bad day-of-month"),
        ("* * * * * *", "it has 6 fields"),
        ("@weekly", "it has 1 field"),
        ("", "it has 0 fields"),
        ("every day at four o'clock", "bad minute"),
    ],
)
def test_cron(expression: str, problem: str) -> None:
    assert cron_problem(expression) == problem


def test_time_zones() -> None:
    assert timezone_problem("UTC") == ""
    assert timezone_problem("europe/berln") == "did you mean Europe/Berlin?"
    assert timezone_problem("../../etc/passwd") == "no time zone has a name like it"
    assert did_you_mean("zzz", ["build"]) == ""


def fired(cron: str, timezone: str, start: datetime, days: int) -> list[str]:
    """When Prefect's own scheduler has it fire, in UTC."""
    from prefect.server.schemas.schedules import CronSchedule

    schedule = CronSchedule(cron=cron, timezone=timezone)
    found = asyncio.run(schedule.get_dates(50, start, start + timedelta(days=days)))
    return [one.astimezone(UTC).strftime("%d.%m. %H:%M") for one in found]


def test_the_example_fires_at_four_on_the_wall_also_when_clocks_are_changed() -> None:
    """Berlin changes on 29 March 2026 at 2:00 and on 25 October 2026 at 3:00, both Sundays."""
    spring = datetime(2026, 3, 20, tzinfo=UTC)
    assert fired("0 4 * * 1", "Europe/Berlin", spring, 14) == ["23.03. 03:00", "30.03. 02:00"]
    autumn = datetime(2026, 10, 17, tzinfo=UTC)
    assert fired("0 4 * * 1", "Europe/Berlin", autumn, 14) == ["19.10. 02:00", "26.10. 03:00"]


def test_an_hour_that_is_left_out_or_comes_twice_fires_once() -> None:
    spring = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert len(fired("30 2 * * *", "Europe/Berlin", spring, 2)) == 2
    autumn = datetime(2026, 10, 24, 12, tzinfo=UTC)
    assert len(fired("30 2 * * *", "Europe/Berlin", autumn, 2)) == 2
