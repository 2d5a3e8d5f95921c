"""Containers of a real engine: the contract, what a container may, replacement, and kills in the middle of it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pickle
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from ridgeway.artifacts import Deployment, Image
from ridgeway.errors import Busy, NotFound, Permanent, Unreachable, UsageError
from ridgeway.targets import Keys, Observed, Outcome, PlannedAction
from ridgeway.targets.docker.planning import Names, container_options
from ridgeway.targets.docker.target import DockerTarget
from ridgeway.targets.key_check import takes_key
from ridgeway.targets.remembered import short
from tests.server.test_access import certificate
from tests.server.test_repository import wait_for
from tests.server.test_supervisor import free_port
from tests.targets.contract import SMALL, Bench, TargetContract, deployment, toy_image
from tests.targets.load import Load

pytestmark = pytest.mark.docker
GAP = 25.5


def endpoint_name() -> str:
    """A name that no other test run on this engine has."""
    return f"toy-{uuid.uuid4().hex[:8]}"


def pair(name: str, images: tuple[Image, Image]) -> tuple[Deployment, Deployment]:
    address = f"http://127.0.0.1:{free_port()}"
    first, second = (deployment("docker", image, name=name, address=address) for image in images)
    return first, second


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    with contextlib.closing(docker.from_env()) as client:
        yield client


@pytest.fixture(scope="module")
def bench(toy_images: tuple[Image, Image]) -> Iterator[Bench]:
    name = endpoint_name()
    first, second = pair(name, toy_images)
    target = DockerTarget("production", name, Path(), "", (SMALL,))
    names = target.names
    place = f"container {names.main} on {first.address.removeprefix('http://')}"
    one, two = (short(image.digest) for image in toy_images)
    yield Bench(
        target, lambda: DockerTarget("production", name, Path(), "", (SMALL,)), first, second,
        create=(PlannedAction("create", place, f"image {one}"),),
        replace=(PlannedAction("replace", place, f"image {one} → {two}"),),
        keep=(PlannedAction("keep", place),),
        removed=(f"container {names.main}", f"keys and marks in {names.keeper}, volume {names.volume}"),
        strategy="in_place", gap_seconds=GAP, admits=lambda key: takes_key(first, key, Path()),
    )  # fmt: skip
    target.remove()


class TestContract(TargetContract):
    """The life of an endpoint and its keys each time; the rest, at seconds for each start of a container, is slow."""

    @pytest.mark.slow
    def test_plan_is_pure(self, bench: Bench) -> None:
        super().test_plan_is_pure(bench)

    @pytest.mark.slow
    def test_another_release_of_the_same_changes_nothing(self, bench: Bench) -> None:
        super().test_another_release_of_the_same_changes_nothing(bench)

    @pytest.mark.slow
    def test_apply_twice_is_apply_once(self, bench: Bench) -> None:
        super().test_apply_twice_is_apply_once(bench)

    @pytest.mark.slow
    def test_logs(self, bench: Bench) -> None:
        super().test_logs(bench)

    @pytest.mark.slow
    def test_frozen(self, bench: Bench) -> None:
        super().test_frozen(bench)

    @pytest.mark.slow
    def test_waiting_for_what_nobody_asked_for(self, bench: Bench) -> None:
        super().test_waiting_for_what_nobody_asked_for(bench)


@pytest.mark.slow
def test_what_a_container_may(bench: Bench, engine: docker.DockerClient) -> None:
    bench.settle(bench.first)
    facts = engine.containers.get(bench.target.names.main).attrs  # type: ignore[attr-defined]
    host, config = facts["HostConfig"], facts["Config"]
    assert (host["NanoCpus"], host["Memory"], host["MemorySwap"]) == (10**9, 512 * 2**20, 512 * 2**20)
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["SecurityOpt"]) == (True, ["ALL"], ["no-new-privileges"])
    assert (host["RestartPolicy"]["Name"], host["Privileged"], config["User"]) == (
        "unless-stopped",
        False,
        "65532:65532",
    )
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert config["Image"] == bench.first.image.handle
    keys = bench.target.keys()
    assert isinstance(keys, Keys)
    assert not [key for key in dataclasses.astuple(keys) if key in json.dumps(facts)]
    endpoint = bench.target.observe().endpoint
    assert endpoint.memory_mib is not None
    assert 5 < endpoint.memory_mib < 200


def test_secrets_are_for_the_server_only(bench: Bench, engine: docker.DockerClient) -> None:
    bench.settle(bench.first)
    container = engine.containers.get(bench.target.names.main)  # type: ignore[attr-defined]
    python = container.attrs["Config"]["Entrypoint"][0]
    places = "('/secrets/keys', '/secrets/keys/primary')"
    look = f"import os; print([(os.stat(p).st_uid, oct(os.stat(p).st_mode)[-3:]) for p in {places}])"
    assert container.exec_run([python, "-c", look]).output.decode() == "[(65532, '700'), (65532, '400')]\n"
    other = container.exec_run([python, "-c", "open('/secrets/keys/primary')"], user="1000")
    assert b"PermissionError" in other.output
    assert b"Read-only file system" in container.exec_run([python, "-c", "open('/secrets/keys/x', 'w')"]).output


@pytest.mark.slow
def test_the_gap_is_as_announced_and_nothing_else_is_lost(bench: Bench) -> None:
    bench.settle(bench.first)
    port = int(bench.first.address.rpartition(":")[2])
    key = bench.target.keys().primary  # type: ignore[union-attr]
    bench.said.clear()
    with Load("127.0.0.1", port, lambda: key, kept=(), new=(0.05,)) as load:
        assert bench.settle(bench.second) == Outcome(True)
        wait_for(lambda: load.right.get("toy/2", 0) > 20)
    [gap] = [line for line in bench.said if line.startswith("no answers for")]
    assert float(gap.split()[3]) < GAP
    # For a while nobody listens, or the old one says 503 as it ends; what is predicted is predicted rightly.
    assert not [text for text in load.failures if text[0].isdigit() and not text.startswith("503 ")]


@pytest.mark.slow
def test_a_trial_that_fails_leaves_the_old_one(bench: Bench) -> None:
    bench.settle(bench.first)
    since = bench.target.observe().endpoint.since
    bad = dataclasses.replace(bench.second, server={"max_bodies_mib": 1, "max_body_mib": 2})
    outcome = bench.settle(bad)
    assert (outcome.healthy, outcome.reason) == (False, "Refused")
    assert "max_bodies_mib below max_body_mib" in outcome.sentence
    assert outcome.log
    observed = bench.target.observe()
    assert (observed.endpoint.state, observed.endpoint.reason, observed.deployment) == ("unhealthy", "Refused", bad)
    assert takes_key(bench.first, bench.target.keys().primary, Path())  # type: ignore[union-attr]
    plan = bench.plan(bench.first)
    assert [action.verb for action in plan.actions] == ["keep", "delete"]
    assert plan.gap_seconds == 0
    assert bench.settle(bench.first) == Outcome(True)
    bench.has(bench.first)
    assert bench.target.observe().endpoint.since == since


@pytest.mark.slow
def test_it_restarts_after_a_crash(bench: Bench, engine: docker.DockerClient) -> None:
    bench.settle(bench.first)
    container = engine.containers.get(bench.target.names.main)  # type: ignore[attr-defined]
    subprocess.run(["kill", "-9", str(container.attrs["State"]["Pid"])], check=True)
    wait_for(lambda: container.reload() or container.attrs["RestartCount"] == 1, 20)
    assert bench.target.wait(bench.first, seconds=20, say=bench.said.append) == Outcome(True)


@pytest.mark.slow
def test_stopped_by_hand(bench: Bench, engine: docker.DockerClient) -> None:
    bench.settle(bench.first)
    engine.containers.get(bench.target.names.main).stop(timeout=2)  # type: ignore[attr-defined]
    observed = bench.target.observe()
    assert (observed.endpoint.state, observed.endpoint.ready) == ("stopped", 0)
    assert bench.plan(bench.first).changes
    assert bench.settle(bench.first) == Outcome(True)
    bench.has(bench.first)


APPLY = """
import os, pickle, signal, sys
from ridgeway.targets.docker import replacing
target, deployment, name, count = pickle.loads(bytes.fromhex(sys.argv[1]))
whole = getattr(replacing, name)
def deadly(*given, **named):
    global count
    count -= 1
    result = whole(*given, **named)
    if not count:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(replacing, name, deadly)
if name == "_take_place":
    # Between the two names.
    import docker.models.containers as containers
    rename = containers.Container.rename
    def renamed(self, new):
        rename(self, new)
        os.kill(os.getpid(), signal.SIGKILL)
    containers.Container.rename = renamed
if name == "_switch":
    import docker.models.containers as containers
    stop = containers.Container.stop
    def stopped(self, **named):
        stop(self, **named)
        os.kill(os.getpid(), signal.SIGKILL)
    containers.Container.stop = stopped
target.apply(target.plan(deployment, target.observe()), package=None, say=lambda text: None)
"""


@pytest.mark.parametrize(
    ("name", "count"),
    [
        pytest.param("_create", 1, marks=pytest.mark.slow, id="trial made"),
        pytest.param("_await_ready", 1, marks=pytest.mark.slow, id="trial proven"),
        pytest.param("_create", 2, marks=pytest.mark.slow, id="new one made"),
        pytest.param("_switch", 1, marks=pytest.mark.slow, id="old one stopped"),
        pytest.param("_await_ready", 2, marks=pytest.mark.slow, id="new one started"),
        pytest.param("_take_place", 1, marks=pytest.mark.slow, id="between the names"),
    ],
)
def test_killed_in_the_middle_of_a_replacement(
    bench: Bench, engine: docker.DockerClient, name: str, count: int
) -> None:
    bench.settle(bench.first)
    keys = bench.target.keys()
    given = pickle.dumps((bench.target, bench.second, name, count)).hex()
    done = subprocess.run([sys.executable, "-c", APPLY, given], check=False)
    assert done.returncode == -signal.SIGKILL
    assert bench.plan(bench.second).changes
    assert bench.settle(bench.second) == Outcome(True)
    bench.has(bench.second)
    assert bench.target.keys() == keys
    names = bench.target.names  # type: ignore[attr-defined]
    left = {one.name for one in engine.containers.list(all=True) if one.name.startswith(names.main)}
    assert left == {names.main, names.keeper}


# ---- the lock --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_lock_expires_after_kill_and_is_taken_over(bench: Bench) -> None:
    script = (
        "import pickle, sys\n"
        "target = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "with target.hold('release 7', seconds=2):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, pickle.dumps(bench.target).hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        time.sleep(2.5)  # Longer than it lasts unrenewed.
        with pytest.raises(Busy, match="release 7"), bench.target.hold("release 8", seconds=2):
            pass
        holder.kill()
        holder.wait()
    with pytest.raises(Busy, match="release 7"), bench.target.hold("release 8", seconds=2):
        pass

    def taken() -> bool:
        try:
            with bench.target.hold("release 8", seconds=2):
                return True
        except Busy:
            return False

    wait_for(taken, 5)


# ---- refusals --------------------------------------------------------------------------------------------------------


def plan_for(**changes: object) -> object:
    first = deployment("docker", toy_image(1, repository="registry/toy"), address="http://127.0.0.1:8081")
    target = DockerTarget("production", "toy", Path())
    nothing = Observed(None, None, {"memory_mib": 2048, "cores": 2})  # type: ignore[arg-type]
    return target.plan(dataclasses.replace(first, **changes), nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "error", "problem"),
    [
        ({"address": ""}, UsageError, "no usable address"),
        ({"image": toy_image(1)}, Permanent, "it is a folder of one machine"),
        ({"instance": dataclasses.replace(SMALL, memory_mib=48 * 1024)}, Permanent, "below 49152 MiB"),
        ({"instance": dataclasses.replace(SMALL, memory_mib=4096)}, Permanent, "the engine has 2048 MiB"),
        ({"instance": dataclasses.replace(SMALL, cpu=3)}, Permanent, "the engine has 2"),
        ({"server": {"wokers": 1}}, UsageError, "did you mean workers"),
    ],
)
def test_plans_that_cannot_be(changes: dict[str, object], error: type[Exception], problem: str) -> None:
    with pytest.raises(error, match=problem):
        plan_for(**changes)


def test_options_hold_no_secrets_and_the_trial_no_port() -> None:
    first = deployment("docker", toy_image(1, repository="registry/toy"), address="http://127.0.0.1:8081")
    options = container_options(first, Names("toy", "production"), "/usr/bin/python3", publish=True)
    assert options["ports"] == {"8080/tcp": ("127.0.0.1", 8081)}
    assert options["volumes"] == {"ridgeway-toy-production-secrets": {"bind": "/secrets", "mode": "ro"}}
    assert options["command"] == [
        "--access", "keys", "--drain-seconds", "0.5", "--image", f"sha256:{'1' * 64}", "--keys-dir", "/secrets/keys",
        "--watch-seconds", "0.2",
    ]  # fmt: skip
    assert "ports" not in container_options(first, Names("toy", "production"), "/usr/bin/python3", publish=False)


@pytest.fixture
def other(toy_images: tuple[Image, Image]) -> Iterator[tuple[DockerTarget, Deployment]]:
    name = endpoint_name()
    first, _ = pair(name, toy_images)
    target = DockerTarget("qa", name, Path(), "", (SMALL,))
    yield target, dataclasses.replace(first, target="qa")
    target.remove()


def apply(target: DockerTarget, wanted: Deployment) -> None:
    target.apply(target.plan(wanted, target.observe()), package=None, say=lambda text: None)


@pytest.mark.slow
def test_a_port_that_is_taken(other: tuple[DockerTarget, Deployment]) -> None:
    target, first = other
    port = int(first.address.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)), pytest.raises(Permanent) as refusal:
        apply(target, first)
    assert refusal.value.where == f"targets.qa.address = '{first.address}'"
    assert "already in use" in refusal.value.problem
    assert target.observe().endpoint.state == "absent"


def test_an_image_that_is_not_there(other: tuple[DockerTarget, Deployment]) -> None:
    target, first = other
    image = dataclasses.replace(first.image, digest=f"sha256:{'0' * 64}")
    with pytest.raises(NotFound, match="there is no image"):
        apply(target, dataclasses.replace(first, image=image))
    [finding] = [one for one in target.check(dataclasses.replace(first, image=image)) if one.check == "image"]
    assert finding.outcome == "fail"


@pytest.mark.slow
def test_devices_that_the_engine_does_not_have(other: tuple[DockerTarget, Deployment]) -> None:
    target, first = other
    gpu = dataclasses.replace(first, instance=dataclasses.replace(SMALL, gpus={"nvidia.com/gpu": 1}))
    with pytest.raises(Permanent, match="could not select device driver"):
        apply(target, gpu)
    assert target.observe().endpoint.state == "absent"
    [finding] = [one for one in target.check(gpu) if one.check == "devices"]
    assert finding.outcome == "fail"


@pytest.mark.slow
def test_a_certificate(toy_images: tuple[Image, Image], tmp_path: Path) -> None:
    certificate(tmp_path, "one")
    name = endpoint_name()
    target = DockerTarget("qa", name, tmp_path, "", (SMALL,))
    crt, private = certificate(tmp_path, "one")
    secure = deployment(
        "docker", toy_images[0], target="qa", name=name, address=f"https://127.0.0.1:{free_port()}",
        certificate=crt.name, certificate_key=private.name,
    )  # fmt: skip
    try:
        apply(target, secure)
        assert target.wait(secure, seconds=20, say=print) == Outcome(True)
        assert takes_key(secure, target.keys().primary, tmp_path)  # type: ignore[union-attr]
    finally:
        target.remove()


def test_an_engine_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    target = DockerTarget("qa", "toy", Path())
    with pytest.raises(Unreachable, match="no Docker engine answers"):
        target.observe()
    [finding] = target.check(None)
    assert (finding.check, finding.outcome) == ("Docker engine", "fail")


def test_contexts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    assert DockerTarget("qa", endpoint_name(), Path(), "default").observe().endpoint.state == "absent"
    with pytest.raises(UsageError, match="there is no Docker context nowhere"):
        DockerTarget("qa", "toy", Path(), "nowhere").observe()
