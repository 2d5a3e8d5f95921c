"""The test of an endpoint: who it is, whether it answers as the model was trained, and how fast."""

from ridgeway.actions.release import Releasing
from ridgeway.artifacts import Endpoint, ProbeReport


def probe_endpoint(endpoint: Endpoint, *, job: Releasing) -> ProbeReport:
    """What the endpoint answered.

    Raises:
        GateFound: It is not to be trusted; the release ends here.
    """
    return job.probe(endpoint)
