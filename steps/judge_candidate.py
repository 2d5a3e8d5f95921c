"""Judgement: the candidate against the model in production, on rows that neither was trained on."""

from ridgeway.actions.retraining import Retraining
from ridgeway.artifacts import Candidate, Verdict


def judge_candidate(candidate: Candidate, *, job: Retraining) -> Verdict:
    """Accept, reject or hold, with the reason and the numbers behind it. A rejection is a result, not an error.

    Raises:
        EvidenceError: The two models cannot be compared soundly.
    """
    return job.judge(candidate)
