"""What is done to an endpoint by hand, on places of this process where the real server answers."""

from __future__ import annotations

import dataclasses
import json
import logging
import shlex

import pytest

from ridgeway.actions import logs, operations, show
from ridgeway.errors import GateFound, NotFound, Unreachable, UsageError
from ridgeway.run_log import RunLog
from tests.actions.conftest import Yard


@pytest.fixture
def tried(yard: Yard) -> Yard:
    """A model that answers in QA; nothing runs in production."""
    yard.released()
    return yard


def test_places_as_they_are_and_one_that_is_lost_hides_none(tried: Yard) -> None:
    tried.place().unreachable = True
    tried.place("qa").capacity = 3
    qa, production = operations.places(tried.project())
    assert (qa.name, qa.kind, qa.problem) == ("qa", "memory", "")
    assert qa.endpoint is not None
    assert (qa.endpoint.state, qa.endpoint.model) == ("healthy", "models:/diabetes/1")
    assert [(room.instance_type, room.free) for room in qa.rooms] == [("cpu-small", 2), ("gpu-small", 2)]
    assert (production.endpoint, production.rooms) == (None, ())
    assert production.problem == "cannot reach memory://production/diabetes"


def test_a_probe_by_hand_and_its_plan(tried: Yard) -> None:
    assert operations.probe_plan(tried.project(), "qa") == (
        "ask models:/diabetes/1 on qa: 50 golden rows, bad input, wrong keys; load for 0 s",
    )
    report = operations.probe(tried.project(), "qa")
    assert report.ok
    place = tried.place("qa")
    assert place.deployment is not None
    other = dataclasses.replace(place.deployment.image, digest="sha256:" + "7" * 64)
    place.deployment = dataclasses.replace(place.deployment, image=other)
    report = operations.probe(tried.project(), "qa")
    assert not report.ok
    assert [finding.check for finding in report.failures] == ["identity"]


@pytest.mark.parametrize("ask", [operations.probe, operations.probe_plan, operations.logs, operations.keys])
def test_where_nothing_runs_nothing_is_asked(tried: Yard, ask: object) -> None:
    with pytest.raises(NotFound, match="nothing runs on production") as raised:
        ask(tried.project(), "production")  # type: ignore[operator]
    assert raised.value.next_step.startswith("ridgeway run release")


def test_production_is_taken_away_only_when_it_is_meant(tried: Yard) -> None:
    place = tried.place()
    place.deployment = tried.place("qa").deployment
    project = tried.project()
    with pytest.raises(UsageError, match="production is the last stage") as raised:
        operations.remove(project, "production", confirmed=False, only_plan=False)
    assert "ridgeway remove production --yes" in raised.value.next_step
    assert operations.remove(project, "production", confirmed=False, only_plan=True) == (
        "memory://production/diabetes",
    )
    assert place.deployment is not None
    assert operations.remove(project, "production", confirmed=True, only_plan=False) == ("place diabetes",)
    assert place.deployment is None
    assert operations.remove(project, "production", confirmed=False, only_plan=False) == ()
    assert operations.remove(project, "production", confirmed=False, only_plan=True) == ()


def test_a_place_without_keys_and_one_with(tried: Yard) -> None:
    with pytest.raises(NotFound, match="qa has no keys") as raised:
        operations.keys(tried.project(), "qa")
    assert raised.value.where == "targets.qa.access.mode = 'none'"
    tried.edit('access = { mode = "none" }', 'access = { mode = "keys" }')
    tried.edit("rows = 50", "rows = 5")
    with pytest.raises(GateFound, match="not to be trusted"):  # the server of a place in memory lets anyone in
        tried.released()
    held = operations.keys(tried.project(), "qa")
    assert held.address.startswith("http://127.0.0.1:")
    changed = operations.keys(tried.project(), "qa", rotate="primary")
    assert changed.keys.primary != held.keys.primary
    assert changed.keys.secondary == held.keys.secondary
    curl, header_flag, header, flag, body, address = shlex.split(changed.example)
    assert (curl, header_flag, flag) == ("curl", "-H", "-d")
    assert header == f"Authorization: Bearer {changed.keys.primary}"
    assert [len(row) for row in json.loads(body)["data"]] == [3]
    assert address == f"{held.address}/score"


def test_shown_and_told_as_it_is(tried: Yard) -> None:
    found = show.find(tried.project(), "qa")
    assert (found.kind, found.record["state"], found.release and found.release.number) == ("endpoint", "healthy", 1)
    assert show.find(tried.project(), "production").record["state"] == "absent"
    assert any("create place" in line for line in logs.lines(tried.project(), "qa"))
    with pytest.raises(UsageError, match="qa is a target"):
        logs.lines(tried.project(), "qa", step="build_image")
    with RunLog(tried.root).start("release") as record:
        record.produced("releases:/diabetes/1")
        with record.step("probe_endpoint"):
            logging.getLogger("ridgeway.probe_endpoint").warning("asking somebody")
        record.end("finished")
    for step in ("", "probe_endpoint"):
        told = list(logs.lines(tried.project(), "releases:/diabetes/1", step=step))
        assert [line for line in told if "asking somebody" in line]
    with pytest.raises(NotFound, match="no log of releases:/diabetes/8"):
        list(logs.lines(tried.project(), "releases:/diabetes/8"))


def test_what_served_at_a_time(tried: Yard) -> None:
    found = show.find(tried.project(), "qa", at="2999-01-01")
    assert (found.kind, found.record["served"]["target"], found.span["until"]) == ("release", "qa", "")
    with pytest.raises(NotFound, match="nothing served on production at 2999-01-01"):
        show.find(tried.project(), "production", at="2999-01-01")
    with pytest.raises(UsageError, match="--at needs a target"):
        show.find(tried.project(), "models:/diabetes/1", at="2999-01-01")


def test_a_place_that_is_lost_is_an_error_that_may_pass(tried: Yard) -> None:
    tried.place("qa").unreachable = True
    with pytest.raises(Unreachable):
        operations.describe(tried.project(), "qa")
