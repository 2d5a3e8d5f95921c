"""The model folder that we write is the one that MLflow would write."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from ridgeway import package
from ridgeway.registry.connection import import_mlflow
from ridgeway.registry.model_folder import Shown, requirements, signature_of, typical_row, write_model_folder

NUMBERS = pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [1, 2, 3]})
CITIES = pd.DataFrame({"city": ["x", "y", "x"]})


def cases() -> list[Any]:
    return [
        pytest.param(Ridge().fit(NUMBERS, [1.0, 2.0, 3.0]), NUMBERS, id="regression"),
        pytest.param(RandomForestClassifier(2, random_state=0).fit(NUMBERS, [0, 1, 1]), NUMBERS, id="forest"),
        pytest.param(
            make_pipeline(OneHotEncoder(), RandomForestClassifier(2, random_state=0)).fit(CITIES, ["no", "yes", "no"]),
            CITIES,
            id="labels",
        ),
    ]


@pytest.mark.parametrize(("estimator", "frame"), cases())
def test_the_folder_equals_mlflows_own(estimator: Any, frame: pd.DataFrame, tmp_path: Path) -> None:
    import_mlflow()
    import mlflow.sklearn

    example = typical_row(frame)
    needed = package.dump(estimator, tmp_path / "draft.skops")
    shown = Shown(frame, example, estimator.predict(example))
    write_model_folder(tmp_path / "draft.skops", tmp_path / "ours", shown, trusted=needed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's scoring code warns on import
        mlflow.sklearn.save_model(
            estimator,
            str(tmp_path / "theirs"),
            serialization_format="skops",
            skops_trusted_types=needed,
            signature=signature_of(frame, estimator.predict(frame)),
            input_example=example,
            pip_requirements=requirements(needed),
        )
        function = mlflow.pyfunc.load_model(str(tmp_path / "ours"))
        assert function.predict(frame).tolist() == estimator.predict(frame).tolist()
        assert function.predict(function.input_example).tolist() == estimator.predict(example).tolist()
    ours, theirs = (yaml.safe_load((tmp_path / name / "MLmodel").read_text()) for name in ("ours", "theirs"))
    for record in (ours, theirs):
        for moving in ("model_uuid", "utc_time_created", "model_size_bytes"):
            assert record.pop(moving)
    assert ours == theirs
    for name in ("conda.yaml", "python_env.yaml", "input_example.json", "serving_input_example.json"):
        written, expected = (yaml.safe_load((tmp_path / folder / name).read_text()) for folder in ("ours", "theirs"))
        assert written == expected, name
    lines = (tmp_path / "ours/requirements.txt").read_text().split()
    assert lines == (tmp_path / "theirs/requirements.txt").read_text().split()
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == sorted(
        path.name for path in (tmp_path / "theirs").iterdir()
    )


def test_a_typical_row_keeps_types_and_belongs_to_nobody() -> None:
    frame = pd.DataFrame(
        {
            "number": [1.0, np.nan, 3.0, 10.0],
            "integer": [1, 2, 3, 4],
            "flag": [True, False, True, True],
            "city": ["b", "a", "b", None],
            "day": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-01", "2026-01-03"]),
            "gone": [np.nan] * 4,
        }
    )
    row = typical_row(frame)
    assert row.dtypes.equals(frame.dtypes)
    values = row.iloc[0].to_dict()
    assert np.isnan(values.pop("gone"))
    assert values == {"number": 3.0, "integer": 2, "flag": True, "city": "b", "day": pd.Timestamp("2026-01-01")}


def test_signatures_follow_the_types() -> None:
    frame = pd.DataFrame({"x": [1.0], "n": [1], "f": [True], "s": ["a"], "d": pd.to_datetime(["2026-01-01"])})
    signature = signature_of(frame, np.array(["no"], dtype=object))
    assert [str(kind) for kind in signature.inputs.input_types()] == [
        "DataType.double",
        "DataType.long",
        "DataType.boolean",
        "DataType.string",
        "DataType.datetime",
    ]
    assert signature.outputs.to_dict()[0]["tensor-spec"] == {"dtype": "str", "shape": (-1,)}


def test_a_wheel_of_the_users_becomes_a_requirement() -> None:
    import importlib.metadata

    assert requirements(["click.core.Command"])[-1] == f"click=={importlib.metadata.version('click')}"
