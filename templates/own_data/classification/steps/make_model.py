"""The model: edit this function to use your own."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder


def make_model(parameters: Mapping[str, Any], *, seed: int) -> Pipeline:
    """An unfitted scikit-learn estimator.

    Ridgeway does everything else: it splits, fits, judges and packages. Columns arrive as a pandas DataFrame with their
    names; what needs preparation (scaling, categories, missing values) belongs into the pipeline, so that the same
    preparation is there when the model serves.

    This first model takes numbers, texts and missing values as they are; columns of times are left out. A text that
    training has never seen counts as missing.

    Args:
        parameters: ``training.parameters`` of ridgeway.toml.
        seed: ``training.seed``; hand it to estimators that draw random numbers.
    """
    texts = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan)
    columns = ColumnTransformer(
        [
            ("numbers", "passthrough", make_column_selector(dtype_include=["number", "bool"])),
            ("texts", texts, make_column_selector(dtype_exclude=["number", "bool", "datetime"])),
        ]
    )
    return Pipeline([("columns", columns), ("model", HistGradientBoostingClassifier(random_state=seed, **parameters))])
