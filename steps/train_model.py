"""Training: the model of make_model.py, fitted on every row that is not sealed."""

from ridgeway.actions.retraining import Retraining
from ridgeway.artifacts import Candidate, Dataset
from steps.make_model import make_model


def train_model(dataset: Dataset, *, job: Retraining) -> Candidate:
    """A trained model with its predictions of the sealed rows; the one an earlier run made from the very same inputs.

    Raises:
        ModelError: The model cannot be built, fitted, predicted with, or carried to another machine.
    """
    return job.train(dataset, make_model)
