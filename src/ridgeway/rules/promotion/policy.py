"""What a judgement is made from: evidence, policy, and the context that only passes through into the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ridgeway.errors import EvidenceError, UsageError
from ridgeway.rules.promotion.losses import HIGHER_IS_BETTER, LOWER_IS_BETTER
from ridgeway.rules.promotion.paired import Bools, Floats

YEARLY_LEVEL = 0.05
"""The error probability that a year of judgements may have."""
JUDGEMENTS_A_YEAR = 52
"""Strict mode splits the year's error probability over this many judgements (a union bound)."""
SLICE_LEVEL = 0.05
"""Error probability of the slice tests of one judgement, all slices together."""


def _none() -> Floats:
    return np.empty(0)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rule's settings; the defaults are those whose error rate the benchmark measures.

    Raises:
        UsageError: A number outside its range, or a floor on a metric where lower is better.
    """

    alpha: float = 0.01
    """One-sided error probability of a single judgement, halved between the two sets. In (0, 0.5)."""
    strict: bool = False
    """Judge at 0.05/52 in place of ``alpha``: for hand searches, where many candidates meet one holdout."""
    minimum_rows: int = 30
    """A set, or a slice, counts from this many rows. At least 2."""
    slice_margin: float = 0.05
    """How much worse a slice may become, as a share of the champion's loss there."""
    worthwhile: float = 0.01
    """The gain below which a change is not worth it, as a share of the champion's loss."""
    pooled: bool = True
    """Also test all honest rows together where the recent ones agree at 5 %: sees a gain sooner on small data."""
    refresh: bool = False
    """Also accept a candidate that is shown not to be worse; sound only with cumulative training."""
    floors: Mapping[str, float] = field(default_factory=dict)
    """The least value of a metric on the sealed rows, such as ``{"r2": 0.3}``."""
    ceilings: Mapping[str, float] = field(default_factory=dict)
    """The largest value of a metric where lower is better, such as ``{"mean_squared_error": 4000}``."""
    required_slices: tuple[str, ...] = ()
    """Slices without which nothing is accepted: too few rows in one of them hold."""

    def __post_init__(self) -> None:
        _check_range("rules.alpha", self.alpha, 0, 0.5)
        _check_range("rules.slice_margin", self.slice_margin, 0, 10)
        _check_range("rules.worthwhile", self.worthwhile, 0, 1)
        if self.minimum_rows < 2:
            raise UsageError(
                "cannot judge by this policy",
                where="rules.minimum_rows",
                problem=f"{self.minimum_rows}",
                expected="at least 2: one row has no spread",
            )
        _check_side("floors", self.floors, LOWER_IS_BETTER, "ceilings")
        _check_side("ceilings", self.ceilings, HIGHER_IS_BETTER, "floors")

    @property
    def judgement_level(self) -> float:
        """One-sided error probability of the whole judgement.

        Example:
            >>> Policy().judgement_level
            0.01
        """
        return YEARLY_LEVEL / JUDGEMENTS_A_YEAR if self.strict else self.alpha

    @property
    def set_level(self) -> float:
        """One-sided error probability of each of the two sets.

        Example:
            >>> Policy().set_level
            0.005
        """
        return self.judgement_level / 2


def _check_range(where: str, value: float, low: float, high: float) -> None:
    if not low < value < high:
        raise UsageError(
            "cannot judge by this policy",
            where=where,
            problem=f"{value}",
            expected=f"a number between {low} and {high}",
        )


def _check_side(kind: str, limits: Mapping[str, float], wrong: frozenset[str], right_kind: str) -> None:
    for metric in sorted(wrong.intersection(limits)):
        better = "lower" if kind == "floors" else "higher"
        raise UsageError(
            "cannot judge by this policy",
            where=f"rules.{kind}.{metric}",
            problem=f"{better} is better for this metric, so this limit would refuse the good models",
            next_step=f"rules.{right_kind}.{metric} = {limits[metric]}",
        )


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The paired per-row losses that a judgement rests on; all arrays are one-dimensional and finite.

    Raises:
        EvidenceError: Lengths that differ, a number that is not finite (with its row), no sealed array at all,
            or a slice mask that does not fit the sealed rows.
    """

    sealed_candidate: Floats
    """Losses of the candidate on the sealed rows."""
    sealed_opponent: Floats
    """Losses of the champion on the same rows in the same order; without a champion those of the training mean."""
    champion: bool = True
    """False: there is no champion, the opponent predicts the training mean (for classes: the training shares)."""
    identical: bool = False
    """The two models predict the same on every row (see ``same_predictions``)."""
    recent_candidate: Floats = field(default_factory=_none)
    """Losses of the candidate on rows that arrived after the champion: sealed ones, and training ones out of fold."""
    recent_opponent: Floats = field(default_factory=_none)
    """Losses of the champion on the same rows."""
    sealed_is_recent: Bools | None = None
    """Which sealed rows are among the recent ones, so that ``pooled`` counts each once; None leaves its line out."""
    recent_is_sealed_only: bool = False
    """Out-of-fold predictions are off, so the recent set lacks its training rows."""
    slices: Mapping[str, Bools] = field(default_factory=dict)
    """Declared slices: name and mask over the sealed rows."""
    sealed_anchor: Floats | None = None
    """For ``refresh``: losses, on the sealed rows, of the last model that won on superiority.

    None where the champion is that model."""
    candidate_metrics: Mapping[str, float] = field(default_factory=dict)
    """Of the sealed rows, see ``metrics``; the floors are held against these."""
    opponent_metrics: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("sealed_candidate", "sealed_opponent", "recent_candidate", "recent_opponent"):
            object.__setattr__(self, name, _checked(name, getattr(self, name)))
        if self.sealed_anchor is not None:
            object.__setattr__(self, "sealed_anchor", _checked("sealed_anchor", self.sealed_anchor))
            _same_length("sealed_anchor", self.sealed_anchor, self.sealed_candidate)
        _same_length("sealed_opponent", self.sealed_opponent, self.sealed_candidate)
        if self.sealed_is_recent is not None:
            object.__setattr__(self, "sealed_is_recent", np.asarray(self.sealed_is_recent, dtype=bool))
            _same_length("sealed_is_recent", self.sealed_is_recent, self.sealed_candidate)
        _same_length("recent_opponent", self.recent_opponent, self.recent_candidate)
        object.__setattr__(self, "slices", {name: np.asarray(mask, dtype=bool) for name, mask in self.slices.items()})
        for name, mask in self.slices.items():
            _same_length(f"slice {name}", mask, self.sealed_candidate)


@dataclass(frozen=True, slots=True)
class Context:
    """Who was judged, and what the verdict says beside the decision; nothing here changes the outcome."""

    candidate: str = ""
    """The candidate's handle."""
    candidate_digest: str = ""
    opponent: str = "mean"
    """The champion's handle, or ``mean``."""
    opponent_digest: str = ""
    key: str = ""
    """Digest of the key rule under which rows are sealed."""
    holdout: str = ""
    """Digest of the sealed rows' identities."""
    loss: str = "squared_error"
    looks_before: int = 0
    """Judgements on this holdout before this one."""
    sealed_rows_per_week: float | None = None
    """The present inflow of sealed rows; None where it is not known."""
    policy: str = ""
    """Digest of all settings that decide this judgement."""


def _checked(name: str, losses: object) -> Floats:
    array = np.asarray(losses, dtype=np.float64)
    if array.ndim != 1:
        raise EvidenceError(
            "cannot judge", where=name, problem=f"losses of shape {array.shape}", expected="one per row"
        )
    wrong = np.flatnonzero(~np.isfinite(array))
    if wrong.size:
        raise EvidenceError(
            "cannot judge",
            where=f"{name}, row {wrong[0] + 1}",
            problem=f"the loss is {array[wrong[0]]}; {wrong.size} of {array.size} rows are like this",
            expected="finite losses",
        )
    return array


def _same_length(name: str, array: Floats | Bools, reference: Floats) -> None:
    if array.shape != reference.shape:
        raise EvidenceError(
            "cannot judge",
            where=name,
            problem=f"{array.size} rows against {reference.size} of the candidate",
            expected="the same rows in the same order",
        )
