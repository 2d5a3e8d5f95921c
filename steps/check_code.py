"""The gates of code: lint and formatting, and by setting types and import contracts."""

from ridgeway.actions.build import Building
from ridgeway.artifacts import GateReport


def check_code(*, job: Building) -> list[GateReport]:
    """What each of them came to.

    Raises:
        GateFound: One has found something; the report names file, line and rule.
    """
    return job.check_code()
