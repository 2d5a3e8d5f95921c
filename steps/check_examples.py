"""The data gate, tried: on the project's data, on deliveries that it must take, and on such that it must not."""

from ridgeway.actions.build import Building
from ridgeway.artifacts import GateReport


def check_examples(*, job: Building) -> GateReport:
    """What it came to.

    Raises:
        GateFound: The data is refused, or good and bad deliveries are not told apart.
    """
    return job.check_examples()
