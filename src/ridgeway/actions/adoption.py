"""A version that somebody registered with plain MLflow: judged before it is released, and only released if accepted."""

from __future__ import annotations

import logging

from ridgeway.actions import judgement, retraining
from ridgeway.artifacts import Candidate, ModelVersion, Verdict
from ridgeway.errors import NotAccepted, NotProven
from ridgeway.project import Project
from ridgeway.registry import Registry
from ridgeway.registry.adoption import Adoption
from ridgeway.registry.records import REGISTERED_BY_TAG

FLOW = "adoption"
log = logging.getLogger("ridgeway.judge_candidate")


def admit(project: Project, registry: Registry, version: ModelVersion) -> ModelVersion:
    """The version with the verdict that lets it in: this one, or the one that the same model has already.

    A candidate of a retraining is judged as that would have judged it; the look at the holdout is counted. Of any other
    model nobody knows which rows it has seen, so no verdict on it would be sound; it is not even opened.

    Args:
        project: Whose rules count.
        registry: Where the version is.
        version: One without a verdict.

    Raises:
        NotAccepted: The verdict rejects it, or it is stored in a form that runs code when it is opened.
        NotProven: The evidence is not enough, or there can be none.
        EvidenceError: It and its opponent cannot be compared soundly.
        BadData: The rows that it was made from are not to be had.
    """
    adoption = Adoption(registry)
    candidate = adoption.candidate_of(version)
    if candidate is None:
        raise _foreign(version, adoption.form_of(version))
    known = registry.find_version(candidate.digest)
    if known is not None:
        log.info("%s is the very model of %s", version.handle, known.handle)
        return known
    verdict, run_id = _verdict(project, registry, candidate)
    if not verdict.accepted:
        raise _refused(version, verdict)
    return adoption.adopt(version, candidate, verdict, tags={REGISTERED_BY_TAG: run_id} if run_id else {})


def _verdict(project: Project, registry: Registry, candidate: Candidate) -> tuple[Verdict, str]:
    """The verdict, and the run that holds it; no run where a retraining had reached it before."""
    rows = retraining.rows_of(project, candidate)
    against = project.settings.rules.against
    if against == judgement.MEAN:
        judgement.check_new_start(candidate, rows[0].columns, registry=registry)
    opponent = judgement.choose_opponent(registry, against)
    earlier = judgement.earlier_verdict(project, candidate, opponent, registry=registry)
    if earlier is not None:
        log.info("judged before: %s", earlier.sentence)
        return earlier, ""
    verdict = judgement.judge(project, candidate, opponent, rows, registry=registry).verdict
    run_id = registry.start_run(FLOW)
    registry.save_verdict(run_id, verdict)
    registry.end_run(run_id, "FINISHED")
    log.info("%s", verdict.sentence)
    return verdict, run_id


def _refused(version: ModelVersion, verdict: Verdict) -> NotAccepted:
    kind = NotAccepted if verdict.outcome == "reject" else NotProven
    return kind(
        f"{version.handle} may not be released: {verdict.sentence}",
        problem=f"it was registered without a judgement, and judged now against {verdict.opponent}: {verdict.outcome}",
        expected="a model that the promotion gate accepts",
        next_step=verdict.next_step or "ridgeway run retraining",
    )


def _foreign(version: ModelVersion, form: str) -> NotAccepted:
    summary = f"{version.handle} may not be released: no verdict on it is possible"
    again = "put it into steps/make_model.py, then: ridgeway run retraining"
    if form == "pickle":
        return NotAccepted(
            summary,
            problem="it was registered with MLflow alone, and is stored as a pickle: to open it runs whatever is in it",
            expected="a model that Ridgeway has trained; those are stored without pickle",
            next_step=again,
        )
    return NotProven(
        summary,
        problem="it was registered with MLflow alone, and nothing tells which rows it was trained on: "
        "no row is known to be new to it",
        expected="a model that Ridgeway has trained, on rows that are known, beside rows that it has never seen",
        next_step=again,
    )
