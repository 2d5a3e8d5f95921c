"""What makes a row's identity, what must not change it, and what must."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ridgeway.artifacts import Column
from ridgeway.rules import rows

NUMBER, TEXT = Column("a", "number"), Column("t", "string")
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def words(values: object, kind: str = "number") -> list[int]:
    return rows.identities(pd.DataFrame({"a": values}), [Column("a", kind)]).tolist()  # type: ignore[arg-type]


def test_identities_are_these_very_numbers_for_ever() -> None:
    # Literal on purpose: if these change, every row of every project moves between training and holdout.
    frame = pd.DataFrame({"a": [0.0, 1.5, np.nan], "t": ["x", "", None]})
    assert rows.identities(frame, [NUMBER, TEXT]).tolist() == [
        13002541212742767659,
        11336354485297400929,
        2562176290992957426,
    ]
    assert rows.sealed(np.arange(12, dtype=np.uint64), 0.25).nonzero()[0].tolist() == [1, 6]


@pytest.mark.parametrize(
    ("left", "right"),
    [([0.0], [-0.0]), ([1], [1.0]), ([True], [1]), ([np.float32(0.5)], [0.5]), ([np.nan], [None])],
    ids=["minus zero", "whole number", "boolean", "narrow float", "missing"],
)
def test_the_same_value_in_another_form_is_the_same_row(left: list[object], right: list[object]) -> None:
    assert words(pd.Series(left)) == words(pd.Series(right, dtype="float64"))


@pytest.mark.parametrize(
    ("left", "right"),
    [([1.0], [1.0 + 2**-52]), ([0.0], [np.nan]), ([2**60], [2**60 + 1])],
    ids=["last bit", "missing is not zero", "beyond float64"],
)
def test_another_value_is_another_row(left: list[object], right: list[object]) -> None:
    assert words(left) != words(right)


def test_texts_differ_from_missing_and_from_each_other() -> None:
    frame = pd.DataFrame({"t": ["", None, "a", "A", "ä"]})
    assert len(set(rows.identities(frame, [TEXT]).tolist())) == 5


def test_values_that_swap_columns_make_another_row() -> None:
    columns = [Column("a", "number"), Column("b", "number")]
    one = rows.identities(pd.DataFrame({"a": [1.0], "b": [2.0]}), columns)
    other = rows.identities(pd.DataFrame({"a": [2.0], "b": [1.0]}), columns)
    assert one.tolist() != other.tolist()


def test_columns_outside_the_key_and_the_order_of_columns_do_not_matter() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "t": ["x", "y"]})
    wider = frame.assign(new=[5, 6])[["new", "t", "a"]]
    assert rows.identities(frame, [NUMBER, TEXT]).tolist() == rows.identities(wider, [TEXT, NUMBER]).tolist()


@given(st.lists(st.tuples(FINITE, st.text(max_size=5)), min_size=1, max_size=30), st.randoms())
@settings(max_examples=60, deadline=None)
def test_the_digest_knows_neither_row_order_nor_column_order(values: list[tuple[float, str]], random: object) -> None:
    frame = pd.DataFrame(values, columns=["a", "t"])
    order = list(range(len(frame)))
    random.shuffle(order)  # type: ignore[attr-defined]
    other = frame.iloc[order].reset_index(drop=True)[["t", "a"]]
    assert rows.dataset_digest(frame, [NUMBER, TEXT]) == rows.dataset_digest(other, [TEXT, NUMBER])


@given(st.lists(FINITE, min_size=1, max_size=20), st.data())
@settings(max_examples=60, deadline=None)
def test_the_digest_sees_one_changed_value(values: list[float], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(values) - 1))
    changed = list(values)
    changed[place] = np.nextafter(changed[place], 7.0 if changed[place] != 7.0 else 8.0)
    before, after = pd.DataFrame({"a": values}), pd.DataFrame({"a": changed})
    assert rows.dataset_digest(before, [NUMBER]) != rows.dataset_digest(after, [NUMBER])


def test_the_digest_counts_doubled_rows() -> None:
    once, twice = pd.DataFrame({"a": [1.0]}), pd.DataFrame({"a": [1.0, 1.0]})
    assert rows.dataset_digest(once, [NUMBER]) != rows.dataset_digest(twice, [NUMBER])


def test_sealed_share_is_the_holdout_and_larger_holdouts_contain_smaller_ones() -> None:
    many = rows.identities(pd.DataFrame({"a": np.arange(200_000.0)}), [NUMBER])
    fifth, third = rows.sealed(many, 0.2), rows.sealed(many, 1 / 3)
    assert abs(fifth.mean() - 0.2) < 0.004
    assert (third[fifth]).all()


def test_folds_are_even_and_know_nothing_of_the_seal() -> None:
    many = rows.identities(pd.DataFrame({"a": np.arange(100_000.0)}), [NUMBER])
    folds, sealed = rows.fold_numbers(many, 10), rows.sealed(many, 0.2)
    assert np.bincount(folds).min() > 9_600
    assert abs(sealed[folds == 3].mean() - 0.2) < 0.015


def test_identities_of_many_rows_do_not_collide() -> None:
    frame = pd.DataFrame({"a": np.repeat(np.arange(1000.0), 1000), "b": np.tile(np.arange(1000.0), 1000)})
    found = rows.identities(frame, [Column("a", "number"), Column("b", "number")])
    assert len(np.unique(found)) == 1_000_000


def test_rows_of_one_entity_stay_together() -> None:
    columns = [Column("patient", "integer"), NUMBER]
    key = rows.key_rule(columns, entity="patient", holdout=0.5)
    frame = pd.DataFrame({"patient": np.repeat(np.arange(500), 4), "a": np.arange(2000.0)})
    found = rows.identities(frame, key.columns)
    sealed = pd.Series(rows.sealed(found, key.holdout)).groupby(frame["patient"]).nunique()
    assert (sealed == 1).all()
    assert key != rows.key_rule(columns, entity="", holdout=0.5)
    assert key.digest != rows.key_rule(columns, entity="", holdout=0.5).digest


def test_times_are_the_same_with_and_without_a_zone() -> None:
    column = Column("a", "datetime")
    plain = pd.DataFrame({"a": pd.to_datetime(["2026-11-20T14:00:00", None])})
    zoned = pd.DataFrame({"a": pd.to_datetime(["2026-11-20T15:00:00+01:00", None], utc=True)})
    assert rows.identities(plain, [column]).tolist() == rows.identities(zoned, [column]).tolist()
