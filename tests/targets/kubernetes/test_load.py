"""No request fails while an image takes another's place, comes back, or a key is changed; every answer is checked."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ridgeway.artifacts import Deployment, Image
from ridgeway.targets import Outcome
from ridgeway.targets.kubernetes import KubernetesTarget
from ridgeway.targets.kubernetes.asking import Caller, answering_image
from ridgeway.targets.kubernetes.connection import patiently
from ridgeway.targets.kubernetes.diagnosis import is_ready
from tests.targets.kubernetes.conftest import Bed, Lab, settle, target_at, wanted
from tests.targets.load import Load

pytestmark = [pytest.mark.kubernetes, pytest.mark.docker]
LABELS = "app.kubernetes.io/instance=load-production"


@pytest.fixture
def served(bed: Bed, images: tuple[Image, Image], tmp_path: Path) -> Iterator[KubernetesTarget]:
    target = target_at(bed, tmp_path, "load")
    assert settle(target, two(images[0]))[0] == Outcome(True)
    yield target
    target.remove()


def two(image: Image) -> Deployment:
    return wanted(image, name="load", replicas=2)


def load_on(target: KubernetesTarget, which: str = "primary", pause: float = 0.01) -> Load:
    where = urlsplit(target.observe().endpoint.address)
    keys = target.keys()
    assert keys is not None
    return Load(
        where.hostname or "",
        where.port or 0,
        key=lambda: str(getattr(keys, which)),
        kept=(pause, 0.02, 0.2, 0.45, 1.3),
        new=(pause, 0.03),
    )


def proven(target: KubernetesTarget, image: Image) -> None:
    """The address answers with this image and no other, from the moment on that the wait is over."""
    keys = target.keys()
    assert keys is not None
    caller = Caller(target.observe().endpoint.address, keys.primary)
    assert {answering_image(caller) for _ in range(20)} == {image.digest}


@pytest.mark.slow
def test_no_request_fails_in_a_rollout_a_rollback_and_a_rotation(
    served: KubernetesTarget, images: tuple[Image, Image]
) -> None:
    first, second = images
    with load_on(served, "secondary") as load:
        assert settle(served, two(second))[0] == Outcome(True)
        proven(served, second)
        assert settle(served, two(first))[0] == Outcome(True)
        proven(served, first)
        served.rotate("primary", say=lambda _line: None)
    assert load.failures == []
    assert set(load.right) == {"toy/1", "toy/2"}
    assert load.total > 500


@pytest.mark.slow
def test_no_request_fails_when_a_node_is_drained(
    served: KubernetesTarget, images: tuple[Image, Image], bed: Bed, lab: Lab
) -> None:
    """Pods are evicted one after the other, as `kubectl drain` does it; the disruption budget makes it wait."""
    pods = served.cluster.find("Pod", bed.namespace, labelSelector=LABELS)
    names = [pod["metadata"]["name"] for pod in pods if is_ready(pod)]
    with load_on(served) as load:
        for name in names:
            eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
            path = f"api/v1/namespaces/{bed.namespace}/pods/{name}/eviction"
            patiently(functools.partial(lab.cluster.request, "POST", path, body=eviction), seconds=60)
        assert served.wait(two(images[0]), seconds=60, say=print) == Outcome(True)
    assert load.failures == []
    assert load.total > 200


@pytest.mark.slow
def test_ten_rollouts_and_fifty_thousand_requests(served: KubernetesTarget, images: tuple[Image, Image]) -> None:
    with load_on(served, "secondary", pause=0.0) as load:
        for turn in range(10):
            assert settle(served, two(images[(turn + 1) % 2]))[0] == Outcome(True)
            proven(served, images[(turn + 1) % 2])
        while load.total < 50_000 and not load.failures:
            load.stop.wait(1)
    assert load.failures == []
    assert load.total >= 50_000
