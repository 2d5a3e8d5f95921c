"""A cluster's namespace as a place where images run.

Objects are applied server-side under our own field manager; what another manager has set is never taken by force. What
is decided is in pure modules (manifests, planning, capacity, comparison, diagnosis), what is done in the others.
"""

from __future__ import annotations

from ridgeway.artifacts import Deployment
from ridgeway.project import Project
from ridgeway.targets.kubernetes.connection import Cluster
from ridgeway.targets.kubernetes.manifests import Manifest, Shape
from ridgeway.targets.kubernetes.manifests import manifests as _manifests
from ridgeway.targets.kubernetes.naming import Place
from ridgeway.targets.kubernetes.target import KubernetesTarget

__all__ = ["KubernetesTarget", "manifests", "open_target"]


def open_target(project: Project, name: str) -> KubernetesTarget:
    """The target ``name``. Nothing is contacted yet."""
    chosen = project.settings.targets[name]
    place = Place(chosen.namespace or project.name.replace("_", "-"), project.name, name)
    return KubernetesTarget(project, place, Cluster(chosen.context))


def manifests(project: Project, deployment: Deployment) -> list[Manifest]:
    """The endpoint's objects, without contact to any cluster: for tools that apply what a repository holds.

    Secrets are named in them and not contained: keys are made by ``ridgeway keys TARGET`` or by whatever keeps secrets.
    """
    chosen = project.settings.targets[deployment.target]
    place = Place(chosen.namespace or project.name.replace("_", "-"), project.name, deployment.target)
    return _manifests(deployment, place, Shape())
