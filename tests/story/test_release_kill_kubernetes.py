"""Kill -9 of a release to a cluster: the same command again ends as if nothing had been, once the lease has run out."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.story.conftest import Ended
from tests.story.release_cluster import REPOSITORY, ClusterStory, changed, forget, in_cluster, tags
from tests.story.release_driver import Driver, Moment
from tests.story.release_project import ReleaseStory
from tests.story.test_release_kill import BAD_SETTING, RECORD, REGISTRY, Mortal, around, is_whole
from tests.targets.kubernetes.conftest import Lab, bed_in, connected

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow, pytest.mark.timeout(600)]

TARGET, CLUSTER = (
    "ridgeway.targets.kubernetes.target:KubernetesTarget",
    "ridgeway.targets.kubernetes.connection:Cluster",
)
IMAGES = "ridgeway.image.registry_client:Registry"
ASKING = [
    *around(f"{RECORD}.start"), *around(f"{TARGET}.apply"), *around(f"{CLUSTER}.apply", 2), *around(f"{TARGET}.wait"),
    *around("ridgeway.actions.probing:ask"), Moment("after", f"{RECORD}.write_evidence"),
]  # fmt: skip
ANSWERING = [
    *around(f"{RECORD}.approve"), Moment("before", "ridgeway.actions.rollout:roll_out"), *around(f"{TARGET}.apply"),
    *around(f"{CLUSTER}.apply", 1), *around(f"{TARGET}.wait"), *around("ridgeway.actions.rollout:_bake"),
    *around(f"{REGISTRY}.set_alias"), *around(f"{RECORD}.save", 2),
]  # fmt: skip
RETURNING = [
    *around("ridgeway.actions.rollout:_return"), *around(f"{TARGET}.apply", 2), *around(f"{TARGET}.wait", 2)
]  # fmt: skip
BY_HAND = [Moment("before", f"{TARGET}.apply"), Moment("after", f"{TARGET}.apply"), *around(f"{REGISTRY}.set_alias")]
BUILDING = [
    *around(f"{IMAGES}.put_blob", 1, 3), *around(f"{IMAGES}.put_manifest", 1, 2, 3),
    Moment("after", "ridgeway.actions.images:image_of"),
]  # fmt: skip


class Patient(Mortal):
    """As ``Mortal``, and waits for the lease of whoever was killed."""

    def killed(self, *arguments: str, moment: Moment) -> Ended:
        first = self.carry_out(*arguments, moment=moment)
        assert first.code == -signal.SIGKILL, (first.code, first.err)
        deadline = time.monotonic() + 60
        while True:
            again = self.carry_out(*arguments)
            if again.code != 75 or time.monotonic() > deadline:
                return again
            assert "is held by releases:/diabetes/" in again.message, again.err
            assert "without a renewal it is free in" in again.message


@pytest.fixture(scope="module")
def mortal(pair: ReleaseStory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    kubeconfig = Path(os.environ.get("KUBECONFIG", Path.home() / ".kube/config"))
    lab = Lab(kubeconfig, connected(kubeconfig))
    with bed_in(lab, tmp_path_factory.mktemp("bed"), "ridgeway-test-kill") as bed, Driver() as driver:
        made = Patient(in_cluster(pair, tmp_path_factory.mktemp("mortal"), bed), driver)
        for number in (2, 1):
            asked = made.carry_out("run", "release", f"models:/diabetes/{number}")
            assert asked.code == 5, asked.err
            done = made.carry_out("approve", asked.line)
            assert done.code == 0, done.err
        yield made


@pytest.mark.parametrize(
    ("phase", "moment"),
    [
        pytest.param(phase, moment, id=f"{phase}, {moment}")
        for phase, moments in (("asking", ASKING), ("answering", ANSWERING))
        for moment in moments
    ],
)
def test_a_killed_release(phase: str, moment: Moment, mortal: Patient) -> None:
    old = mortal.settle()
    new = 3 - old
    before, tries = mortal.count(), mortal.tries(new)
    command = ("run", "release", f"models:/diabetes/{new}")
    asked = mortal.killed(*command, moment=moment) if phase == "asking" else mortal.carry_out(*command)
    assert asked.code == 5, asked.err
    assert mortal.story.champion() == old
    yes = ("approve", asked.line)
    done = mortal.killed(*yes, moment=moment) if phase == "answering" else mortal.carry_out(*yes)
    assert (done.code, done.line) == (0, asked.line), done.err
    assert mortal.story.serves(new)
    assert mortal.story.champion() == new
    more = {"releases": before["releases"] + 1, "production": before["production"] + 1, "qa": before["qa"] + tries}
    assert mortal.count() == {**before, **more}
    record = mortal.story.records()[0]
    assert (record.handle, record.state, record.model) == (asked.line, "released", f"models:/diabetes/{new}")
    is_whole(record)
    assert record.rollout is not None
    assert record.rollout.state == "done"
    assert record.rollout.before is not None
    assert record.rollout.before.image.model == f"models:/diabetes/{old}"
    assert [word.evidence for word in mortal.story.approvals(record.number)] == [record.evidence]
    assert mortal.story.ridgeway("list").out == "nothing is running, and nothing waits\n"
    assert isinstance(mortal.story, ClusterStory)
    assert mortal.story.found("leases")["items"] == []


@pytest.mark.parametrize("moment", RETURNING, ids=str)
def test_a_way_back_that_is_killed(moment: Moment, mortal: Patient) -> None:
    old = mortal.settle()
    new = 3 - old
    before, tries = mortal.count(), mortal.tries(new)
    asked = mortal.carry_out("run", "release", f"models:/diabetes/{new}", *BAD_SETTING)
    assert asked.code == 5, asked.err
    done = mortal.killed("approve", asked.line, *BAD_SETTING, moment=moment)
    assert done.code == 6, done.err
    assert mortal.story.serves(old)
    assert mortal.story.champion() == old
    more = {"releases": before["releases"] + 1, "production": before["production"] + 2, "qa": before["qa"] + tries}
    assert mortal.count() == {**before, **more}
    record = mortal.story.records()[0]
    assert (record.handle, record.state) == (asked.line, "rolled_back")
    is_whole(record)
    assert len(mortal.story.approvals(record.number)) == 1
    assert mortal.story.endpoint()["frozen"] == ""


@pytest.mark.parametrize("moment", BY_HAND, ids=str)
def test_a_rollback_that_is_killed(moment: Moment, mortal: Patient) -> None:
    old = mortal.settle()
    new = 3 - old
    before = mortal.count()
    done = mortal.killed("rollback", "production", "--to", f"models:/diabetes/{new}", moment=moment)
    assert done.code == 0, done.err
    assert mortal.story.serves(new)
    assert mortal.story.champion() == new
    more = {name: before[name] + 1 for name in ("releases", "production")}
    assert mortal.count() == {**before, **more}
    record = mortal.story.records()[0]
    assert (record.kind, record.state, record.model) == ("rollback", "released", f"models:/diabetes/{new}")


@pytest.mark.parametrize("moment", BUILDING, ids=str)
def test_a_killed_build(moment: Moment, mortal: Patient) -> None:
    serves = mortal.settle()
    own = f"{REPOSITORY}-{os.getpid()}-{BUILDING.index(moment)}"
    story = mortal.story
    assert isinstance(story, ClusterStory)
    try:
        with changed(story, REPOSITORY, own):
            command = ("run", "release", f"models:/diabetes/{serves}", "--until", "qa")
            tried = mortal.killed(*command, moment=moment)
            assert tried.code == 0, tried.err
            found = tags(own)
            record = story.records()[0]
            assert record.image is not None
            assert record.image.repository == own
            assert len([tag for tag in found if not tag.startswith("sha256-")]) == 2, "a runtime and a model image"
            again = mortal.carry_out(*command)
            told = [line for line in again.err.splitlines() if line.startswith("  release ")]
            assert sum("done before" in line for line in told) == 3
            assert tags(own) == found
            assert mortal.carry_out("cancel", record.handle).code == 0
    finally:
        forget(own)
