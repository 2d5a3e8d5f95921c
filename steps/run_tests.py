"""The tests, and how much of the code they run."""

from ridgeway.actions.build import Building
from ridgeway.artifacts import GateReport


def run_tests(*, job: Building) -> GateReport:
    """What they came to.

    Raises:
        GateFound: A test has failed, or too little of the code is run.
    """
    return job.run_tests()
