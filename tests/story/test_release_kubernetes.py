"""Releases to a real cluster on good and bad days: exit code, one message, production as it was, a whole record."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ridgeway.targets.kubernetes.connection import Cluster
from tests.story.release_cluster import ClusterStory, in_cluster
from tests.story.release_project import ReleaseStory
from tests.story.test_release import is_told
from tests.targets.kubernetes.conftest import Bed, Lab, bed_in

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab(Path(os.environ.get("KUBECONFIG", Path.home() / ".kube/config")), Cluster())


@pytest.fixture(scope="module")
def bed(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with bed_in(lab, tmp_path_factory.mktemp("bed"), "ridgeway-test-story") as made:
        yield made


@pytest.fixture(scope="module")
def story(pair: ReleaseStory, bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> ClusterStory:
    return in_cluster(pair, tmp_path_factory.mktemp("cluster"), bed)


def test_there_and_back(story: ClusterStory) -> None:
    asked = story.release(1)
    assert asked.code == 5, asked.err
    print(asked.err)
    done = story.approve(1)
    print(done.err)
    assert done.code == 0, done.err
    assert story.serves(1)
    print(story.released(2))
    assert story.serves(2)
    back = story.ridgeway("rollback", "production")
    print(back.err)
    assert back.code == 0, back.err
    assert story.serves(1)
    is_told(story.release(9), 2, "models:/diabetes/9")
