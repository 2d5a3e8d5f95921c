from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ridgeway.report import SealedRows, plot_data


def regression(n: int, *, seed: int = 0) -> SealedRows:
    random = np.random.default_rng(seed)
    actual = random.normal(100, 20, n)
    return SealedRows(
        actual,
        actual + random.normal(0, 5, n),
        actual + random.normal(0, 9, n),
        random.normal(1, 10, n),
        {"odd": np.arange(n) % 2 == 1},
    )


def test_a_small_regression_whole() -> None:
    rows = SealedRows(
        actual=np.array([3.0, 1.0, 2.0]),
        candidate=np.array([2.5, 1.0, 2.5]),
        opponent=np.array([2.0, 2.0, 2.0]),
        gains=np.array([0.75, 1.0, -0.25]),
        slices={"low": np.array([False, True, True]), "none": np.zeros(3, dtype=bool)},
    )
    data = plot_data(rows)
    assert data["scatter"] == {"actual": [1.0, 2.0, 3.0], "candidate": [1.0, 2.5, 2.5], "opponent": [2.0, 2.0, 2.0]}
    assert data["spread"] == [
        {"slice": "", "rows": 3, "candidate": [-0.45, -0.25, 0.0, 0.25, 0.45], "opponent": [-0.9, -0.5, 0.0, 0.5, 0.9]},
        {
            "slice": "low",
            "rows": 2,
            "candidate": [-0.475, -0.375, -0.25, -0.125, -0.025],
            "opponent": [-0.95, -0.75, -0.5, -0.25, -0.05],
        },
        {"slice": "none", "rows": 0, "candidate": None, "opponent": None},
    ]
    assert {key: data["gains"][key] for key in ("below", "above", "better", "worse", "equal")} == {
        "below": 0,
        "above": 0,
        "better": 2,
        "worse": 1,
        "equal": 0,
    }
    assert (data["task"], data["rows"], data["left_out"]) == ("regression", 3, 0)


@pytest.mark.parametrize("n", [1, 2, 30, 1999, 2000, 2001, 20_000])
def test_at_most_two_thousand_points_with_both_ends(n: int) -> None:
    rows = regression(n)
    points = plot_data(rows)["scatter"]
    assert {len(points[key]) for key in ("actual", "candidate", "opponent")} == {min(n, 2000)}
    assert points["actual"] == sorted(points["actual"])
    assert points["actual"][0] == pytest.approx(rows.actual.min(), rel=1e-4)
    assert points["actual"][-1] == pytest.approx(rows.actual.max(), rel=1e-4)


def test_the_order_of_the_rows_neither_matters_nor_shows() -> None:
    rows, order = regression(5000), np.random.default_rng(1).permutation(5000)
    assert rows.opponent is not None
    assert rows.gains is not None
    shuffled = SealedRows(
        rows.actual[order],
        rows.candidate[order],
        rows.opponent[order],
        rows.gains[order],
        {"odd": rows.slices["odd"][order]},
    )
    assert plot_data(shuffled) == plot_data(rows)


def test_every_row_is_counted_in_the_histogram_or_beyond_it() -> None:
    gains = np.random.default_rng(3).standard_t(2, 4000)
    data = plot_data(SealedRows(gains, gains, gains, gains))["gains"]
    assert sum(data["counts"]) + data["below"] + data["above"] == 4000
    assert data["better"] + data["worse"] + data["equal"] == 4000
    assert 0.0 in data["edges"], "no bar may mix gains with losses"
    assert len(data["edges"]) == len(data["counts"]) + 1
    assert 0 < data["below"] + data["above"] < 200


@pytest.mark.parametrize("gains", [[0.0] * 40, [5.0] * 40, [1e-320] * 3, [0.0], [1e300, -1e300], [np.nan] * 5])
def test_gains_without_a_spread(gains: list[float]) -> None:
    values = np.array(gains)
    data = plot_data(SealedRows(values, values, values, values))["gains"]
    if np.isnan(values).all():
        assert data is None
    else:
        assert sum(data["counts"]) + data["below"] + data["above"] + data["equal"] == len(gains)
        assert len(data["counts"]) < 100


def test_what_is_not_finite_is_left_out_and_counted() -> None:
    data = plot_data(
        SealedRows(np.array([1.0, 2.0, np.nan, 4.0]), np.array([1.0, np.inf, 3.0, 4.0]), np.array([1.0, 2.0, 3.0, 5.0]))
    )
    assert data["left_out"] == 2
    assert data["scatter"] == {"actual": [1.0, 4.0], "candidate": [1.0, 4.0], "opponent": [1.0, 5.0]}
    assert json.dumps(data, allow_nan=False)


def test_no_rows_no_plots() -> None:
    empty = np.empty(0)
    data = plot_data(SealedRows(empty, empty, empty, empty))
    assert (data["scatter"], data["gains"], data["spread"][0]["candidate"]) == (None, None, None)


def binary(n: int, *, opponent: Any = None) -> SealedRows:
    random = np.random.default_rng(5)
    p = random.random(n)
    return SealedRows(
        np.where(random.random(n) < p, "yes", "no"), np.column_stack([1 - p, p]), opponent, classes=("no", "yes")
    )


def test_a_calibrated_classifier_lies_on_the_diagonal() -> None:
    curve = plot_data(binary(20_000))["calibration"]["candidate"]
    assert len(curve) == 10
    assert sum(each["rows"] for each in curve) == 20_000
    for each in curve:
        assert each["observed"] == pytest.approx(each["predicted"], abs=0.04)
        assert 0 <= each["low"] <= each["observed"] <= each["high"] <= 1


def test_constant_probabilities_make_one_bin() -> None:
    data = plot_data(binary(100, opponent=np.full((100, 2), 0.5)))
    (only,) = data["calibration"]["opponent"]
    assert (only["rows"], only["predicted"], data["calibration"]["of"]) == (100, 0.5, "yes")


def test_wilsons_interval() -> None:
    """Half of 100: 0.4038 to 0.5962 (Wilson 1927)."""
    rows = SealedRows(np.array([0, 1] * 50), np.full((100, 2), 0.5), classes=(0, 1))
    (only,) = plot_data(rows)["calibration"]["candidate"]
    assert (only["low"], only["high"]) == (pytest.approx(0.40383, abs=1e-5), pytest.approx(0.59617, abs=1e-5))


def test_three_classes_are_judged_by_the_likeliest() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.2, 0.3], [0.1, 0.1, 0.8]])
    data = plot_data(SealedRows(np.array(["a", "b", "c", "c"]), probabilities, classes=("a", "b", "c")))
    (only,) = data["calibration"]["candidate"]
    assert (only["rows"], only["predicted"], only["observed"]) == (4, 0.7, 0.75)
    assert data["calibration"]["of"] == ""
    assert data["spread"][0]["candidate"][2] == 0.75, "the median of what was given to the true class"


def test_a_classifier_leaves_no_row_in_the_record() -> None:
    data = plot_data(binary(500))
    assert "scatter" not in data
    assert len(json.dumps(data)) < 3000


def test_labels_only_have_no_calibration() -> None:
    data = plot_data(SealedRows(np.array(["a", "b"]), np.array([0.0, 1.0]), classes=("a", "b")))
    assert data["calibration"]["candidate"] is None
    assert data["spread"][0]["candidate"] is None


def test_a_label_that_no_class_knows_is_left_out() -> None:
    data = plot_data(SealedRows(np.array(["a", "z", "b"]), np.full((3, 2), 0.5), classes=("a", "b")))
    assert data["left_out"] == 1
    assert data["calibration"]["candidate"][0]["rows"] == 2
