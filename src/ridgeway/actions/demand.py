"""A judgement on demand: nothing is registered, but the look at the holdout is counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ridgeway.actions import judgement, retraining
from ridgeway.actions.models import open_registry, require_registry, resolve
from ridgeway.artifacts import Candidate, Verdict, parse_handle
from ridgeway.errors import RidgewayError, UsageError
from ridgeway.project import Project, prepare_state
from ridgeway.registry import Registry
from ridgeway.run_log import Process

FLOW = "judge"


def plan(project: Project, candidate: str, against: str | None) -> dict[str, str]:
    """What would be judged, against what, on how many rows; nothing is counted, and nothing written.

    Raises:
        NotFound: There is no such candidate or opponent, or no registry yet.
    """
    registry, subject, opponent = _parties(project, candidate, against)
    return {
        "candidate": subject.handle,
        "opponent": opponent.handle,
        "rows": f"{subject.sealed_rows} sealed ones of {subject.dataset}",
        "looks": f"{registry.looks(subject.key.digest)} at this holdout so far; this would be one more",
    }


def judge(project: Project, candidate: str, against: str | None) -> Verdict:
    """The verdict on a candidate that was trained before, judged again as if for the first time.

    Raises:
        NotFound: There is no such candidate or opponent.
        EvidenceError: The two cannot be compared soundly.
    """
    registry, subject, opponent = _parties(project, candidate, against)
    if opponent.digest == subject.digest:
        raise UsageError(
            f"{subject.handle} and {opponent.handle} are the same model", next_step="name another with --against"
        )
    prepare_state(project)
    judged = judgement.judge(project, subject, opponent, retraining.rows_of(project, subject), registry=registry)
    with _run(registry) as run_id:
        registry.save_verdict(run_id, judged.verdict)
    return judged.verdict


@contextmanager
def _run(registry: Registry) -> Iterator[str]:
    """A run that is ended however its block ends, opened when all that takes time is done; it says whose it is.

    Only a process that is killed within the block leaves it ``RUNNING``; its tags then tell which process that was.
    """
    mine = Process.current()
    owner = {"ridgeway.host": mine.host, "ridgeway.pid": str(mine.pid), "ridgeway.process_started": mine.started}
    run_id = registry.start_run(FLOW, owner)
    try:
        yield run_id
    except BaseException as error:
        with suppress(RidgewayError):  # the first error is the one to be told
            registry.end_run(run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    registry.end_run(run_id, "FINISHED")


def _parties(project: Project, candidate: str, against: str | None) -> tuple[Registry, Candidate, judgement.Opponent]:
    handle = parse_handle(candidate)
    require_registry(project, candidate)
    registry = open_registry(project)
    if handle.kind == "models":
        run_id = resolve(registry, candidate).run_id
    elif handle.kind == "runs":
        run_id = registry.find_run(handle.name).run_id
    else:
        raise UsageError(f"{candidate} cannot be judged", expected="runs:/ID/model or models:/NAME/7")
    opponent = judgement.choose_opponent(registry, against or project.settings.rules.against)
    return registry, registry.candidate(run_id), opponent
