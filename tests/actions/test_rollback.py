"""The way back by hand, between two real models."""

from __future__ import annotations

import pytest

from ridgeway.actions import approval, rollback
from ridgeway.errors import NotFound, RolledBack, Stuck, UsageError
from tests.actions.conftest import Workshop, Yard


def release(yard: Yard, number: int) -> None:
    """Takes a model to production."""
    waiting = yard.released(f"models:/diabetes/{number}")
    approval.say_yes(yard.project(), waiting["handle"])
    assert yard.released(waiting["handle"])["outcome"] == "released"


@pytest.fixture
def second(yard: Yard) -> Yard:
    """A project whose second model took the first one's place."""
    release(yard, 1)
    assert Workshop(yard.root).retrained().version is not None
    release(yard, 2)
    assert runs(yard) == "models:/diabetes/2"
    return yard


def runs(yard: Yard) -> str:
    deployment = yard.place().deployment
    return deployment.image.model if deployment else ""


def champion(yard: Yard) -> str:
    found = Workshop(yard.root).registry.by_alias("champion")
    return found.handle if found else ""


def test_back_and_forth(second: Yard) -> None:
    plan = rollback.plan(second.project(), "production")
    assert plan[0].startswith("production: back to models:/diabetes/1, folder/diabetes@sha256:")
    assert plan[-1] == "champion → models:/diabetes/1"
    assert (runs(second), champion(second)) == ("models:/diabetes/2", "models:/diabetes/2")
    done = rollback.roll_back(second.project(), "production", reason="complaints")
    assert (done.kind, done.state, done.model, done.stages) == (
        "rollback",
        "released",
        "models:/diabetes/1",
        ("production",),
    )
    assert (runs(second), champion(second)) == ("models:/diabetes/1", "models:/diabetes/1")
    assert done.rollout is not None
    assert done.rollout.probe is not None
    assert done.rollout.probe.ok
    rollback.roll_back(second.project(), "production", "models:/diabetes/2")
    assert (runs(second), champion(second)) == ("models:/diabetes/2", "models:/diabetes/2")


def test_a_rollback_that_does_not_hold_goes_back_too(second: Yard) -> None:
    image = rollback.earlier_image(second.project(), Workshop(second.root).registry, "production")
    second.place().never_healthy[image.digest] = "CrashLoopBackOff"
    with pytest.raises(RolledBack, match="models:/diabetes/2 is back"):
        rollback.roll_back(second.project(), "production")
    assert (runs(second), champion(second), second.place().frozen) == ("models:/diabetes/2", "models:/diabetes/2", "")


def test_a_frozen_endpoint_is_freed_by_a_person(second: Yard) -> None:
    place = second.place()
    assert place.deployment is not None
    image = rollback.earlier_image(second.project(), Workshop(second.root).registry, "production")
    place.never_healthy |= {image.digest: "lost", place.deployment.image.digest: "lost"}
    with pytest.raises(Stuck):
        rollback.roll_back(second.project(), "production")
    assert place.frozen
    place.never_healthy.clear()
    done = rollback.roll_back(second.project(), "production")
    assert (done.state, place.frozen) == ("released", "")


def test_nothing_to_go_back_to(yard: Yard) -> None:
    with pytest.raises(NotFound, match="nothing to go back to on production"):
        rollback.roll_back(yard.project(), "production")
    release(yard, 1)
    with pytest.raises(NotFound, match="nothing to go back to"):
        rollback.plan(yard.project(), "production")
    with pytest.raises(NotFound):
        rollback.plan(yard.project(), "production", "models:/diabetes/7")
    with pytest.raises(UsageError, match="no target 'prod'"):
        rollback.plan(yard.project(), "prod")
