"""The rule itself: one function from summary statistics to a reason, for one judgement or for a million at once.

``judge`` and the benchmark both call ``decide``, so the error rates that are measured are those of the shipped rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ridgeway.artifacts import Outcome
from ridgeway.rules.promotion.paired import NO_ROWS, Paired, lower_bound, upper_bound
from ridgeway.rules.promotion.policy import Policy

REASONS: dict[str, Outcome] = {
    "too_few_rows": "hold",
    "below_floor": "reject",
    "beats_mean": "accept",
    "not_better_than_mean": "reject",
    "identical": "reject",
    "slice_harm": "reject",
    "superior_on_recent": "accept",
    "superior_on_sealed": "accept",
    "superior_on_both": "accept",
    "sealed_gain_not_on_recent_rows": "hold",
    "refresh_not_worse": "accept",
    "no_worthwhile_gain": "reject",
    "not_enough_data": "hold",
    "required_slice_too_small": "hold",
}
"""Every reason code with its outcome; ``decide`` returns positions in this order."""

CODES: tuple[str, ...] = tuple(REASONS)
AGREEMENT_LEVEL = 0.05
"""One-sided error probability at which the recent rows must agree before all rows are tested together."""
REFRESH_LEVEL = 0.05
"""One-sided error probability of "not worse" under ``refresh``."""


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """All that the decision depends on; every field may be a scalar or an array with one entry per judgement."""

    sealed: Paired
    recent: Paired = NO_ROWS
    both: Paired | None = None
    """All rows of the two sets together, each once; None: not known, and that line does not apply."""
    anchor: Paired | None = None
    """Sealed rows against the last model that won on superiority; None: the champion is that model."""
    champion: Any = True
    identical: Any = False
    below_floor: Any = False
    slice_harm: Any = False
    required_slice_small: Any = False


def decide(findings: Findings, policy: Policy) -> NDArray[np.intp]:
    """The position in ``CODES`` of the reason: the first line of the table that applies.

    Too few sealed rows hold before anything else; a missed floor rejects next, since no comparison makes it good. A
    required slice that is too small only takes acceptance away: a rejection or another reason to hold stays as it is.

    Args:
        findings: The summary statistics and flags, broadcast against each other.
        policy: The settings.

    Returns:
        Integers of the broadcast shape; of shape ``()`` for a single judgement.

    Example:
        >>> CODES[decide(Findings(Paired(88, 400.0, 1300.0, 3000.0)), Policy())]
        'superior_on_sealed'
        >>> gains = np.array([-200.0, 0.0, 600.0])
        >>> [CODES[code] for code in decide(Findings(Paired(88, gains, 1300.0, 3000.0)), Policy())]
        ['not_enough_data', 'not_enough_data', 'superior_on_sealed']
    """
    table = [*_before_comparison(findings, policy), *_against_champion(findings, policy)]
    conditions = np.broadcast_arrays(*(np.asarray(condition) for _, condition in table))
    reasons = [CODES.index(reason) for reason, _ in table]
    decided = np.select(list(conditions), reasons, default=CODES.index("not_enough_data"))
    accepted = np.isin(decided, [CODES.index(code) for code, outcome in REASONS.items() if outcome == "accept"])
    small = CODES.index("required_slice_too_small")
    return np.where(accepted & findings.required_slice_small, small, decided)


def _before_comparison(findings: Findings, policy: Policy) -> list[tuple[str, Any]]:
    sealed = findings.sealed
    first = ~np.asarray(findings.champion, dtype=bool)
    return [
        ("too_few_rows", np.asarray(sealed.rows) < policy.minimum_rows),
        ("below_floor", findings.below_floor),
        # One set and one test only, so the error probability is not halved.
        ("beats_mean", first & (lower_bound(sealed, policy.judgement_level) > 0)),
        ("not_better_than_mean", first & (upper_bound(sealed) <= 0)),
        ("not_enough_data", first),
        ("identical", findings.identical),
        ("slice_harm", findings.slice_harm),
    ]


def _against_champion(findings: Findings, policy: Policy) -> list[tuple[str, Any]]:
    sealed, recent = findings.sealed, findings.recent
    enough_recent = np.asarray(recent.rows) >= policy.minimum_rows
    better_on_sealed = lower_bound(sealed, policy.set_level) > 0
    against = enough_recent & (np.asarray(recent.gain) < 0)
    return [
        ("superior_on_recent", enough_recent & (lower_bound(recent, policy.set_level) > 0)),
        ("superior_on_sealed", better_on_sealed & ~against),
        ("superior_on_both", enough_recent & _better_on_both(findings, policy)),
        ("sealed_gain_not_on_recent_rows", better_on_sealed),
        ("refresh_not_worse", _not_worse(findings, policy) if policy.refresh else False),
        ("no_worthwhile_gain", _no_gain(sealed, policy) & (~enough_recent | _no_gain(recent, policy))),
    ]


def _no_gain(paired: Paired, policy: Policy) -> Any:
    """No worthwhile gain is left: the upper bound is below it, or the opponent makes no error at all."""
    reference = np.asarray(paired.opponent_loss)
    return (upper_bound(paired) < policy.worthwhile * reference) | (reference <= 0)


def _better_on_both(findings: Findings, policy: Policy) -> Any:
    """All rows together show a gain, and the recent ones by themselves at a lesser level.

    Without that agreement the sealed past outvotes the present after drift.
    """
    if findings.both is None or not policy.pooled:
        return False
    agreed = lower_bound(findings.recent, AGREEMENT_LEVEL) > 0
    return agreed & (lower_bound(findings.both, policy.set_level) > 0)


def _not_worse(findings: Findings, policy: Policy) -> Any:
    """Not worse than champion and anchor on the sealed rows, and recent rows, where they count, do not gainsay it.

    Without the anchor, a chain of refreshes could lose the margin again and again.
    """
    recent = findings.recent
    tolerated = np.asarray(recent.gain) > -policy.worthwhile * np.asarray(recent.opponent_loss)
    kept = (np.asarray(recent.rows) < policy.minimum_rows) | tolerated
    for paired in (findings.sealed, findings.anchor):
        if paired is not None:
            least = -policy.worthwhile * np.asarray(paired.opponent_loss)
            kept = kept & (lower_bound(paired, REFRESH_LEVEL) > least)
    return kept
