"""Fits the user's estimator, predicts the sealed rows, and predicts training rows out of fold. scikit-learn lives here.

Rows are put into canonical order first, so that the same rows in another order give the same model, bit for bit.
Nothing here ever shows a sealed row to ``fit``.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ridgeway.artifacts import Column, KeyRule
from ridgeway.errors import BadData, ModelError
from ridgeway.project import step_line
from ridgeway.rules import rows

log = logging.getLogger("ridgeway.train_model")

Floats = npt.NDArray[np.float64]
Task = Literal["regression", "classification"]
GOLDEN_ROWS = 200
"""Sealed rows that are kept with their predictions: enough for any probe, and few enough to cost nothing."""
GOLDEN_VALUE = "ridgeway:prediction"
GOLDEN_LABEL = "ridgeway:label"
GOLDEN_PROBABILITY = "ridgeway:probability:"
"""Columns of predictions beside features; no declared column is called so."""
MEND = "mend steps/make_model.py; --debug shows the whole trace of an error"
"""What to do where only the user's model can be at fault."""


@dataclass(frozen=True)
class Examples:
    """Rows ready to be learned from, in canonical order: features, target, and which of them are sealed.

    ``features`` has shape (rows, features); ``target`` and ``identities`` have shape (rows,).
    """

    features: pd.DataFrame
    target: npt.NDArray[Any]
    identities: rows.Words
    sealed: npt.NDArray[np.bool_]

    @property
    def training(self) -> npt.NDArray[np.bool_]:
        """The rows that may be learned from."""
        result: npt.NDArray[np.bool_] = ~self.sealed
        return result


@dataclass(frozen=True)
class Recipe:
    """How to make a model: the user's function and what is handed to it."""

    make_model: Callable[..., Any]
    parameters: Mapping[str, Any]
    seed: int
    task: Task
    folds: int = 0
    """Out-of-fold predictions by this many fits; 0: none."""
    jobs: int = 1
    """Folds fitted at the same time."""


@dataclass(frozen=True)
class Trained:
    """A fitted estimator with its honest predictions.

    ``sealed`` has shape (sealed rows,) for regression, (sealed rows, classes) to classify; ``out_of_fold`` the same
    over training rows, or is None when it was switched off.
    """

    estimator: Any
    classes: tuple[Any, ...]
    sealed: Floats
    out_of_fold: Floats | None


def examples(
    frame: pd.DataFrame, columns: Sequence[Column], *, key: KeyRule, label: str, ignore: Sequence[str]
) -> Examples:
    """The rows in canonical order, split into features and target, each known to be sealed or not.

    Args:
        frame: Rows with declared types.
        columns: All declared columns of the data.
        key: Which columns seal a row.
        label: The target column.
        ignore: Columns that are no features.

    Raises:
        BadData: A key column is missing, no feature is left, or no row is left to learn from.
    """
    missing = [column.name for column in key.columns if column.name not in frame.columns]
    if missing:
        raise BadData(
            f"load_data: key column {missing[0]!r} is missing",
            problem="a row's place in training or holdout hangs on its key columns; without one every row would move",
            expected=f"columns {', '.join(column.name for column in key.columns)}",
            next_step="restore the column, or start anew: ridgeway profile FILE --rebase --reason TEXT",
        )
    ordered = frame.iloc[rows.canonical_order(frame, columns)].reset_index(drop=True)
    names = [column.name for column in columns if column.name != label and column.name not in set(ignore)]
    identities = rows.identities(ordered, key.columns)
    result = Examples(ordered[names], ordered[label].to_numpy(), identities, rows.sealed(identities, key.holdout))
    if not names:
        raise BadData(
            "load_data: no feature is left",
            problem="there is no column beside the label and those that data.ignore names",
            expected="at least one column to predict from",
            next_step="ridgeway settings data.ignore",
        )
    if not result.training.any():
        raise BadData(
            "load_data: no row is left to learn from",
            problem=f"all {len(frame)} rows are in the holdout",
            expected="rows to learn from beside the sealed ones",
            next_step="a delivery with more rows",
        )
    return result


def unfitted(recipe: Recipe) -> Any:
    """What the user's ``make_model`` returns, checked to be an estimator for the task.

    Raises:
        ModelError: It raises, or returns something without ``fit`` and ``predict`` (``predict_proba`` to classify).
    """
    try:
        estimator = recipe.make_model(dict(recipe.parameters), seed=recipe.seed)
    except Exception as error:
        raise _model_error("make_model raised an error", error) from error
    needed = ["fit", "predict", *(["predict_proba"] if recipe.task == "classification" else [])]
    lacking = [name for name in needed if not callable(getattr(estimator, name, None))]
    if lacking or isinstance(estimator, type):
        raise ModelError(
            "train_model: make_model did not return an estimator",
            where="steps/make_model.py",
            problem=f"it returned {_short(estimator)}" + (f", which has no {lacking[0]}" if lacking else ", a class"),
            expected=f"an unfitted scikit-learn estimator with {', '.join(needed)}",
            next_step=MEND,
        )
    return estimator


def train(recipe: Recipe, data: Examples) -> Trained:
    """A model fitted on the training rows, with its predictions of the sealed rows and out of fold.

    Raises:
        ModelError: Fitting or predicting raises, or a prediction is not finite or has the wrong shape.
    """
    features, target = data.features[data.training], data.target[data.training]
    if recipe.task == "regression" and not np.issubdtype(np.asarray(target).dtype, np.number):
        raise BadData(
            "train_model: the label is no number",
            problem=f"such as {target[0]!r}",
            expected='a number, or training.task = "classification"',
            next_step="ridgeway settings training.task",
        )
    classes = _classes(data.target) if recipe.task == "classification" else ()
    if classes and _only_class(target) is not None:
        raise BadData(
            "train_model: there is only one class to learn from",
            problem=f"every training row is {_only_class(target)!r}; the others of {len(classes)} classes are sealed",
            expected="rows of at least two classes among those that may be learned from",
            next_step="a delivery with more rows of the rare class",
        )
    estimator = _fit(unfitted(recipe), features, target)
    sealed = predict(estimator, data.features[data.sealed], classes)
    folds = _out_of_fold(recipe, data, classes) if recipe.folds else None
    return Trained(estimator, classes, sealed, folds)


def predict(
    estimator: Any, features: pd.DataFrame, classes: Sequence[Any], *, who: str = "train_model: the model"
) -> Floats:
    """Finite predictions of shape (rows,), or probabilities of shape (rows, classes) when ``classes`` are given.

    Classes that the estimator never saw get probability 0. ``who`` begins the message of an error.

    Raises:
        ModelError: It raises (the first such row is named), predicts something not finite, or the wrong shape.
    """
    width = (len(classes),) if classes else ()
    if features.empty:
        return np.zeros((0, *width))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raw = estimator.predict_proba(features) if classes else estimator.predict(features)
    except Exception as error:
        raise _failing_row(estimator, features, classes, who, error) from error
    try:
        values = np.asarray(raw, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{who} does not predict numbers", problem=_short(raw), expected="finite predictions", next_step=MEND
        ) from error
    if classes:
        values = _aligned(estimator, values, classes)
    elif values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape != (len(features), *width):
        raise ModelError(
            f"{who} predicts the wrong shape",
            problem=f"{values.shape}",
            expected=f"{(len(features), *width)}",
            next_step=MEND,
        )
    _refuse_nonfinite(values, features, who)
    return values


def golden(estimator: Any, data: Examples, task: Task, *, most: int = GOLDEN_ROWS) -> pd.DataFrame:
    """Sealed rows as the model takes them, with its predictions beside: what an endpoint must answer one day.

    Rows are taken in the order of their identities, which are hashes: any first few of them are spread over the whole
    holdout, and the same rows are chosen every time. Of rows with one identity (of one entity) the first of each come
    first. They are personal data, and belong with the run and nowhere else.

    Args:
        estimator: Fitted.
        data: The rows, with those that are sealed.
        task: Regressions get the column ``GOLDEN_VALUE``; classifications ``GOLDEN_LABEL`` (as JSON, so that 1, "1" and
            true stay apart) and ``GOLDEN_PROBABILITY`` with a number for each of the estimator's classes, in their
            order.
        most: At most so many rows.

    Returns:
        A frame of at most ``most`` rows: the features with their types, then the predictions. Empty without sealed
        rows.
    """
    features = data.features.iloc[_spread(data, most)].reset_index(drop=True)
    if features.empty:
        return features
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers = np.asarray(estimator.predict(features))
        if task == "regression":
            return features.assign(**{GOLDEN_VALUE: answers.astype(np.float64).reshape(len(features))})
        probabilities = np.asarray(estimator.predict_proba(features), dtype=np.float64)
    columns = {f"{GOLDEN_PROBABILITY}{place}": column for place, column in enumerate(probabilities.T)}
    return features.assign(**{GOLDEN_LABEL: [json.dumps(label) for label in answers.tolist()]}, **columns)


def _spread(data: Examples, most: int) -> npt.NDArray[np.int64]:
    """Positions of the sealed rows to be kept."""
    places = np.flatnonzero(data.sealed)
    identities = pd.Series(data.identities[places])
    order = np.lexsort((identities.to_numpy(), identities.groupby(identities).cumcount().to_numpy()))
    return places[order][:most].astype(np.int64)


def _classes(target: npt.NDArray[Any]) -> tuple[Any, ...]:
    found = np.unique(target.astype(str) if target.dtype == object else target)
    if target.dtype == object:
        found = np.array(sorted(set(target.tolist()), key=str), dtype=object)
    if len(found) < 2:
        raise BadData(
            "train_model: the label has only one class",
            problem=f"every row is {found[0]!r}",
            expected="two classes or more",
            next_step="ridgeway settings data.label",
        )
    return tuple(found.tolist())


def _only_class(target: npt.NDArray[Any]) -> Any:
    """The class of all these rows; None where there are several."""
    found = set(target.tolist())
    return found.pop() if len(found) == 1 else None


def _fit(estimator: Any, features: pd.DataFrame, target: npt.NDArray[Any]) -> Any:
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fitted = estimator.fit(features, target)
    except Exception as error:
        raise _model_error("the model cannot be fitted", error) from error
    for text in sorted({f"{note.category.__name__}: {note.message}" for note in caught}):
        log.warning("while fitting: %s", text.splitlines()[0])
    return fitted if hasattr(fitted, "predict") else estimator


def _out_of_fold(recipe: Recipe, data: Examples, classes: Sequence[Any]) -> Floats:
    from sklearn.base import clone

    features, target = data.features[data.training], data.target[data.training]
    folds = rows.fold_numbers(data.identities[data.training], recipe.folds)
    used = np.unique(folds)
    if len(used) < 2:
        raise BadData(
            "train_model: too few rows for out-of-fold predictions",
            problem=f"{len(target)} training rows",
            expected="at least two, and many more for a model worth having",
            next_step="a delivery with more rows, or --set training.out_of_fold=0",
        )
    template = unfitted(recipe)

    def predict_fold(fold: int) -> Floats:
        kept, only = target[folds != fold], _only_class(target[folds != fold]) if classes else None
        if only is not None:  # no classifier can be fitted; and who has seen one class only expects that one
            return np.tile([float(label == only) for label in classes], (int((folds == fold).sum()), 1))
        model = _fit(clone(template, safe=False), features[folds != fold], kept)
        return predict(model, features[folds == fold], classes)

    parts = _each(predict_fold, [int(fold) for fold in used], recipe.jobs)
    result = np.zeros((len(target), *parts[0].shape[1:]))
    for fold, part in zip(used, parts, strict=True):
        result[folds == fold] = part
    return result


def _each(work: Callable[[int], Floats], folds: Sequence[int], jobs: int) -> list[Floats]:
    """The folds one after another, or side by side; progress at most every two seconds."""
    from joblib import Parallel, delayed

    parts: list[Floats] = []
    runner = Parallel(n_jobs=jobs, return_as="generator", prefer="threads")
    told = time.monotonic()
    for part in runner(delayed(work)(fold) for fold in folds):
        parts.append(part)
        if time.monotonic() - told > 2 and len(parts) < len(folds):
            told = time.monotonic()
            log.info("out-of-fold predictions: %d of %d folds", len(parts), len(folds))
    return parts


def _aligned(estimator: Any, values: Floats, classes: Sequence[Any]) -> Floats:
    known = [label.item() if hasattr(label, "item") else label for label in getattr(estimator, "classes_", ())]
    if values.ndim != 2 or values.shape[1] != len(known):
        raise ModelError(
            "train_model: predict_proba has the wrong shape",
            problem=f"{values.shape} for {len(known)} classes",
            expected="one column for each of the estimator's classes_",
            next_step=MEND,
        )
    result = np.zeros((len(values), len(classes)))
    result[:, [list(classes).index(label) for label in known]] = values
    return result


def _refuse_nonfinite(values: Floats, features: pd.DataFrame, who: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    if len(bad):
        raise ModelError(
            f"{who} predicts something that is not a number",
            problem=f"{len(bad)} of {len(values)} predictions are NaN or infinite; the first is for\n"
            + ", ".join(f"{name}={value}" for name, value in features.iloc[int(bad[0])].items()),
            expected="finite predictions",
            next_step=MEND,
        )


def _failing_row(
    estimator: Any, features: pd.DataFrame, classes: Sequence[Any], who: str, error: Exception
) -> ModelError:
    """The error with the first row that fails alone, found by halving."""
    low, high = 0, len(features)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _fails(estimator, features.iloc[low:middle], classes) else (middle, high)
    row = ", ".join(f"{name}={value}" for name, value in features.iloc[low].items())
    alone = (
        f"\nat row {low + 1} of the rows to predict: {row}"
        if _fails(estimator, features.iloc[low:high], classes)
        else ""
    )
    return ModelError(
        f"{who} cannot predict",
        problem=f"{type(error).__name__}: {error}{alone}",
        expected="a prediction for every row",
        next_step=MEND,
    )


def _fails(estimator: Any, features: pd.DataFrame, classes: Sequence[Any]) -> bool:
    try:
        estimator.predict_proba(features) if classes else estimator.predict(features)
    except Exception:  # noqa: BLE001 - whatever it raises is the answer
        return True
    return False


def _model_error(summary: str, error: Exception) -> ModelError:
    return ModelError(
        f"train_model: {summary}",
        where=step_line(error) or "steps/make_model.py",
        problem=f"{type(error).__name__}: {error}",
        expected="an estimator that is made, fitted and used without an error",
        next_step=MEND,
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}…"
