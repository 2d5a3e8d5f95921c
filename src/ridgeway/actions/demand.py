"""A judgement on demand: nothing is registered, but the look at the holdout is counted."""

from __future__ import annotations

from ridgeway.actions import judgement, retraining
from ridgeway.actions.models import open_registry, resolve
from ridgeway.artifacts import Candidate, Verdict, parse_handle
from ridgeway.errors import UsageError
from ridgeway.project import Project
from ridgeway.registry import Registry

FLOW = "judge"


def plan(project: Project, candidate: str, against: str | None) -> list[str]:
    """What would be judged, against what, on how many rows; nothing is counted."""
    registry, subject, opponent = _parties(project, candidate, against)
    return [
        f"candidate  {subject.handle}",
        f"opponent   {opponent.handle}",
        f"rows       {subject.sealed_rows} sealed ones of {subject.dataset}",
        f"looks      {registry.looks(subject.key.digest)} at this holdout so far; this would be one more",
    ]


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
    judged = judgement.judge(project, subject, opponent, retraining.rows_of(project, subject), registry=registry)
    run_id = registry.start_run(FLOW, {})
    registry.save_verdict(run_id, judged.verdict)
    registry.end_run(run_id, "FINISHED")
    return judged.verdict


def _parties(project: Project, candidate: str, against: str | None) -> tuple[Registry, Candidate, judgement.Opponent]:
    registry = open_registry(project)
    handle = parse_handle(candidate)
    if handle.kind == "models":
        run_id = resolve(registry, candidate).run_id
    elif handle.kind == "runs":
        run_id = registry.find_run(handle.name).run_id
    else:
        raise UsageError(f"{candidate} cannot be judged", expected="runs:/ID/model or models:/NAME/7")
    opponent = judgement.choose_opponent(registry, against or project.settings.rules.against)
    return registry, registry.candidate(run_id), opponent
