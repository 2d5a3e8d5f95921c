from __future__ import annotations

import json
from pathlib import Path

import pytest

from ridgeway.cli.list import table
from tests.actions.conftest import Yard
from tests.cli.conftest import Command, deployed
from tests.cli.test_keys import Places


def test_nothing_yet(project: Path, ridgeway: Command) -> None:
    assert ridgeway("list") == (0, "nothing is running, and nothing waits\n", "")
    assert ridgeway("list", "models") == (0, "no model is registered\n", "")
    assert ridgeway("list", "runs") == (0, "nothing has run yet\n", "")
    assert ridgeway("list", "releases") == (0, "nothing was ever released\n", "")
    assert not (project / ".ridgeway" / "mlflow.db").exists()


def test_runs_with_what_came_of_them(project: Path, ended: str, ridgeway: Command) -> None:
    code, out, _ = ridgeway("list", "runs")
    head, line = out.splitlines()
    assert code == 0
    assert head.split() == ["run", "flow", "state", "started", "what", "came", "of", "it"]
    assert line.startswith("runs:/abababababab  retraining  finished  ")
    assert line.endswith("accepted")
    assert ridgeway("list")[1] == "nothing is running, and nothing waits\n"


def test_flows_with_their_first_line(project: Path, ridgeway: Command) -> None:
    code, out, _ = ridgeway("list", "flows", "--json")
    assert code == 0
    assert json.loads(out) == {
        "schema": 1,
        "flows": [
            {
                "flow": "retraining",
                "file": "flows/retraining.py",
                "published": "",
                "next run": "",
                "schedule": "",
                "about": "Retraining: data to model.",
            }
        ],
    }


def test_an_unknown_noun(project: Path, ridgeway: Command) -> None:
    code, _, err = ridgeway("list", "model")
    assert code == 2
    assert "did you mean models?" in err


SENTENCE = "no gain worth a change: rejected"
ROWS = [
    {"run": "runs:/3f2a", "state": "finished", "verdict": "-", "what came of it": SENTENCE},
    {"run": "runs:/9c41", "state": "failed", "verdict": "beats_mean", "what came of it": ""},
]


def test_a_table_that_fits() -> None:
    assert table(ROWS, 80) == (
        "run         state     verdict     what came of it\n"
        "runs:/3f2a  finished  -           no gain worth a change: rejected\n"
        "runs:/9c41  failed    beats_mean"
    )


def test_a_sentence_is_cut_where_enough_of_it_is_seen() -> None:
    assert table(ROWS, 60).splitlines()[1] == "runs:/3f2a  finished  -           no gain worth a change: r…"


def test_what_does_not_fit_stands_under_its_row() -> None:
    assert table(ROWS, 40) == (
        "run         state     verdict\n"
        "runs:/3f2a  finished  -\n"
        "    no gain worth a change: rejected\n"
        "runs:/9c41  failed    beats_mean"
    )
    assert table(ROWS, 24) == (
        "run         state\n"
        "runs:/3f2a  finished\n"
        "    no gain worth a\n"
        "    change: rejected\n"
        "runs:/9c41  failed\n"
        "    verdict beats_mean"
    )


def test_a_column_that_is_empty_in_every_row_is_left_out() -> None:
    assert table([{"target": "qa", "remark": ""}, {"target": "production", "remark": ""}], 80) == (
        "target\nqa\nproduction"
    )


# ---- releases and targets --------------------------------------------------------------------------------------------


def test_targets_as_they_are(places: Places, ridgeway: Command) -> None:
    deployed(places["qa"], "qa", address="http://127.0.0.1:18099")
    places["production"].unreachable = True
    code, out, err = ridgeway("list", "targets", "--json")
    qa, production = json.loads(out)["targets"]
    assert (code, err) == (0, "")
    assert qa == {
        "target": "qa",
        "kind": "memory",
        "state": "healthy",
        "model": "models:/churn/7",
        "ready": "1/1",
        "memory": "100/512 MiB",
        "instance type": "cpu-small",
        "room for": "?",
        "address": "http://127.0.0.1:18099",
        "remark": "",
    }
    assert (production["state"], production["model"], production["ready"]) == ("unreachable", "-", "-")
    assert production["remark"] == "cannot reach memory://production/churn"


@pytest.mark.parametrize("columns", [60, 80, 100, 140])
def test_targets_on_any_terminal(
    places: Places, columns: int, monkeypatch: pytest.MonkeyPatch, ridgeway: Command
) -> None:
    deployed(places["qa"], "qa", address="http://127.0.0.1:18099")
    places["qa"].never_healthy["sha256:" + "1" * 64] = "ImagePullBackOff"
    places["qa"].capacity = 5
    monkeypatch.setenv("COLUMNS", str(columns))
    _, out, _ = ridgeway("list", "targets")
    assert max(map(len, out.splitlines())) <= columns
    for text in ("unhealthy", "models:/churn/7", "0/1", "100/512 MiB", "cpu-small", "ImagePullBackOff"):
        assert text in out, text
    assert "http://127.0.0.1:18099" in out
    assert "…" not in out


def test_what_waits_and_what_was_released(yard: Yard, ridgeway: Command) -> None:
    yard.released()
    code, out, err = ridgeway("list", "--json")
    waiting = next(line for line in json.loads(out)["running"] if line["flow"] == "release")
    assert (code, err) == (0, "")
    assert (waiting["run"], waiting["flow"], waiting["state"]) == ("releases:/diabetes/1", "release", "waiting")
    assert waiting["what came of it"].startswith("waits for a yes of the role release-manager")
    assert "\nreleases:/diabetes/1  release     waiting  " in ridgeway("list")[1]
    _, out, _ = ridgeway("list", "releases", "--json")
    (release,) = json.loads(out)["releases"]
    assert list(release) == ["release", "state", "model", "target", "requested", "what came of it"]
    assert (release["model"], release["target"]) == ("models:/diabetes/1", "production")


def test_notifications_and_those_that_were_given_up(project: Path, ridgeway: Command) -> None:
    from ridgeway.notifications import Outbox
    from tests.notifications.conftest import made

    assert ridgeway("list", "notifications")[1] == "nobody was told anything\n"
    outbox, at = Outbox(project), "2026-11-22T08:01:00.000Z"
    messages = [
        made(f"releases:/churn/{number}", created_at=f"2026-11-22T08:00:0{number}.000Z") for number in (1, 2, 3)
    ]
    for message in messages:
        outbox.add(message)
    outbox.end(messages[0], "delivered", at=at)
    outbox.end(messages[1], "undelivered", at=at, problem="status 422")
    assert [line.split() for line in ridgeway("list", "notifications")[1].splitlines()] == [
        ["event", "about", "state", "written", "attempts", "what", "came", "of", "it"],
        ["released", "releases:/churn/3", "waiting", "2026-11-22", "08:00", "0"],
        ["released", "releases:/churn/2", "undelivered", "2026-11-22", "08:00", "1", "status", "422"],
        ["released", "releases:/churn/1", "delivered", "2026-11-22", "08:00", "1"],
    ]
    (row,) = json.loads(ridgeway("list", "--json")[1])["running"]
    assert (row["run"], row["state"]) == ("notifications", "undelivered")
    assert row["what came of it"] == "1 given up: status 422; ridgeway list notifications"
