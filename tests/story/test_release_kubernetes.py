"""Releases to a real cluster on good and bad days: exit code, one message, production as it was, a whole record."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from tests.story.conftest import Ended
from tests.story.release_cluster import ClusterStory, in_cluster
from tests.story.release_project import ReleaseStory
from tests.story.test_release import is_told
from tests.targets.kubernetes.conftest import Bed, Lab, bed_in, connected, kubeconfig_with, until
from tests.targets.kubernetes.test_bad_days import Wire

BAD_SETTING = ("--set", "targets.production.server={access_log_sample = 7.0}")
pytestmark = [pytest.mark.kubernetes, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def lab() -> Lab:
    kubeconfig = Path(os.environ.get("KUBECONFIG", Path.home() / ".kube/config"))
    return Lab(kubeconfig, connected(kubeconfig))


@pytest.fixture(scope="module")
def bed(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with bed_in(lab, tmp_path_factory.mktemp("bed"), "ridgeway-test-story") as made:
        yield made


@pytest.fixture(scope="module")
def module_story(pair: ReleaseStory, bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> ClusterStory:
    made = in_cluster(pair, tmp_path_factory.mktemp("cluster"), bed)
    made.released(1)
    return made


@pytest.fixture
def story(module_story: ClusterStory) -> Iterator[ClusterStory]:
    """A project with model 1 in production, which must still answer, or answer again, at the test's end."""
    yield module_story
    for known in module_story.records():
        if known.is_open:
            ended = module_story.ridgeway("cancel", known.handle)
            assert ended.code == 0, ended.err
    assert module_story.serves(1)
    assert module_story.champion() == 1
    assert module_story.endpoint()["frozen"] == ""


@pytest.fixture
def asked(story: ClusterStory) -> str:
    """A release of model 2 that waits for a yes."""
    waits = story.release(2)
    assert waits.code == 5, waits.err
    return waits.line


def goes_on(story: ClusterStory, handle: str, *, words: int = 1) -> None:
    """The same command goes through now, and one can go back."""
    done = story.ridgeway("approve", handle)
    assert (done.code, done.line) == (0, handle), done.err
    assert story.serves(2)
    assert len(story.approvals(int(handle.rpartition("/")[2]))) == words
    back = story.ridgeway("rollback", "production")
    assert back.code == 0, back.err


def kubectl(story: ClusterStory, *words: str) -> str:
    assert story.bed is not None
    return story.bed.lab.kubectl("-n", story.bed.namespace, *words)


def test_manifests_and_plan_touch_nothing(story: ClusterStory, asked: str) -> None:
    before = [story.found(kind)["metadata"] for kind in ("deployments", "services", "secrets")]
    printed = story.ridgeway("run", "release", asked, "--plan", "--format", "manifests")
    assert printed.code == 0, printed.err
    kinds = [one["kind"] for one in yaml.safe_load_all(printed.out)]
    assert kinds.count("Deployment") == 2
    assert "Secret" not in kinds
    planned = story.ridgeway("run", "release", asked, "--plan")
    assert (planned.code, "roll_out" in planned.out) == (0, True), planned.err
    assert [story.found(kind)["metadata"] for kind in ("deployments", "services", "secrets")] == before


def test_a_right_that_lacks(story: ClusterStory, asked: str) -> None:
    role = story.found("role", "ridgeway-deployer")
    rules = [
        {**rule, "verbs": [verb for verb in rule["verbs"] if verb != "patch"]}
        if "deployments" in rule["resources"]
        else rule
        for rule in role["rules"]
    ]
    assert rules != role["rules"]
    kubectl(story, "patch", "role", "ridgeway-deployer", "--type", "merge", "-p", json.dumps({"rules": rules}))
    try:
        ended = story.ridgeway("approve", asked)
        is_told(ended, 1, "patch", "deployments")
        assert story.answered()[0] == "diabetes/1"
        assert story.record(int(asked.rpartition("/")[2])).state == "failed"
    finally:
        kubectl(
            story, "patch", "role", "ridgeway-deployer", "--type", "merge", "-p", json.dumps({"rules": role["rules"]})
        )
    goes_on(story, asked)


Change = tuple[tuple[str, ...], int, tuple[str, ...]]
WISHES: dict[str, Change] = {
    "no such namespace": (("targets.qa.namespace=nowhere",), 1, ("no right", "nowhere", "deployer.yaml")),
    "no machine is so large": (("instance_types.cpu-tiny.cpu=64",), 1, ("does not fit", "2 cpu", "fewer replicas")),
    "a taint that is not tolerated": (('instance_types.cpu-tiny.node_selector={pool = "gpu"}',), 1, ("does not fit",)),
}


@pytest.mark.parametrize("wish", WISHES)
def test_a_place_that_does_not_take_it(wish: str, story: ClusterStory) -> None:
    settings, code, words = WISHES[wish]
    ended = story.release(2, *(word for setting in settings for word in ("--set", setting)))
    is_told(ended, code, *words)
    assert story.records()[0].state == "failed"


def test_a_quota_that_is_used_up(story: ClusterStory, asked: str) -> None:
    pods = len(story.found("pods")["items"])
    kubectl(story, "create", "quota", "narrow", f"--hard=pods={pods}")
    try:
        until(lambda: story.found("resourcequota", "narrow").get("status", {}).get("used"))
        ended = story.ridgeway("approve", asked, "--set", "targets.production.rollout.when_full=refuse")
        is_told(ended, 1, "narrow", "when_full")
        assert story.answered()[0] == "diabetes/1"
    finally:
        kubectl(story, "delete", "quota", "narrow")
    goes_on(story, asked)


def test_someone_edits_the_deployment(story: ClusterStory, asked: str) -> None:
    edit = json.dumps([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "other:1"}])
    rest = ("--type", "json", "-p", edit, "--field-manager", "somebody")
    kubectl(story, "patch", "deployment", "diabetes-production", *rest)
    # What runs there is not what the question was about any more; nor is it taken from whoever has changed it.
    is_told(story.ridgeway("approve", asked), 1, "the evidence", "changed")
    ended = story.ridgeway("approve", asked)
    is_told(ended, 1, "somebody", "image")
    assert story.answered()[0] == "diabetes/1"
    # As the message says.
    assert "--field-manager=ridgeway --force-conflicts" in ended.message
    serving = story.endpoint()["release"]
    printed = story.ridgeway("run", "release", serving, "--plan", "--format", "manifests")
    assert printed.code == 0, printed.err
    forced = ("apply", "--server-side", "--field-manager=ridgeway", "--force-conflicts", "-f", "-")
    assert story.bed is not None
    story.bed.lab.kubectl("-n", story.bed.namespace, *forced, stdin=printed.out)
    kubectl(story, "rollout", "status", "deployment/diabetes-production")
    is_told(story.ridgeway("approve", asked), 1, "the evidence", "changed")
    goes_on(story, asked, words=2)  # about what was there meanwhile, and about what is there again


def by_process(story: ClusterStory, *words: str, kubeconfig: str) -> Ended:
    """What a command came to in a process that has no connection to the cluster yet."""
    with story.process(*words, **{**story.environment, "KUBECONFIG": kubeconfig}) as process:
        out, err = process.communicate(timeout=200)
    return Ended(process.returncode, out, err)


def test_credentials_that_have_expired(story: ClusterStory, lab: Lab, tmp_path: Path) -> None:
    expired = str(kubeconfig_with(lab, tmp_path, token="not.a.token"))
    for words in (("run", "release", "models:/diabetes/2"), ("rollback", "production"), ("show", "production")):
        ended = by_process(story, *words, kubeconfig=expired)
        is_told(ended, 1, "credentials", "renew")


def test_an_api_server_that_is_away_for_ten_seconds(story: ClusterStory, asked: str, lab: Lab, tmp_path: Path) -> None:
    assert story.bed is not None
    token = yaml.safe_load(story.bed.kubeconfig.read_text())["users"][0]["user"]["token"]
    api_server = urlsplit(lab.cluster.host)
    wire = Wire(api_server.hostname or "", api_server.port or 443)
    generation = story.generation()
    by_wire = str(kubeconfig_with(lab, tmp_path, token=token, server=wire.address))

    def cut() -> None:
        until(lambda: story.generation() > generation)
        wire.set_cut(True)
        time.sleep(10)
        wire.set_cut(False)

    ended = meanwhile(lambda: by_process(story, "approve", asked, kubeconfig=by_wire), cut)
    wire.close()
    assert (ended.code, ended.line) == (0, asked), ended.err
    assert story.serves(2)
    assert story.ridgeway("rollback", "production").code == 0


def meanwhile(work: Callable[[], Ended], other: Callable[[], None]) -> Ended:
    thread = threading.Thread(target=other)
    thread.start()
    try:
        return work()
    finally:
        thread.join()


def test_an_image_that_never_becomes_ready(story: ClusterStory, asked: str) -> None:
    ended = story.ridgeway("approve", asked, *BAD_SETTING)
    is_told(ended, 1, "the evidence", "changed")  # other settings are another deployment
    ended = story.ridgeway("approve", asked, *BAD_SETTING)
    is_told(ended, 6, "models:/diabetes/1 is back", "CrashLoopBackOff", "access_log_sample")
    record = story.record(int(asked.rpartition("/")[2]))
    assert record.rollout is not None
    assert (record.state, record.rollout.state) == ("rolled_back", "returned")


ON_GPU = ("--set", "targets.production.instance_type=gpu-tiny")
DEADLINE_SECONDS = 60
LAB = os.environ.get("RIDGEWAY_LAB", "")


def unplug_or_plug(word: str) -> None:
    subprocess.run([LAB, word, "gpu-1"], check=True, capture_output=True)


@pytest.fixture
def pluggable(story: ClusterStory) -> Iterator[None]:
    """The pool's only node, of which nobody else has need, and which is back in the end."""
    if not LAB:
        pytest.skip("RIDGEWAY_LAB does not name the program that unplugs a node")
    assert story.bed is not None
    found = json.loads(story.bed.lab.kubectl("get", "pods", "-A", "--field-selector=spec.nodeName=gpu-1", "-o", "json"))
    others = {one["metadata"]["namespace"] for one in found["items"]} - {story.bed.namespace, "kube-system"}
    if others:
        pytest.skip(f"gpu-1 has pods of {', '.join(sorted(others))}")
    yield
    unplug_or_plug("start-node")


@pytest.mark.alone
def test_the_only_node_is_lost_in_the_middle(story: ClusterStory, pluggable: None) -> None:
    """Exit 8 with its name in time; when it is back, the same command goes through."""
    first = story.release(1, *ON_GPU)
    assert first.code == 5, first.err
    assert story.ridgeway("approve", first.line, *ON_GPU).code == 0
    asked = story.release(2, *ON_GPU)
    assert asked.code == 5, asked.err
    generation = story.generation()

    def lose() -> None:
        until(lambda: story.generation() > generation)
        unplug_or_plug("stop-node")

    began = time.monotonic()
    ended = meanwhile(lambda: story.ridgeway("approve", asked.line, *ON_GPU), lose)
    assert time.monotonic() - began < DEADLINE_SECONDS + 30
    is_told(ended, 8, "production runs neither", "gpu-1", "ridgeway rollback production")
    assert story.record(int(asked.line.rpartition("/")[2])).state == "frozen"
    assert asked.line in story.endpoint()["frozen"]

    unplug_or_plug("start-node")
    assert story.bed is not None
    story.bed.lab.kubectl("wait", "--for=condition=Ready", "node/gpu-1", "--timeout=120s")
    done = story.ridgeway("run", "release", asked.line, *ON_GPU)
    assert (done.code, done.line) == (0, asked.line), done.err
    assert story.serves(2)
    assert story.endpoint()["frozen"] == ""
    assert story.ridgeway("rollback", "production").code == 0
