"""A roll-out and every way it can end, in a place that exists in this process only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from ridgeway.actions import rollout
from ridgeway.artifacts import Deployment, Finding, Image, InstanceType, ProbeReport, Rollout
from ridgeway.errors import Permanent, Stuck, Unreachable
from ridgeway.targets.memory import MemoryTarget, Place


def image(number: int) -> Image:
    digest = f"sha256:{number:064x}"
    return Image("registry.example/diabetes", digest, f"models:/diabetes/{number}", digest, digest, digest)


def wanted(number: int, **changes: object) -> Deployment:
    machine = InstanceType("cpu-small", 1, 512)
    made = Deployment("production", "memory", "diabetes", image(number), f"releases:/diabetes/{number}", machine)
    return dataclasses.replace(made, deadline_seconds=5, **changes)  # type: ignore[arg-type]


class Scene:
    """A place, what was noted of roll-outs, and which images answer wrongly."""

    def __init__(self) -> None:
        self.place = Place()
        self.noted: list[Rollout] = []
        self.wrong: set[str] = set()
        self.asked: list[str] = []
        self.hands = rollout.Hands(
            target=MemoryTarget("production", "diabetes", self.place),
            probe=self.probe,
            package=lambda _: None,
            note=self.noted.append,
        )

    def probe(self, deployment: Deployment) -> ProbeReport:
        self.asked.append(deployment.image.model)
        outcome = "fail" if deployment.image.model in self.wrong else "pass"
        finding = Finding("golden rows", outcome, f"{deployment.image.model} answers")
        return ProbeReport("memory://production/diabetes", deployment.image.handle, (finding,), rows=50)

    @property
    def runs(self) -> str:
        return self.place.deployment.image.model if self.place.deployment else ""


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(rollout, "WATCH_SECONDS", 0.01)
    return Scene()


@pytest.fixture
def second(scene: Scene) -> Scene:
    """A place where the first image runs, proven."""
    assert rollout.roll_out(wanted(1), scene.hands).state == "done"
    scene.noted.clear()
    scene.asked.clear()
    return scene


def test_the_first_image(scene: Scene) -> None:
    done = rollout.roll_out(wanted(1), scene.hands)
    assert (done.state, done.strategy, done.before, scene.runs) == ("done", "first", None, "models:/diabetes/1")
    assert [noted.state for noted in scene.noted] == ["started"]
    assert done.probe is not None
    assert done.probe.ok


def test_the_next_one_takes_its_place(second: Scene) -> None:
    done = rollout.roll_out(wanted(2), second.hands)
    assert (done.state, done.strategy, second.runs) == ("done", "surge", "models:/diabetes/2")
    assert done.before == wanted(1)


def test_the_same_again_changes_nothing_and_is_asked_all_the_same(second: Scene) -> None:
    done = rollout.roll_out(wanted(1), second.hands)
    assert (done.state, len(second.place.applied), second.noted) == ("unchanged", 1, [])
    assert second.asked == ["models:/diabetes/1"]


def never_healthy(scene: Scene) -> None:
    scene.place.never_healthy[image(2).digest] = "ImagePullBackOff"


def crashes_while_watched(scene: Scene) -> None:
    scene.place.crashes_after_seconds[image(2).digest] = 0.1
    scene.hands = dataclasses.replace(scene.hands, bake_seconds=0.5)


def answers_wrongly(scene: Scene) -> None:
    scene.wrong.add("models:/diabetes/2")


def is_overwritten(scene: Scene) -> None:
    scene.hands = dataclasses.replace(scene.hands, bake_seconds=0.2)
    ask = scene.probe

    def then_someone_else(deployment: Deployment) -> ProbeReport:
        report = ask(deployment)
        if deployment.image.model == "models:/diabetes/2":
            scene.place.deployment = wanted(7)
        return report

    scene.hands = dataclasses.replace(scene.hands, probe=then_someone_else)


BAD_DAYS = [never_healthy, crashes_while_watched, answers_wrongly, is_overwritten]


@pytest.mark.parametrize(
    ("bad_day", "why"),
    [
        *zip(
            BAD_DAYS,
            ["ImagePullBackOff", "CrashLoopBackOff", "models:/diabetes/2 answers", "someone else"],
            strict=True,
        )
    ],
)
def test_what_does_not_hold_goes_back(second: Scene, bad_day: Callable[[Scene], None], why: str) -> None:
    bad_day(second)
    done = rollout.roll_out(wanted(2), second.hands)
    assert (done.state, second.runs) == ("returned", "models:/diabetes/1")
    assert why in done.reason
    assert second.asked[-1] == "models:/diabetes/1"
    assert done.probe_back is not None
    assert done.probe_back.ok
    assert [noted.state for noted in second.noted] == ["started", "returning"]
    assert second.place.frozen == ""


@pytest.mark.parametrize("bad_day", BAD_DAYS[:3])
def test_a_first_image_that_does_not_hold_leaves_nothing(scene: Scene, bad_day: Callable[[Scene], None]) -> None:
    bad_day(scene)
    done = rollout.roll_out(wanted(2), scene.hands)
    assert (done.state, scene.runs, done.probe_back) == ("returned", "", None)


def test_when_the_way_back_fails_too_the_place_is_frozen(second: Scene) -> None:
    second.place.never_healthy |= {image(2).digest: "CrashLoopBackOff", image(1).digest: "node gpu-1 is gone"}
    done = rollout.roll_out(wanted(2), second.hands)
    assert done.state == "stuck"
    assert "CrashLoopBackOff" in done.reason
    assert "node gpu-1 is gone" in done.reason
    assert second.place.frozen.startswith("releases:/diabetes/2: CrashLoopBackOff")
    assert "node gpu-1 is gone" in second.place.frozen


def test_a_previous_image_that_answers_wrongly_is_not_proven(second: Scene) -> None:
    second.wrong |= {"models:/diabetes/1", "models:/diabetes/2"}
    done = rollout.roll_out(wanted(2), second.hands)
    assert (done.state, bool(second.place.frozen)) == ("stuck", True)


def test_a_frozen_place_takes_no_other_release_but_the_same_one(second: Scene) -> None:
    second.place.never_healthy |= {image(2).digest: "lost", image(1).digest: "lost"}
    stuck = rollout.roll_out(wanted(2), second.hands)
    applied = len(second.place.applied)
    with pytest.raises(Stuck, match="frozen"):
        rollout.roll_out(wanted(3), second.hands)
    assert len(second.place.applied) == applied
    second.place.never_healthy.clear()
    done = rollout.roll_out(wanted(2), second.hands, earlier=stuck)
    assert (done.state, second.place.frozen, second.runs) == ("done", "", "models:/diabetes/2")


def test_a_person_may_roll_out_to_a_frozen_place(second: Scene) -> None:
    second.place.frozen = "releases:/diabetes/1: lost"
    done = rollout.roll_out(wanted(2), dataclasses.replace(second.hands, by_hand=True))
    assert (done.state, second.place.frozen) == ("done", "")


def test_after_a_crash_the_way_back_still_leads_to_what_ran_before(second: Scene) -> None:
    class Killed(BaseException):
        pass

    def killed(_: Deployment) -> ProbeReport:
        raise Killed

    with pytest.raises(Killed):
        rollout.roll_out(wanted(2), dataclasses.replace(second.hands, probe=killed))
    assert second.runs == "models:/diabetes/2"
    second.wrong.add("models:/diabetes/2")
    done = rollout.roll_out(wanted(2), second.hands, earlier=second.noted[-1])
    assert (done.state, second.runs) == ("returned", "models:/diabetes/1")


def test_after_a_crash_on_the_way_back_it_goes_on_back(second: Scene) -> None:
    second.place.deployment = wanted(2)
    returning = Rollout("memory://production/diabetes", wanted(1), wanted(2), "returning", reason="it was slow")
    done = rollout.roll_out(wanted(2), second.hands, earlier=returning)
    assert (done.state, done.reason, second.runs) == ("returned", "it was slow", "models:/diabetes/1")


def test_what_cannot_be_begun_changes_nothing_and_is_an_error(second: Scene) -> None:
    second.place.capacity = 1
    with pytest.raises(Permanent, match="no room"):
        rollout.roll_out(wanted(2, when_full="refuse"), second.hands)
    second.place.unreachable = True
    with pytest.raises(Unreachable):
        rollout.roll_out(wanted(2), second.hands)
    assert second.runs == "models:/diabetes/1"
    assert second.noted == []


def test_a_full_place_is_announced_to_have_a_gap(second: Scene, caplog: pytest.LogCaptureFixture) -> None:
    second.place.capacity = 1
    done = rollout.roll_out(wanted(2), second.hands)
    assert (done.state, done.strategy, done.gap_seconds) == ("done", "in_place", 1.0)
    assert "a gap of at most 1 s" in caplog.text


def test_an_apply_that_fails_half_way_goes_back(second: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    apply, calls = MemoryTarget.apply, []

    def fails_once(self: MemoryTarget, plan: object, **arguments: object) -> None:
        apply(self, plan, **arguments)  # type: ignore[arg-type]
        calls.append(plan)
        if len(calls) == 1:
            second.place.never_healthy[image(2).digest] = "half of it"
            raise Unreachable("the cluster was lost", next_step="again")

    monkeypatch.setattr(MemoryTarget, "apply", fails_once)
    done = rollout.roll_out(wanted(2), second.hands)
    assert (done.state, second.runs, len(calls)) == ("returned", "models:/diabetes/1", 2)


def test_a_probe_that_cannot_be_sent_counts_as_failed(second: Scene, tmp_path: Path) -> None:
    def nobody(deployment: Deployment) -> ProbeReport:
        if deployment.image.model == "models:/diabetes/2":
            raise Unreachable("nobody answers", next_step=f"look at {tmp_path.name}")
        return second.probe(deployment)

    done = rollout.roll_out(wanted(2), dataclasses.replace(second.hands, probe=nobody))
    assert (done.state, done.reason, second.runs) == ("returned", "nobody answers", "models:/diabetes/1")


def test_a_place_that_is_lost_for_good_while_it_is_watched(second: Scene) -> None:
    def then_lost(deployment: Deployment) -> ProbeReport:
        second.place.unreachable = deployment.image.model == "models:/diabetes/2"
        return second.probe(deployment)

    hands = dataclasses.replace(second.hands, probe=then_lost, bake_seconds=0.05)
    done = rollout.roll_out(dataclasses.replace(wanted(2), deadline_seconds=0.2), hands)
    assert done.state == "stuck"
    assert "cannot reach" in done.reason
