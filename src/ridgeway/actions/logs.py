"""The log of a run: from this machine's own record, else from the registry."""

from __future__ import annotations

from collections.abc import Iterator

from ridgeway.actions.models import open_registry
from ridgeway.errors import NotFound
from ridgeway.project import Project
from ridgeway.run_log import RunLog


def lines(project: Project, run: str, *, step: str = "", follow: bool = False) -> Iterator[str]:
    """The lines of a run's log, or of one step's.

    Args:
        project: Whose run it is.
        run: ``runs:/ID`` or the beginning of an id.
        step: Only this step's.
        follow: Go on until the run ends; only for runs of this machine.

    Raises:
        NotFound: Neither this machine nor the registry knows the run, or it has no such step.
    """
    try:
        return RunLog(project.root).log_lines(run, step, follow=follow)
    except NotFound as here:
        registry = open_registry(project)
        prefix = run.removeprefix("runs:/").partition("/")[0]
        try:
            found = registry.find_run(prefix)
            path = registry.read_file(found.run_id, f"logs/{step}.log" if step else "logs/run.log")
        except NotFound:
            raise here from None
        return iter(path.read_text(encoding="utf-8", errors="replace").splitlines())
