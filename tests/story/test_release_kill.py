"""Kill -9 of a release at every boundary and inside each step: the same command again ends as if nothing had been.

After each kill: one image, one version, one release, one approval, one roll-out, counted where they are kept (registry,
record, target), and a record that tells all of it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ridgeway.artifacts import Release
from tests.story.conftest import Ended
from tests.story.release_driver import Driver, Moment
from tests.story.release_project import ReleaseStory, another, put_away

pytestmark = pytest.mark.timeout(120)

RECORD, REGISTRY = "ridgeway.registry.releases:Releases", "ridgeway.registry.store:Registry"
FILES, TARGET = "ridgeway.registry.files:RunFiles.put", "ridgeway.targets.process.target:ProcessTarget"
FOLDER, SERVE = "ridgeway.targets.process.folder:Folder", "ridgeway.actions.serve"
FLOW = "ridgeway.orchestrator:run_suspendable"
BAD_SETTING = ("--set", "targets.production.server={access_log_sample = 7.0}")


def around(what: str, *numbers: int) -> list[Moment]:
    """Before and after each of these calls."""
    return [Moment(when, what, number) for number in numbers or (1,) for when in ("before", "after")]


ASKING = [
    *around(f"{RECORD}.start"), *around(f"{REGISTRY}.start_run"), *around(FLOW),
    *around("ridgeway.actions.images:image_of"),
    *around(f"{TARGET}.hold"), *around(f"{TARGET}.apply"), *around(f"{FOLDER}.want"), *around(f"{TARGET}.wait"),
    *around("ridgeway.actions.probing:ask"), *around("ridgeway.actions.approval:gather"),
    *around(f"{RECORD}.write_evidence"), *around(f"{RECORD}.save", *range(1, 8)),
    *around(f"{REGISTRY}.tag_run", *range(1, 9)),
]  # fmt: skip
"""From the command to the question."""
ANSWERING = [
    *around(f"{RECORD}.approve"), *around("ridgeway.actions.approval:say_yes"), *around(FLOW),
    *around(f"{RECORD}.write_evidence"), *around(f"{TARGET}.hold"), *around("ridgeway.actions.rollout:roll_out"),
    *around(f"{TARGET}.apply"), *around(f"{FOLDER}.want"), *around(f"{TARGET}.wait"),
    *around("ridgeway.actions.probing:ask"), *around("ridgeway.actions.rollout:_bake"),
    Moment("before", f"{TARGET}.observe", 6), *around("ridgeway.actions.rollout:_thaw"),
    *around(f"{REGISTRY}.set_alias"), *around(f"{RECORD}.save", 1, 2, 3, 4),
    *around(f"{REGISTRY}.tag_run", *range(1, 6)), *around(FILES, *range(1, 7)),
]  # fmt: skip
"""From the yes to the champion."""
RETURNING = [
    *around("ridgeway.actions.rollout:_way_back"), *around("ridgeway.actions.rollout:_return"),
    *around(f"{TARGET}.apply", 2), *around(f"{FOLDER}.want", 2), *around(f"{TARGET}.wait", 2),
    *around("ridgeway.actions.rollout:_asked"), *around(f"{RECORD}.save", 4, 5),
]  # fmt: skip
"""On the way back from an image that does not hold."""
UNKNOWN = ("before _way_back 1", "before Releases.save 4")
BY_HAND = [
    *around(f"{RECORD}.start"), *around("ridgeway.actions.rollout:roll_out"), *around(f"{TARGET}.apply"),
    *around(f"{FOLDER}.want"), *around("ridgeway.actions.rollout:_bake"), *around(f"{REGISTRY}.set_alias"),
    *around(f"{RECORD}.save", 1, 2, 3),
]  # fmt: skip
"""In a rollback."""
USUAL = {
    "asking": ("after Folder.want 1",),
    "answering": ("after Registry.set_alias 1",),
    "returning": ("after Folder.want 2",),
    "by hand": ("before _bake 1",),
}
"""Those that are tried every time."""


def points(phase: str, moments: list[Moment]) -> list[Any]:
    """Each once, as parameters; all but the usual ones are slow."""
    each = {str(moment): moment for moment in moments}
    assert set(USUAL[phase]) <= set(each)
    return [
        pytest.param(moment, id=f"{phase}, {name}", marks=() if name in USUAL[phase] else pytest.mark.slow)
        for name, moment in each.items()
    ]


@dataclass
class Mortal:
    """A project of which model 1 or 2 is in production, and commands that can be killed."""

    story: ReleaseStory
    driver: Driver

    def carry_out(self, *arguments: str, moment: Moment | None = None) -> Ended:
        return self.driver.carry_out(self.story.root, *arguments, moment=moment, environment=self.story.environment)[0]

    def killed(self, *arguments: str, moment: Moment) -> Ended:
        """The same command, once killed and once not: how the second one ended."""
        first = self.carry_out(*arguments, moment=moment)
        assert first.code == -signal.SIGKILL, (first.code, first.err)
        return self.carry_out(*arguments)

    def settle(self) -> int:
        """The number of the model in production; what an earlier test has left behind is put away."""
        for known in self.story.records():
            if known.is_open:
                self.carry_out("rollback", "production")
                self.carry_out("cancel", known.handle)
        if self.story.champion() is None:
            asked = self.carry_out("run", "release", "models:/diabetes/1")
            assert self.carry_out("approve", asked.line).code == 0
        number = self.story.champion()
        assert number is not None
        assert self.story.serves(number)
        return number

    def tries(self, number: int) -> int:
        """How often QA will be asked for something else by a release of this model."""
        return int(self.story.endpoint("qa")["model"] != f"models:/diabetes/{number}")

    def count(self) -> dict[str, int]:
        """What must not come twice."""
        records = self.story.records()
        versions = self.story.registry.versions()
        return {
            "releases": len(records),
            "versions": len(versions),
            "images": len({known.image.digest for known in records if known.image}),
            "packages": sum(
                name.startswith("package.")
                for version in versions
                for name in self.story.registry.run(version.run_id).parameters
            ),
            "production": self.story.generation(),
            "qa": self.story.generation("qa"),
        }


@pytest.fixture(scope="module")
def mortal(pair: ReleaseStory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    with put_away(another(pair, tmp_path_factory.mktemp("mortal"))) as story, Driver() as driver:
        made = Mortal(story, driver)
        # Both images are known from here on, so that each release below adds none.
        for number in (2, 1):
            asked = made.carry_out("run", "release", f"models:/diabetes/{number}")
            assert asked.code == 5, asked.err
            assert made.carry_out("approve", asked.line).code == 0
        yield made


def is_whole(record: Release) -> None:
    """The record of a release tells all steps, each once and in order, with a sound proof of the end."""
    assert [(step.name, step.stage) for step in record.steps] == [
        ("build_image", ""),
        ("deploy_endpoint", "qa"),
        ("probe_endpoint", "qa"),
        ("roll_out", "production"),
    ]
    assert all(step.started_at <= step.ended_at for step in record.steps)
    assert record.image is not None
    assert record.rollout is not None
    assert record.ended_at >= record.steps[-1].ended_at


@pytest.mark.parametrize(
    ("phase", "moment"),
    [
        pytest.param(phase, *one.values, id=one.id, marks=one.marks)
        for phase, moments in (("asking", ASKING), ("answering", ANSWERING))
        for one in points(phase, moments)
    ],
)
def test_a_killed_release(phase: str, moment: Moment, mortal: Mortal) -> None:
    old = mortal.settle()
    new = 3 - old
    before, tries = mortal.count(), mortal.tries(new)
    command = ("run", "release", f"models:/diabetes/{new}")
    asked = mortal.killed(*command, moment=moment) if phase == "asking" else mortal.carry_out(*command)
    assert asked.code == 5, asked.err
    assert mortal.story.answered()[0] == f"diabetes/{old}"
    assert mortal.story.champion() == old
    yes = ("approve", asked.line)
    done = mortal.killed(*yes, moment=moment) if phase == "answering" else mortal.carry_out(*yes)
    assert (done.code, done.line) == (0, asked.line), done.err

    assert mortal.story.serves(new)
    assert mortal.story.champion() == new
    after = mortal.count()
    assert after == {
        **before,
        "releases": before["releases"] + 1,
        "production": before["production"] + 1,
        "qa": before["qa"] + tries,
    }
    record = mortal.story.records()[0]
    assert (record.handle, record.state, record.model) == (asked.line, "released", f"models:/diabetes/{new}")
    is_whole(record)
    assert record.rollout is not None
    assert (record.rollout.state, record.rollout.before is not None) == ("done", True)
    assert record.rollout.before is not None
    assert record.rollout.before.image.model == f"models:/diabetes/{old}"
    assert [word.evidence for word in mortal.story.approvals(record.number)] == [record.evidence]
    assert mortal.story.ridgeway("list").out == "nothing is running, and nothing waits\n"
    assert mortal.story.registry.run(record.run_id).status == "FINISHED"


@pytest.mark.slow
@pytest.mark.parametrize("moment", points("returning", RETURNING))
def test_a_way_back_that_is_killed(moment: Moment, mortal: Mortal) -> None:
    old = mortal.settle()
    new = 3 - old
    before, tries = mortal.count(), mortal.tries(new)
    asked = mortal.carry_out("run", "release", f"models:/diabetes/{new}", *BAD_SETTING)
    assert asked.code == 5, asked.err
    done = mortal.killed("approve", asked.line, *BAD_SETTING, moment=moment)
    is_over = str(moment) == "after Releases.save 5"  # the record was whole: there is nothing to carry on
    assert done.code == (3 if is_over else 6), done.err
    assert mortal.story.serves(old)
    assert mortal.story.champion() == old
    after = mortal.count()
    assert after == {
        **before,
        "releases": before["releases"] + 1,
        # That it does not hold was seen, and nowhere kept: it is tried once more.
        "production": before["production"] + (3 if str(moment) in UNKNOWN else 2),
        "qa": before["qa"] + tries,
    }
    record = mortal.story.records()[0]
    assert (record.handle, record.state) == (asked.line, "rolled_back")
    is_whole(record)
    assert record.rollout is not None
    assert (record.rollout.state, record.rollout.probe_back is not None) == ("returned", True)
    assert len(mortal.story.approvals(record.number)) == 1
    assert mortal.story.endpoint()["frozen"] == ""
    assert mortal.story.ridgeway("list").out == "nothing is running, and nothing waits\n"


@pytest.mark.slow
@pytest.mark.parametrize("moment", points("by hand", BY_HAND))
def test_a_rollback_that_is_killed(moment: Moment, mortal: Mortal) -> None:
    old = mortal.settle()
    new = 3 - old
    before = mortal.count()
    done = mortal.killed("rollback", "production", "--to", f"models:/diabetes/{new}", moment=moment)
    assert done.code == 0, done.err
    assert mortal.story.serves(new)
    assert mortal.story.champion() == new
    again = 1 if str(moment) == "after Releases.save 3" else 0  # it was over: the same command is another rollback
    after = mortal.count()
    assert after == {**before, "releases": before["releases"] + 1 + again, "production": before["production"] + 1}
    record = mortal.story.records()[again]
    assert (record.kind, record.state, record.model) == ("rollback", "released", f"models:/diabetes/{new}")
    assert record.rollout is not None
    assert record.rollout.before is not None
    assert record.rollout.before.image.model == f"models:/diabetes/{old}"
    assert mortal.story.ridgeway("list").out == "nothing is running, and nothing waits\n"
