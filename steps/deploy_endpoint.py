"""Deployment to a stage where a release is tried."""

from ridgeway.actions.release import Releasing
from ridgeway.artifacts import Endpoint, Image


def deploy_endpoint(image: Image, stage: str, *, job: Releasing) -> Endpoint:
    """The endpoint of that stage, running this image and ready.

    Raises:
        GateFound: It does not become ready there.
        Busy: Another release works on it.
    """
    return job.deploy(image, stage)
