"""Production: the new image in place of the old one, watched, proven; or the old one back."""

from ridgeway.actions.release import Releasing
from ridgeway.artifacts import Image, Rollout


def roll_out(image: Image, *, job: Releasing) -> Rollout:
    """The roll-out, done and proven; the model is the champion.

    Raises:
        RolledBack: The new image did not hold; the previous one is back.
        Stuck: Neither is proven.
        Busy: Another release works on the endpoint.
    """
    return job.roll_out(image)
