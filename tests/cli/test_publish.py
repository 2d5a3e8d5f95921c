from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Command


def test_no_server_that_lasts(project: Path, ridgeway: Command) -> None:
    for arguments in (["publish"], ["run", "retraining", "--detach"]):
        code, out, err = ridgeway(*arguments)
        assert (code, out) == (2, "")
        assert err.splitlines()[0] == "error: no server is up that lasts"
        assert err.splitlines()[-1] == "  next      ridgeway up --detach"


def test_a_key_without_detach(project: Path, ridgeway: Command) -> None:
    code, _, err = ridgeway("run", "retraining", "--key", "november")
    assert (code, err.splitlines()[-1]) == (2, "  next      ridgeway run retraining  --detach --key november")


def test_wrong_schedules_are_told_by_every_command(project: Path, ridgeway: Command) -> None:
    code, _, err = ridgeway("list", "--set", 'schedules.retraining.cron="0 4 31 2 *"')
    assert code == 2
    assert err == (
        "error: setting schedules.retraining.cron has a wrong value\n"
        "  where     schedules.retraining.cron = '0 4 31 2 *'   (from --set)\n"
        "  problem   it never fires: no month of it has such a day\n"
        '  expected  five fields, such as "0 4 * * 1": Mondays at four\n'
        "  next      ridgeway settings schedules.retraining.cron\n"
    )
    code, _, err = ridgeway("list", "--set", 'schedules.retrainig.cron="0 4 * * *"')
    assert (code, err.splitlines()[2]) == (2, "  problem   did you mean retraining?")
    code, _, err = ridgeway("list", "--set", 'schedules.w={cron="0 4 * * *",flow="retraining",timezone="Europe/Belin"}')
    assert (code, err.splitlines()[2]) == (2, "  problem   did you mean Europe/Berlin?")
