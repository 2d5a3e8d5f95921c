"""Where a project keeps what it keeps, also while its code is that of a published commit. Standard library only.

A published run works in a clone of its commit, below ``.ridgeway/published/`` of the project's working folder, its
*home*. The clone's own ``.ridgeway`` is a link to home's: run log, locks, registry and endpoints are shared. What is
not part of the commit at all (operations' settings, certificates, data that grow) is home's too.
"""

from __future__ import annotations

from pathlib import Path

STATE = ".ridgeway"
PUBLISHED = "published"
"""In the state: the clones, each named for its commit."""
HOME_NOTE = "home"
"""Beside the clones: the path of home, for a state that was put elsewhere and linked to."""


def state_of(root: Path) -> Path:
    """The folder that holds the project's state, links resolved: a path in it outlives the clone that asked.

    Example:
        >>> str(state_of(Path("/projects/diabetes")))
        '/projects/diabetes/.ridgeway'
    """
    return (root / STATE).resolve()


def home_of(root: Path) -> Path:
    """The project's working folder: ``root`` itself, unless that is a clone made for published runs.

    Example:
        >>> str(home_of(Path("/projects/diabetes")))
        '/projects/diabetes'
    """
    link = root / STATE
    if not link.is_symlink():
        return root
    state = link.resolve()
    if not root.resolve().is_relative_to(state / PUBLISHED):
        return root
    if (state.parent / STATE).resolve() == state:
        return state.parent
    return Path((state / PUBLISHED / HOME_NOTE).read_text(encoding="utf-8"))


def living(root: Path, name: str) -> Path:
    """A file or folder that a setting names: the commit's where it has it, else home's, which may change at any time.

    Args:
        root: The project's root, or that of a clone.
        name: Path relative to it; an absolute one stays.
    """
    own = root / name
    return own if own.exists() else home_of(root) / name
