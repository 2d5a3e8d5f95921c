"""Registration: an accepted candidate becomes a numbered version with its lineage."""

from ridgeway.actions.retraining import Retraining
from ridgeway.artifacts import Candidate, ModelVersion, Verdict


def register_model(candidate: Candidate, verdict: Verdict, *, job: Retraining) -> ModelVersion:
    """The registered version, alias ``challenger``; the earlier one if this very model is registered already.

    Raises:
        UsageError: The verdict does not accept this candidate.
    """
    return job.register(candidate, verdict)
