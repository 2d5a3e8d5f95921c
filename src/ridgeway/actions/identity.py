"""Who acts: the CI system's user, the cluster's, or the operating system's."""

from __future__ import annotations

from contextlib import suppress

from ridgeway import people
from ridgeway.artifacts import Person
from ridgeway.ci.approvers import approvers
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


def approving(project: Project) -> tuple[Person, ...]:
    """Whose yes this process carries: those whom the CI system asked and whom it names, else who acts here.

    A job that runs behind an approval of its CI system acts for whoever gave it, and not for who started the run.
    """
    return approvers() or (acting(project),)
