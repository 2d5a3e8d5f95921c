from __future__ import annotations

from typing import Any

import pytest

from ridgeway.artifacts import PowerAdvice
from ridgeway.report.wording import Thresholds, advice_facts, lineage_facts, number, percent, thresholds_of
from ridgeway.rules.promotion.policy import Policy


def test_the_defaults_are_those_of_the_rule() -> None:
    policy = Policy()
    assert Thresholds() == Thresholds(policy.worthwhile, policy.minimum_rows)


@pytest.mark.parametrize("settings", [None, {}, {"rules.worthwhile": "a lot"}, {"rules.worthwhile": 0.0}])
def test_settings_that_say_nothing_leave_the_defaults(settings: Any) -> None:
    assert thresholds_of({"settings": settings}) == Thresholds()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_no_number_is_a_dash(value: float | None) -> None:
    assert (number(value), percent(value)) == ("–", "–")


def test_extreme_numbers_stay_short() -> None:
    assert [number(1e300), percent(1e12), number(123456.7), number(0.1)] == ["1e+300", "+1.0e+14 %", "123,457", "0.1"]


def test_nothing_arrives_so_no_weeks() -> None:
    advice = PowerAdvice(88, 428, 340, 235, 728, None, None, None, None)
    assert [term for term, _ in advice_facts(advice)] == [
        "Sealed rows now",
        "Needed to see a gain of 5 %",
        "More to come",
    ]


def test_lineage_says_what_is_known(examples: dict[str, dict[str, Any]]) -> None:
    facts = dict(lineage_facts(examples["accepted"]))
    assert facts["Commit"] == "8f14e45fceea167a5a36dedd4bea2543a1b2c3d4 (clean)"
    assert facts["Seed"] == "0"
    assert dict(lineage_facts(examples["harmed"]))["Commit"].endswith("(with uncommitted changes)")
    assert "Opponent" not in dict(lineage_facts(examples["refused"]))
