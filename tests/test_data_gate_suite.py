"""Suites as JSON: made, rebased, read and written, without Great Expectations."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ridgeway.artifacts import Column, KeyRule
from ridgeway.data_gate import SuiteError, profile, read_suite, rebase, suite_digest, suite_text
from ridgeway.data_gate.samples import ColumnSample, repeated_rows

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "data" / "suite.json").read_text(encoding="utf-8")
SUITE = json.loads(TEXT)
OWN = SUITE["meta"]["ridgeway"]
DIABETES = pd.read_csv(ROOT / "data" / "diabetes.csv")
COLUMNS = tuple(Column(**column) for column in OWN["columns"])
KEY = KeyRule(tuple(sorted(COLUMNS[:-1], key=lambda column: column.name)), "", 0.2)


def types_of(suite: dict, column: str) -> list[str]:
    return [entry["type"] for entry in suite["expectations"] if entry["kwargs"].get("column") == column]


def arguments(suite: dict, kind: str, column: str) -> dict:
    [entry] = [
        entry
        for entry in suite["expectations"]
        if entry["type"] == f"expect_{kind}" and entry["kwargs"].get("column") == column
    ]
    return entry["kwargs"]


def test_the_shipped_suite_is_what_profile_makes_of_the_shipped_data():
    made = profile(DIABETES, COLUMNS, name="diabetes", label="progression", key=KEY)
    made["meta"]["great_expectations_version"] = SUITE["meta"]["great_expectations_version"]
    assert suite_text(made) == TEXT


def test_the_sample_data_are_scikit_learns():
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False, as_frame=True)
    expected = data.frame.rename(columns={"target": "progression"})
    pd.testing.assert_frame_equal(DIABETES.astype(float), expected, check_exact=True)
    whole = [name for name in DIABETES if (DIABETES[name] % 1 == 0).all()]
    assert [name for name in DIABETES if DIABETES[name].dtype.kind == "i"] == whole


def test_example_requests_are_rows_of_the_sample_data_without_the_label():
    requests = json.loads((ROOT / "data" / "requests.json").read_text(encoding="utf-8"))
    features = DIABETES.drop(columns="progression").to_numpy().tolist()
    rows = [row for request in requests for row in request["data"]]
    assert rows
    assert all(set(request) == {"data"} for request in requests)
    assert all(row in features for row in rows)


def test_what_ridgeway_must_know_is_in_the_suites_meta_data():
    assert {name: value for name, value in OWN.items() if name not in ("columns", "key")} == {
        "schema": 1,
        "label": "progression",
        "reference": {"rows": 442},
        "history": [],
    }
    names = [column["name"] for column in OWN["key"]["columns"]]
    assert names == sorted(set(DIABETES) - {"progression"})
    assert OWN["key"]["entity"] == ""
    assert OWN["columns"][2] == {"name": "bmi", "type": "number"}


def test_each_kind_of_column_gets_the_expectations_that_suit_it():
    rows = 200
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "number": generator.normal(size=rows),
            "few": generator.integers(1, 4, size=rows),
            "town": pd.Series(generator.choice(["Ulm", "Bonn"], size=rows), dtype="str").mask(
                generator.random(rows) < 0.1
            ),
            "name": pd.Series([f"n{number}" for number in range(rows)], dtype="str"),
            "flag": generator.random(rows) < 0.5,
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(rows), unit="D"),
            "same": 7.5,
            "empty": pd.Series([None] * rows, dtype="object"),
        }
    )
    kinds = ["number", "integer", "string", "string", "boolean", "datetime", "number", "string"]
    columns = tuple(Column(name, kind) for name, kind in zip(frame, kinds, strict=True))
    suite = profile(frame, columns, name="any", label="number", key=KeyRule(columns, "", 0.2))
    first, missing = "expect_column_to_have_declared_type", "expect_column_missing_share_to_hold"
    there, varies = "expect_column_values_to_not_be_null", "expect_column_not_to_become_constant"
    held, one_of = "expect_column_distribution_to_hold", "expect_column_values_to_be_in_set"
    assert types_of(suite, "number") == [first, there, "expect_column_values_to_be_between", varies, held]
    assert types_of(suite, "few") == [first, there, one_of, varies, held]
    assert types_of(suite, "town") == [first, missing, one_of, varies, held]
    assert types_of(suite, "name") == [first, there, varies, held]
    assert types_of(suite, "flag") == [first, there, varies, held]
    assert types_of(suite, "day") == [first, there]
    assert types_of(suite, "same") == [first, there, held]
    assert types_of(suite, "empty") == [first, missing]
    assert arguments(suite, "column_values_to_be_in_set", "few")["value_set"] == [1, 2, 3]
    assert arguments(suite, "column_distribution_to_hold", "same")["reference"]["values"] == [7.5]
    assert json.loads(suite_text(suite)) == suite
    assert len(suite["expectations"]) == 2 + sum(len(types_of(suite, name)) for name in frame)


def test_whole_numbers_keep_whole_limits():
    limits = arguments(SUITE, "column_values_to_be_between", "age")
    assert limits == {"column": "age", "min_value": 0, "max_value": 110}
    assert "." not in json.dumps(limits)


def test_one_row_is_enough_for_a_suite():
    suite = profile(DIABETES.head(1), COLUMNS, name="one", label="progression", key=KEY)
    assert json.loads(suite_text(suite)) == suite


# ---- rebase ----------------------------------------------------------------------------------------------------------


def test_rebase_takes_the_new_distribution_and_says_why():
    moved = DIABETES.assign(bmi=DIABETES["bmi"] + 5)
    before = copy.deepcopy(SUITE)
    suite = rebase(SUITE, moved, COLUMNS, reason="a second hospital", at="2025-03-01T08:00:00Z")
    assert before == SUITE
    assert suite["meta"]["ridgeway"]["history"] == [
        {"at": "2025-03-01T08:00:00Z", "reason": "a second hospital", "rows": 442}
    ]
    assert suite["meta"]["ridgeway"]["key"] == OWN["key"]
    mean = arguments(suite, "column_distribution_to_hold", "bmi")["reference"]["mean"]
    assert mean == pytest.approx(DIABETES["bmi"].mean() + 5)
    again = rebase(suite, DIABETES, COLUMNS, reason="back", at="2025-04-01T08:00:00Z")
    assert [entry["reason"] for entry in again["meta"]["ridgeway"]["history"]] == ["a second hospital", "back"]


def test_a_column_added_by_rebase_joins_the_columns_and_not_the_key():
    columns = (*COLUMNS, Column("site", "string"))
    suite = rebase(SUITE, DIABETES.assign(site="Ulm"), columns, reason="sites", at="now")
    assert suite["meta"]["ridgeway"]["columns"][-1] == {"name": "site", "type": "string"}
    assert suite["meta"]["ridgeway"]["key"] == OWN["key"]
    assert types_of(suite, "site")


def test_a_key_column_that_is_gone_makes_a_new_key_and_the_history_says_so():
    columns = tuple(column for column in (*COLUMNS, Column("added", "number")) if column.name != "s3")
    frame = DIABETES.drop(columns="s3").assign(added=0.5)
    own = rebase(SUITE, frame, columns, reason="no longer measured", at="now")["meta"]["ridgeway"]
    names = [column["name"] for column in own["key"]["columns"]]
    assert names == sorted(["added", "age", "sex", "bmi", "bp", "s1", "s2", "s4", "s5", "s6"])
    assert own["history"][0]["key"].startswith("changed, because s3 is gone")


def test_a_key_column_of_another_kind_changes_the_key_and_the_history_says_so():
    texts = DIABETES.assign(sex=DIABETES["sex"].map(str), age=DIABETES["age"].astype(float))
    types = {"sex": "string", "age": "number"}
    columns = tuple(Column(column.name, types.get(column.name, column.type)) for column in COLUMNS)
    own = rebase(SUITE, texts, columns, reason="codes", at="2025-03-01T08:00:00Z")["meta"]["ridgeway"]
    # Among numbers a row keeps its identity, so the key keeps its type; as a text it gets another one.
    changed = [new for new, old in zip(own["key"]["columns"], OWN["key"]["columns"], strict=True) if new != old]
    assert changed == [{"name": "sex", "type": "string"}]
    assert "changed, because sex is of another type" in own["history"][-1]["key"]


def test_an_entity_stays_the_key_until_its_column_is_gone():
    entity = {"columns": [{"name": "age", "type": "integer"}], "entity": "age"}
    suite = copy.deepcopy(SUITE)
    suite["meta"]["ridgeway"]["key"] = entity
    without = tuple(column for column in COLUMNS if column.name != "s3")
    kept = rebase(suite, DIABETES.drop(columns="s3"), without, reason="r", at="t")
    assert kept["meta"]["ridgeway"]["key"] == entity
    without = tuple(column for column in COLUMNS if column.name != "age")
    gone = rebase(suite, DIABETES.drop(columns="age"), without, reason="r", at="t")
    assert gone["meta"]["ridgeway"]["key"]["entity"] == ""
    assert len(gone["meta"]["ridgeway"]["key"]["columns"]) == 9


def test_rebase_keeps_what_was_written_by_hand_where_its_columns_still_are():
    by_hand = [
        {"type": "expect_column_median_to_be_between", "kwargs": {"column": "age", "max_value": 60}},
        {"type": "expect_column_pair_values_to_be_equal", "kwargs": {"column_A": "s1", "column_B": "s3"}},
    ]
    suite = {**SUITE, "expectations": [*SUITE["expectations"], *by_hand]}
    columns = tuple(column for column in COLUMNS if column.name != "s3")
    rebased = rebase(suite, DIABETES.drop(columns="s3"), columns, reason="r", at="t")
    assert [entry for entry in rebased["expectations"] if "meta" not in entry] == by_hand[:1]
    assert rebased["meta"]["ridgeway"]["history"][0]["dropped"] == ["expect_column_pair_values_to_be_equal"]


# ---- reading and writing ---------------------------------------------------------------------------------------------


def test_a_suite_is_read_back_equal_and_its_digest_does_not_depend_on_layout():
    assert read_suite(TEXT) == SUITE
    assert suite_digest(json.loads(json.dumps(SUITE, indent=7, sort_keys=True))) == suite_digest(SUITE)
    changed = copy.deepcopy(SUITE)
    changed["expectations"][4]["kwargs"]["max_value"] += 1
    assert suite_digest(changed) != suite_digest(SUITE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "data/suite.json line 1, column 1"),
        (TEXT[:-40], "not JSON"),
        ("[]", "holds no JSON object"),
        ("{}", "expectations or meta.ridgeway is missing"),
        (json.dumps({**SUITE, "expectations": []}), "anything would pass"),
        (json.dumps({**SUITE, "expectations": {}}), "expectations or meta.ridgeway is missing"),
        (json.dumps({**SUITE, "meta": "none"}), "expectations or meta.ridgeway is missing"),
        (
            json.dumps({**SUITE, "meta": {"ridgeway": {**OWN, "schema": 2}}}),
            "use the version of ridgeway that wrote it",
        ),
    ],
)
def test_a_suite_that_cannot_be_used_is_an_error_that_says_where_and_what_next(text, message):
    with pytest.raises(SuiteError) as raised:
        read_suite(text, where="data/suite.json")
    assert message in str(raised.value)
    assert "data/suite.json" in str(raised.value)
    assert raised.value.next_step
    assert raised.value.exit_code == 2


# ---- samples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 1, 7, 70_000])
def test_repeated_rows_are_those_that_pandas_finds(rows):
    generator = np.random.default_rng(rows)
    frame = pd.DataFrame(
        {"a": generator.integers(0, 300, size=rows), "b": generator.choice(["x", "y", None], size=rows)}
    )
    repeats = repeated_rows(frame)
    expected = frame.duplicated().to_numpy()
    assert repeats.rows == expected.sum()
    assert list(repeats.first_rows) == (np.flatnonzero(expected)[:10] + 1).tolist()
    sizes = frame.groupby(["a", "b"], dropna=False).size()
    assert repeats.pairs == (sizes * (sizes - 1) // 2).sum()


@pytest.mark.parametrize(
    ("values", "constant"),
    [
        ([], False),
        ([None, None], False),
        ([1.0, None, 1.0], True),
        ([1.0, 2.0], False),
        ([5] * 1500, True),
        ([5] * 1500 + [6], False),
        (["a", None], True),
        (["a", "b"], False),
        ([True, True, None], True),
    ],
)
def test_a_column_is_constant_if_its_values_are_one(values, constant):
    sample = ColumnSample(pd.Series(values, dtype="object" if None in values and True in values else None))
    assert sample.is_constant is constant
    assert sample.missing == values.count(None)
