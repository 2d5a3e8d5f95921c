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
from tests.targets.kubernetes.conftest import GPU_SMALL, Bed, settle, target_at, until, wanted
from tests.targets.kubernetes.test_load import load_on

pytestmark = [pytest.mark.kubernetes, pytest.mark.docker, pytest.mark.slow]
SMALLEST = dataclasses.replace(GPU_SMALL, cpu=0.15)
ALL = dataclasses.replace(SMALLEST, gpus={"nvidia.com/gpu": 8})


@pytest.fixture
def target(bed: Bed, tmp_path: Path) -> Iterator[KubernetesTarget]:
    made = target_at(bed, tmp_path, "full")
    until(lambda: pool_is_free(made), seconds=240)  # Other tests use it too.
    yield made
    made.remove()


def pool_is_free(target: KubernetesTarget) -> bool:
    pods = target.cluster.request("GET", "api/v1/pods", query={"fieldSelector": "spec.nodeName=gpu-1"})["items"]
    return not [pod for pod in pods if pod["status"]["phase"] not in ("Succeeded", "Failed")]


def eight(image: Image) -> Deployment:
    return wanted(image, name="full", replicas=8, instance=SMALLEST, server={"drain_seconds": 1})


@pytest.mark.timeout(600)
def test_eight_of_eight_in_use(target: KubernetesTarget, images: tuple[Image, Image]) -> None:
    first, second = images
    assert settle(target, eight(first), seconds=200)[0] == Outcome(True)
    plan = target.plan(eight(second), target.observe())
    assert (plan.strategy, plan.gap_seconds) == ("in_place", 0.0)
    assert "0 more replicas would fit (gpu-1: 8 nvidia.com/gpu, 8 in use" in plan.notes[0]
    assert "7 of 8 replicas answer" in plan.notes[1]
    refusing = dataclasses.replace(eight(second), when_full="refuse")
    with pytest.raises(Permanent, match="no room beside the 8 old replicas, and when_full = refuse"):
        target.plan(refusing, target.observe())
    with load_on(target, pause=0.05) as load:
        outcome, said = settle(target, eight(second), seconds=300)
    assert outcome == Outcome(True), said
    assert load.failures == []
    assert set(load.right) == {"toy/1", "toy/2"}
    assert settle(target, eight(first), seconds=300)[0] == Outcome(True), "the way back goes the same way"


@pytest.mark.timeout(300)
def test_a_bad_image_in_a_full_pool_leaves_the_others_and_goes_back(
    target: KubernetesTarget, images: tuple[Image, Image]
) -> None:
    fewer = dataclasses.replace(
        eight(images[0]), replicas=2, instance=dataclasses.replace(ALL, gpus={"nvidia.com/gpu": 4})
    )
    assert settle(target, fewer)[0] == Outcome(True)
    missing = dataclasses.replace(images[0], digest="sha256:" + "0" * 64)
    outcome, _ = settle(target, dataclasses.replace(fewer, image=missing))
    assert outcome.reason == "ErrImagePull"
    assert target.observe().endpoint.ready == 1
    assert settle(target, fewer)[0] == Outcome(True)


@pytest.mark.timeout(300)
def test_the_only_replica_in_a_full_pool_has_the_announced_gap(
    target: KubernetesTarget, images: tuple[Image, Image]
) -> None:
    """The gap is announced, told in words, and what is measured is below it."""
    first = dataclasses.replace(eight(images[0]), replicas=1, instance=ALL)
    assert settle(target, first)[0] == Outcome(True)
    second = dataclasses.replace(first, image=images[1])
    plan = target.plan(second, target.observe())
    assert plan.strategy == "in_place"
    assert 0 < plan.gap_seconds <= 120
    assert f"nothing answers for at most {plan.gap_seconds:.0f} s" in plan.notes[1]
    started = time.monotonic()
    assert settle(target, second)[0] == Outcome(True)
    assert time.monotonic() - started < plan.gap_seconds
