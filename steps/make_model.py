"""The model: edit this function to use your own."""

from collections.abc import Mapping
from typing import Any

from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


def make_model(parameters: Mapping[str, Any], *, seed: int) -> Pipeline:
    """An unfitted scikit-learn estimator.

    Ridgeway does everything else: it splits, fits, judges and packages. Columns arrive as a pandas DataFrame with their
    names; what needs preparation (scaling, categories, missing values) belongs into the pipeline, so that the same
    preparation is there when the model serves.

    Args:
        parameters: ``training.parameters`` of ridgeway.toml.
        seed: ``training.seed``; hand it to estimators that draw random numbers.
    """
    return make_pipeline(StandardScaler(), Ridge(**parameters, random_state=seed))
