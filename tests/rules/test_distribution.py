"""The statistics of the data gate, on arrays: right values, right rates, right limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ridgeway.rules import distribution
from ridgeway.rules.distribution import (
    CategoryReference,
    Finding,
    Limits,
    NumberReference,
    Shared,
    Shift,
    category_reference,
    category_shifts,
    constancy_p_value,
    equivalent_deviations,
    excess_duplicates,
    judge,
    mean_p_value,
    missing_shift,
    number_reference,
    number_shifts,
    plausible_range,
    proportion_p_value,
)

DIABETES = pd.read_csv(Path(__file__).parents[2] / "data" / "diabetes.csv")
SIZELESS = Limits(warn_deviations=0.0, warn_share=0.0)


def reference_of(column: pd.Series) -> NumberReference | CategoryReference:
    if column.nunique() == 2:
        counts = column.value_counts()
        return category_reference(counts.index.tolist(), counts.tolist())
    return number_reference(column.to_numpy(dtype=float))


def severity(reference: NumberReference | CategoryReference, column: pd.Series, columns: int = 11) -> str:
    if isinstance(reference, CategoryReference):
        counts = column.value_counts()
        shifts = category_shifts(reference, counts.index.tolist(), counts.tolist())
    else:
        shifts = number_shifts(reference, column.to_numpy(dtype=float))
    return judge(shifts, Shared(Limits(), columns)).severity


# ---- rates on the sample data ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_at_most_five_percent_of_thousand_random_halves_get_any_finding_in_any_column():
    generator = np.random.default_rng(0)
    alarms = 0
    for _ in range(1000):
        order = generator.permutation(len(DIABETES))
        then, now = DIABETES.iloc[order[:221]], DIABETES.iloc[order[221:]]
        alarms += any(severity(reference_of(then[name]), now[name]) != "pass" for name in DIABETES)
    assert 0 < alarms <= 50  # a gate that never finds anything would also be wrong


@pytest.mark.parametrize("name", DIABETES.columns)
def test_half_a_standard_deviation_in_two_hundred_rows_is_found(name):
    generator = np.random.default_rng(1)
    found = 0
    for _ in range(200):
        order = generator.permutation(len(DIABETES))
        column = DIABETES[name].iloc[order[:200]]
        if name == "sex":  # half a standard deviation of this column is a quarter of the rows
            moved = column.mask((column == 1) & (generator.random(200) < 0.25 / (column == 1).mean()), 2)
        else:
            moved = column + DIABETES[name].std() / 2
        found += severity(reference_of(DIABETES[name].iloc[order[200:]]), moved) != "pass"
    assert found >= 190


@pytest.mark.parametrize(
    "draw",
    [
        lambda generator, rows: generator.normal(size=rows),
        lambda generator, rows: generator.lognormal(size=rows),
        lambda generator, rows: generator.poisson(0.3, size=rows).astype(float),
    ],
    ids=["normal", "lognormal", "counts"],
)
@pytest.mark.parametrize(("then", "now"), [(30, 30), (442, 30), (30, 2000)])
def test_one_distribution_is_rarely_told_from_itself(draw, then, now):
    generator = np.random.default_rng(2)
    alarms = 0
    for _ in range(600):
        reference, values = number_reference(draw(generator, then)), draw(generator, now)
        if reference.deviation:
            alarms += judge(number_shifts(reference, values), Shared(SIZELESS, 1)).severity != "pass"
    assert alarms <= 0.05 * 600 + 2 * np.sqrt(0.05 * 0.95 * 600)


@pytest.mark.slow
def test_two_hundred_columns_share_the_error_probability():
    generator = np.random.default_rng(3)
    alarms = 0
    for _ in range(40):
        then, now = generator.normal(size=(200, 300)), generator.normal(size=(200, 200))
        shared = Shared(SIZELESS, 200)
        alarms += any(
            judge(number_shifts(number_reference(a), b), shared).severity != "pass"
            for a, b in zip(then, now, strict=True)
        )
    assert alarms <= 6


# ---- single values, against scipy's own ------------------------------------------------------------------------------


def test_the_mean_test_is_the_larger_of_welch_and_pooled():
    generator = np.random.default_rng(4)
    then, now = generator.normal(0, 1, 60), generator.normal(0.4, 2, 25)
    reference = number_reference(then)
    ours = mean_p_value(reference, mean=float(now.mean()), deviation=float(now.std(ddof=1)), rows=25)
    welch, pooled = (stats.ttest_ind(then, now, equal_var=equal).pvalue for equal in (False, True))
    assert ours == pytest.approx(max(welch, pooled), rel=1e-9)
    assert welch != pytest.approx(pooled, rel=0.01)


@given(st.integers(2, 400), st.integers(2, 400), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_the_shape_is_never_further_apart_than_kolmogorov_and_smirnov_say(then, now, seed):
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=then), generator.normal(0.3, size=now).round(1)
    reference = number_reference(a)
    shape = next(shift for shift in number_shifts(reference, b) if shift.measure == "shape")
    exact = stats.ks_2samp(a, b).statistic
    assert shape.size <= equivalent_deviations(exact) + 1e-9
    # Between two points the distance is not looked at: a hundredth of the rows lie there, and one row at least.
    assert shape.size >= equivalent_deviations(max(0.0, exact - 0.011 - 1 / then)) - 1e-9


def test_a_proportion_test_is_yates():
    table = [[30, 70], [20, 80]]
    assert proportion_p_value(30, 100, 20, 100) == pytest.approx(stats.chi2_contingency(table).pvalue)
    assert proportion_p_value(0, 50, 0, 80) == 1.0


def test_a_moved_mean_is_told_with_both_means_and_the_size():
    reference = number_reference(DIABETES["bmi"].to_numpy())
    finding = judge(number_shifts(reference, DIABETES["bmi"].to_numpy() * 2.2046), Shared(Limits(), 11))
    assert finding == Finding(
        "fail",
        "mean 58.1",
        "mean 26.4 (standard deviation 4.42)",
        "mean 58.1, reference 26.4 (standard deviation 4.42): moved by 7.2 standard deviations; "
        "wrong units or a broken source?",
    )


def test_significance_alone_is_no_finding_and_neither_is_size():
    significant = Shift("mean", 0.05, 1e-30, "mean 1", "mean 2")
    large = Shift("mean", 3.0, 0.2, "mean 1", "mean 2")
    assert judge([significant, large], Shared(Limits(), 1)).severity == "pass"
    assert judge([significant], Shared(Limits(warn_deviations=0.01), 1)).severity == "warn"


@pytest.mark.parametrize(
    ("measure", "size", "outcome"),
    [
        ("mean", 0.1, "pass"),
        ("mean", 0.11, "warn"),
        ("mean", 0.99, "warn"),
        ("mean", 1.0, "fail"),
        ("shape", 0.11, "warn"),
        ("shape", 5.0, "warn"),
        ("category", 0.05, "pass"),
        ("category", 0.06, "warn"),
        ("category", 0.25, "fail"),
        ("missing", 0.24, "warn"),
        ("missing", 0.25, "fail"),
    ],
)
def test_limits_are_where_they_are_said_to_be(measure, size, outcome):
    assert judge([Shift(measure, size, 1e-9, "now", "then")], Shared(Limits(), 11)).severity == outcome


def test_only_the_error_probability_of_one_column_counts():
    shift = Shift("mean", 0.5, 0.01, "mean 1", "mean 2")
    assert judge([shift], Shared(Limits(), 1)).severity == "warn"
    assert judge([shift], Shared(Limits(), 11)).severity == "pass"


# ---- references ------------------------------------------------------------------------------------------------------


def test_a_reference_is_small_and_exact_at_its_points():
    values = np.random.default_rng(5).normal(size=50_000)
    reference = number_reference(values)
    assert len(reference.points) == distribution.POINTS
    assert (reference.points[0], reference.points[-1]) == (values.min(), values.max())
    assert reference.at_most[-1] == reference.rows == 50_000
    assert [int((values <= point).sum()) for point in reference.points] == list(reference.at_most)


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0]])
def test_a_tiny_reference_compares_nothing_it_cannot(values):
    reference = number_reference(np.array(values))
    assert reference.deviation == 0
    assert number_shifts(number_reference(np.array([1.0, 2.0])), np.array(values[:1])) == ()


def test_a_constant_that_rounding_would_spoil_has_no_deviation():
    assert number_reference(np.full(1000, 0.1)).deviation == 0


def test_a_reference_of_five_rows_finds_only_the_gross():
    reference = number_reference(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    shared = Shared(Limits(), 10)
    assert judge(number_shifts(reference, np.array([2.0, 3.0, 4.5, 5.0, 6.0])), shared).severity == "pass"
    assert judge(number_shifts(reference, np.arange(200.0, 230.0)), shared).severity == "fail"


def test_rare_categories_are_counted_together():
    reference = category_reference(["a", "b", *map(str, range(20))], [500, 300, *[10] * 20])
    assert reference == CategoryReference(1000, ("a", "b"), (500, 300), 22)
    assert reference.others == 200


def test_a_swelling_category_that_was_too_rare_to_be_listed_is_found():
    reference = category_reference([str(number) for number in range(100)], [10] * 100)
    assert reference.values == ()
    shifts = category_shifts(reference, ["7", "8"], [60, 40])
    assert judge(shifts, Shared(Limits(), 10)).severity == "fail"


def test_a_category_that_vanishes_is_found_and_named():
    reference = category_reference(["day", "night"], [300, 100])
    finding = judge(category_shifts(reference, ["day"], [200]), Shared(Limits(), 11))
    assert (finding.severity, finding.observed, finding.expected) == ("fail", "100 % day", "75 % day")


def test_identifiers_that_are_new_each_time_are_no_finding():
    reference = category_reference([f"a{number}" for number in range(500)], [1] * 500)
    shifts = category_shifts(reference, [f"b{number}" for number in range(300)], [1] * 300)
    assert judge(shifts, Shared(Limits(), 3)).severity == "pass"


def test_missing_values_are_compared_as_shares():
    shared = Shared(Limits(), 11)
    assert judge([missing_shift((60, 200), (40, 400))], shared).severity == "warn"
    assert judge([missing_shift((20, 200), (40, 400))], shared).severity == "pass"
    assert judge([missing_shift((200, 200), (40, 400))], shared).severity == "fail"
    assert missing_shift((0, 0), (1, 10)).p_value == 1.0


def test_becoming_constant_is_likely_only_where_one_value_was_frequent_or_rows_are_few():
    assert constancy_p_value(99, 100, 30) == 1.0
    assert constancy_p_value(50, 100, 30) < 1e-6
    assert constancy_p_value(50, 100, 1) == 1.0


def test_repeated_rows_are_explained_by_the_reference_or_not():
    assert excess_duplicates((442, 884), 0, 442) > 0.25
    assert excess_duplicates((3, 442), 0, 442) == 0
    assert excess_duplicates((900, 1000), reference_pairs=20_000, reference_rows=500) == 0
    assert excess_duplicates((0, 0), 0, 10) == 0


# ---- ranges ----------------------------------------------------------------------------------------------------------


def test_a_range_is_the_seen_one_widened_by_half():
    values = np.concatenate([np.linspace(-10, 30, 2000)])
    assert plausible_range(values) == (-30.0, 50.0)


def test_a_range_does_not_cross_zero():
    assert plausible_range(np.linspace(1, 30, 2000))[0] == 0.0
    assert plausible_range(np.linspace(-30, -1, 2000))[1] == 0.0
    assert plausible_range(np.linspace(0, 30, 2000))[0] == 0.0


def test_many_rows_may_say_that_zero_is_no_border():
    values = np.random.default_rng(0).normal(50, 10, 100_000)
    assert values.min() > 0
    assert plausible_range(values)[0] < 0
    assert plausible_range(values[:5000])[0] == 0.0


def test_every_column_of_the_sample_data_in_pounds_leaves_its_range():
    low, high = plausible_range(DIABETES["bmi"].to_numpy())
    assert (low, high) == (5.79, 54.41)
    assert ((DIABETES["bmi"] * 2.2046) > high).mean() > 0.5


@pytest.mark.parametrize(("rows", "most"), [(30, 0.12), (442, 0.02), (5000, 0.01)])
@pytest.mark.parametrize("draw", ["normal", "exponential", "lognormal", "uniform"])
def test_a_good_delivery_rarely_leaves_the_range(draw, rows, most):
    generator = np.random.default_rng(6)
    times, left = 300, 0
    for _ in range(times):
        low, high = plausible_range(getattr(generator, draw)(size=rows))
        now = getattr(generator, draw)(size=rows)
        left += bool((now < low).any() or (now > high).any())
    assert left <= most * times


@pytest.mark.parametrize("values", [[7.0], [7.0, 7.0], [1e300, 2e300], [1e-300, 3e-300], [0.0, 0.0, 0.0, 1.0]])
def test_a_range_holds_what_was_seen_however_odd(values):
    low, high = plausible_range(np.array(values))
    assert low <= min(values) <= max(values) <= high
