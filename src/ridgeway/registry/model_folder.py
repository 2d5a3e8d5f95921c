"""A candidate as an MLflow model folder: skops, signature, a made-up example, given requirements, and no pickle."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ridgeway.registry.connection import import_mlflow

MODEL_FILE = "model.skops"
LIBRARIES = ("mlflow", "scikit-learn", "numpy", "scipy", "pandas", "skops")
"""What a model needs in order to be loaded and asked; its versions here become its requirements."""


def requirements(types: Sequence[str] = ()) -> list[str]:
    """The requirements of a model trained here: the installed versions of ``LIBRARIES`` and of what owns ``types``.

    Given and not inferred: MLflow's inference loads the model in a second process, takes 8 s, and lists what that
    process happened to import.

    Args:
        types: Full names of classes inside the model; their packages are added where they come from a wheel.

    Example:
        >>> [line.split("==")[0] for line in requirements(["sklearn.tree._tree.Tree"])]
        ['mlflow', 'scikit-learn', 'numpy', 'scipy', 'pandas', 'skops']
    """
    packages = {name.split(".", maxsplit=1)[0] for name in types} - {"sklearn", "numpy", "scipy"}
    owners = importlib.metadata.packages_distributions() if packages else {}
    further = {owner for package in packages for owner in owners.get(package, [])} - set(LIBRARIES)
    return [f"{library}=={importlib.metadata.version(library)}" for library in (*LIBRARIES, *sorted(further))]


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


@dataclass(frozen=True, slots=True)
class Shown:
    """What an MLflow model tells about itself: no row of the data is among it."""

    frame: Any
    """Features as the estimator was trained on them; only names and types are kept."""
    example: Any
    """A table of features that is nobody's record; kept."""
    predictions: Any
    """The estimator's for ``example``; only their type is kept."""


def write_model_folder(model: Path, folder: Path, shown: Shown, *, trusted: Sequence[str]) -> None:
    """Moves a skops file into a new MLflow model folder, equal to the one that ``mlflow.sklearn.save_model`` writes.

    MLflow's own function imports its scoring server for 1.2 s and writes and reads the model once more; the format is
    what it documents as the MLmodel file, and a test holds both equal.

    Args:
        model: A skops file on the same file system as ``folder``.
        folder: Does not exist yet.
        shown: Signature and example.
        trusted: The types that skops needs to be told; written into the model for plain MLflow clients.
    """
    import_mlflow()
    from mlflow.models import Model

    folder.mkdir()
    model.replace(folder / MODEL_FILE)
    description = Model(signature=signature_of(shown.frame, shown.predictions))
    description.saved_input_example_info = _write_example(shown.example, folder)
    for flavor, settings in _flavors(trusted).items():
        description.add_flavor(flavor, **settings)
    description.model_size_bytes = sum(file.stat().st_size for file in folder.iterdir())
    description.save(str(folder / "MLmodel"))
    _write_environment(folder, requirements(trusted))


def _flavors(trusted: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {
        "python_function": {
            "loader_module": "mlflow.sklearn",
            "model_path": MODEL_FILE,
            "predict_fn": "predict",
            "python_version": platform.python_version(),
            "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
        },
        "sklearn": {
            "pickled_model": MODEL_FILE,  # MLflow's word for the model file, whatever its format
            "sklearn_version": importlib.metadata.version("scikit-learn"),
            "serialization_format": "skops",
            "code": None,
            "skops_trusted_types": list(trusted),
        },
    }


def _write_example(example: Any, folder: Path) -> dict[str, str]:
    """Writes the example twice, to be read and to be sent to a scoring server; how MLflow finds both."""
    table = json.loads(example.to_json(orient="split", index=False, date_format="iso"))
    (folder / "input_example.json").write_text(json.dumps(table), encoding="utf-8")
    (folder / "serving_input_example.json").write_text(
        json.dumps({"dataframe_split": table}, indent=2), encoding="utf-8"
    )
    return {
        "artifact_path": "input_example.json",
        "serving_input_path": "serving_input_example.json",
        "type": "dataframe",
        "pandas_orient": "split",
    }


def _write_environment(folder: Path, lines: Sequence[str]) -> None:
    import yaml

    python = platform.python_version()
    conda = {
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": list(lines)}],
        "name": "mlflow-env",
    }
    own = {
        "python": python,
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": ["-r requirements.txt"],
    }
    (folder / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "conda.yaml").write_text(yaml.safe_dump(conda, sort_keys=False), encoding="utf-8")
    (folder / "python_env.yaml").write_text(yaml.safe_dump(own, sort_keys=False), encoding="utf-8")
