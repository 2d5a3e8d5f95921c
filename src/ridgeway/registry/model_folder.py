"""A candidate as an MLflow model folder: skops, signature, a made-up example, given requirements, and no pickle."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ridgeway.registry.connection import import_mlflow

MODEL_FILE = "model.skops"
LIBRARIES = ("scikit-learn", "numpy", "scipy", "pandas", "skops")
"""What a model needs in order to be loaded and asked; its versions here become its requirements."""


def requirements() -> list[str]:
    """The requirements of a model trained here: the installed versions of ``LIBRARIES``.

    Given and not inferred: MLflow's inference loads the model in a second process, takes 8 s, and lists what that
    process happened to import.

    Example:
        >>> [line.split("==")[0] for line in requirements()]
        ['scikit-learn', 'numpy', 'scipy', 'pandas', 'skops']
    """
    return [f"{library}=={importlib.metadata.version(library)}" for library in LIBRARIES]


def typical_row(frame: Any) -> Any:
    """One made-up row with the columns of ``frame``: medians of numbers, most frequent values of everything else.

    Its values each belong to the whole column and to nobody: the example that MLflow shows beside a model must not be a
    person's record.

    Args:
        frame: A pandas DataFrame with at least one row.

    Returns:
        A DataFrame with one row and the same dtypes.

    Example:
        >>> import pandas as pd
        >>> typical_row(pd.DataFrame({"age": [50.0, 61.0, 58.0], "city": ["b", "b", "a"]})).to_dict("records")
        [{'age': 58.0, 'city': 'b'}]
    """
    import pandas as pd

    return pd.DataFrame({name: _typical(frame[name]).astype(frame[name].dtype) for name in frame.columns})


def _typical(column: Any) -> Any:
    import pandas as pd

    known = column.dropna()
    if known.empty:
        return column.head(1)
    if pd.api.types.is_bool_dtype(known.dtype) or not pd.api.types.is_numeric_dtype(known.dtype):
        return known.mode().head(1)
    # The lower of the two middle values: the median of whole numbers stays one.
    return pd.Series([known.quantile(0.5, interpolation="lower")])


def signature_of(frame: Any, predictions: Any) -> Any:
    """MLflow's signature: one column per feature by dtype, and the type of the predictions."""
    import numpy as np

    import_mlflow()
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema, TensorSpec

    columns = [ColSpec(type=_column_type(frame[name].dtype), name=str(name)) for name in frame.columns]
    answer = np.asarray(predictions)
    kind = np.dtype(str) if answer.dtype.kind in "OTU" else answer.dtype
    return ModelSignature(inputs=Schema(columns), outputs=Schema([TensorSpec(kind, (-1, *answer.shape[1:]))]))


def _column_type(dtype: Any) -> str:
    import pandas as pd

    kinds = pd.api.types
    if kinds.is_bool_dtype(dtype):
        return "boolean"
    if kinds.is_integer_dtype(dtype):
        return "long"
    if kinds.is_numeric_dtype(dtype):
        return "double"
    return "datetime" if kinds.is_datetime64_any_dtype(dtype) else "string"


def write_model_folder(estimator: Any, folder: Path, *, frame: Any, example: Any, trusted: Sequence[str]) -> None:
    """Writes ``estimator`` as an MLflow model that any MLflow client can load.

    Args:
        estimator: Fitted.
        folder: Does not exist yet.
        frame: Features as the estimator was trained on them, for the signature; no row of it is stored.
        example: A table of features that is nobody's record; stored with the model.
        trusted: The types that skops needs to be told; written into the model for plain MLflow clients.
    """
    import_mlflow()
    import mlflow.sklearn

    mlflow.sklearn.save_model(
        estimator,
        str(folder),
        serialization_format="skops",
        skops_trusted_types=list(trusted),
        signature=signature_of(frame, estimator.predict(example)),
        input_example=example,
        pip_requirements=requirements(),
    )
