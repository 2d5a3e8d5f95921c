"""Per-row losses and metrics: scikit-learn's numbers, and one clear error for every kind of bad number."""

import math

import numpy as np
import pytest

from ridgeway.errors import EvidenceError, UsageError
from ridgeway.rules.promotion import (
    LOSSES,
    Evidence,
    Policy,
    baseline_predictions,
    metrics,
    row_losses,
    same_predictions,
)

RNG = np.random.default_rng(7)
TRUTH, PREDICTED = RNG.normal(150, 70, 200), RNG.normal(150, 70, 200)
CLASSES = ("high", "low", "middle")
LABELS = RNG.choice(CLASSES, 200)
PROBABILITIES = RNG.dirichlet([1, 2, 3], 200)
TWO_LABELS = RNG.integers(0, 2, 200)
# Rounded, so that scores tie.
SCORES = RNG.integers(0, 11, 200) / 10
TWO_PROBABILITIES = np.column_stack([1 - SCORES, SCORES])


def test_the_four_losses_on_literal_rows() -> None:
    assert row_losses("squared_error", [1.0, 2.0], [1.5, 4.0]).tolist() == [0.25, 4.0]
    assert row_losses("absolute_error", [1.0, 2.0], [1.5, 4.0]).tolist() == [0.5, 2.0]
    halves = [[0.5, 0.5], [0.75, 0.25]]
    assert row_losses("log_loss", [0, 1], halves, classes=(0, 1)) == pytest.approx([math.log(2), math.log(4)])
    assert row_losses("brier", [0, 1], halves, classes=(0, 1)).tolist() == [0.25, 0.5625]
    thirds = [[0.5, 0.25, 0.25]]
    assert row_losses("brier", ["a"], thirds, classes=("a", "b", "c")).tolist() == [0.375]


def test_regression_metrics_are_those_of_scikit_learn() -> None:
    from sklearn import metrics as reference

    assert metrics("regression", TRUTH, PREDICTED) == pytest.approx(
        {
            name: getattr(reference, name + ("_score" if name == "r2" else ""))(TRUTH, PREDICTED)
            for name in ("r2", "mean_squared_error", "mean_absolute_error")
        }
    )


def test_classification_metrics_are_those_of_scikit_learn() -> None:
    from sklearn import metrics as reference

    found = metrics("classification", LABELS, PROBABILITIES, classes=CLASSES)
    assert found == pytest.approx(
        {
            "accuracy": reference.accuracy_score(LABELS, np.array(CLASSES)[PROBABILITIES.argmax(axis=1)]),
            "log_loss": reference.log_loss(LABELS, PROBABILITIES, labels=CLASSES),
            "brier": np.square(PROBABILITIES - (LABELS[:, None] == np.array(CLASSES))).sum(axis=1).mean(),
        }
    )
    two = metrics("classification", TWO_LABELS, TWO_PROBABILITIES, classes=(0, 1))
    assert two["brier"] == pytest.approx(reference.brier_score_loss(TWO_LABELS, SCORES))
    assert two["roc_auc"] == pytest.approx(reference.roc_auc_score(TWO_LABELS, SCORES))


def test_metrics_of_odd_sets_of_rows() -> None:
    assert metrics("regression", [], []) == {}
    assert metrics("regression", [3.0], [4.0])["r2"] == 0.0
    assert metrics("regression", [0.1] * 7, [0.1] * 7)["r2"] == 1.0
    assert metrics("regression", [0.1] * 7, [0.1] * 6 + [0.2])["r2"] == 0.0
    assert "roc_auc" not in metrics("classification", [1, 1], [[0.5, 0.5], [0.1, 0.9]], classes=(0, 1))


def test_every_metric_has_a_side() -> None:
    regression = metrics("regression", TRUTH, PREDICTED)
    two = metrics("classification", TWO_LABELS, TWO_PROBABILITIES, classes=(0, 1))
    for name in {**regression, **two}:
        refused = 0
        for kind in ("floors", "ceilings"):
            try:
                Policy(**{kind: {name: 0.5}})  # type: ignore[arg-type]
            except UsageError:
                refused += 1
        assert refused == 1, name


def test_log_loss_is_clipped_and_an_unknown_class_has_probability_zero() -> None:
    certain = [[1.0, 0.0]] * 3
    found = row_losses("log_loss", ["a", "b", "new"], certain, classes=("a", "b"))
    assert found == pytest.approx([0.0, -math.log(1e-15), -math.log(1e-15)])
    assert row_losses("brier", ["a", "b", "new"], certain, classes=("a", "b")).tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("classes", [("a", "b"), (0, 1), (False, True), (0.5, 1.5)])
def test_classes_of_every_type_find_their_column(classes: tuple[object, ...]) -> None:
    probabilities = [[0.25, 0.75], [0.25, 0.75]]
    found = row_losses("log_loss", list(classes), probabilities, classes=classes)
    assert found == pytest.approx([math.log(4), math.log(4 / 3)])
    as_objects = np.array(classes, dtype=object)
    assert row_losses("log_loss", as_objects, probabilities, classes=classes) == pytest.approx(found)


def test_the_baseline_is_the_training_mean_or_the_training_shares() -> None:
    assert baseline_predictions([1.0, 2.0, 6.0], 2).tolist() == [3.0, 3.0]
    assert baseline_predictions([1, 1, 0, 1], 2, classes=(0, 1)).tolist() == [[0.25, 0.75]] * 2
    for classes in ((), (0, 1)):
        with pytest.raises(EvidenceError, match="no training rows"):
            baseline_predictions([], 2, classes=classes)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error"])
def test_numbers_that_are_not_finite_are_refused_with_their_row(loss: str, bad: float) -> None:
    with pytest.raises(EvidenceError, match=r"row 2 of 3[\s\S]*the target is"):
        row_losses(loss, [1.0, bad, bad], [1.0, 2.0, 3.0])
    with pytest.raises(EvidenceError, match=r"row 3 of 3[\s\S]*the prediction is"):
        row_losses(loss, [1.0, 2.0, 3.0], [1.0, 2.0, bad])


@pytest.mark.parametrize("row", [[math.nan, 0.5], [-0.1, 1.1], [0.5, 0.6], [0.0, 0.0], [math.inf, 0.0]])
@pytest.mark.parametrize("loss", ["log_loss", "brier"])
def test_rows_that_are_no_probabilities_are_refused(loss: str, row: list[float]) -> None:
    with pytest.raises(EvidenceError, match=r"row 2 of 2[\s\S]*the prediction is"):
        row_losses(loss, [0, 1], [[0.5, 0.5], row], classes=(0, 1))


@pytest.mark.parametrize("missing", [None, math.nan])
def test_missing_classes_are_refused(missing: object) -> None:
    labels = np.array(["a", missing], dtype=object)
    with pytest.raises(EvidenceError, match=r"row 2 of 2[\s\S]*the target is"):
        row_losses("log_loss", labels, [[0.5, 0.5]] * 2, classes=("a", "b"))


def test_an_error_that_overflows_when_squared_is_refused() -> None:
    with pytest.raises(EvidenceError, match="row 2 of 2"):
        row_losses("squared_error", [1.0, 1.0], [1.0, 1e200])
    assert row_losses("absolute_error", [1.0], [1e200]).tolist() == [1e200]


@pytest.mark.parametrize("loss", LOSSES)
def test_lengths_that_differ_are_refused(loss: str) -> None:
    for predictions in ([1.0], [[1.0, 0.0]], [[[1.0]]], [[1.0], [1.0]]):
        with pytest.raises(EvidenceError, match="shape"):
            row_losses(loss, [0, 1], predictions, classes=("a", "b"))


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(UsageError, match=r"rules\.loss"):
        row_losses("hinge", [1.0], [1.0])


def test_predictions_are_the_same_up_to_rounding() -> None:
    assert same_predictions(PREDICTED, PREDICTED * (1 + 1e-15))
    assert same_predictions([], [])
    assert same_predictions([0.0, 0.0], [0.0, 0.0])
    assert not same_predictions(PREDICTED, PREDICTED + 1e-6)
    assert not same_predictions([0.0, 1.0], [0.0])
    assert not same_predictions([math.nan], [math.nan])


def test_the_losses_of_every_kind_are_evidence() -> None:
    found = row_losses("log_loss", LABELS, PROBABILITIES, classes=CLASSES)
    assert Evidence(found, found).sealed_candidate.shape == (200,)
