"""Where images run: one interface, and a kind for each way of driving a place. Kinds do not know each other.

``plan`` is pure and printable, ``apply`` carries it out, ``describe`` looks, ``remove`` takes away. What decides (surge
or in place, refuse or not) is in ``ridgeway.rules``; what combines them (roll-out, way back) in ``ridgeway.actions``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ridgeway.targets.interface import Keys, Observed, Outcome, Plan, PlannedAction, Room, Say, Target

if TYPE_CHECKING:
    from ridgeway.project import Project

__all__ = ["Keys", "Observed", "Outcome", "Plan", "PlannedAction", "Room", "Say", "Target", "open_target"]


def open_target(project: Project, name: str) -> Target:
    """The target ``name`` of the project's settings. Nothing is contacted yet.

    Raises:
        UsageError: There is no target of this name.
    """
    from ridgeway.errors import UsageError

    chosen = project.settings.targets
    if name not in chosen:
        raise UsageError(
            f"there is no target {name}", expected=f"one of {', '.join(chosen)}", next_step="ridgeway list targets"
        )
    # Each kind is a package or module of its own, with a function `open_target(project, name)`; only one is imported.
    target: Target = import_module(f"ridgeway.targets.{chosen[name].kind}").open_target(project, name)
    return target
