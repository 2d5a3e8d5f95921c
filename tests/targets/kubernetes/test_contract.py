"""The contract of all kinds, held by a real cluster."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ridgeway.artifacts import Image
from ridgeway.targets import PlannedAction
from ridgeway.targets.remembered import short
from tests.targets.contract import Bench, TargetContract
from tests.targets.kubernetes.conftest import Bed, target_at, wanted

pytestmark = [pytest.mark.kubernetes, pytest.mark.docker]
NAME = "toy-production"
KINDS = ("ServiceAccount", "NetworkPolicy", "Service", "PodDisruptionBudget", "Deployment")


@pytest.fixture(scope="module")
def bench(bed: Bed, images: tuple[Image, Image], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder: Path = tmp_path_factory.mktemp("project")
    target = target_at(bed, folder)
    first, second = wanted(images[0]), wanted(images[1], release="releases:/toy/2")
    keep = [PlannedAction("keep", f"Secret {NAME}-keys"), *(PlannedAction("keep", f"{kind} {NAME}") for kind in KINDS)]
    yield Bench(
        target=target,
        again=lambda: target_at(bed, folder),
        first=first,
        second=second,
        create=(
            PlannedAction("create", f"Secret {NAME}-keys", "primary and secondary key"),
            PlannedAction("create", f"ServiceAccount {NAME}"),
            PlannedAction("create", f"NetworkPolicy {NAME}"),
            PlannedAction("create", f"Service {NAME}", "NodePort"),
            PlannedAction("create", f"PodDisruptionBudget {NAME}"),
            PlannedAction("create", f"Deployment {NAME}", f"1 replica of {images[0].handle}"),
        ),
        replace=(
            *keep[:-1],
            PlannedAction(
                "change", f"Deployment {NAME}", f"image {short(images[0].digest)} → {short(images[1].digest)}"
            ),
        ),
        keep=tuple(keep),
        removed=tuple(f"{subject} {NAME}" for subject in ("Deployment", "NetworkPolicy", "PodDisruptionBudget"))
        + tuple(f"{subject}" for subject in (f"Secret {NAME}-keys", f"Service {NAME}", f"ServiceAccount {NAME}")),
        admits=lambda key: admits(target.address(first), key),
        seconds=90,
    )
    target.remove()


def admits(address: str, key: str) -> bool:
    request = urllib.request.Request(f"{address}/v2", headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code != 401


class TestContract(TargetContract):
    """All of it."""
