"""A pool without room for one replica more: replaced in place, one by one, never stuck, with the gap as announced."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ridgeway.artifacts import Deployment, Image
from ridgeway.errors import Permanent
from ridgeway.targets import Outcome
from ridgeway.targets.kubernetes import KubernetesTarget
from ridgeway.targets.kubernetes.capacity import free_replicas, pool
from ridgeway.targets.kubernetes.looking import see_nodes
from tests.targets.kubernetes.conftest import GPU_SMALL, Bed, Lab, image_of, settle, target_at, until, wanted
from tests.targets.kubernetes.test_load import load_on

pytestmark = [pytest.mark.kubernetes, pytest.mark.docker, pytest.mark.slow, pytest.mark.alone]
SMALLEST = dataclasses.replace(GPU_SMALL, cpu=0.15)


@pytest.fixture
def target(bed: Bed, tmp_path: Path) -> Iterator[KubernetesTarget]:
    made = target_at(bed, tmp_path, "full")
    yield made
    made.remove()


@pytest.fixture
def devices(target: KubernetesTarget) -> int:
    """How many devices nobody else uses: all eight of the pool, if it is ours alone."""
    free = free_replicas(pool(SMALLEST, see_nodes(target.cluster, ())))
    assert free is not None
    assert free >= 2
    return free


def full(image: Image, replicas: int, each: int = 1) -> Deployment:
    machine = dataclasses.replace(SMALLEST, gpus={"nvidia.com/gpu": each})
    return wanted(image, name="full", replicas=replicas, instance=machine, server={"drain_seconds": 1})


@pytest.mark.timeout(600)
def test_every_device_in_use(target: KubernetesTarget, images: tuple[Image, Image], devices: int) -> None:
    first, second = images
    assert settle(target, full(first, devices), seconds=200)[0] == Outcome(True)
    plan = target.plan(full(second, devices), target.observe())
    assert (plan.strategy, plan.gap_seconds) == ("in_place", 0.0)
    assert "0 more replicas would fit (gpu-1: 8 nvidia.com/gpu, 8 in use" in plan.notes[0]
    assert f"{devices - 1} of {devices} replicas answer" in plan.notes[1]
    refusing = dataclasses.replace(full(second, devices), when_full="refuse")
    with pytest.raises(Permanent, match=f"no room beside the {devices} old replicas, and when_full = refuse"):
        target.plan(refusing, target.observe())
    with load_on(target, pause=0.05) as load:
        outcome, said = settle(target, full(second, devices), seconds=300)
    assert outcome == Outcome(True), said
    assert load.failures == []
    assert set(load.right) == {"toy/1", "toy/2"}
    assert settle(target, full(first, devices), seconds=300)[0] == Outcome(True), "the way back goes the same way"


@pytest.mark.timeout(300)
def test_a_bad_image_in_a_full_pool_leaves_the_others_and_goes_back(
    target: KubernetesTarget, images: tuple[Image, Image], devices: int
) -> None:
    fewer = full(images[0], 2, devices // 2)
    assert settle(target, fewer)[0] == Outcome(True)
    missing = dataclasses.replace(images[0], digest="sha256:" + "0" * 64)
    outcome, _ = settle(target, dataclasses.replace(fewer, image=missing))
    assert outcome.reason == "ErrImagePull"
    assert target.observe().endpoint.ready == 1
    assert settle(target, fewer)[0] == Outcome(True)


@pytest.mark.timeout(300)
def test_the_only_replica_in_a_full_pool_has_the_announced_gap(
    target: KubernetesTarget, images: tuple[Image, Image], devices: int
) -> None:
    """The gap is announced, told in words, and what is measured is below it."""
    first = full(images[0], 1, devices)
    assert settle(target, first)[0] == Outcome(True)
    second = dataclasses.replace(first, image=images[1])
    plan = target.plan(second, target.observe())
    assert plan.strategy == "in_place"
    assert 0 < plan.gap_seconds <= 120
    assert f"nothing answers for at most {plan.gap_seconds:.0f} s" in plan.notes[1]
    started = time.monotonic()
    assert settle(target, second)[0] == Outcome(True)
    assert time.monotonic() - started < plan.gap_seconds


@pytest.mark.timeout(300)
def test_a_full_quota_is_rolled_in_place(
    target: KubernetesTarget, images: tuple[Image, Image], bed: Bed, lab: Lab
) -> None:
    """The cluster makes no pod until the old one is gone for good: that is no trouble of this roll-out."""
    first = full(images[0], 2)
    assert settle(target, first)[0] == Outcome(True)
    lab.kubectl("-n", bed.namespace, "create", "quota", "tight", "--hard=requests.nvidia.com/gpu=2")
    try:
        until(lambda: pool(SMALLEST, None, target.cluster.find("ResourceQuota", bed.namespace)).quota_free == 0)
        plan = target.plan(full(images[1], 2), target.observe())
        assert plan.strategy == "in_place"
        assert "quota tight: 2 of 2 requests.nvidia.com/gpu in use" in plan.notes[0]
        outcome, said = settle(target, full(images[1], 2))
        assert outcome == Outcome(True), said
    finally:
        lab.kubectl("-n", bed.namespace, "delete", "quota", "tight")


@pytest.mark.timeout(300)
def test_the_way_back_is_never_refused_for_the_room_that_the_failed_image_took(
    target: KubernetesTarget, images: tuple[Image, Image], devices: int
) -> None:
    """Room for one beside the old ones, which the failing one now holds; and in place is forbidden."""
    first = dataclasses.replace(full(images[0], 1, devices // 2), when_full="refuse")
    assert settle(target, first)[0] == Outcome(True)
    crash = image_of('ENTRYPOINT ["python", "-c", "raise SystemExit(1)"]', 1)
    outcome, _ = settle(target, dataclasses.replace(first, image=crash))
    assert outcome.reason == "CrashLoopBackOff"
    plan = target.plan(first, target.observe())
    assert (plan.strategy, plan.gap_seconds) == ("surge", 0.0)
    assert plan.notes[0] == "1 replica of it run already: no more are needed"
    with load_on(target) as load:
        assert settle(target, first)[0] == Outcome(True)
    assert load.failures == []
