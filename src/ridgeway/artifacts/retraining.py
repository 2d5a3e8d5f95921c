"""The nouns of retraining: data, what the gate found, candidates, verdicts, registered versions."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

KEY_SCHEME = 1
"""The version of how a row's identity is made from its key columns: models of two schemes cannot be compared."""

Outcome = Literal["accept", "reject", "hold"]
ColumnType = Literal["number", "integer", "string", "boolean", "datetime"]
Severity = Literal["pass", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column's name and declared type."""

    name: str
    type: ColumnType


@dataclass(frozen=True, slots=True)
class KeyRule:
    """What a row's identity is made of, and which rows are sealed: two models can be compared only under one rule.

    ``columns`` are sorted by name; ``entity`` is empty or the one column whose rows stay together (then ``columns`` is
    just that one); ``holdout`` is the sealed share, in (0, 1).
    """

    columns: tuple[Column, ...]
    entity: str
    holdout: float

    @property
    def digest(self) -> str:
        """Sixteen hex digits that are equal exactly when two rules are."""
        import hashlib

        facts = {"scheme": KEY_SCHEME, **dataclasses.asdict(self)}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A set of rows, known by content: the digest depends neither on row order nor on the file format."""

    name: str
    digest: str
    """``sha256:`` and 64 hex digits."""
    rows: int
    columns: tuple[Column, ...]
    source: str
    """Where it was read from; not part of the identity."""

    @property
    def handle(self) -> str:
        """``data://NAME@sha256:…``."""
        return f"data://{self.name}@{self.digest}"


@dataclass(frozen=True, slots=True)
class Expectation:
    """One line of a data report: what was expected of a column, what was observed, and what came of it."""

    name: str
    """The expectation's type, such as ``expect_column_values_to_be_between``."""
    column: str
    """Empty for an expectation on the whole table."""
    outcome: Severity
    observed: str
    expected: str
    unexpected_rows: int = 0
    first_rows: tuple[int, ...] = ()
    """Up to ten row numbers, counted from 1 after the header."""
    reason: str = ""
    """A plain sentence for ``warn`` and ``fail``."""


@dataclass(frozen=True, slots=True)
class DataReport:
    """What the data gate found: as many expectations as the suite holds, each with its outcome."""

    dataset: str
    """The handle of the data."""
    suite: str
    """Digest of the suite, ``sha256:…``."""
    expectations: tuple[Expectation, ...]

    @property
    def ok(self) -> bool:
        """Whether the rows may be trained on: warnings are no hindrance."""
        return all(line.outcome != "fail" for line in self.expectations)

    @property
    def failures(self) -> tuple[Expectation, ...]:
        """What the rows are refused for."""
        return tuple(line for line in self.expectations if line.outcome == "fail")

    @property
    def warnings(self) -> tuple[Expectation, ...]:
        """What a person should know although the rows are taken."""
        return tuple(line for line in self.expectations if line.outcome == "warn")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained model that nobody has judged yet, and all that is needed to judge it."""

    run_id: str
    """The MLflow run that holds model, predictions and identities: 32 hex digits."""
    name: str
    digest: str
    """Of the fitted estimator's canonical content, ``sha256:…``: equal for equal data, settings and environment."""
    inputs: str
    """Digest of all that went into it, ``sha256:…``: known before training, so that work is not done twice."""
    dataset: str
    """The handle of the data."""
    key: KeyRule
    task: Literal["regression", "classification"]
    features: tuple[Column, ...]
    label: str
    classes: tuple[str | int | float | bool, ...]
    """For a classifier its labels in the order of the probability columns; else empty."""
    parameters: dict[str, Any]
    seed: int
    training_rows: int
    sealed_rows: int
    out_of_fold: int
    """Number of folds; 0: none."""
    metrics: dict[str, float]
    """Of the sealed rows; names as in scikit-learn: ``r2``, ``mean_squared_error``, ``accuracy``, ``log_loss``, …"""

    @property
    def handle(self) -> str:
        """``runs:/ID/model``."""
        return f"runs:/{self.run_id}/model"


@dataclass(frozen=True, slots=True)
class SetEvidence:
    """One set of rows on which candidate and opponent were compared, pair by pair.

    All numbers are in units of the loss; a gain is the opponent's loss less the candidate's, so positive is better.
    """

    name: Literal["sealed", "recent", "both"]
    """``both``: every row of the two, counted once."""
    rows: int
    opponent_loss: float
    candidate_loss: float
    gain: float
    gain_deviation: float
    """Sample standard deviation (ddof 1) of the per-row gains."""
    lower: float
    """Lower confidence bound of the mean gain at ``1 - level``."""
    upper: float
    """Upper confidence bound at 95 %, one-sided."""
    level: float
    """The one-sided error probability of ``lower``."""
    usable: bool
    """False below the least number of rows: shown, but not counted."""
    largest_share: float
    """Share of the summed absolute gains that the largest row holds, 0 to 1."""


@dataclass(frozen=True, slots=True)
class SliceEvidence:
    """A declared slice of the sealed rows: is the candidate shown to be worse there?"""

    name: str
    rows: int
    opponent_loss: float
    gain: float
    p_value: float
    """Of "the candidate is not more than the margin worse", one-sided; 1.0 where the slice is too small."""
    harmed: bool


@dataclass(frozen=True, slots=True)
class PowerAdvice:
    """How much evidence a decision would need: a rough range, not a promise."""

    rows_now: int
    rows_needed: int
    """Sealed rows at which a gain of 5 % would be seen in four of five judgements: the estimate."""
    rows_missing: int
    """How many more than now; 0 where there are enough."""
    rows_low: int
    rows_high: int
    """The range around the estimate, of all sealed rows."""
    weeks: float | None
    weeks_low: float | None
    weeks_high: float | None
    """At the present inflow, until the estimate and its range; None where it is unknown or nothing arrives."""
    smallest_gain_visible: float | None
    """As a share of the opponent's loss; None below two rows or where the opponent makes no error."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Accept, reject or hold, with the reason, the sentence a person reads, and the numbers behind both."""

    outcome: Outcome
    reason: str
    """A code such as ``superior_on_sealed``; docs/promotion-gate.md lists them."""
    sentence: str
    next_step: str
    candidate: str
    """The candidate's handle."""
    candidate_digest: str
    opponent: str
    """Handle of the model it was compared with, or ``mean`` for predicting the training mean (class shares)."""
    opponent_digest: str
    key: str
    """Digest of the key rule under which rows were sealed."""
    loss: str
    sets: tuple[SetEvidence, ...] = ()
    slices: tuple[SliceEvidence, ...] = ()
    advice: PowerAdvice | None = None
    looks: int = 0
    """Judgements on this holdout so far, this one included."""
    holdout: str = ""
    """Digest of the sealed rows' identities: which rows it was judged on."""
    strict: bool = False
    warnings: tuple[str, ...] = ()
    candidate_metrics: dict[str, float] = field(default_factory=dict)
    opponent_metrics: dict[str, float] = field(default_factory=dict)
    policy: str = ""
    """Digest of all settings that decide a judgement: under another policy the same two models may get another one."""

    EXIT_CODES: ClassVar[dict[str, int]] = {"accept": 0, "reject": 3, "hold": 4}

    @property
    def accepted(self) -> bool:
        """Whether the candidate may be registered."""
        return self.outcome == "accept"

    @property
    def exit_code(self) -> int:
        """What a command that ends with this verdict exits with: 0, 3 or 4."""
        return self.EXIT_CODES[self.outcome]


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A registered model: its number, digest and lineage."""

    name: str
    number: int
    digest: str
    run_id: str
    dataset: str
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    registered_at: str = ""
    """ISO 8601, UTC."""

    @property
    def handle(self) -> str:
        """``models:/NAME/NUMBER``."""
        return f"models:/{self.name}/{self.number}"
