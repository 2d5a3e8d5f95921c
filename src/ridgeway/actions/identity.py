"""Who acts: the CI system's user, the cluster's, or the operating system's."""

from __future__ import annotations

from contextlib import suppress

from ridgeway import people
from ridgeway.artifacts import Person
from ridgeway.errors import RidgewayError
from ridgeway.project import Project


def acting(project: Project) -> Person:
    """The person on whose behalf this process runs; asks the cluster only where production is one."""
    last = project.settings.release.stages[-1]
    known: Person | None = None
    if project.settings.targets[last].kind == "kubernetes":
        from ridgeway.targets import open_target

        with suppress(RidgewayError):  # who cannot be asked cannot vouch; the next source does
            known = open_target(project, last).person()
    return people.acting(from_target=known)
