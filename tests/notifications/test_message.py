from __future__ import annotations

import json

from ridgeway.notifications import Person, message
from tests.notifications.conftest import told


def test_the_whole_body() -> None:
    what = told(
        exit_code=0,
        next_step="ridgeway keys production",
        link="http://127.0.0.1:4200/runs/flow-run/1",
        model="models:/d/1",
        target="production",
        run="runs:/" + "ab" * 16,
        requested_by=Person("ada", "ci"),
        approved_by=(Person("bob", "kubernetes"),),
    )
    made = message("d", what, created_at="2026-11-22T08:00:01.000Z")
    assert json.loads(made.body) == {
        "type": "ridgeway.release.released",
        "timestamp": "2026-11-22T08:00:00.000Z",
        "data": {
            "schema": 1,
            "event": "released",
            "project": "d",
            "flow": "release",
            "handle": "releases:/d/1",
            "run": "runs:/" + "ab" * 16,
            "model": "models:/d/1",
            "target": "production",
            "outcome": "released",
            "exit_code": 0,
            "sentence": "models:/d/1 answers on production",
            "next_step": "ridgeway keys production",
            "link": "http://127.0.0.1:4200/runs/flow-run/1",
            "people": {
                "requested_by": {"name": "ada", "source": "ci"},
                "approved_by": [{"name": "bob", "source": "kubernetes"}],
            },
        },
    }
    assert (made.event, made.handle, made.attempts) == ("released", "releases:/d/1", 0)


def test_credentials_in_an_address_are_left_out_and_long_texts_cut() -> None:
    what = told(
        sentence="load_data: https://ada:pw@store.example/d.csv?X-Signature=9c41&x=1 does not answer",
        next_step="curl http://bob@host/",
        link="https://eve:pw@ci.example/build?buildId=7",
    )
    data = json.loads(message("d", what, created_at=what.at).body)["data"]
    assert data["sentence"] == "load_data: https://…@store.example/d.csv?… does not answer"
    assert data["next_step"] == "curl http://…@host/"
    assert data["link"] == "https://…@ci.example/build?buildId=7"
    long = json.loads(message("d", told(sentence="x" * 5000), created_at=what.at).body)["data"]["sentence"]
    assert len(long) == 500


def test_the_same_is_told_under_the_same_id() -> None:
    one = message("d", told(), created_at="2026-11-22T08:00:01.000Z")
    again = message("d", told(sentence="in other words"), created_at="2026-11-22T09:00:01.000Z")
    assert one.id == again.id
    others = [
        told("releases:/d/2"),
        told(outcome="frozen"),
        told(occasion="x"),
        told(event="failed"),
        told(flow="rollback"),
    ]
    assert len({one.id, *(message("d", other, created_at=one.created_at).id for other in others)}) == 6
    assert message("e", told(), created_at=one.created_at).id != one.id
