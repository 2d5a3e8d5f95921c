"""The only node of the pool is lost in the middle: told with its name; when it is back, the same command converges."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ridgeway.artifacts import Image
from ridgeway.errors import Permanent
from ridgeway.targets import Outcome
from ridgeway.targets.kubernetes import KubernetesTarget
from tests.targets.kubernetes.conftest import GPU_SMALL, Bed, settle, target_at, until, wanted

pytestmark = [pytest.mark.kubernetes, pytest.mark.docker, pytest.mark.slow, pytest.mark.alone]
LAB = os.environ.get("RIDGEWAY_LAB", "")


def lab(*words: str) -> None:
    subprocess.run([LAB, *words], check=True, capture_output=True)


@pytest.fixture
def unplugged() -> Iterator[Callable[[], None]]:
    if not LAB:
        pytest.skip("RIDGEWAY_LAB does not name the program that unplugs a node")
    pulled = []

    def pull() -> None:
        pulled.append(True)
        lab("stop-node", "gpu-1")

    yield pull
    if pulled:
        lab("start-node", "gpu-1")


@pytest.mark.timeout(600)
def test_the_node_is_named_and_all_is_well_when_it_is_back(
    bed: Bed, images: tuple[Image, Image], tmp_path: Path, unplugged: Callable[[], None]
) -> None:
    target: KubernetesTarget = target_at(bed, tmp_path, "lost")
    first = wanted(images[0], name="lost", instance=GPU_SMALL, server={"drain_seconds": 0.5})
    second = dataclasses.replace(first, image=images[1])
    assert settle(target, first)[0] == Outcome(True)
    plan = target.plan(second, target.observe())
    unplugged()
    target.apply(plan, package=None, say=print)
    started = time.monotonic()
    outcome = target.wait(second, seconds=120, say=print)
    assert time.monotonic() - started < 120
    assert not outcome.healthy
    assert "gpu-1" in outcome.sentence
    until(lambda: target.observe().endpoint.state != "healthy")
    third = dataclasses.replace(first, server={"drain_seconds": 0.7})
    with pytest.raises(Permanent, match="node gpu-1 is not ready"):
        target.plan(third, target.observe())
    assert target.plan(first, target.observe()).actions  # the way back is never refused

    lab("start-node", "gpu-1")
    until(lambda: all(node.ready for node in target.observe().facts["found"].nodes), seconds=120)
    assert settle(target, second, seconds=120)[0] == Outcome(True)
    target.remove()
