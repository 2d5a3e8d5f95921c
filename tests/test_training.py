"""Fitting and predicting with real small estimators: what is honest about it, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier

from ridgeway import training
from ridgeway.artifacts import Column
from ridgeway.errors import BadData, ModelError
from ridgeway.rules.rows import key_rule

COLUMNS = (Column("a", "number"), Column("b", "number"), Column("y", "number"))
KEY = key_rule(COLUMNS[:2], entity="", holdout=0.25)


def table(rows: int = 200) -> pd.DataFrame:
    random = np.random.default_rng(7)
    a, b = random.normal(size=(2, rows))
    return pd.DataFrame({"a": a, "b": b, "y": 3 * a - b + random.normal(scale=0.1, size=rows)})


def examples(frame: pd.DataFrame | None = None, **changes: Any) -> training.Examples:
    options: dict[str, Any] = {"key": KEY, "label": "y", "ignore": ()}
    return training.examples(table() if frame is None else frame, COLUMNS, **(options | changes))


def recipe(make: Callable[[], Any], **changes: Any) -> training.Recipe:
    def make_model(parameters: Mapping[str, Any], *, seed: int) -> Any:
        return make()

    options: dict[str, Any] = {"task": "regression", "folds": 5}
    return training.Recipe(make_model, {}, 0, **(options | changes))


def test_rows_in_another_order_give_the_very_same_model() -> None:
    frame = table()
    one = training.train(recipe(LinearRegression), examples(frame))
    other = training.train(recipe(LinearRegression), examples(frame.sample(frac=1, random_state=3)))
    assert one.estimator.coef_.tobytes() == other.estimator.coef_.tobytes()
    assert one.sealed.tobytes() == other.sealed.tobytes()


def test_no_sealed_row_is_ever_shown_to_fit() -> None:
    seen: list[pd.DataFrame] = []

    class Spy(LinearRegression):  # type: ignore[misc]
        def fit(self, features: pd.DataFrame, target: Any) -> Any:
            seen.append(features)
            return super().fit(features, target)

    data = examples()
    training.train(recipe(Spy), data)
    sealed = set(data.features[data.sealed].index)
    assert len(seen) == 1 + 5
    assert all(sealed.isdisjoint(features.index) for features in seen)


def test_out_of_fold_predictions_never_know_their_own_row() -> None:
    # A nearest neighbour that has seen a row predicts it exactly; out of fold it cannot.
    data = examples()
    trained = training.train(recipe(lambda: KNeighborsRegressor(n_neighbors=1)), data)
    target = data.target[data.training]
    assert (trained.estimator.predict(data.features[data.training]) == target).all()
    assert trained.out_of_fold is not None
    assert trained.out_of_fold.shape == target.shape
    assert (trained.out_of_fold != target).all()


def test_folds_side_by_side_are_the_same_folds() -> None:
    data = examples()
    alone, beside = (training.train(recipe(LinearRegression, jobs=jobs), data).out_of_fold for jobs in (1, 2))
    assert np.array_equal(alone, beside)  # type: ignore[arg-type]


def test_out_of_fold_can_be_off() -> None:
    assert training.train(recipe(LinearRegression, folds=0), examples()).out_of_fold is None


def classified() -> training.Examples:
    frame = table()
    frame["y"] = np.where(frame["y"] > 1, "high", np.where(frame["y"] < -3, "rare", "low"))
    return training.examples(frame, COLUMNS, key=KEY, label="y", ignore=())


def test_probabilities_have_a_column_for_each_class_also_in_folds_that_lack_one() -> None:
    data = classified()
    trained = training.train(recipe(LogisticRegression, task="classification", folds=40), data)
    assert trained.classes == ("high", "low", "rare")
    assert trained.sealed.shape == (data.sealed.sum(), 3)
    assert np.allclose(trained.sealed.sum(axis=1), 1)
    assert trained.out_of_fold is not None
    assert trained.out_of_fold.shape == (data.training.sum(), 3)


def test_an_ignored_column_and_the_label_are_no_features() -> None:
    assert list(examples(ignore=("b",)).features.columns) == ["a"]
    kept, all_columns = examples(ignore=("b",)), examples()
    assert (kept.sealed == all_columns.sealed).all()


def test_without_a_feature_or_a_key_column_nothing_is_trained() -> None:
    with pytest.raises(BadData, match="no feature is left"):
        examples(ignore=("a", "b"))
    with pytest.raises(BadData, match="key column 'b' is missing"):
        examples(table().drop(columns="b"))


class Nonsense(BaseEstimator):  # type: ignore[misc]
    """Fits anything, and predicts what it was made with."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer

    def fit(self, features: Any, target: Any) -> Nonsense:
        return self

    def predict(self, features: Any) -> Any:
        if self.answer == "raise":
            raise ValueError("row of doom") if (features["a"] > 2).any() else ValueError("never")
        return self.answer if not callable(self.answer) else self.answer(features)


def raising() -> Any:
    raise RuntimeError("no model today")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (raising, "RuntimeError: no model today"),
        (lambda: "ridge", "it returned 'ridge', which has no fit"),
        (lambda: None, "it returned None"),
        (lambda: LinearRegression, "a class"),
        (lambda: Nonsense([1.0]), "predicts the wrong shape"),
        (lambda: Nonsense("text"), "does not predict numbers"),
        (lambda: Nonsense(lambda features: np.full(len(features), np.nan)), "something that is not a number"),
        (lambda: DummyRegressor(strategy="unheard-of"), "the model cannot be fitted"),
    ],
    ids=["raises", "text", "None", "class", "shape", "words", "NaN", "bad parameter"],
)
def test_a_model_that_is_none_is_refused(make: Callable[[], Any], expected: str) -> None:
    with pytest.raises(ModelError) as caught:
        training.train(recipe(make), examples())
    assert expected in str(caught.value)


def test_a_classifier_needs_probabilities() -> None:
    with pytest.raises(ModelError, match="which has no predict_proba"):
        training.train(recipe(LinearRegression, task="classification"), classified())


def test_the_row_a_model_crashes_on_is_named() -> None:
    def crash(features: pd.DataFrame) -> Any:
        if (features["a"] > 2.2).any():
            raise ZeroDivisionError("1/0")
        return np.zeros(len(features))

    frame = table()
    with pytest.raises(ModelError) as caught:
        training.predict(Nonsense(crash), frame[["a", "b"]], (), who="judge_candidate: models:/m/1")
    first = int(np.flatnonzero(frame["a"] > 2.2)[0])
    assert f"at row {first + 1} of the rows to predict: a={frame['a'][first]}" in str(caught.value)
    assert str(caught.value).startswith("judge_candidate: models:/m/1 cannot predict")


def test_one_class_and_text_for_a_number_are_bad_data() -> None:
    frame = table().assign(y="same")
    with pytest.raises(BadData, match="only one class"):
        training.train(recipe(DecisionTreeClassifier, task="classification"), examples(frame))
    with pytest.raises(BadData, match="the label is no number"):
        training.train(recipe(LinearRegression), examples(frame))


def test_predicting_no_rows_is_no_error() -> None:
    assert training.predict(LinearRegression(), table()[["a"]].head(0), ("x", "y")).shape == (0, 2)
