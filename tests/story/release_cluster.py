"""Projects whose models are released to a real cluster, as the shipped account and never as an administrator."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.story.release_project import ReleaseStory, another, ask
from tests.targets.kubernetes.conftest import BASE, REGISTRY, Bed

REPOSITORY = f"{REGISTRY}/ridgeway-test-story"
PLACES = """
[image]
repository = "{repository}"
base = "{base}"
[instance_types.cpu-tiny]
cpu = 0.1
memory_mib = 256
[instance_types.gpu-tiny]
cpu = 0.1
memory_mib = 256
gpus = {{ "nvidia.com/gpu" = 1 }}
node_selector = {{ pool = "gpu" }}
tolerations = [{{ key = "nvidia.com/gpu", operator = "Exists" }}]
"""
"""Where images lie, and which machines there are."""
SETTINGS = (
    PLACES
    + """\
[targets.qa]
kind = "kubernetes"
namespace = "{namespace}"
instance_type = "cpu-tiny"
expose = "NodePort"
rollout = {{ deadline_seconds = 60, bake_seconds = 0 }}
[targets.production]
kind = "kubernetes"
namespace = "{namespace}"
instance_type = "cpu-tiny"
expose = "NodePort"
rollout = {{ deadline_seconds = 60, bake_seconds = 1 }}
approval = {{ role = "release-manager", count = 1, own_release = true, expires_hours = 1 }}
[approvers]
release-manager = ["kubernetes:system:serviceaccount:{namespace}:ridgeway-deployer"]
"""
)


@dataclass(frozen=True)
class ClusterStory(ReleaseStory):
    """A project with two registered models and two targets in a cluster."""

    bed: Bed | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What each command finds: operations' settings, and the namespace's account."""
        assert self.bed is not None
        return {**super().environment, "KUBECONFIG": str(self.bed.kubeconfig)}

    def found(self, kind: str, name: str = "") -> Any:
        """An object, or all of a kind, as an administrator sees them."""
        assert self.bed is not None
        words = ("get", kind, *([name] if name else []), "-o", "json")
        return json.loads(self.bed.lab.kubectl("-n", self.bed.namespace, *words))

    def generation(self, target: str = "production") -> int:
        """How many pod templates were ever asked for on a target."""
        sets = self.found("replicasets")["items"]
        own = [one for one in sets if one["metadata"]["name"].startswith(f"{self.name}-{target}-")]
        revisions = [one["metadata"]["annotations"].get("deployment.kubernetes.io/revision", "0") for one in own]
        return max(map(int, revisions), default=0)

    def answered(self, target: str = "production") -> tuple[str, float]:
        """Which model a target answers with, and what."""
        held = json.loads(self.ridgeway("keys", target, "--json").out)
        return ask(int(held["address"].rpartition(":")[2]), held["primary"])


def in_cluster(source: ReleaseStory, folder: Path, bed: Bed) -> ClusterStory:
    """A copy of a project, with targets in a namespace."""
    story = another(source, folder)
    story.operations.write_text(SETTINGS.format(repository=REPOSITORY, base=BASE, namespace=bed.namespace))
    return ClusterStory(story.root, story.name, story.operations, {}, bed)


@contextlib.contextmanager
def changed(story: ReleaseStory, old: str, new: str) -> Iterator[None]:
    """Other settings of operations meanwhile."""
    before = story.operations.read_text()
    assert old in before
    story.operations.write_text(before.replace(old, new))
    try:
        yield
    finally:
        story.operations.write_text(before)


def tags(repository: str) -> list[str]:
    """What a repository holds, by name."""
    host, _, name = repository.partition("/")
    answer = httpx.get(f"http://{host}/v2/{name}/tags/list")
    return sorted(answer.json()["tags"] or []) if answer.status_code == 200 else []


def forget(repository: str) -> None:
    """Takes all images of a repository away."""
    host, _, name = repository.partition("/")
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"}
    for tag in tags(repository):
        found = httpx.head(f"http://{host}/v2/{name}/manifests/{tag}", headers=accept)
        if digest := found.headers.get("Docker-Content-Digest"):
            httpx.delete(f"http://{host}/v2/{name}/manifests/{digest}")
