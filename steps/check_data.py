"""The data gate: nothing is trained on rows that it refuses."""

from ridgeway.actions.retraining import Retraining
from ridgeway.artifacts import DataReport, Dataset


def check_data(dataset: Dataset, *, job: Retraining) -> DataReport:
    """What the expectation suite finds in the rows, warnings among it.

    Raises:
        BadData: An expectation failed; the message names columns, values and rows.
    """
    return job.check(dataset)
