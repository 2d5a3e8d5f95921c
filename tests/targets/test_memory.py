"""The place in memory: the contract, and the knobs for bad days."""

from __future__ import annotations

import dataclasses
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ridgeway.artifacts import Deployment, Person
from ridgeway.errors import Busy, Permanent, Unreachable
from ridgeway.project import open_project
from ridgeway.targets import Outcome, Plan, PlannedAction, Room, open_target
from ridgeway.targets.memory import MemoryTarget, Place, place
from tests.server.test_supervisor import free_port
from tests.targets.contract import SMALL, Bench, TargetContract, deployment, toy_image, toy_packages

FIRST = deployment("memory", toy_image(1))
SECOND = deployment("memory", toy_image(2))
REPLACE = PlannedAction("replace", "place toy", "image sha256:11111111… → sha256:22222222…")


@pytest.fixture(scope="module")
def bench() -> Bench:
    here = Place()

    def opened() -> MemoryTarget:
        return MemoryTarget("production", "toy", here, (SMALL.name,))

    return Bench(
        opened(), opened, FIRST, SECOND,
        create=(PlannedAction("create", "place toy", "image sha256:11111111…"),), replace=(REPLACE,),
        keep=(PlannedAction("keep", "place toy"),), removed=("place toy",),
    )  # fmt: skip


class TestContract(TargetContract):
    pass


@pytest.fixture
def target() -> MemoryTarget:
    return MemoryTarget("production", "toy", Place(), (SMALL.name,))


def settle(target: MemoryTarget, deployment: Deployment, package: Path | None = None) -> Outcome:
    said: list[str] = []
    target.apply(target.plan(deployment, target.observe()), package=package, say=said.append)
    return target.wait(deployment, seconds=1, say=said.append)


def test_it_is_the_same_place_for_the_same_project(tmp_path: Path) -> None:
    (tmp_path / "ridgeway.toml").write_text(
        '[project]\nname = "toy"\n[data]\nlabel = "y"\n[release]\nstages = ["lab"]\n[targets.lab]\nkind = "memory"\n'
    )
    project = open_project(tmp_path)
    one = open_target(project, "lab")
    one.freeze("because")
    assert open_target(project, "lab").observe().endpoint.frozen == "because"
    assert place(tmp_path, "lab").frozen == "because"
    assert place(tmp_path, "other").frozen == ""


def test_never_healthy(target: MemoryTarget) -> None:
    settle(target, FIRST)
    target.place.never_healthy[SECOND.image.digest] = "ImagePullBackOff"
    outcome = settle(target, SECOND)
    assert (outcome.healthy, outcome.reason) == (False, "ImagePullBackOff")
    assert target.observe().endpoint.state == "unhealthy"
    assert settle(target, FIRST) == Outcome(True)


def test_the_way_back_may_fail_too(target: MemoryTarget) -> None:
    settle(target, FIRST)
    target.place.never_healthy |= {FIRST.image.digest: "node lost", SECOND.image.digest: "node lost"}
    assert not settle(target, SECOND).healthy
    assert not settle(target, FIRST).healthy


def test_crash_while_it_is_watched(target: MemoryTarget) -> None:
    now = [100.0]
    target.place.clock = lambda: now[0]
    target.place.crashes_after_seconds[FIRST.image.digest] = 3
    assert settle(target, FIRST).healthy
    now[0] = 102.9
    assert target.observe().endpoint.state == "healthy"
    now[0] = 103.0
    assert (target.observe().endpoint.state, target.observe().endpoint.reason) == ("unhealthy", "CrashLoopBackOff")


def test_full(target: MemoryTarget) -> None:
    target.place.capacity = 1
    settle(target, FIRST)
    assert target.plan(SECOND, target.observe()) == Plan(SECOND, (REPLACE,), "in_place", gap_seconds=1.0)
    with pytest.raises(Permanent, match="2 replicas are needed at once, 1 fit"):
        target.plan(dataclasses.replace(SECOND, when_full="refuse"), target.observe())
    assert target.rooms() == (Room("cpu-small", 0, "1 in all"),)


def test_no_room_for_a_first_one(target: MemoryTarget) -> None:
    target.place.capacity = 0
    with pytest.raises(Permanent, match="no room"):
        target.plan(FIRST, target.observe())


def test_unreachable(target: MemoryTarget) -> None:
    observed = target.observe()
    target.place.unreachable = True
    for ask in (target.observe, target.keys, target.remove, target.rooms):
        with pytest.raises(Unreachable):
            ask()
    assert [finding.outcome for finding in target.check(None)] == ["fail"]
    assert target.plan(FIRST, observed).changes


def test_busy(target: MemoryTarget) -> None:
    target.place.held_by = "someone on another machine"
    with pytest.raises(Busy, match="someone on another machine"), target.hold("us"):
        pass


def test_person(target: MemoryTarget) -> None:
    assert target.person() is None
    target.place.person = Person("anna", "kubernetes", "cluster")
    assert target.person() == Person("anna", "kubernetes", "cluster")


@pytest.fixture
def answering(tmp_path: Path, target: MemoryTarget) -> Iterator[tuple[MemoryTarget, Path, Path]]:
    target.place.answers = True
    yield target, *toy_packages(tmp_path)
    target.remove()


def test_it_can_answer(answering: tuple[MemoryTarget, Path, Path]) -> None:
    target, *packages = answering
    address = f"http://127.0.0.1:{free_port()}"
    for deployment_, package, expected in zip((FIRST, SECOND), packages, (2, 3), strict=True):
        settle(target, dataclasses.replace(deployment_, address=address), package)
        with urllib.request.urlopen(f"{address}/score", json.dumps({"data": [[0, 1, 1]]}).encode()) as answer:
            assert json.load(answer) == {"result": [expected]}
