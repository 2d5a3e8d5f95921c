"""The image: one model with the server that answers for it, the same for every stage."""

from ridgeway.actions.release import Releasing
from ridgeway.artifacts import Image


def build_image(*, job: Releasing) -> Image:
    """The image of the model, built only if nothing that goes into it was built before.

    Raises:
        ModelError: The model's package was altered, or no form of it answers as the model does.
        Unreachable: The image registry does not answer.
    """
    return job.build()
