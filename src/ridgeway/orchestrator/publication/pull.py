"""The first thing that whoever carries out a published flow run does: gets the code of its commit.

Prefect calls it by its name, from any worker of the pool: ours, or `prefect worker start --pool ridgeway`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ridgeway.artifacts import Origin
from ridgeway.orchestrator.environment import environment
from ridgeway.settings import quiet_environment


def checkout(repository: str, commit: str, folder: str, home: str) -> dict[str, str]:
    """``{"directory": …}``: the project's folder in a clone of the commit; Prefect makes it the working directory.

    It comes first on ``sys.path``, and ``flows`` and ``steps`` of any other project are forgotten.

    Args:
        repository: Path or address of the git repository.
        commit: 40 hex digits.
        folder: The project's folder in the repository; empty where it is the whole.
        home: The project's working folder on this machine.

    Raises:
        UsageError: Home, the repository or the commit is not there.
        StorageError: The disk is full, or the folder cannot be written.
    """
    from ridgeway.orchestrator.publication.checkout import checkout as clone

    quiet_environment()
    root = clone(Origin(repository, commit, folder, home))
    for name, value in environment(root).items():
        os.environ.setdefault(name, value)
    enter(root)
    return {"directory": str(root)}


def enter(root: Path) -> None:
    """Makes the project's modules the ones that Python finds first, none of another project's left."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("flows", "steps")]:
        del sys.modules[name]
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
