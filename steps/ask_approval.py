"""The question to a person: may this image go to production, on this evidence?"""

from ridgeway.actions.release import Releasing
from ridgeway.artifacts import Image, Release


def ask_approval(image: Image, *, job: Releasing) -> Release:
    """The release with its evidence put before the approvers: ``approved``, ``waiting``, ``refused`` or ``expired``."""
    return job.ask(image)
