"""The log of a run, a release or an endpoint: from this machine's own record, the registry, or the target."""

from __future__ import annotations

from collections.abc import Iterator

from ridgeway.actions import operations
from ridgeway.actions.models import open_registry
from ridgeway.errors import NotFound, UsageError
from ridgeway.project import Project
from ridgeway.run_log import RunLog


def lines(project: Project, run: str, *, step: str = "", follow: bool = False) -> Iterator[str]:
    """The lines of a run's log, or of one step's; of the runs of a release, one after the other; of an endpoint.

    Args:
        project: Whose run it is.
        run: ``runs:/ID`` or the beginning of an id; ``releases:/NAME/NUMBER``; or the name of a target.
        step: Only this step's.
        follow: Go on until the run ends; only for runs of this machine.

    Raises:
        NotFound: Neither this machine nor the registry knows the run, or it has no such step.
        UsageError: A step of a target is asked for.
    """
    if run in project.settings.targets:
        if step:
            raise UsageError(
                f"logs {run} has no steps: {run} is a target",
                next_step=f"ridgeway logs {run}     or     ridgeway logs runs:/ID --only {step}",
            )
        return operations.logs(project, run, follow=follow)
    if run.startswith("releases:"):
        return _of_release(project, run, step, follow=follow)
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


def _of_release(project: Project, text: str, step: str, *, follow: bool) -> Iterator[str]:
    """What the processes that worked on a release said, oldest first."""
    store = RunLog(project.root)
    records = [record for record in reversed(store.records()) if text in record.produced]
    if not records:
        raise NotFound(
            f"this machine has no log of {text}",
            problem="no process of this project worked on it here",
            next_step=f"ridgeway show {text}",
        )
    chosen = [record for record in records if not step or any(known.name == step for known in record.steps)]
    for record in chosen:
        yield from store.log_lines(record.id, step, follow=follow and record is chosen[-1])
