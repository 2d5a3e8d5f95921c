"""The words of a verdict: the sentence a person reads, and what to do next."""

from __future__ import annotations

from typing import Literal

from ridgeway.artifacts import PowerAdvice, SetEvidence, SliceEvidence
from ridgeway.rules.promotion.decision import REASONS
from ridgeway.rules.promotion.policy import Context, Evidence, Policy

_ENDING = {"accept": "accepted", "reject": "rejected", "hold": "held"}


_REGISTER = "it becomes the challenger: ridgeway run retraining"
"""A retraining under the same settings finds the candidate, judges it by the project's own rule, and registers it."""
_KINDS = {
    "sealed": "unseen rows",
    "recent": "rows that arrived after the champion",
    "both": "unseen and newly arrived rows together",
}
_DECIDING: dict[str, Literal["recent", "both"]] = {"superior_on_recent": "recent", "superior_on_both": "both"}


def percent(share: float) -> str:
    """A share as a percentage with two significant digits, without its sign and without the sign for per cent.

    Example:
        >>> percent(0.1312), percent(-0.0312), percent(0.004), percent(1.5), percent(0.0)
        ('13', '3.1', '0.4', '150', '0')
    """
    value = abs(share) * 100
    return f"{value:.0f}" if value >= 9.95 else f"{value:.2g}" if value >= 0.01 else "0"


def comparison(found: SetEvidence, than: str = "") -> str:
    """A set in words: the gain, the rows, and the interval, as shares of the opponent's loss.

    Args:
        found: The set.
        than: Who the opponent is, where the sentence does not say so elsewhere, as in ``" than predicting the mean"``.

    Example:
        >>> comparison(SetEvidence("sealed", 88, 3000.0, 2600.0, 400.0, 1300.0, 35.0, 630.4, 0.005, True, 0.1))
        '13 % better on 88 unseen rows, between 1.2 and 21 %'
    """
    kind = _KINDS[found.name]
    if found.opponent_loss <= 0:
        return f"on {found.rows} {kind} the opponent makes no error"
    gain, lower, upper = (value / found.opponent_loss for value in (found.gain, found.lower, found.upper))
    if percent(gain) == "0":
        return f"as good{than and ' as' + than.removeprefix(' than')} on {found.rows} {kind}, {_between(lower, upper)}"
    return f"{percent(gain)} % {_word(gain)}{than} on {found.rows} {kind}, {_between(lower, upper)}"


def sentence(reason: str, sets: tuple[SetEvidence, ...], detail: str, *, champion: bool) -> str:
    """The verdict in one plain sentence.

    Args:
        reason: The reason code.
        sets: The sets with their numbers; the one that decided is named.
        detail: What the reason is about, where it is not a set: the floor, the slice, the number of rows.
        champion: False where the opponent predicts the training mean.
    """
    by_name = {found.name: found for found in sets}
    deciding = by_name.get(_DECIDING.get(reason, "sealed"))
    seen = comparison(deciding, "" if champion else " than predicting the mean") if deciding else ""
    ending = _ENDING[REASONS[reason]]
    texts = {
        "not_better_than_mean": f"the model has learned nothing ({seen}): {ending}",
        "too_few_rows": f"{detail}: too few to judge: {ending}",
        "below_floor": f"{detail}: {ending}",
        "identical": f"predicts the same as the champion on every row: {ending}",
        "slice_harm": f"worse on {detail}: {ending}",
        "sealed_gain_not_on_recent_rows": f"{seen}, but not since the champion"
        f"{_in_brackets(by_name.get('recent'))}: {ending}",
        "refresh_not_worse": f"not worse, and trained on newer data ({seen}): {ending}",
        "no_worthwhile_gain": f"no gain worth a change ({seen}): {ending}",
        "not_enough_data": f"not enough data to tell ({seen}): {ending}",
        "required_slice_too_small": f"{detail}, though otherwise good ({seen}): {ending}",
    }
    return texts.get(reason, f"{seen}: {ending}")


def next_step(reason: str, policy: Policy, context: Context, advice: PowerAdvice | None) -> str:
    """What to do next, in one line."""
    fixed = {
        **{accepted: _REGISTER for accepted, outcome in REASONS.items() if outcome == "accept"},
        "below_floor": "improve the model, or change the floor with a reason",
        "not_better_than_mean": "look at features and label: on unseen rows the mean predicts as well",
        "identical": "change the data, the features or the parameters before training again",
        "slice_harm": "bring more rows of that slice into training, or features that tell it apart",
        "sealed_gain_not_on_recent_rows": "look for drift: train on newer rows, and judge again when more have arrived",
        "no_worthwhile_gain": "keep the champion; another attempt needs other features or another model",
        "required_slice_too_small": "bring more rows of that slice",
    }
    if reason in fixed:
        return fixed[reason]
    return "bring more rows" if advice is None else _bring_rows(reason, policy, context, advice)


def floor_words(metric: str, value: float, limit: float, *, ceiling: bool) -> str:
    """A missed floor or ceiling in words.

    Example:
        >>> floor_words("r2", 0.21, 0.3, ceiling=False)
        'r2 is 0.21 on the sealed rows, below the floor of 0.3'
    """
    side = "above the ceiling" if ceiling else "below the floor"
    return f"{metric} is {value:.4g} on the sealed rows, {side} of {limit:.4g}"


def slice_words(found: SliceEvidence) -> str:
    """A harmed slice in words.

    Example:
        >>> slice_words(SliceEvidence("women", 50, 3000.0, -600.0, 0.0005, True))
        'women: 20 % worse on 50 unseen rows (p = 0.0005)'
    """
    share = f"{percent(found.gain / found.opponent_loss)} % " if found.opponent_loss > 0 else ""
    return f"{found.name}: {share}worse on {found.rows} unseen rows (p = {found.p_value:.1g})"


def warnings(evidence: Evidence, policy: Policy, context: Context, sets: tuple[SetEvidence, ...]) -> tuple[str, ...]:
    """What a reader should know beside the verdict; empty when there is nothing."""
    found = [
        f"one row holds {percent(part.largest_share)} % of all differences on the {part.name} rows: look at it"
        for part in sets
        if part.usable and part.name != "both" and part.largest_share > LARGE_SHARE
    ]
    if evidence.champion and evidence.recent_is_sealed_only:
        found.append("out-of-fold predictions are off: the recent set holds only its sealed rows")
    if evidence.champion and evidence.recent_candidate.size < policy.minimum_rows:
        found.append(
            f"{evidence.recent_candidate.size} rows arrived after the champion: judged on the sealed rows alone"
        )
    if context.looks_before >= MANY_LOOKS and not policy.strict:
        found.append(
            f"look number {context.looks_before + 1} at this holdout: switch on rules.strict for a search by hand"
        )
    return tuple(found)


LARGE_SHARE = 0.25
"""From this share of all differences in one row on, the mean gain is the story of that row."""
MANY_LOOKS = 52
"""The measured error rate is that of a year of weekly judgements; beyond them it grows."""


def _bring_rows(reason: str, policy: Policy, context: Context, advice: PowerAdvice) -> str:
    if reason == "too_few_rows":
        missing = policy.minimum_rows - advice.rows_now
        rows = "sealed row" if missing == 1 else "sealed rows"
        return f"bring {missing} more {rows}{_weeks(missing, context.sealed_rows_per_week)}"
    if advice.rows_missing:
        range_words = f"{advice.rows_low:,} to {advice.rows_high:,} in all"
        return (
            f"bring about {_rounded(advice.rows_missing):,} more sealed rows ({range_words})"
            f"{_weeks(advice.rows_missing, context.sealed_rows_per_week)}"
        )
    visible = "" if advice.smallest_gain_visible is None else f" of {percent(advice.smallest_gain_visible)} % or more"
    return f"a gain{visible} would most likely have shown: improve the model, or wait for more rows"


def _weeks(rows: int, inflow: float | None) -> str:
    if not inflow or inflow <= 0:
        return ""
    weeks = max(1, round(rows / inflow))
    return f", {weeks:,} week{'s' if weeks > 1 else ''} at the present inflow"


def _rounded(rows: int) -> int:
    """Two significant digits: the estimate has no more."""
    return int(float(f"{rows:.2g}"))


def _in_brackets(found: SetEvidence | None) -> str:
    return f" ({comparison(found)})" if found else ""


def _word(gain: float) -> str:
    return "better" if gain > 0 else "worse"


def _between(lower: float, upper: float) -> str:
    if lower >= 0:
        return f"between {percent(lower)} and {percent(upper)} %"
    if upper <= 0:
        return f"between {percent(upper)} and {percent(lower)} % worse"
    return f"between {percent(lower)} % worse and {percent(upper)} % better"
