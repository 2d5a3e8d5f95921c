"""Endpoints as containers of a Docker engine: one each, with limits, a health check and nothing it does not need."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ridgeway.project import Project
    from ridgeway.targets.docker.target import DockerTarget


def open_target(project: Project, name: str) -> DockerTarget:
    """The target ``name`` of the project's settings. Nothing is contacted yet."""
    from ridgeway.artifacts import InstanceType
    from ridgeway.targets.docker.target import DockerTarget

    types = tuple(
        InstanceType(key, one.cpu, one.memory_mib, dict(one.gpus), dict(one.node_selector), tuple(one.tolerations))
        for key, one in project.settings.instance_types.items()
    )
    context = project.settings.targets[name].context
    return DockerTarget(name, project.name, project.home, context, types)
