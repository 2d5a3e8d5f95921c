"""The promotion rule: its table line by line, its words, bad input, and three readings of it that must agree."""

import functools
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from ridgeway.artifacts import Verdict, from_json, to_json
from ridgeway.errors import EvidenceError, UsageError
from ridgeway.rules.promotion import (
    CODES,
    REASONS,
    Context,
    Evidence,
    Findings,
    Paired,
    Policy,
    decide,
    judge,
    lower_bound,
    p_value_of_harm,
    summarise,
    upper_bound,
)

CONTEXT = Context(
    "runs:/3f2a/model", "sha256:1", "models:/d/7", "sha256:2", "k", looks_before=4, sealed_rows_per_week=20.0
)


def spread(rows: int, mean: float, deviation: float) -> np.ndarray:
    """Numbers with exactly this mean and sample deviation."""
    pattern = np.where(np.arange(rows) % 2 == 0, 1.0, -1.0)
    if rows % 2:
        pattern[-1] = 0.0
    return mean + deviation * pattern / pattern.std(ddof=1)


def evidence(rows: int = 100, gain: float = 0.0, deviation: float = 1.0, **more: object) -> Evidence:
    """A candidate that is so much better than an opponent whose mean loss is 10."""
    gains = spread(rows, gain, deviation) if rows > 1 else np.full(rows, gain)
    opponent = np.full(rows, 10.0)
    return Evidence(opponent - gains, opponent, **more)


def recent(rows: int, gain: float, deviation: float = 1.0) -> dict[str, np.ndarray]:
    return {"recent_opponent": np.full(rows, 10.0), "recent_candidate": 10.0 - spread(rows, gain, deviation)}


FIRST = np.arange(100) < 50
OLD = np.zeros(100, dtype=bool)
HALVES = {"first": FIRST, "second": ~FIRST}
HARMED = np.where(FIRST, 13.0, 4.0) + spread(100, 0.0, 0.5)

TABLE = [
    ("too_few_rows", evidence(29, 5.0), Policy()),
    ("too_few_rows", evidence(29, 5.0, champion=False), Policy()),
    ("too_few_rows", evidence(29, 5.0, candidate_metrics={"r2": 0.1}), Policy(floors={"r2": 0.3})),
    ("too_few_rows", evidence(29, 0.0, identical=True), Policy()),
    ("superior_on_sealed", evidence(30, 5.0), Policy()),
    ("below_floor", evidence(100, 5.0, candidate_metrics={"r2": 0.1}), Policy(floors={"r2": 0.3})),
    ("below_floor", evidence(100, 5.0, champion=False, candidate_metrics={"r2": 0.1}), Policy(floors={"r2": 0.3})),
    ("below_floor", evidence(100, 5.0, candidate_metrics={"brier": 0.2}), Policy(ceilings={"brier": 0.1})),
    ("superior_on_sealed", evidence(100, 5.0, candidate_metrics={"r2": 0.3}), Policy(floors={"r2": 0.3})),
    ("superior_on_sealed", evidence(100, 5.0, candidate_metrics={"brier": 0.1}), Policy(ceilings={"brier": 0.1})),
    # One test only: t(0.99, 99) is 2.365 and t(0.995, 99) is 2.626, the gain is 2.5 standard errors.
    ("beats_mean", evidence(100, 0.25, champion=False), Policy()),
    ("not_enough_data", evidence(100, 0.25), Policy()),
    ("not_better_than_mean", evidence(100, -0.17, champion=False), Policy()),
    ("not_enough_data", evidence(100, -0.16, champion=False), Policy()),
    ("not_enough_data", evidence(100, 0.23, champion=False), Policy()),
    ("identical", evidence(100, 0.0, 0.0, identical=True), Policy()),
    ("slice_harm", Evidence(HARMED, np.full(100, 10.0), slices=HALVES), Policy()),
    ("slice_harm", Evidence(HARMED, np.full(100, 10.0), slices=HALVES, **recent(100, 5.0)), Policy()),
    ("superior_on_sealed", Evidence(HARMED, np.full(100, 10.0)), Policy()),
    ("superior_on_recent", evidence(100, -0.3, **recent(30, 0.51)), Policy()),
    ("superior_on_recent", evidence(100, 1.0, **recent(100, 1.0)), Policy()),
    ("superior_on_sealed", evidence(100, 0.27), Policy()),
    ("superior_on_sealed", evidence(100, 0.27, **recent(100, 0.0)), Policy()),
    ("superior_on_sealed", evidence(100, 0.27, **recent(29, -5.0)), Policy()),
    ("sealed_gain_not_on_recent_rows", evidence(100, 0.27, **recent(30, -0.001)), Policy()),
    ("superior_on_both", evidence(100, 0.2, sealed_is_recent=OLD, **recent(100, 0.2)), Policy()),
    ("not_enough_data", evidence(100, 0.2, sealed_is_recent=FIRST, **recent(100, 0.2)), Policy()),
    ("not_enough_data", evidence(100, 0.2, sealed_is_recent=~OLD, **recent(100, 0.2)), Policy()),
    ("not_enough_data", evidence(100, 0.2, **recent(100, 0.2)), Policy()),
    ("not_enough_data", evidence(100, 0.2, sealed_is_recent=OLD, **recent(100, 0.2)), Policy(pooled=False)),
    ("not_enough_data", evidence(100, 0.2, sealed_is_recent=OLD, **recent(100, 0.2)), Policy(strict=True)),
    # On the recent rows the 5 % bound is at t(0.95, 99) = 1.66 standard errors.
    ("superior_on_both", evidence(100, 0.25, sealed_is_recent=OLD, **recent(100, 0.17)), Policy()),
    ("not_enough_data", evidence(100, 0.25, sealed_is_recent=OLD, **recent(100, 0.16)), Policy()),
    ("not_enough_data", evidence(100, 0.25, sealed_is_recent=OLD, **recent(29, 0.4)), Policy()),
    ("not_enough_data", evidence(100, 0.27), Policy(strict=True)),
    ("superior_on_sealed", evidence(100, 0.35), Policy(strict=True)),
    ("refresh_not_worse", evidence(100, 0.07), Policy(refresh=True)),
    ("not_enough_data", evidence(100, 0.06), Policy(refresh=True)),
    ("not_enough_data", evidence(100, 0.07), Policy()),
    ("refresh_not_worse", evidence(100, 0.07, sealed_anchor=np.full(100, 10.0)), Policy(refresh=True)),
    ("not_enough_data", evidence(100, 0.07, sealed_anchor=np.full(100, 9.9)), Policy(refresh=True)),
    ("not_enough_data", evidence(100, 0.07, **recent(100, -0.11)), Policy(refresh=True)),
    ("refresh_not_worse", evidence(100, 0.07, **recent(100, -0.09)), Policy(refresh=True)),
    ("no_worthwhile_gain", evidence(100, -0.07), Policy()),
    ("not_enough_data", evidence(100, -0.06), Policy()),
    ("no_worthwhile_gain", evidence(100, -0.07, **recent(100, -0.07)), Policy()),
    ("not_enough_data", evidence(100, -0.07, **recent(100, -0.06)), Policy()),
    ("no_worthwhile_gain", evidence(100, -0.07, **recent(29, 0.0)), Policy()),
    ("not_enough_data", evidence(100, 0.0), Policy()),
    ("required_slice_too_small", evidence(100, 5.0, slices={"a": np.arange(100) < 29}), Policy(required_slices=("a",))),
    ("superior_on_sealed", evidence(100, 5.0, slices={"a": np.arange(100) < 30}), Policy(required_slices=("a",))),
    ("superior_on_sealed", evidence(100, 5.0, slices={"a": np.arange(100) < 29}), Policy()),
    ("no_worthwhile_gain", evidence(100, -5.0, slices={"a": FIRST & False}), Policy(required_slices=("a",))),
]


@pytest.mark.parametrize(("reason", "found", "policy"), TABLE, ids=[f"{i}-{row[0]}" for i, row in enumerate(TABLE)])
def test_the_table(reason: str, found: Evidence, policy: Policy) -> None:
    verdict = judge(found, policy, CONTEXT)
    assert (verdict.reason, verdict.outcome) == (reason, REASONS[reason])
    assert from_json(json.loads(json.dumps(to_json(verdict), allow_nan=False))) == verdict
    assert verdict.sentence.endswith({"accept": "accepted", "reject": "rejected", "hold": "held"}[verdict.outcome])
    assert verdict.next_step


def test_the_table_covers_every_reason() -> None:
    assert {reason for reason, _, _ in TABLE} == set(REASONS)


# ---- three readings of the table: judge, decide on arrays, and a naive one written from the prose


@functools.cache
def quantile(share: float, freedom: int) -> float:
    from scipy import stats

    return float(stats.t.ppf(share, freedom))


class Side:
    """A set of rows in textbook numbers; below two rows they are not a number, and compare as false."""

    def __init__(self, opponent: np.ndarray, candidate: np.ndarray, a: float) -> None:
        d = [float(x - y) for x, y in zip(opponent, candidate, strict=True)]
        self.n = len(d)
        self.m = self.low = self.high = self.loss = math.nan
        if self.n >= 2:
            self.m = math.fsum(d) / self.n
            error = math.sqrt(math.fsum((x - self.m) ** 2 for x in d) / (self.n - 1)) / math.sqrt(self.n)
            self.low = self.m - quantile(1 - a, self.n - 1) * error
            self.high = self.m + quantile(0.95, self.n - 1) * error
            self.loss = math.fsum(opponent) / self.n


def naive(found: Evidence, policy: Policy) -> str:
    """The table read line by line with plain Python and the textbook functions."""
    one = 0.05 / 52 if policy.strict else 0.01
    whole = Side(found.sealed_opponent, found.sealed_candidate, one)
    sealed = Side(found.sealed_opponent, found.sealed_candidate, one / 2)
    late = Side(found.recent_opponent, found.recent_candidate, one / 2)
    first, floor = not found.champion, policy.floors.get("r2", 0.0)
    lines = [
        ("too_few_rows", lambda: sealed.n < 30),
        ("below_floor", lambda: found.candidate_metrics["r2"] < floor),
        ("beats_mean", lambda: first and whole.low > 0),
        ("not_better_than_mean", lambda: first and whole.high <= 0),
        ("not_enough_data", lambda: first),
        ("identical", lambda: found.identical),
        ("slice_harm", lambda: naive_harm(found)),
        ("superior_on_recent", lambda: late.n >= 30 and late.low > 0),
        ("superior_on_sealed", lambda: sealed.low > 0 and (late.n < 30 or late.m >= 0)),
        ("superior_on_both", lambda: late.n >= 30 and naive_both(found, one / 2)),
        ("sealed_gain_not_on_recent_rows", lambda: sealed.low > 0),
        ("refresh_not_worse", lambda: policy.refresh and naive_refresh(found, late)),
        ("no_worthwhile_gain", lambda: all(part.high < 0.01 * part.loss for part in (sealed, late) if part.n >= 30)),
        ("not_enough_data", lambda: True),
    ]
    reason = next(reason for reason, applies in lines if applies())
    small = any(found.slices[name].sum() < 30 for name in policy.required_slices)
    return "required_slice_too_small" if small and REASONS[reason] == "accept" else reason


def naive_both(found: Evidence, a: float) -> bool:
    if found.sealed_is_recent is None or Side(found.recent_opponent, found.recent_candidate, 0.05).low <= 0:
        return False
    kept = [row for row, also_recent in enumerate(found.sealed_is_recent) if not also_recent]
    opponent = [*found.sealed_opponent[kept], *found.recent_opponent]
    return Side(opponent, [*found.sealed_candidate[kept], *found.recent_candidate], a).low > 0


def naive_harm(found: Evidence) -> bool:
    from scipy import stats

    masks = [mask for mask in found.slices.values() if mask.sum() >= 30]
    for mask in masks:
        ours, theirs = found.sealed_candidate[mask], found.sealed_opponent[mask]
        error = np.std(ours - theirs, ddof=1) / math.sqrt(len(ours))
        p = stats.t.sf((np.mean(ours - theirs) - 0.05 * np.mean(theirs)) / error, len(ours) - 1)
        if p < 0.05 / len(masks):
            return True
    return False


def naive_refresh(found: Evidence, late: Side) -> bool:
    opponents = [found.sealed_opponent] + ([] if found.sealed_anchor is None else [found.sealed_anchor])
    sides = [Side(opponent, found.sealed_candidate, 0.05) for opponent in opponents]
    return all(side.low > -0.01 * side.loss for side in sides) and (late.n < 30 or late.m > -0.01 * late.loss)


def random_case(rng: np.random.Generator) -> tuple[Evidence, Policy]:
    n, k = (int(rng.choice([5, 29, 30, 31, 60, 120], p=weights)) for weights in ([0.05, 0.05, 0.2, 0.2, 0.3, 0.2],) * 2)
    policy = Policy(
        strict=bool(rng.random() < 0.2),
        refresh=bool(rng.random() < 0.4),
        floors={"r2": 0.3} if rng.random() < 0.1 else {},
        required_slices=("a",) if rng.random() < 0.3 else (),
    )

    # Half of the time both sets tell the same story, else each its own.
    agreeing, effect = rng.random() < 0.5, rng.normal(0, 1.5)

    def losses(rows: int) -> tuple[np.ndarray, np.ndarray]:
        shared = rng.chisquare(1, rows) * 10
        noise = rng.choice([0.1, 1.0, 3.0])
        return shared, shared + rng.normal((effect if agreeing else rng.normal(0, 1.5)) * noise / 4, noise, rows)

    opponent, candidate = losses(n)
    recent_opponent, recent_candidate = losses(k if rng.random() < 0.6 else 0)
    slices = {"a": rng.random(n) < rng.choice([0.2, 0.6]), "b": rng.random(n) < 0.6}
    champion = bool(rng.random() < 0.85)
    found = Evidence(
        candidate,
        opponent,
        champion=champion,
        identical=bool(rng.random() < 0.05),
        recent_candidate=recent_candidate if champion else np.empty(0),
        recent_opponent=recent_opponent if champion else np.empty(0),
        sealed_is_recent=rng.random(n) < 0.3 if rng.random() < 0.7 else None,
        slices=slices if rng.random() < 0.7 or policy.required_slices else {},
        sealed_anchor=np.abs(opponent + rng.normal(0, 0.3, n)) if rng.random() < 0.5 else None,
        candidate_metrics={"r2": rng.uniform(0.2, 0.6)},
    )
    return found, policy


def padded(arrays: list[np.ndarray]) -> np.ndarray:
    """Arrays of different lengths as one, short ones filled up with a number that must not count."""
    filled = np.full((len(arrays), max(array.size for array in arrays)), 1e6)
    for row, array in zip(filled, arrays, strict=True):
        row[: array.size] = array
    return filled


PAIR = ("opponent", "candidate")


def decide_all(cases: list[Evidence], policy: Policy, reasons_flags: list[dict[str, bool]]) -> list[str]:
    """All cases of one policy in a single call, the way the benchmark judges years side by side."""

    def stacked(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        sizes = np.array([getattr(case, f"{name}_opponent").size for case in cases])
        opponent, candidate = (padded([getattr(case, f"{name}_{who}") for case in cases]) for who in PAIR)
        return opponent, candidate, np.arange(opponent.shape[1]) < sizes[:, None]

    def side(name: str) -> Paired:
        opponent, candidate, where = stacked(name)
        return summarise(opponent, candidate, where=where)

    def both() -> Paired:
        parts = [stacked("sealed"), stacked("recent")]
        for row, case in enumerate(cases):
            if case.sealed_is_recent is None or not case.champion:
                parts[0][2][row] = parts[1][2][row] = False
            else:
                parts[0][2][row, : case.sealed_is_recent.size] &= ~case.sealed_is_recent
        opponent, candidate, where = (np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
        return summarise(opponent, candidate, where=where)

    sealed = side("sealed")
    anchors = [case.sealed_opponent if case.sealed_anchor is None else case.sealed_anchor for case in cases]
    sizes = np.array([case.sealed_opponent.size for case in cases])[:, None]
    ours = padded([case.sealed_candidate for case in cases])
    anchor = summarise(padded(anchors), ours, where=np.arange(ours.shape[1]) < sizes)
    flags = {name: np.array([flag[name] for flag in reasons_flags]) for name in reasons_flags[0]}
    findings = Findings(sealed, side("recent"), both(), anchor, **flags)
    return [CODES[code] for code in decide(findings, policy)]


def flags_of(found: Evidence, policy: Policy, verdict: Verdict) -> dict[str, bool]:
    return {
        "champion": found.champion,
        "identical": found.identical,
        "below_floor": any(found.candidate_metrics[name] < least for name, least in policy.floors.items()),
        "slice_harm": any(part.harmed for part in verdict.slices),
        "required_slice_small": any(found.slices[name].sum() < 30 for name in policy.required_slices),
    }


def test_judge_and_the_vectorised_rule_and_a_naive_reading_agree_on_every_random_case() -> None:
    rng = np.random.default_rng(11)
    cases = [random_case(rng) for _ in range(5200)]
    verdicts = [judge(found, policy, CONTEXT) for found, policy in cases]
    judged = [verdict.reason for verdict in verdicts]
    assert judged == [naive(found, policy) for found, policy in cases]
    assert {reason: judged.count(reason) >= 5 for reason in REASONS} == dict.fromkeys(REASONS, True)

    by_policy: dict[str, list[int]] = {}
    for position, (_, policy) in enumerate(cases):
        by_policy.setdefault(repr(policy), []).append(position)
    vectorised = [""] * len(cases)
    for positions in by_policy.values():
        policy = cases[positions[0]][1]
        flags = [flags_of(cases[position][0], policy, verdicts[position]) for position in positions]
        for position, reason in zip(
            positions, decide_all([cases[p][0] for p in positions], policy, flags), strict=True
        ):
            vectorised[position] = reason
    assert vectorised == judged


# ---- the numbers


def test_bounds_are_those_of_the_textbook() -> None:
    from scipy import stats

    gains = np.random.default_rng(0).normal(1.0, 3.0, 40)
    paired = summarise(gains + 10, np.full(40, 10.0))
    for level in (0.005, 0.05 / 104, 0.05):
        low, _ = stats.ttest_1samp(gains, 0).confidence_interval(1 - 2 * level)
        assert lower_bound(paired, level) == pytest.approx(low)
    assert upper_bound(paired) == pytest.approx(stats.ttest_1samp(gains, 0).confidence_interval(0.90).high)


def test_harm_is_the_one_sided_t_test_against_the_margin() -> None:
    from scipy import stats

    rng = np.random.default_rng(0)
    opponent = rng.chisquare(2, 50)
    candidate = opponent + rng.normal(0.2, 0.5, 50)
    margin = 0.05 * opponent.mean()
    expected = stats.ttest_1samp(candidate - opponent - margin, 0, alternative="greater").pvalue
    assert p_value_of_harm(summarise(opponent, candidate), 0.05) == pytest.approx(expected)


def test_all_numbers_of_a_verdict() -> None:
    found = evidence(100, 1.0, 2.0, candidate_metrics={"r2": 0.5}, opponent_metrics={"r2": 0.4}, **recent(36, 0.5, 1.2))
    verdict = judge(found, Policy(), CONTEXT)
    sealed, late = verdict.sets
    assert (sealed.name, sealed.rows, sealed.usable, sealed.level) == ("sealed", 100, True, 0.005)
    assert sealed.opponent_loss == pytest.approx(10)
    assert sealed.candidate_loss == pytest.approx(9)
    assert sealed.gain == pytest.approx(1)
    assert sealed.gain_deviation == pytest.approx(2)
    assert sealed.lower == pytest.approx(1 - 2.6264 * 0.2, abs=1e-4)
    assert sealed.upper == pytest.approx(1 + 1.6604 * 0.2, abs=1e-4)
    assert (late.name, late.rows, late.gain) == ("recent", 36, pytest.approx(0.5))
    assert late.lower == pytest.approx(0.5 - 2.7238 * 0.2, abs=1e-4)
    assert (verdict.looks, verdict.strict, verdict.loss) == (5, False, "squared_error")
    assert (verdict.candidate, verdict.candidate_digest) == ("runs:/3f2a/model", "sha256:1")
    assert (verdict.opponent, verdict.opponent_digest, verdict.key) == ("models:/d/7", "sha256:2", "k")
    assert (verdict.candidate_metrics, verdict.opponent_metrics) == ({"r2": 0.5}, {"r2": 0.4})
    # N = ((2.5758 + 0.8416) 2 / 0.5)² = 186.9; the range is 0.55 and 1.7 times that; 20 sealed rows a week.
    advice = verdict.advice
    assert advice is not None
    assert (advice.rows_now, advice.rows_needed, advice.rows_missing) == (100, 187, 87)
    assert (advice.rows_low, advice.rows_high) == (103, 318)
    assert (advice.weeks, advice.weeks_low, advice.weeks_high) == (4.35, 0.15, 10.9)
    assert advice.smallest_gain_visible == pytest.approx(3.4174 * 0.2 / 10, abs=1e-5)


def test_the_first_model_gets_advice_for_the_one_test_it_meets() -> None:
    """Against the mean the error probability is not halved: z(0.99) + z(0.8) = 3.1680, not 3.4174."""
    advice = judge(evidence(100, 0.3, 2.0, champion=False), Policy(), CONTEXT).advice
    assert advice is not None
    assert advice.rows_needed == math.ceil((3.16797 * 0.2 / 0.05) ** 2) == 161
    assert advice.smallest_gain_visible == pytest.approx(3.16797 * 0.2 / 10, abs=1e-5)


def test_both_sets_together_count_every_row_once() -> None:
    mask = np.arange(100) < 40
    found = evidence(100, 0.2, sealed_is_recent=mask, **recent(90, 0.3))
    verdict = judge(found, Policy(), CONTEXT)
    assert [(part.name, part.rows, part.usable) for part in verdict.sets] == [
        ("sealed", 100, True), ("recent", 90, True), ("both", 150, True),
    ]  # fmt: skip
    gains = np.concatenate([(found.sealed_opponent - found.sealed_candidate)[40:], spread(90, 0.3, 1.0)])
    assert (verdict.sets[2].gain, verdict.sets[2].gain_deviation) == pytest.approx((gains.mean(), gains.std(ddof=1)))
    few = judge(evidence(100, 0.2, sealed_is_recent=OLD, **recent(20, 0.3)), Policy(), CONTEXT)
    assert [(part.name, part.rows, part.usable) for part in few.sets] == [
        ("sealed", 100, True), ("recent", 20, False), ("both", 120, False),
    ]  # fmt: skip


def test_the_lower_bound_without_a_champion_is_at_the_whole_level() -> None:
    assert judge(evidence(champion=False), Policy(), CONTEXT).sets[0].level == 0.01
    assert judge(evidence(), Policy(strict=True), CONTEXT).sets[0].level == pytest.approx(0.05 / 104)


def test_slices_are_judged_together_by_holm() -> None:
    opponent = np.full(120, 10.0)
    candidate = opponent + np.concatenate([spread(40, 1.5, 1.0), spread(40, 0.83, 1.0), spread(40, 0.5, 1.0)])
    thirds = {name: np.arange(120) // 40 == third for third, name in enumerate("abc")}
    tiny = {"tiny": np.arange(120) < 3}
    verdict = judge(Evidence(candidate, opponent, slices=thirds | tiny), Policy(), CONTEXT)
    # The second, p = 0.0217, is below 0.05/2 only, which is enough once the first is harmed; "tiny" is not counted.
    assert [(part.name, part.rows, part.harmed) for part in verdict.slices] == [
        ("a", 40, True), ("b", 40, True), ("c", 40, False), ("tiny", 3, False),
    ]  # fmt: skip
    assert [part.p_value for part in verdict.slices] == pytest.approx([9.2e-8, 0.0217, 0.5, 1.0], rel=0.01)
    assert verdict.sentence.startswith("worse on a: 15 % worse on 40 unseen rows (p = 9e-08); b: 8.3 % worse")


def test_slices_that_are_all_small_are_shown_and_not_judged() -> None:
    slices = {str(part): np.arange(100) // 20 == part for part in range(5)}
    verdict = judge(evidence(100, 0.5, slices=slices), Policy(), CONTEXT)
    assert verdict.reason == "superior_on_sealed"
    assert {(part.rows, part.p_value, part.harmed) for part in verdict.slices} == {(20, 1.0, False)}


# ---- the words


@pytest.mark.parametrize(
    ("found", "policy", "sentence", "next_step"),
    [
        (
            evidence(88, 1.3, 3.5),
            Policy(),
            "13 % better on 88 unseen rows, between 3.2 and 19 %: accepted",
            "it becomes the challenger: ridgeway run retraining",
        ),
        (
            evidence(88, 0.3, 3.5),
            Policy(),
            "not enough data to tell (3 % better on 88 unseen rows, between 6.8 % worse and 9.2 % better): held",
            "bring about 480 more sealed rows (315 to 973 in all), 24 weeks at the present inflow",
        ),
        (
            evidence(88, 0.0, 0.5),
            Policy(),
            "no gain worth a change (as good on 88 unseen rows, between 1.4 % worse and 0.89 % better): rejected",
            "keep the champion; another attempt needs other features or another model",
        ),
        (
            evidence(29, 1.0),
            Policy(),
            "29 sealed rows: too few to judge: held",
            "bring 1 more sealed row, 1 week at the present inflow",
        ),
        (
            evidence(100, -1.0, 1.0, **recent(40, 0.8)),
            Policy(),
            "8 % better on 40 rows that arrived after the champion, between 3.7 and 11 %: accepted",
            "it becomes the challenger: ridgeway run retraining",
        ),
        (
            evidence(100, 1.0, 1.0, **recent(40, -0.8)),
            Policy(),
            (
                "10 % better on 100 unseen rows, between 7.4 and 12 %, but not since the champion "
                "(8 % worse on 40 rows that arrived after the champion, between 5.3 and 12 % worse): held"
            ),
            "look for drift: train on newer rows, and judge again when more have arrived",
        ),
        (
            evidence(100, 0.2, sealed_is_recent=OLD, **recent(100, 0.26)),
            Policy(),
            "2.3 % better on 200 unseen and newly arrived rows together, between 0.46 and 3.5 %: accepted",
            "it becomes the challenger: ridgeway run retraining",
        ),
        (
            evidence(100, 1.0, 1.0, champion=False),
            Policy(),
            "10 % better than predicting the mean on 100 unseen rows, between 7.6 and 12 %: accepted",
            "it becomes the challenger: ridgeway run retraining",
        ),
        (
            evidence(100, 5.0, candidate_metrics={"r2": 0.214}),
            Policy(floors={"r2": 0.3}),
            "r2 is 0.214 on the sealed rows, below the floor of 0.3: rejected",
            "improve the model, or change the floor with a reason",
        ),
        (
            evidence(1000, 0.05, 1.2),
            Policy(),
            "not enough data to tell (0.5 % better on 1000 unseen rows, between 0.48 % worse and 1.1 % better): held",
            "a gain of 1.3 % or more would most likely have shown: improve the model, or wait for more rows",
        ),
    ],
)
def test_the_words(found: Evidence, policy: Policy, sentence: str, next_step: str) -> None:
    verdict = judge(found, policy, CONTEXT)
    assert (verdict.sentence, verdict.next_step) == (sentence, next_step)


def test_without_an_inflow_no_weeks_are_promised() -> None:
    for inflow in (None, 0.0):
        verdict = judge(evidence(88, 0.3, 3.5), Policy(), replace(CONTEXT, sealed_rows_per_week=inflow))
        assert verdict.next_step == "bring about 480 more sealed rows (315 to 973 in all)"
        assert verdict.advice is not None
        assert (verdict.advice.weeks, verdict.advice.weeks_low, verdict.advice.weeks_high) == (None, None, None)


def test_warnings_name_what_a_reader_should_know() -> None:
    gains = np.zeros(100)
    gains[3], gains[4] = 30.0, 10.0
    verdict = judge(
        Evidence(np.full(100, 50.0) - gains, np.full(100, 50.0), recent_is_sealed_only=True),
        Policy(),
        replace(CONTEXT, looks_before=52),
    )
    assert verdict.warnings == (
        "one row holds 75 % of all differences on the sealed rows: look at it",
        "out-of-fold predictions are off: the recent set holds only its sealed rows",
        "0 rows arrived after the champion: judged on the sealed rows alone",
        "look number 53 at this holdout: switch on rules.strict for a search by hand",
    )
    assert judge(evidence(100, 1.0, **recent(40, 1.0)), Policy(), CONTEXT).warnings == ()


# ---- bad input


@pytest.mark.parametrize("rows", [0, 1, 2, 29])
def test_few_rows_hold_without_a_warning_of_numpy(rows: int) -> None:
    verdict = judge(evidence(rows, 1.0, 0.0 if rows < 2 else 1.0, slices={"a": np.ones(rows, bool)}), Policy(), CONTEXT)
    assert verdict.reason == "too_few_rows"
    assert [part.rows for part in verdict.sets] == ([rows] if rows > 1 else [])
    assert verdict.advice is not None
    assert verdict.advice.rows_now == rows


@pytest.mark.parametrize("champion", [True, False])
@pytest.mark.parametrize(("ours", "theirs"), [(0.0, 0.0), (2.0, 2.0), (1.0, 2.0), (2.0, 1.0), (1.0, 0.0), (0.0, 1.0)])
def test_gains_without_spread_are_decided_by_their_sign(ours: float, theirs: float, champion: bool) -> None:
    found = Evidence(np.full(50, ours), np.full(50, theirs), champion=champion, slices={"a": np.ones(50, bool)})
    verdict = judge(found, Policy(), CONTEXT)
    worse = "no_worthwhile_gain" if champion else "not_better_than_mean"
    better = "superior_on_sealed" if champion else "beats_mean"
    harm = champion and ours > theirs
    assert verdict.reason == ("slice_harm" if harm else better if ours < theirs else worse)


def test_huge_and_tiny_losses_keep_their_decision() -> None:
    losses = np.random.default_rng(3).chisquare(1, 60)
    for scale in (1e-300, 1e-150, 1.0, 1e150, 1e300):
        assert judge(Evidence(losses * scale * 0.8, losses * scale), Policy(), CONTEXT).reason == "superior_on_sealed"


def test_losses_beyond_floating_point_are_an_error() -> None:
    with pytest.raises(EvidenceError, match="too large to be averaged"):
        judge(Evidence(np.full(60, 1e308), np.full(60, 1.7e308)), Policy(), CONTEXT)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_losses_that_are_not_finite_are_refused_with_their_row(value: float) -> None:
    losses = np.ones(40)
    losses[16] = value
    with pytest.raises(EvidenceError, match="sealed_opponent, row 17"):
        Evidence(np.ones(40), losses)
    with pytest.raises(EvidenceError, match="recent_candidate, row 17"):
        Evidence(np.ones(4), np.ones(4), recent_candidate=losses, recent_opponent=np.ones(40))


@pytest.mark.parametrize(
    "arguments",
    [
        {"sealed_opponent": np.ones(39)},
        {"recent_candidate": np.ones(3)},
        {"sealed_anchor": np.ones(3)},
        {"sealed_is_recent": np.ones(3, bool)},
        {"slices": {"a": np.ones(3, bool)}},
        {"sealed_candidate": np.ones((40, 1))},
    ],
)
def test_lengths_that_differ_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(EvidenceError):
        Evidence(**({"sealed_candidate": np.ones(40), "sealed_opponent": np.ones(40)} | arguments))  # type: ignore[arg-type]


def test_a_limit_on_a_metric_that_is_not_there_is_an_error() -> None:
    with pytest.raises(EvidenceError, match=r"rules\.floors\.roc_auc"):
        judge(evidence(candidate_metrics={"r2": 0.5}), Policy(floors={"roc_auc": 0.5}), CONTEXT)
    with pytest.raises(EvidenceError, match=r"rules\.floors\.r2"):
        judge(evidence(candidate_metrics={"r2": math.nan}), Policy(floors={"r2": 0.5}), CONTEXT)
    with pytest.raises(EvidenceError, match="no slice is called 'men'"):
        judge(evidence(), Policy(required_slices=("men",)), CONTEXT)


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"alpha": 0.0}, "rules.alpha"),
        ({"alpha": 0.5}, "rules.alpha"),
        ({"alpha": math.nan}, "rules.alpha"),
        ({"minimum_rows": 1}, "rules.minimum_rows"),
        ({"worthwhile": -0.1}, "rules.worthwhile"),
        ({"slice_margin": 0.0}, "rules.slice_margin"),
        ({"floors": {"mean_squared_error": 3000.0}}, "rules.ceilings.mean_squared_error = 3000.0"),
        ({"ceilings": {"r2": 0.3}}, "rules.floors.r2 = 0.3"),
    ],
)
def test_settings_out_of_range_are_refused_by_their_path(settings: dict[str, object], where: str) -> None:
    with pytest.raises(UsageError, match=where):
        Policy(**settings)  # type: ignore[arg-type]
