"""A candidate against its opponent on rows that neither was trained on: evidence is gathered here, the rule is pure."""

from __future__ import annotations

import dataclasses
import datetime
import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ridgeway import training
from ridgeway.actions import candidate as candidates
from ridgeway.actions.models import resolve
from ridgeway.artifacts import Candidate, Column, Dataset, ModelVersion, Verdict
from ridgeway.errors import EvidenceError, NotFound, UsageError
from ridgeway.project import Project, digest_of
from ridgeway.registry import Registry
from ridgeway.report import SealedRows
from ridgeway.rules import promotion
from ridgeway.rules.conditions import check_condition
from ridgeway.rules.rows import canonical_order, identities_digest

log = logging.getLogger("ridgeway.judge_candidate")

MEAN = "mean"
WON_ON_SUPERIORITY = ("superior_on_recent", "superior_on_sealed", "superior_on_both", "beats_mean")


@dataclass(frozen=True)
class Opponent:
    """Whom a candidate is judged against: a registered model, or predicting the training mean."""

    version: ModelVersion | None = None

    @property
    def handle(self) -> str:
        """``models:/NAME/7`` or ``mean``."""
        return self.version.handle if self.version else MEAN

    @property
    def digest(self) -> str:
        """The model's digest, or ``mean``."""
        return self.version.digest if self.version else MEAN


@dataclass(frozen=True)
class Judged:
    """A verdict with the per-row numbers behind it, which the report draws."""

    verdict: Verdict
    rows: SealedRows | None = None


def choose_opponent(registry: Registry, against: str) -> Opponent:
    """The champion; if nothing was ever released, the challenger; if nothing was ever registered, the training mean.

    Args:
        registry: Where models are kept.
        against: ``rules.against``: auto, champion, challenger, mean; or the handle of a registered model.

    Raises:
        UsageError: The named opponent does not exist.
    """
    if against == MEAN:
        return Opponent()
    if against == "auto":
        return Opponent(registry.by_alias("champion") or registry.by_alias("challenger"))
    version = resolve(registry, against) if ":" in against else registry.by_alias(against)
    if version is None:
        raise UsageError(
            f"judge_candidate: there is no {against}",
            where=f'rules.against = "{against}"',
            expected="auto, champion, challenger, mean",
            next_step="ridgeway list models",
        )
    return Opponent(version)


def check_new_start(candidate: Candidate, columns: Collection[Column], *, registry: Registry) -> None:
    """Nothing, if judging against the training mean is a start anew; else it would let in what is worse than before.

    Args:
        candidate: Of today's rows.
        columns: Of its Dataset.
        registry: Where its rivals are, the champion and the challenger.

    Raises:
        UsageError: A model of the same key rule is there that can score today's rows: the one to be judged against.
    """
    names = {column.name for column in columns}
    for against, alias in (("auto", "champion"), ("challenger", "challenger")):
        rival = registry.by_alias(alias)
        if rival is None or not _can_be_met(rival, candidate, names, registry):
            continue
        plain = against == "auto" or registry.by_alias("champion") is None
        raise UsageError(
            f"judge_candidate: {rival.handle} is there to be judged against",
            where='rules.against = "mean"',
            problem=f"any model better than the mean would take the place of {rival.handle}, worse ones too",
            expected="rules.against = mean starts anew only where the key rule changed",
            next_step="ridgeway run retraining --set rules.against=" + ("auto" if plain else against),
        )


def _can_be_met(rival: ModelVersion, candidate: Candidate, names: Collection[str], registry: Registry) -> bool:
    if rival.tags.get("ridgeway.key") != candidate.key.digest:
        return False
    try:
        return all(column.name in names for column in registry.candidate(rival.run_id).features)
    except NotFound:
        return False


def loss_of(project: Project) -> str:
    """The per-row loss of this project's judgements.

    Raises:
        UsageError: It does not fit the task.
    """
    chosen, task = project.settings.rules.loss, project.settings.training.task
    fitting = {"regression": ("squared_error", "absolute_error"), "classification": ("log_loss", "brier")}[task]
    if chosen == "auto":
        return fitting[0]
    if chosen not in fitting:
        raise UsageError(
            "the loss does not fit the task",
            where=f'rules.loss = "{chosen}", training.task = "{task}"',
            expected=f"one of {', '.join(fitting)}, or auto",
        )
    return chosen


def policy(project: Project) -> promotion.Policy:
    """The promotion rule's policy as the settings have it."""
    rules = project.settings.rules
    return promotion.Policy(
        alpha=rules.alpha,
        strict=rules.strict,
        minimum_rows=rules.minimum_rows,
        slice_margin=rules.slice_margin,
        worthwhile=rules.worthwhile,
        pooled=rules.pooled,
        refresh=rules.refresh,
        floors=rules.floors,
        ceilings=rules.ceilings,
        required_slices=rules.required_slices,
    )


def policy_digest(project: Project, candidate: Candidate) -> str:
    """Sixteen hex digits over every setting that decides a judgement: a changed rule is another question.

    Raises:
        UsageError: The loss does not fit the task, or a setting is outside its range.
    """
    facts = {
        "policy": dataclasses.asdict(policy(project)),
        "loss": loss_of(project),
        "slices": project.settings.rules.slices,
        "out_of_fold": candidate.out_of_fold,
    }
    return digest_of(facts).removeprefix("sha256:")[:16]


def earlier_verdict(
    project: Project, candidate: Candidate, opponent: Opponent, *, registry: Registry
) -> Verdict | None:
    """What a retraining found when this very candidate met this opponent on this holdout under today's rule, if any."""
    return registry.find_verdict(
        candidate.digest,
        opponent.digest,
        candidate.key.digest,
        holdout=_holdout(candidate, registry),
        policy=policy_digest(project, candidate),
    )


def judge(
    project: Project,
    candidate: Candidate,
    opponent: Opponent,
    rows: tuple[Dataset, pd.DataFrame],
    *,
    registry: Registry,
) -> Judged:
    """The verdict on a candidate, with the numbers behind it. Saves nothing.

    Raises:
        EvidenceError: One of the two models has seen a row it would be judged on, or they cannot be compared.
        ModelError: The opponent cannot predict today's rows.
    """
    evidence = _Evidence(project, candidate, opponent, rows, registry)
    verdict = promotion.judge(evidence.losses(), policy(project), evidence.context())
    sealed_rows = SealedRows(
        evidence.actual, evidence.ours, evidence.theirs, evidence.gains, evidence.slices, evidence.classes
    )
    return Judged(verdict, sealed_rows)


class _Evidence:
    """Everything about two models on the rows of the candidate's Dataset, gathered once."""

    def __init__(
        self,
        project: Project,
        candidate: Candidate,
        opponent: Opponent,
        rows: tuple[Dataset, pd.DataFrame],
        registry: Registry,
    ) -> None:
        self.project, self.candidate, self.opponent, self.registry = project, candidate, opponent, registry
        dataset, frame = rows
        self.frame = frame.iloc[canonical_order(frame, dataset.columns)].reset_index(drop=True)
        self.data = training.examples(
            frame, dataset.columns, key=candidate.key, label=candidate.label, ignore=project.settings.data.ignore
        )
        self.theirs_record = self._opponent_record()
        self.classes = self._classes()
        self.seen = seen_rows(candidate.run_id, registry)
        self.champion_seen = seen_rows(self.theirs_record.run_id, registry) if self.theirs_record else None
        self.recent = self._recent()
        promotion.check_identities(self.seen, self.champion_seen, self.data.identities[self.recent])
        self.actual = self.data.target[self.data.sealed]
        self.ours = self._padded(self._stored(candidates.SEALED, self.data.sealed))
        self.theirs = self._theirs(self.data.sealed)
        self.loss = loss_of(project)
        self.slices = self._slices()
        self.gains = self._losses(self.actual, self.theirs) - self._losses(self.actual, self.ours)

    def losses(self) -> promotion.Evidence:
        """Per-row losses of both sides, on both sets."""
        ours, theirs, actual = self._recent_predictions()
        anchor = self._anchor()
        return promotion.Evidence(
            sealed_candidate=self._losses(self.actual, self.ours),
            sealed_opponent=self._losses(self.actual, self.theirs),
            champion=self.opponent.version is not None,
            identical=self.opponent.version is not None
            and promotion.same_predictions(self.ours, self.theirs)
            and promotion.same_predictions(ours, theirs),
            recent_candidate=self._losses(actual, ours),
            recent_opponent=self._losses(actual, theirs),
            recent_is_sealed_only=not self.candidate.out_of_fold,
            sealed_is_recent=self.recent[self.data.sealed],
            slices=self.slices,
            sealed_anchor=None if anchor is None else self._losses(self.actual, anchor),
            candidate_metrics=self._metrics(self.ours),
            opponent_metrics=self._metrics(self.theirs),
        )

    def context(self) -> promotion.Context:
        """What the verdict says beside the decision."""
        return promotion.Context(
            candidate=self.candidate.handle,
            candidate_digest=self.candidate.digest,
            opponent=self.opponent.handle,
            opponent_digest=self.opponent.digest,
            key=self.candidate.key.digest,
            holdout=identities_digest(self.seen.sealed),
            policy=policy_digest(self.project, self.candidate),
            loss=self.loss,
            looks_before=self.registry.looks(self.candidate.key.digest),
            sealed_rows_per_week=self._inflow(),
        )

    def _opponent_record(self) -> Candidate | None:
        if self.opponent.version is None:
            return None
        record: Candidate = self.registry.candidate(self.opponent.version.run_id)
        if record.key.digest != self.candidate.key.digest:
            raise EvidenceError(
                f"judge_candidate: {self.opponent.handle} was sealed by another rule",
                problem=f"its key columns: {_key_text(record)}\nthe candidate's: {_key_text(self.candidate)}",
                expected="one rule for both: else one model would be judged on rows that the other was trained on",
                next_step="restore key columns, data.entity and data.holdout; or start anew, judged against the "
                "training mean: ridgeway run retraining --set rules.against=mean",
            )
        if (record.label, record.task) != (self.candidate.label, self.candidate.task):
            raise EvidenceError(
                f"judge_candidate: {self.opponent.handle} predicts something else",
                problem=f"{record.task} of {record.label!r}; the candidate: {self.candidate.task} of "
                f"{self.candidate.label!r}",
                next_step="give the new model a name of its own: project.name",
            )
        return record

    def _classes(self) -> tuple[Any, ...]:
        extra = self.theirs_record.classes if self.theirs_record else ()
        return (*self.candidate.classes, *(label for label in extra if label not in self.candidate.classes))

    def _recent(self) -> Any:
        if self.champion_seen is None:
            return np.zeros(len(self.data.identities), dtype=bool)
        recent = promotion.recent_rows(self.data.identities, self.champion_seen)
        return recent if self.candidate.out_of_fold else recent & self.data.sealed

    def _stored(self, name: str, chosen: Any) -> training.Floats:
        path = self.registry.read_file(self.candidate.run_id, name)
        stored = candidates.read_predictions(path, self.candidate.task)
        if not np.array_equal(stored.identities, self.data.identities[chosen]):
            raise EvidenceError(
                "judge_candidate: the rows are not the candidate's",
                where=f"{self.candidate.handle}, {name}",
                problem="the stored predictions belong to other rows than those of its Dataset",
                next_step="ridgeway run retraining",
            )
        return stored.values

    def _padded(self, values: training.Floats) -> training.Floats:
        """Probabilities with a zero column for each class that only the opponent knows."""
        missing = len(self.classes) - values.shape[1] if self.classes else 0
        return np.hstack([values, np.zeros((len(values), missing))]) if missing else values

    def _theirs(self, chosen: Any, record: Candidate | None = None) -> training.Floats:
        record = record or self.theirs_record
        if record is None:
            return promotion.baseline_predictions(
                self.data.target[self.data.training], int(chosen.sum()), classes=self.classes
            )
        handle = self.opponent.handle if record is self.theirs_record else record.handle
        missing = [column.name for column in record.features if column.name not in self.frame.columns]
        if missing:
            raise EvidenceError(
                f"judge_candidate: {handle} cannot score today's rows",
                where=f"column{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}",
                problem="the model was trained with it, and today's data lacks it",
                expected="the columns that the model in production needs",
                next_step="restore the column; or start anew, judged against the training mean: "
                "ridgeway run retraining --set rules.against=mean",
            )
        names = [column.name for column in record.features]
        estimator = self.registry.load_model(record.run_id)
        return training.predict(
            estimator, self.frame.loc[chosen, names], self.classes, who=f"judge_candidate: {handle}"
        )

    def _recent_predictions(self) -> tuple[training.Floats, training.Floats, Any]:
        """Candidate's and opponent's predictions of the recent rows, and their actual values, in canonical order."""
        width = (len(self.classes),) if self.classes else ()
        if not self.recent.any():
            return np.zeros((0, *width)), np.zeros((0, *width)), self.data.target[self.recent]
        ours = np.zeros((len(self.data.target), *width))
        ours[self.data.sealed] = self.ours
        if self.candidate.out_of_fold:
            ours[self.data.training] = self._padded(self._stored(candidates.OUT_OF_FOLD, self.data.training))
        return ours[self.recent], self._theirs(self.recent), self.data.target[self.recent]

    def _anchor(self) -> training.Floats | None:
        """Predictions of the last model that won on superiority, where the champion is not that model itself.

        Only models of the candidate's key rule count: another one was trained on rows that are sealed today.
        """
        version = self.opponent.version
        if not self.project.settings.rules.refresh or version is None:
            return None
        winners = [
            model
            for model in self.registry.versions()
            if model.number <= version.number
            and model.tags.get("ridgeway.key") == self.candidate.key.digest
            and model.tags.get("ridgeway.verdict.reason") in WON_ON_SUPERIORITY
        ]
        best = max(winners, key=lambda model: model.number, default=None)
        if best is None or best.number == version.number:
            return None
        promotion.check_identities(self.seen, seen_rows(best.run_id, self.registry))
        return self._theirs(self.data.sealed, self.registry.candidate(best.run_id))

    def _losses(self, actual: Any, predictions: training.Floats) -> training.Floats:
        return promotion.row_losses(self.loss, actual, predictions, classes=self.classes)

    def _metrics(self, predictions: training.Floats) -> dict[str, float]:
        if not len(self.actual):
            return {}
        return promotion.metrics(self.candidate.task, self.actual, predictions, classes=self.classes)

    def _slices(self) -> dict[str, Any]:
        sealed = self.frame.loc[self.data.sealed]
        return {name: slice_mask(sealed, name, text) for name, text in self.project.settings.rules.slices.items()}

    def _inflow(self) -> float | None:
        """Sealed rows that arrived each week since the opponent was registered."""
        version = self.opponent.version
        if version is None or self.champion_seen is None or not version.registered_at:
            return None
        weeks = (_now() - datetime.datetime.fromisoformat(version.registered_at)).total_seconds() / (7 * 86400)
        arrived = int(promotion.recent_rows(self.data.identities[self.data.sealed], self.champion_seen).sum())
        return arrived / weeks if weeks >= 1 else None


def slice_mask(frame: pd.DataFrame, name: str, condition: str) -> Any:
    """Which rows a declared slice holds: a boolean array over the frame.

    Raises:
        UsageError: The condition calls something, does not evaluate, or does so to something that is not true or
            false for each row.
    """
    check_condition(condition, where=f"rules.slices.{name}")
    try:
        mask = frame.eval(condition, engine="python", local_dict={}, global_dict={})
    except Exception as error:
        raise UsageError(
            f"cannot evaluate the slice {name!r}",
            where=f'rules.slices.{name} = "{condition}"',
            problem=f"{type(error).__name__}: {error}",
            expected=f"a condition on columns ({', '.join(map(str, frame.columns))}), such as age >= 60",
        ) from error
    if not isinstance(mask, pd.Series) or not pd.api.types.is_bool_dtype(mask.dtype):
        raise UsageError(
            f"the slice {name!r} is no condition",
            where=f'rules.slices.{name} = "{condition}"',
            expected="true or false for each row, such as age >= 60",
        )
    return mask.to_numpy(dtype=bool)


def seen_rows(run_id: str, registry: Registry) -> promotion.SeenRows:
    """The identities of all rows that the model of this run was made from."""
    return promotion.SeenRows(
        np.load(registry.read_file(run_id, candidates.TRAINING_IDENTITIES), allow_pickle=False),
        np.load(registry.read_file(run_id, candidates.SEALED_IDENTITIES), allow_pickle=False),
    )


def _holdout(candidate: Candidate, registry: Registry) -> str:
    return identities_digest(seen_rows(candidate.run_id, registry).sealed)


def _key_text(candidate: Candidate) -> str:
    names = ", ".join(column.name for column in candidate.key.columns)
    return f"{names}; holdout {candidate.key.holdout:g}"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
