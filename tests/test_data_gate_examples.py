"""Deliveries made from good rows: each damage is there, and is asked only of expectations that forbid it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ridgeway.data_gate.examples import good, spoiled

ROOT = Path(__file__).parents[1]


def entry(kind: str, column: str = "a", **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": {"column": column, **kwargs}}


def made(frame: pd.DataFrame, *entries: dict[str, Any], **options: Any) -> dict[str, tuple[Any, ...]]:
    ways = spoiled(frame, {"expectations": list(entries)}, **{"refuse_deviations": 1.0, **options})
    return {each.name: (each.frame, each.demands) for each in ways}


def test_the_example_gets_one_of_each_kind() -> None:
    frame = pd.read_csv(ROOT / "data" / "diabetes.csv")
    suite = json.loads((ROOT / "data" / "suite.json").read_text(encoding="utf-8"))
    ways = {each.name: each for each in spoiled(frame, suite, refuse_deviations=1.0)}
    assert list(ways) == [
        "a missing value",
        "a value out of range",
        "an unknown value",
        "every value moved",
        "every row twice",
    ]
    assert ways["a missing value"].frame.head(1).isna().all(axis=None)
    assert ways["an unknown value"].demands == (("sex", "expect_column_values_to_be_in_set"),)
    assert len(ways["every row twice"].frame) == 2 * len(frame)
    assert len(good(frame)) == 221


@pytest.mark.parametrize(
    ("kwargs", "value"),
    [({"min_value": 0, "max_value": 9}, 19), ({"max_value": -5}, 1), ({"min_value": -5}, -11), ({"min_value": 0}, -1)],
)
def test_a_value_out_of_range_is_out_of_it(kwargs: dict[str, float], value: float) -> None:
    ways = made(pd.DataFrame({"a": [1, 2]}), entry("expect_column_values_to_be_between", **kwargs))
    assert ways["a value out of range"][0]["a"].tolist() == [value, 2]


def test_columns_of_whole_numbers_stay_such() -> None:
    frame = pd.DataFrame({"a": range(60)})
    ways = made(frame, entry("expect_column_distribution_to_hold", reference={"kind": "numbers"}, limits={}))
    moved = ways["every value moved"][0]["a"]
    assert moved.dtype == frame["a"].dtype
    assert (moved - frame["a"]).between(52, 53).all()


def test_texts_and_truths() -> None:
    frame = pd.DataFrame({"a": ["x", "y"], "b": [True, False]})
    known = [entry("expect_column_values_to_be_in_set", name, value_set=[1]) for name in ("a", "b")]
    ways = made(frame, *known)
    assert ways["an unknown value"][1] == (("a", "expect_column_values_to_be_in_set"),)
    gaps = made(frame, *(entry("expect_column_values_to_not_be_null", name) for name in ("a", "b")))
    assert gaps["a missing value"][0].isna().sum().tolist() == [1, 1]


@pytest.mark.parametrize(
    "one",
    [
        entry("expect_column_values_to_not_be_null", mostly=0.9),
        entry("expect_column_values_to_not_be_null", row_condition="b > 1"),
        {**entry("expect_column_values_to_not_be_null"), "severity": "warning"},
        entry("expect_column_values_to_not_be_null", "gone"),
        entry("expect_column_values_to_match_regex", regex="x"),
        entry("expect_column_distribution_to_hold", reference={"kind": "numbers"}, limits={}),  # two rows prove nothing
        entry("expect_column_values_to_be_in_set", value_set=["x"]),  # no number is known
    ],
)
def test_what_may_mean_something_else_is_not_asked_for(one: dict[str, Any]) -> None:
    assert made(pd.DataFrame({"a": [1.0, 2.0]}), one) == {}


def test_ignored_columns_and_rows_that_repeat_by_themselves_are_left_alone() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0]})
    assert made(frame, entry("expect_column_values_to_not_be_null"), ignore=("a",)) == {}
    kind = "expect_table_rows_not_to_repeat"
    for pairs, names in ((0, ["every row twice"]), (3, [])):
        rows = {"type": kind, "kwargs": {"column_list": ["a"], "reference": {"pairs": pairs}, "limits": {}}}
        assert list(made(frame, rows)) == names
