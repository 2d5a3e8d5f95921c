from __future__ import annotations

import math

import numpy as np
import pytest

from ridgeway_server.errors import PackageError, Refusal
from ridgeway_server.signature import Column, Signature, joined

NUMBERS = Signature([Column("age", "integer"), Column("bmi", "number"), Column("new", "boolean")])
GAPS = Signature([Column("a", "number", missing=True), Column("b", "integer", missing=True)])
MIXED = Signature([Column("size", "number"), Column("city", "string", missing=True), Column("kind", "string")])


def test_all_forms_of_the_same_rows_make_the_same_table() -> None:
    rows = [[59, 32.1, True], [60.0, 30, False]]
    expected = [[59.0, 32.1, 1.0], [60.0, 30.0, 0.0]]
    records = [dict(zip(NUMBERS.names, row, strict=True)) for row in rows]
    columns = {"new": [True, False], "bmi": [32.1, 30], "age": [59, 60]}
    swapped = [[row[2], row[0], row[1]] for row in rows]
    for table in (
        NUMBERS.from_rows(rows),
        NUMBERS.from_rows(swapped, ["new", "age", "bmi"]),
        NUMBERS.from_records(records),
        NUMBERS.from_columns(columns),
        NUMBERS.from_matrix(np.array(expected)),
    ):
        assert table.rows == 2
        assert table.matrix.tolist() == expected


def test_texts_and_gaps_keep_their_kind() -> None:
    table = MIXED.from_rows([[1, "oslo", "x"], [2.5, None, "y"]])
    assert [column.tolist() for column in table.columns] == [[1.0, 2.5], ["oslo", None], ["x", "y"]]
    assert math.isnan(GAPS.from_rows([[None, 3]]).matrix[0, 0])
    assert math.isnan(GAPS.from_records([{"b": 3}]).matrix[0, 0])
    both = joined([table, table.part(1, 2)])
    assert (both.rows, both.columns[1].tolist()) == (3, ["oslo", None, None])


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([[59.5, 32.1, True]], "row 1, column 'age' is 59.5; expected a whole number"),
        ([["59", 32.1, True]], "row 1, column 'age' is '59'; expected a whole number"),
        ([[59, "x", True]], "row 1, column 'bmi' is 'x'; expected a number"),
        ([[59, True, True]], "row 1, column 'bmi' is true; expected a number"),
        ([[59, 1, 1]], "row 1, column 'new' is 1; expected true or false"),
        ([[59, None, True]], "row 1, column 'bmi' is missing; expected a value of type number"),
        ([[59, [1], True]], "row 1, column 'bmi' is a list of 1; expected a number"),
        ([[59, {"a": 1}, True]], "row 1, column 'bmi' is an object; expected a number"),
        ([[1, 2, True], [1, 2]], "row 2 has 2 values; expected 3: age, bmi, new"),
        ([[1, 2, True], 5], "row 2 is 5; expected a list of 3 values: age, bmi, new"),
        ([], "[] in place of rows; expected a list of rows, each a list of 3 values"),
        ("abc", "'abc' in place of rows; expected a list of rows, each a list of 3 values"),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_place(rows, says) -> None:
    with pytest.raises(Refusal) as refused:
        NUMBERS.from_rows(rows)
    assert (refused.value.status, refused.value.sentence) == (400, says)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: MIXED.from_rows([[1, 2, "x"]]), "row 1, column 'city' is 2; expected a text"),
        (lambda: MIXED.from_rows([[1, "a", None]]), "row 1, column 'kind' is missing; expected a text"),
        (lambda: MIXED.from_matrix(np.zeros((1, 3))), "some of them text"),
        (lambda: MIXED.from_rows([[math.inf, "a", "b"]]), "column 'size' is inf; expected a finite number"),
        (lambda: NUMBERS.from_records([{"age": 1, "bmi": 2}]), "row 1 has no 'new'"),
        (lambda: NUMBERS.from_records([{"age": 1, "bmi": 2, "new": True, "x": 1}]), "unknown columns ['x']"),
        (lambda: NUMBERS.from_records([{"age": 1, "bmi": 2, "new": True}, 3]), "row 2 is 3"),
        (lambda: NUMBERS.from_records([]), "no rows"),
        (lambda: NUMBERS.from_columns({"age": [1], "bmi": [1, 2], "new": [True]}), "unequal"),
        (lambda: NUMBERS.from_columns({"age": [], "bmi": [], "new": []}), "no length"),
        (lambda: NUMBERS.from_columns({"age": [1], "bmi": [1]}), "without ['new']"),
        (lambda: NUMBERS.from_columns({"age": 1, "bmi": [1], "new": [True]}), "a column as 1"),
        (lambda: NUMBERS.from_rows([[1, 2, 3]], ["age", "age", "bmi"]), "each of age, bmi, new once"),
        (lambda: NUMBERS.from_rows([[1, 2, True, 4]], ["age", "bmi", "new", "x"]), "unknown columns ['x']"),
        (lambda: NUMBERS.from_matrix(np.zeros((1, 2))), "shape (1, 2)"),
        (lambda: NUMBERS.from_matrix(np.array([[1.0, np.nan, 0]])), "column 'bmi' is missing"),
        (lambda: NUMBERS.from_matrix(np.array([[1.0, -np.inf, 0]])), "is -inf"),
        (lambda: NUMBERS.from_matrix(np.array([[1.0, 1.0, 0.5]])), "is 0.5; expected true or false"),
        (lambda: GAPS.from_matrix(np.array([[np.nan, 1.5]])), "column 'b' is 1.5; expected a whole number"),
    ],
)
def test_every_other_form_is_checked_too(call, says) -> None:
    with pytest.raises(Refusal) as refused:
        call()
    assert refused.value.status == 400
    assert says in refused.value.sentence


def test_extra_names_pass_only_where_they_are_let() -> None:
    record = {"age": 1, "bmi": 2, "new": True, "label": 3}
    assert NUMBERS.from_records([record], extra=True).matrix.tolist() == [[1, 2, 1]]
    assert NUMBERS.from_rows([[9, 1, 2, True]], ["label", "age", "bmi", "new"], extra=True).matrix.tolist() == [
        [1, 2, 1]
    ]


def test_infinity_passes_only_where_the_signature_allows_it() -> None:
    open_end = Signature([Column("a", "number")], allow_infinity=True)
    assert open_end.from_matrix(np.array([[np.inf]])).matrix[0, 0] == np.inf
    with pytest.raises(Refusal):
        open_end.from_matrix(np.array([[np.nan]]))


def test_finite_values_whose_sum_overflows_are_let_through() -> None:
    signature = Signature([Column("a", "number"), Column("b", "number")])
    assert signature.from_rows([[1.7e308, 1.7e308]]).rows == 1


@pytest.mark.parametrize("columns", [[], [Column("a", "number"), Column("a", "number")], [Column("a", "date")]])
def test_a_signature_must_make_sense(columns) -> None:
    with pytest.raises(PackageError):
        Signature(columns)


def test_a_matrix_is_told_from_text_without_looking_twice() -> None:
    plain = Signature([Column("a", "number"), Column("b", "number")])
    assert plain.from_rows([[1, 2]], plain=True).matrix.tolist() == [[1.0, 2.0]]
    with pytest.raises(Refusal, match="row 1 has 3 values"):
        plain.from_rows([[1, 2, 3]], plain=True)
    with pytest.raises(Refusal, match="a list of 1; expected a number"):
        plain.from_rows([[[1], [2]]], plain=True)
