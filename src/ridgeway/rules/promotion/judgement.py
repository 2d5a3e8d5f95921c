"""From evidence to a verdict: the numbers, the decision, the words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from scipy import special

from ridgeway.artifacts import PowerAdvice, SetEvidence, SliceEvidence, Verdict
from ridgeway.errors import EvidenceError
from ridgeway.rules.promotion import wording
from ridgeway.rules.promotion.decision import CODES, REASONS, Findings, decide
from ridgeway.rules.promotion.paired import (
    NO_ROWS,
    Floats,
    Paired,
    lower_bound,
    p_value_of_harm,
    summarise,
    upper_bound,
)
from ridgeway.rules.promotion.policy import SLICE_LEVEL, Context, Evidence, Policy

_ADVICE_GAIN = 0.05
"""The gain that the power advice is about: five per cent."""
_ADVICE_FACTORS = (0.55, 1.0, 1.7)
"""The deviation of few gains is itself uncertain; simulated, the needed rows lay within these factors."""
_POWER = 0.8


def judge(evidence: Evidence, policy: Policy, context: Context) -> Verdict:
    """The verdict on a candidate: accept, reject or hold, with the reason and every number behind it.

    Pure: the same arguments give an equal verdict, and nothing is read or written.

    Args:
        evidence: Paired losses per row; see ``check_identities`` for what must hold of the rows.
        policy: The settings.
        context: Handles, digests, looks and inflow, which pass through into the verdict and its words.

    Returns:
        The verdict. A set with fewer than two rows has no interval and is left out of ``sets``.

    Raises:
        EvidenceError: Losses so large that their mean cannot be represented, a floor on a metric that the candidate
            does not have, or a required slice that is not declared.

    Example:
        >>> losses = np.linspace(50.0, 150.0, 100)
        >>> context = Context("runs:/3f2a/model", opponent="models:/d/7")
        >>> verdict = judge(Evidence(losses * 0.8, losses), Policy(), context)
        >>> verdict.outcome, verdict.reason
        ('accept', 'superior_on_sealed')
        >>> verdict.sentence
        '20 % better on 100 unseen rows, between 18 and 21 %: accepted'
    """
    sealed = _summary(evidence.sealed_opponent, evidence.sealed_candidate, "sealed")
    recent = _summary(evidence.recent_opponent, evidence.recent_candidate, "recent") if evidence.champion else NO_ROWS
    together = _together(evidence)
    missed = _missed_limits(evidence, policy) if sealed.rows >= policy.minimum_rows else []
    slices = _slices(evidence, policy)
    small = _small_required_slices(slices, policy)
    findings = Findings(
        sealed,
        recent,
        both=None if together is None else _summary(*together, "sealed and recent"),
        anchor=None if evidence.sealed_anchor is None else summarise(evidence.sealed_anchor, evidence.sealed_candidate),
        champion=evidence.champion,
        identical=evidence.identical,
        below_floor=bool(missed),
        slice_harm=any(found.harmed for found in slices),
        required_slice_small=bool(small),
    )
    reason = CODES[int(decide(findings, policy))]
    sets = _sets(evidence, findings, policy, together)
    advice = _advice(sealed, _level(evidence, policy), policy, context)
    detail = _detail(reason, evidence, missed, slices, small)
    return Verdict(
        outcome=REASONS[reason],
        reason=reason,
        sentence=wording.sentence(reason, sets, detail, champion=evidence.champion),
        next_step=wording.next_step(reason, policy, context, advice),
        candidate=context.candidate,
        candidate_digest=context.candidate_digest,
        opponent=context.opponent,
        opponent_digest=context.opponent_digest,
        key=context.key,
        holdout=context.holdout,
        policy=context.policy,
        loss=context.loss,
        sets=sets,
        slices=slices,
        advice=advice,
        looks=context.looks_before + 1,
        strict=policy.strict,
        warnings=wording.warnings(evidence, policy, context, sets),
        candidate_metrics=dict(evidence.candidate_metrics),
        opponent_metrics=dict(evidence.opponent_metrics),
    )


def _summary(opponent: Floats, candidate: Floats, name: str) -> Paired:
    with np.errstate(over="ignore", invalid="ignore"):
        paired = summarise(opponent, candidate)
    if not all(math.isfinite(number) for number in (paired.gain, paired.deviation, paired.opponent_loss)):
        raise EvidenceError("cannot judge", where=f"{name} rows", problem="the losses are too large to be averaged")
    return paired


def _together(evidence: Evidence) -> tuple[Floats, Floats] | None:
    """Losses of opponent and candidate on all rows of the two sets, each once; None where that is not known.

    Recent rows are honest for both models, so they may be joined with the sealed ones.
    """
    if not evidence.champion or evidence.sealed_is_recent is None or not evidence.recent_candidate.size:
        return None
    older = ~evidence.sealed_is_recent
    opponent = np.concatenate([evidence.sealed_opponent[older], evidence.recent_opponent])
    return opponent, np.concatenate([evidence.sealed_candidate[older], evidence.recent_candidate])


def _sets(
    evidence: Evidence, findings: Findings, policy: Policy, together: tuple[Floats, Floats] | None
) -> tuple[SetEvidence, ...]:
    level = _level(evidence, policy)
    enough_recent = findings.recent.rows >= policy.minimum_rows
    sides: list[tuple[Literal["sealed", "recent", "both"], Paired, Floats, Floats]] = [
        ("sealed", findings.sealed, evidence.sealed_opponent, evidence.sealed_candidate),
        ("recent", findings.recent, evidence.recent_opponent, evidence.recent_candidate),
    ]
    if policy.pooled and findings.both is not None and together is not None:
        sides.append(("both", findings.both, *together))
    return tuple(
        SetEvidence(
            name=name,
            rows=int(paired.rows),
            opponent_loss=float(paired.opponent_loss),
            candidate_loss=float(candidate.mean()),
            gain=float(paired.gain),
            gain_deviation=float(paired.deviation),
            lower=float(lower_bound(paired, level)),
            upper=float(upper_bound(paired)),
            level=level,
            usable=bool(paired.rows >= policy.minimum_rows and (name != "both" or enough_recent)),
            largest_share=_largest_share(opponent - candidate),
        )
        for name, paired, opponent, candidate in sides
        if paired.rows >= 2
    )


def _level(evidence: Evidence, policy: Policy) -> float:
    """Error probability of one test: against the mean there is one only, so it is not halved."""
    return policy.set_level if evidence.champion else policy.judgement_level


def _largest_share(gains: Floats) -> float:
    sizes = np.abs(gains)
    largest = float(sizes.max())
    return largest / float(sizes.sum()) if largest > 0 else 0.0


def _slices(evidence: Evidence, policy: Policy) -> tuple[SliceEvidence, ...]:
    """Each declared slice with its p-value; harmed ones by Holm's step-down procedure.

    Holm 1979, "A simple sequentially rejective multiple test procedure": the smallest p-value is held against
    0.05/k, the next against 0.05/(k - 1) and so on, k being the number of slices with enough rows. Any slice is harmed
    exactly when the smallest p-value is below 0.05/k, so the decision is that of Bonferroni; the list is longer.
    """
    summaries = {
        name: summarise(evidence.sealed_opponent[mask], evidence.sealed_candidate[mask])
        for name, mask in evidence.slices.items()
    }
    tested = {
        name: float(p_value_of_harm(paired, policy.slice_margin))
        for name, paired in summaries.items()
        if evidence.champion and paired.rows >= policy.minimum_rows
    }
    harmed = _holm(tested)
    return tuple(
        SliceEvidence(
            name=name,
            rows=int(paired.rows),
            opponent_loss=float(paired.opponent_loss),
            gain=float(paired.gain),
            p_value=tested.get(name, 1.0),
            harmed=name in harmed,
        )
        for name, paired in summaries.items()
    )


def _holm(p_values: Mapping[str, float]) -> set[str]:
    harmed: set[str] = set()
    for position, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        if p_values[name] >= SLICE_LEVEL / (len(p_values) - position):
            break
        harmed.add(name)
    return harmed


def _small_required_slices(slices: tuple[SliceEvidence, ...], policy: Policy) -> list[str]:
    rows = {found.name: found.rows for found in slices}
    for name in policy.required_slices:
        if name not in rows:
            raise EvidenceError(
                "cannot judge",
                where="rules.required_slices",
                problem=f"no slice is called {name!r}",
                expected=f"one of the declared slices: {', '.join(rows) or 'there are none'}",
                next_step=f"rules.slices.{name} = …",
            )
    return [
        f"slice {name} has {rows[name]} rows of {policy.minimum_rows}"
        for name in policy.required_slices
        if rows[name] < policy.minimum_rows
    ]


def _missed_limits(evidence: Evidence, policy: Policy) -> list[str]:
    missed = []
    for kind, limits in (("floors", policy.floors), ("ceilings", policy.ceilings)):
        for metric, limit in limits.items():
            value = _metric(evidence, kind, metric)
            ceiling = kind == "ceilings"
            if not (value <= limit if ceiling else value >= limit):
                missed.append(wording.floor_words(metric, value, limit, ceiling=ceiling))
    return missed


def _metric(evidence: Evidence, kind: str, metric: str) -> float:
    if not math.isfinite(evidence.candidate_metrics.get(metric, math.nan)):
        raise EvidenceError(
            "cannot judge",
            where=f"rules.{kind}.{metric}",
            problem="the candidate has no such metric on its sealed rows, or it is not finite",
            expected=f"one of {', '.join(sorted(evidence.candidate_metrics)) or 'none: no metrics were computed'}",
        )
    return evidence.candidate_metrics[metric]


def _advice(sealed: Paired, level: float, policy: Policy, context: Context) -> PowerAdvice:
    """How many sealed rows a decision needs: N = ((z(1 - a) + z(0.8)) s / (0.05 R))², at least ``minimum_rows``.

    ``level`` is a, the one-sided error probability of the test that will be made.
    """
    now, reference = int(sealed.rows), float(sealed.opponent_loss)
    inflow = context.sealed_rows_per_week
    quantiles = float(special.ndtri(1 - level) + special.ndtri(_POWER))
    known = now >= 2 and reference > 0
    relative = float(sealed.deviation) / reference if known else 0.0
    needed = (quantiles * relative / _ADVICE_GAIN) ** 2
    low, middle, high = (max(policy.minimum_rows, math.ceil(needed * factor)) for factor in _ADVICE_FACTORS)
    return PowerAdvice(
        rows_now=now,
        rows_needed=middle,
        rows_missing=max(0, middle - now),
        rows_low=low,
        rows_high=high,
        weeks=_weeks(middle - now, inflow),
        weeks_low=_weeks(low - now, inflow),
        weeks_high=_weeks(high - now, inflow),
        smallest_gain_visible=quantiles * relative / math.sqrt(now) if known else None,
    )


def _weeks(rows: int, inflow: float | None) -> float | None:
    return max(0, rows) / inflow if inflow is not None and inflow > 0 else None


def _detail(
    reason: str, evidence: Evidence, missed: list[str], slices: tuple[SliceEvidence, ...], small: list[str]
) -> str:
    rows = evidence.sealed_candidate.size
    details = {
        "too_few_rows": f"{rows} sealed row{'' if rows == 1 else 's'}",
        "below_floor": "; ".join(missed),
        "slice_harm": "; ".join(wording.slice_words(found) for found in slices if found.harmed),
        "required_slice_too_small": "; ".join(small),
    }
    return details.get(reason, "")
