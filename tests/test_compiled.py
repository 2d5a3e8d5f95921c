"""Fitted estimators become packages: each in the first form that gives the estimator's own predictions."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from sklearn.compose import ColumnTransformer
    from sklearn.datasets import load_diabetes
    from sklearn.ensemble import (
        GradientBoostingClassifier,
        GradientBoostingRegressor,
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
    )
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge, RidgeClassifier
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import (
        FunctionTransformer,
        MaxAbsScaler,
        MinMaxScaler,
        OneHotEncoder,
        OrdinalEncoder,
        PolynomialFeatures,
        RobustScaler,
        StandardScaler,
    )
    from sklearn.tree import DecisionTreeRegressor

from ridgeway.artifacts import Column
from ridgeway.compiled import FORMS, compile_model
from ridgeway.compiled.parity import to_table
from ridgeway.errors import ModelError, StorageError
from ridgeway_server.errors import PackageError, Refusal
from ridgeway_server.models import load_model
from ridgeway_server.packages import manifest_digest, read_package


@pytest.fixture(autouse=True)
def _one_thread():
    """Small fits on several threads spend their time waiting for each other."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


DATA = load_diabetes(as_frame=True, scaled=False)
NUMBERS, TARGET = DATA.data, DATA.target
SPLIT = 350


def columns(frame: pd.DataFrame) -> tuple[Column, ...]:
    def kind(values: pd.Series[Any]) -> Any:
        if values.dtype == bool:
            return "boolean"
        if not pd.api.types.is_numeric_dtype(values):
            return "string"
        return "integer" if not values.isna().any() and (values % 1 == 0).all() else "number"

    return tuple(Column(str(name), kind(frame[name])) for name in frame)


def mixed() -> pd.DataFrame:
    """Numbers with gaps, a text column with gaps, a flag."""
    frame = NUMBERS[["age", "bmi", "bp", "s5"]].copy()
    frame.loc[::7, "bmi"] = np.nan
    frame["city"] = np.where(frame.age > 55, "rome", np.where(frame.age > 40, "oslo", "lima"))
    frame.loc[::11, "city"] = None
    frame["new"] = frame.age % 2 == 0
    return frame


CLASSES = {
    "texts": TARGET.gt(140).map({True: "high", False: "low"}),
    "flags": TARGET.gt(140),
    "three": pd.cut(TARGET, [0, 100, 200, 1000], labels=[0, 1, 2]).astype(int),
}
MIXED_NUMBERS = ["age", "bmi", "bp", "s5"]


def encoded(last: Any, encoder: Any = None) -> Any:
    prepared = make_pipeline(SimpleImputer(), StandardScaler())
    parts = [("n", prepared, MIXED_NUMBERS), ("c", encoder or OneHotEncoder(handle_unknown="ignore"), ["city"])]
    return make_pipeline(ColumnTransformer([*parts, ("rest", "passthrough", ["new"])]), last)


def ordinal() -> Any:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)


def package(estimator: Any, frame: pd.DataFrame, target: Any, folder: Path, **options: Any) -> dict[str, Any]:
    estimator.fit(frame[:SPLIT], target[:SPLIT])
    classes = tuple(estimator.classes_.tolist()) if hasattr(estimator, "classes_") else ()
    return compile_model(
        estimator,
        folder,
        name="m",
        version="1",
        features=columns(frame),
        task="classification" if classes else "regression",
        classes=classes,
        holdout_frame=frame[SPLIT:],
        lineage={"run": "runs:/0"},
        **options,
    )


def check_answers(estimator: Any, frame: pd.DataFrame, folder: Path) -> None:
    """All rows, through the server's own code, equal the estimator's answers."""
    model = load_model(read_package(folder))
    answer = model.predict(to_table(frame, columns(frame)))
    if model.task == "regression":
        np.testing.assert_allclose(answer.values, estimator.predict(frame), rtol=1e-9, atol=1e-9)
        return
    assert model.labels(answer) == estimator.predict(frame).tolist()
    if hasattr(estimator, "predict_proba"):
        np.testing.assert_allclose(answer.probabilities, estimator.predict_proba(frame), rtol=1e-9, atol=1e-9)


REGRESSIONS = {
    "ridge": (lambda: make_pipeline(StandardScaler(), Ridge()), "closed form"),
    "least squares": (LinearRegression, "closed form"),
    "lasso behind min-max": (lambda: make_pipeline(MinMaxScaler(), Lasso()), "closed form"),
    "elastic net behind robust": (lambda: make_pipeline(RobustScaler(), ElasticNet()), "closed form"),
    "two scalers": (lambda: make_pipeline(MaxAbsScaler(), MinMaxScaler(), Ridge()), "closed form"),
    "gradient boosting": (lambda: GradientBoostingRegressor(n_estimators=20), "trees"),
    "random forest": (lambda: RandomForestRegressor(10), "trees"),
    "histogram boosting": (lambda: HistGradientBoostingRegressor(max_iter=10), "trees"),
    "one tree behind a scaler": (lambda: make_pipeline(StandardScaler(), DecisionTreeRegressor(max_depth=4)), "trees"),
    "network": (
        lambda: make_pipeline(
            StandardScaler(), MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", max_iter=20, tol=1e9)
        ),
        "onnx",
    ),
    "polynomials": (lambda: make_pipeline(PolynomialFeatures(2), StandardScaler(), Ridge()), "skops"),
}
CLASSIFIERS = {
    "logistic": (lambda: make_pipeline(StandardScaler(), LogisticRegression()), "closed form"),
    "gradient boosting": (lambda: GradientBoostingClassifier(n_estimators=5), "trees"),
    "random forest": (lambda: RandomForestClassifier(10), "trees"),
    "histogram boosting": (lambda: HistGradientBoostingClassifier(max_iter=5), "trees"),
}


@pytest.mark.parametrize("name", REGRESSIONS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_regressions_take_the_simplest_exact_form(tmp_path, name) -> None:
    make, form = REGRESSIONS[name]
    if form == "onnx":
        pytest.importorskip("skl2onnx")
    estimator = make()
    manifest = package(estimator, NUMBERS, TARGET, tmp_path / "1")
    parity = manifest["parity"]
    assert (parity["form"], parity["labels_equal"], parity["holdout_rows"]) == (form, True, 92)
    assert parity["largest_error"] <= 1e-9
    assert parity["extreme_rows"] > 100
    check_answers(estimator, NUMBERS, tmp_path / "1")


@pytest.mark.parametrize("target", CLASSES)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_with_labels_of_any_kind(tmp_path, name, target) -> None:
    make, form = CLASSIFIERS[name]
    estimator = make()
    manifest = package(estimator, NUMBERS, CLASSES[target], tmp_path / "1")
    assert manifest["parity"]["form"] == form
    assert manifest["classes"] == estimator.classes_.tolist()
    check_answers(estimator, NUMBERS, tmp_path / "1")


@pytest.mark.parametrize(
    ("last", "form"),
    [
        (Ridge(), "closed form"),
        (LogisticRegression(), "closed form"),
        (RandomForestRegressor(5), "trees"),
        (GradientBoostingClassifier(n_estimators=5), "trees"),
        (HistGradientBoostingClassifier(max_iter=5), "trees"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
@pytest.mark.parametrize("encoder", [None, ordinal], ids=["one-hot", "ordinal"])
def test_texts_and_gaps(tmp_path, last, form, encoder) -> None:
    from sklearn.base import clone

    estimator = encoded(clone(last), encoder and encoder())
    target = CLASSES["texts"] if hasattr(last, "predict_proba") else TARGET
    manifest = package(estimator, mixed(), target, tmp_path / "1")
    assert manifest["parity"]["form"] == form
    assert manifest["requires"] == []
    assert {c["name"] for c in manifest["signature"]["columns"] if c["missing"]} >= {"bmi", "city"}
    check_answers(estimator, mixed(), tmp_path / "1")


def test_what_the_encoder_refuses_the_server_refuses(tmp_path) -> None:
    estimator = encoded(Ridge(), OneHotEncoder(handle_unknown="error"))
    package(estimator, mixed(), TARGET, tmp_path / "1")
    model = load_model(read_package(tmp_path / "1"))
    with pytest.raises(Refusal, match="column 'city' is 'nowhere'; expected one of"):
        model.predict(model.signature.from_rows([[50, 30.1, 90, 4.1, "nowhere", True]]))


def test_scikit_learn_without_pandas_where_nothing_simpler_is_exact(tmp_path) -> None:
    estimator = encoded(KNeighborsRegressor())
    manifest = package(
        estimator, mixed(), TARGET, tmp_path / "1", forms=("skops", "skops with objects", "skops with pandas")
    )
    assert (manifest["kind"], manifest["parity"]["form"]) == ("skops", "skops with objects")
    assert [pin.split("==")[0] for pin in manifest["requires"]] == ["scikit-learn", "skops"]
    assert manifest["parity"]["passed_over"][0]["form"] == "skops"
    check_answers(estimator, mixed(), tmp_path / "1")
    assert hasattr(estimator, "feature_names_in_"), "the estimator itself is not changed"


def test_scikit_learn_with_pandas_as_the_last_resort(tmp_path) -> None:
    estimator = encoded(KNeighborsRegressor())
    manifest = package(estimator, mixed(), TARGET, tmp_path / "1", forms=("skops with pandas",))
    assert [pin.split("==")[0] for pin in manifest["requires"]] == ["scikit-learn", "skops", "pandas"]
    check_answers(estimator, mixed(), tmp_path / "1")


def test_networks_by_column(tmp_path) -> None:
    pytest.importorskip("skl2onnx")
    estimator = encoded(Ridge(), OneHotEncoder(handle_unknown="ignore"))
    frame = NUMBERS[["age", "bmi", "bp", "s5"]].assign(city=mixed().city.fillna("lima"), new=1.0)
    manifest = package(estimator, frame, TARGET, tmp_path / "1", forms=("onnx", "onnx float32"), allow_float32=True)
    assert manifest["form"]["inputs"] == "columns"
    model = load_model(read_package(tmp_path / "1"))
    answer = model.predict(to_table(frame, columns(frame)))
    np.testing.assert_allclose(answer.values, estimator.predict(frame), rtol=1e-4)


def test_types_of_other_modules_must_be_trusted_by_the_server(tmp_path) -> None:
    package(make_pipeline(PolynomialFeatures(2), Ridge()), NUMBERS, TARGET, tmp_path / "1", forms=("skops",))
    manifest = json.loads((tmp_path / "1" / "model.json").read_text())
    manifest["form"]["trusted"] = ["os.system"]
    manifest["digest"] = manifest_digest(manifest)
    (tmp_path / "1" / "model.json").write_text(json.dumps(manifest))
    with pytest.raises(PackageError, match="asks to build"):
        load_model(read_package(tmp_path / "1"))


def test_a_classifier_without_probabilities(tmp_path) -> None:
    estimator = make_pipeline(StandardScaler(), RidgeClassifier())
    manifest = package(estimator, NUMBERS, CLASSES["texts"], tmp_path / "1", forms=("skops",))
    assert manifest["probabilities"] is False
    check_answers(estimator, NUMBERS, tmp_path / "1")


def test_float32_only_when_asked_for_and_with_its_error(tmp_path) -> None:
    pytest.importorskip("skl2onnx")
    estimator, forms = GradientBoostingRegressor(n_estimators=10), ("onnx", "onnx float32")
    with pytest.raises(ModelError, match="onnx: "):
        package(estimator, NUMBERS, TARGET, tmp_path / "1", forms=forms)
    manifest = package(estimator, NUMBERS, TARGET, tmp_path / "1", forms=forms, allow_float32=True)
    assert (manifest["kind"], manifest["parity"]["dtype"]) == ("onnx", "float32")
    assert 1e-9 < manifest["parity"]["largest_error"] < 1e-5


def test_a_form_that_is_not_exact_is_passed_over(tmp_path) -> None:
    class Wrong(Ridge):
        """Looks linear and is not."""

        def predict(self, X):  # noqa: N803
            return super().predict(X) ** 2

    Wrong.__module__ = "sklearn.linear_model._ridge"
    estimator = Wrong()
    with pytest.raises(ModelError, match=r"closed form: row \d+ of \d+ differs by"):
        package(estimator, NUMBERS, TARGET, tmp_path / "1", forms=("closed form",))
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_a_model_whose_rows_depend_on_each_other_is_never_batched(tmp_path) -> None:
    def centred(rows):
        return rows - rows.mean(axis=0)

    def make() -> Any:
        return make_pipeline(FunctionTransformer(centred), Ridge())

    from ridgeway.compiled.parity import row_wise

    estimator = make()
    estimator.fit(NUMBERS, TARGET)

    class Fake:
        def predict(self, table):
            from ridgeway_server.answers import Answer

            return Answer(estimator.predict(pd.DataFrame(table.matrix, columns=NUMBERS.columns)))

    assert not row_wise(Fake(), to_table(NUMBERS, columns(NUMBERS)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"features": (Column("age", "datetime"),)}, "date columns"),
        ({"features": (Column("none", "number"),)}, "without"),
        ({"holdout_frame": NUMBERS[:0]}, "no held-out rows"),
        ({"name": "a/b"}, "is not a name"),
        ({"task": "classification", "classes": (1, 2)}, "closed form"),
        ({"forms": ()}, "cannot package"),
    ],
)
def test_what_cannot_be_packaged(tmp_path, change, says) -> None:
    estimator = Ridge().fit(NUMBERS, TARGET)
    given = {
        "name": "m",
        "version": "1",
        "features": columns(NUMBERS),
        "task": "regression",
        "classes": (),
        "holdout_frame": NUMBERS,
        "lineage": {},
        "forms": ("closed form",),
    }
    with pytest.raises(ModelError, match=says):
        compile_model(estimator, tmp_path / "1", **{**given, **change})  # type: ignore[arg-type]


def test_a_package_is_whole_or_not_there(tmp_path) -> None:
    folder = tmp_path / "models" / "m" / "1"
    first = package(Ridge(), NUMBERS, TARGET, folder)
    second = package(Ridge(alpha=2.0), NUMBERS, TARGET, folder)
    assert first["digest"] != second["digest"] == json.loads((folder / "model.json").read_text())["digest"]
    assert package(Ridge(alpha=2.0), NUMBERS, TARGET, folder)["digest"] == second["digest"], (
        "the same again is the same"
    )
    assert [path.name for path in folder.parent.iterdir()] == ["1"]
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        package(Ridge(), NUMBERS, TARGET, tmp_path / "file" / "1")


def test_all_forms_have_a_name() -> None:
    assert FORMS[0] == "closed form"
    assert len(set(FORMS)) == len(FORMS)
