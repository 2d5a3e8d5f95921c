"""Conditions of slices compare columns; whatever could run code is refused before pandas sees it."""

from __future__ import annotations

import pandas as pd
import pytest

from ridgeway.errors import UsageError
from ridgeway.rules.conditions import check_condition

FRAME = pd.DataFrame({"age": [50, 70], "sex": [1, 2], "blood group": ["A", "0"], "alive": [True, False]})


@pytest.mark.parametrize(
    "text",
    [
        "age >= 60",
        "sex == 2 and age >= 60",
        "(sex == 2) & (age >= 60) | ~(age < 30)",
        "not age < 60",
        "sex in [1, 2]",
        "sex not in (1, 2)",
        "`blood group` == 'A'",
        "`blood group` in ['A', \"it's\", 'a `tick` inside']",
        "age / 2 + sex * 3 - 1 > 7 % 4",
        "age // 10 == 7",
        "30 < age <= 70",
        "-age < +sex",
        "alive == True",
        "  alive",
    ],
)
def test_what_compares_columns_is_evaluated(text: str) -> None:
    check_condition(text)
    mask = FRAME.eval(text.strip(), engine="python", local_dict={}, global_dict={})
    assert pd.api.types.is_bool_dtype(mask.dtype)


@pytest.mark.parametrize(
    ("text", "problem", "place"),
    [
        ("age.map(print) > 0", "may not hold a call", 1),
        ("sex == 2 and age.to_csv('/tmp/x') == 1", "may not hold a call", 14),
        ("`blood group`.str.len() > 1", "may not hold a call", 1),
        ("age.values > 1", "may not hold an attribute", 1),
        ("__import__('os').system('x')", "may not hold a call", 1),
        ("age[0] > 1", "may not hold a subscript", 1),
        ("[x for x in age]", "may not hold ListComp", 1),
        ("(lambda: 1) == age", "may not hold a function", 2),
        ("f'{age}' == 'x'", "may not hold a formatted text", 1),
        ("age > (9 ** 9) ** 9", "may not hold a power", 8),
        ("age == None", "may not hold None", 8),
        ("age == b'x'", "may not hold b'x'", 8),
        ("age if sex else 1", "may not hold IfExp", 1),
        ("age is sex", "may not hold Is", 1),
        ("@age > 1", "is no expression", 1),
        ("age > 1; sex", "is no expression", 1),
        ("age = 1", "is no expression", 1),
        ("age > 1\nsex == 2", "is no expression", 1),
        ("", "is no expression", 1),
        ("age > ", "is no expression", 1),
        ("`age > 1", "is no expression", 1),
        ("a" * 10 + "(" * 5000, "is no expression", 1),
    ],
)
def test_what_could_run_code_is_refused_with_its_place(text: str, problem: str, place: int) -> None:
    with pytest.raises(UsageError) as caught:
        check_condition(text, where="rules.slices.old")
    assert caught.value.summary == f"a condition {problem}"
    assert caught.value.where.startswith(f'rules.slices.old = "{text}", at character ')
    if place > 1:
        assert abs(int(caught.value.where.rpartition(" ")[2]) - place) <= 1, caught.value.where


def test_a_slice_is_checked_before_it_is_evaluated() -> None:
    from ridgeway.actions.judgement import slice_mask

    with pytest.raises(UsageError, match=r"a condition may not hold a call\n  where +rules\.slices\.old"):
        slice_mask(FRAME, "old", "age.map(print) > 0")
    assert slice_mask(FRAME, "old", "age >= 60").tolist() == [False, True]
