"""What every kind of target must hold to. A kind joins in its test file, with a fixture that gives it a bench::

    @pytest.fixture(scope="module")
    def bench() -> Iterator[Bench]:
        yield Bench(target=…, again=…, first=…, second=…, …)

    class TestContract(TargetContract):
        ...

Tests do not depend on each other's order: each begins by bringing the endpoint to where it wants it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ridgeway.artifacts import Deployment, Image, InstanceType, Kind
from ridgeway.errors import Busy
from ridgeway.targets import Keys, Outcome, Plan, PlannedAction, Target
from tests.server.toys import PackageMaker

SMALL = InstanceType("cpu-small", 1, 512)


@dataclass
class Bench:
    """A place to try a kind at, empty at first."""

    target: Target
    again: Callable[[], Target]
    """The same target, opened as another command would."""
    first: Deployment
    second: Deployment
    """The same with another image."""
    create: tuple[PlannedAction, ...]
    """What the plan of ``first`` does where nothing is."""
    replace: tuple[PlannedAction, ...]
    """What the plan of ``second`` does where ``first`` is."""
    keep: tuple[PlannedAction, ...]
    """What the plan of ``first`` does where ``first`` is."""
    removed: tuple[str, ...]
    """What ``remove`` says."""
    packages: dict[str, Path] = field(default_factory=dict)
    """Image digest → folder of its package, for kinds that run folders."""
    strategy: str = "surge"
    """How ``second`` takes the place of ``first``."""
    gap_seconds: float = 0.0
    admits: Callable[[str], bool] | None = None
    """Whether the endpoint lets a request with this key in; None where nobody answers."""
    seconds: float = 60.0
    """The longest that it may take to become healthy."""
    said: list[str] = field(default_factory=list)

    def plan(self, deployment: Deployment) -> Plan:
        """As a command makes it."""
        return self.target.plan(deployment, self.target.observe())

    def settle(self, deployment: Deployment) -> Outcome:
        """Plan, apply, wait."""
        self.target.apply(
            self.plan(deployment), package=self.packages.get(deployment.image.digest), say=self.said.append
        )
        return self.target.wait(deployment, seconds=self.seconds, say=self.said.append)

    def has(self, deployment: Deployment) -> None:
        """The endpoint is healthy and exactly what was asked for."""
        observed = self.again().observe()
        endpoint = observed.endpoint
        assert (endpoint.state, endpoint.reason) == ("healthy", ""), endpoint
        assert observed.deployment == deployment
        assert (endpoint.image, endpoint.model) == (deployment.image.handle, deployment.image.model)
        assert endpoint.release == deployment.release
        assert (endpoint.ready, endpoint.replicas) == (deployment.replicas, deployment.replicas)
        assert endpoint.since
        assert endpoint.memory_limit_mib == deployment.instance.memory_mib
        assert endpoint.address == self.target.address(deployment) != ""


class TargetContract:
    """The tests. The file of a subclass brings the fixture ``bench``."""

    def test_life(self, bench: Bench) -> None:
        """Absent → plan → apply → healthy → nothing to do → another image → the way back → removed → absent."""
        bench.target.remove()
        empty = bench.target.observe()
        assert (empty.endpoint.state, empty.deployment, empty.endpoint.image) == ("absent", None, "")

        plan = bench.plan(bench.first)
        assert (plan.deployment, plan.actions) == (bench.first, bench.create)
        assert (plan.strategy, plan.gap_seconds, plan.changes) == ("first", 0.0, True)
        assert bench.target.observe() == empty, "a plan touches nothing"

        assert bench.settle(bench.first) == Outcome(True)
        bench.has(bench.first)
        since = bench.target.observe().endpoint.since

        plan = bench.plan(bench.first)
        assert (plan.actions, plan.strategy, plan.changes) == (bench.keep, "none", False)
        bench.target.apply(plan, package=None, say=bench.said.append)
        bench.has(bench.first)
        assert bench.target.observe().endpoint.since == since, "nothing was started anew"

        plan = bench.plan(bench.second)
        assert (plan.actions, plan.strategy, plan.gap_seconds) == (bench.replace, bench.strategy, bench.gap_seconds)
        assert bench.settle(bench.second) == Outcome(True)
        bench.has(bench.second)

        bench.packages.clear()  # The way back may not need what the project holds by now.
        assert bench.settle(bench.first) == Outcome(True)
        bench.has(bench.first)

        assert bench.target.remove() == bench.removed
        assert bench.target.remove() == ()
        assert bench.target.observe() == empty
        assert bench.target.keys() is None

    @pytest.fixture(autouse=True)
    def _packages(self, bench: Bench) -> object:
        kept = dict(bench.packages)
        yield
        bench.packages.update(kept)

    def test_plan_is_pure(self, bench: Bench) -> None:
        bench.settle(bench.first)
        observed = bench.target.observe()
        assert bench.target.plan(bench.second, observed) == bench.target.plan(bench.second, observed)
        assert bench.target.observe().deployment == bench.first

    def test_another_release_of_the_same_changes_nothing(self, bench: Bench) -> None:
        bench.settle(bench.first)
        assert not bench.plan(dataclasses.replace(bench.first, release="releases:/toy/99")).changes

    def test_apply_twice_is_apply_once(self, bench: Bench) -> None:
        """A command that was killed after it had applied its plan carries the same plan out again."""
        bench.target.remove()
        plan = bench.plan(bench.first)
        for _ in range(2):
            bench.target.apply(plan, package=bench.packages.get(bench.first.image.digest), say=bench.said.append)
        assert bench.target.wait(bench.first, seconds=bench.seconds, say=bench.said.append) == Outcome(True)
        bench.has(bench.first)
        assert not bench.plan(bench.first).changes

    def test_keys(self, bench: Bench) -> None:
        """Made once; one is changed while the other stays valid; never said."""
        bench.target.remove()
        assert bench.target.keys() is None
        made = bench.target.keys(create=True)
        assert isinstance(made, Keys)
        assert len(made.primary) >= 43
        assert made.primary != made.secondary
        assert bench.again().keys(create=True) == made
        bench.settle(bench.first)
        assert bench.again().keys() == made

        rotated = bench.target.rotate("primary", say=bench.said.append)
        assert rotated.secondary == made.secondary
        assert rotated.primary not in (made.primary, made.secondary)
        assert bench.again().keys() == rotated
        if bench.admits is not None:
            admitted = [bench.admits(key) for key in (rotated.primary, rotated.secondary, made.primary)]
            assert admitted == [True, True, False]
        told = json.dumps(bench.said) + repr(bench.target.observe()) + repr(bench.plan(bench.second)) + repr(rotated)
        told += "\n".join(bench.target.logs(lines=1000))
        assert not [key for key in (*dataclasses.astuple(made), *dataclasses.astuple(rotated)) if key in told]

    def test_hold(self, bench: Bench) -> None:
        with bench.target.hold("release 1 of anna", seconds=5):
            with pytest.raises(Busy, match="release 1 of anna") as busy, bench.again().hold("release 2", seconds=5):
                pytest.fail("two hold it")
            assert busy.value.next_step
        with bench.again().hold("release 2", seconds=5):
            pass

    def test_hold_is_given_back_after_an_error(self, bench: Bench) -> None:
        with pytest.raises(ZeroDivisionError), bench.target.hold("one", seconds=5):
            raise ZeroDivisionError
        with bench.again().hold("two", seconds=5):
            pass

    def test_frozen(self, bench: Bench) -> None:
        """A mark that others see and that a roll-out does not lift."""
        bench.settle(bench.first)
        bench.target.freeze("neither image is proven")
        assert bench.again().observe().endpoint.frozen == "neither image is proven"
        bench.settle(bench.second)
        assert bench.again().observe().endpoint.frozen == "neither image is proven"
        bench.target.freeze("")
        assert bench.again().observe().endpoint.frozen == ""
        bench.has(bench.second)

    def test_logs(self, bench: Bench) -> None:
        bench.settle(bench.first)
        lines = list(bench.target.logs())
        assert lines
        assert not [line for line in lines if "\n" in line]
        assert list(bench.target.logs(lines=1)) == lines[-1:]

    def test_preflight_passes(self, bench: Bench) -> None:
        findings = list(bench.target.check(bench.first))
        assert [finding for finding in findings if finding.outcome == "fail"] == []
        assert [finding.check for finding in findings if not finding.sentence] == []

    def test_rooms(self, bench: Bench) -> None:
        rooms = bench.target.rooms()
        assert [room.instance_type for room in rooms] == [SMALL.name]
        assert all(room.detail for room in rooms)

    def test_waiting_for_what_nobody_asked_for(self, bench: Bench) -> None:
        bench.settle(bench.first)
        outcome = bench.target.wait(bench.second, seconds=1, say=bench.said.append)
        assert (outcome.healthy, outcome.reason) == (False, "NotAsked")


def toy_image(number: int, package: Path | None = None, repository: str = "folder/toy") -> Image:
    """An image of the number-th toy model."""
    digest = json.loads((package / "model.json").read_text())["digest"] if package else ""
    content = f"sha256:{str(number) * 64}"[:71]
    return Image(repository, content, f"models:/toy/{number}", content, digest, "")


def toy_packages(root: Path) -> tuple[Path, Path]:
    """Packages of two toy models: version N answers age / 2 + 2 bmi − sex + N."""
    maker = PackageMaker(root)
    return maker.linear(version="1", offset=1.0), maker.linear(version="2", offset=2.0)


def deployment(kind: Kind, image: Image, **changes: object) -> Deployment:
    """What the second stage of a release of the toy model asks for."""
    return dataclasses.replace(
        Deployment("production", kind, "toy", image, "releases:/toy/1", SMALL),
        **changes,  # type: ignore[arg-type]
    )
