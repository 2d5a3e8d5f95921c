"""Endpoints as supervised processes of this machine: a daemon each, which outlives the command that started it.

Light: what runs inside the daemon is imported by the daemon only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ridgeway.project import Project
    from ridgeway.targets.process.target import ProcessTarget


def open_target(project: Project, name: str) -> ProcessTarget:
    """The target ``name`` of the project's settings."""
    from ridgeway.artifacts import InstanceType
    from ridgeway.targets.process.target import ProcessTarget

    types = tuple(
        InstanceType(key, one.cpu, one.memory_mib, dict(one.gpus), dict(one.node_selector), tuple(one.tolerations))
        for key, one in project.settings.instance_types.items()
    )
    return ProcessTarget(name, project.name, project.home, types)


def stop_all(project: Project) -> tuple[str, ...]:
    """Ends every process of the project's endpoints, also of targets that are no longer in its settings.

    Nothing is forgotten: ``observe`` then says ``stopped``, and applying the same deployment brings it back.

    Returns:
        What was ended, a line each.
    """
    from ridgeway.targets.process.folder import folders
    from ridgeway.targets.process.target import ProcessTarget

    ended: list[str] = []
    for name, _ in folders(project.state):
        ended += ProcessTarget(name, project.name, project.home).stop()
    return tuple(ended)
