"""Pure translations: from the nouns to MLflow's tags, and from MLflow's records back to the nouns."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ridgeway.artifacts import Candidate, ModelVersion, Verdict
from ridgeway.errors import Permanent, UsageError
from ridgeway.registry.look import COMPLETE_TAG, DIGEST_TAG

FLOW_TAG = "ridgeway.flow"
CANDIDATE_TAG = "ridgeway.candidate"
"""Written last on a run whose candidate is whole; a run without it holds none."""
INPUTS_TAG = "ridgeway.inputs"
MODEL_FILE_TAG = "ridgeway.model_file"
"""Digest of the stored file, which must be the same when the model is loaded."""
JUDGED_TAG = "ridgeway.verdict"
"""Written last on a run whose verdict is whole; its value is the outcome."""
JUDGED_CANDIDATE_TAG = "ridgeway.verdict.candidate"
JUDGED_OPPONENT_TAG = "ridgeway.verdict.opponent"
JUDGED_KEY_TAG = "ridgeway.verdict.key"
JUDGED_HOLDOUT_TAG = "ridgeway.verdict.holdout"
JUDGED_POLICY_TAG = "ridgeway.verdict.policy"
ON_DEMAND = "judge"
"""The flow of a judgement on demand: a look at the holdout, but nothing that lets a model in."""
REGISTERED_BY_TAG = "ridgeway.registered_by"
"""On a version: the run that registered it."""
COMPLETE = "1"

STATUSES = ("FINISHED", "FAILED", "KILLED")


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a flow."""

    run_id: str
    flow: str
    status: str
    """``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``."""
    started_at: str
    """ISO 8601, UTC."""
    ended_at: str = ""
    """Empty while it runs, and for ever if its process was killed and nobody noticed."""
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def handle(self) -> str:
        """What names this run on the command line."""
        return f"runs:/{self.run_id}"


def moment(milliseconds: int | None) -> str:
    """ISO 8601 in UTC with milliseconds; empty for None.

    Example:
        >>> moment(1_700_000_000_123)
        '2023-11-14T22:13:20.123Z'
    """
    if milliseconds is None:
        return ""
    instant = datetime.datetime.fromtimestamp(milliseconds / 1000, tz=datetime.UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def run_from(entity: Any) -> Run:
    """Our record of an ``mlflow.entities.Run``."""
    return Run(
        run_id=entity.info.run_id,
        flow=entity.data.tags.get(FLOW_TAG, ""),
        status=entity.info.status,
        started_at=moment(entity.info.start_time),
        ended_at=moment(entity.info.end_time),
        tags=dict(entity.data.tags),
        metrics=dict(entity.data.metrics),
        parameters=dict(entity.data.params),
    )


def version_from(entity: Any, aliases: Mapping[str, str]) -> ModelVersion:
    """Our record of an ``mlflow.entities.model_registry.ModelVersion``; ``aliases`` maps alias to version."""
    number, tags = int(entity.version), dict(entity.tags)
    return ModelVersion(
        name=entity.name,
        number=number,
        digest=tags.get(DIGEST_TAG, ""),
        run_id=entity.run_id or "",
        dataset=tags.get("ridgeway.dataset", ""),
        aliases=tuple(sorted(alias for alias, version in aliases.items() if int(version) == number)),
        tags=tags,
        registered_at=moment(entity.creation_timestamp),
    )


def is_complete(version: ModelVersion) -> bool:
    """Whether Ridgeway registered it and got so far that no later call can take it back.

    An alias is set only on the version that was settled to be the one of its digest, with all tags that matter; what
    may be missing after it is the note that nothing is missing.
    """
    return bool(version.digest) and (COMPLETE_TAG in version.tags or bool(version.aliases))


def candidate_tags(candidate: Candidate) -> dict[str, str]:
    """What a run's tags say about the candidate it holds."""
    return {
        DIGEST_TAG: candidate.digest,
        INPUTS_TAG: candidate.inputs,
        "ridgeway.dataset": candidate.dataset,
        "ridgeway.key": candidate.key.digest,
    }


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """What a run's tags say about the verdict it holds."""
    return {
        JUDGED_CANDIDATE_TAG: verdict.candidate_digest,
        JUDGED_OPPONENT_TAG: verdict.opponent_digest,
        JUDGED_KEY_TAG: verdict.key,
        JUDGED_HOLDOUT_TAG: verdict.holdout,
        JUDGED_POLICY_TAG: verdict.policy,
        "ridgeway.verdict.reason": verdict.reason,
        "ridgeway.verdict.sentence": verdict.sentence,
    }


def verdict_from_tags(version: ModelVersion) -> Verdict | None:
    """The verdict as far as a version's own tags tell it, without its evidence; None where they do not."""
    tags = version.tags
    if not version.digest or tags.get("ridgeway.verdict") != "accept":
        return None
    return Verdict(
        outcome="accept",
        reason=tags.get("ridgeway.verdict.reason", ""),
        sentence=tags.get("ridgeway.verdict.sentence", ""),
        next_step="",
        candidate=f"runs:/{version.run_id}/model",
        candidate_digest=version.digest,
        opponent=tags.get("ridgeway.verdict.opponent", ""),
        opponent_digest=tags.get("ridgeway.verdict.opponent_digest", ""),
        key=tags.get("ridgeway.key", ""),
        loss=tags.get("ridgeway.verdict.loss", ""),
        looks=int(tags.get("ridgeway.verdict.looks", "0")),
    )


def version_tags(candidate: Candidate, verdict: Verdict, extra: Mapping[str, str]) -> dict[str, str]:
    """All tags of a new model version: what it was made from, how it was judged, and what the caller adds.

    Raises:
        UsageError: ``extra`` uses a name that is ours.
    """
    own = {
        "ridgeway.schema": "1",
        **candidate_tags(candidate),
        "ridgeway.task": candidate.task,
        "ridgeway.label": candidate.label,
        "ridgeway.seed": str(candidate.seed),
        "ridgeway.parameters": _json(candidate.parameters),
        "ridgeway.metrics": _json(candidate.metrics),
        "ridgeway.key_rule": _json(dataclasses.asdict(candidate.key)),
        "ridgeway.holdout": repr(candidate.key.holdout),
        "ridgeway.training_rows": str(candidate.training_rows),
        "ridgeway.sealed_rows": str(candidate.sealed_rows),
        "ridgeway.verdict": verdict.outcome,
        "ridgeway.verdict.reason": verdict.reason,
        "ridgeway.verdict.sentence": verdict.sentence,
        "ridgeway.verdict.opponent": verdict.opponent,
        "ridgeway.verdict.opponent_digest": verdict.opponent_digest,
        "ridgeway.verdict.loss": verdict.loss,
        "ridgeway.verdict.looks": str(verdict.looks),
    }
    if taken := sorted({*own, COMPLETE_TAG} & extra.keys()):
        raise UsageError("cannot register a model", problem=f"tags with names of ours: {', '.join(taken)}")
    return {**own, **extra}


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def check_accepted(candidate: Candidate, verdict: Verdict) -> None:
    """Nothing, when ``verdict`` lets this very candidate into the registry.

    Raises:
        Permanent: It does not accept, or it is about another candidate or another holdout.
    """
    problem = ""
    if not verdict.accepted:
        problem = f"the verdict is {verdict.outcome}: {verdict.sentence or verdict.reason}"
    elif verdict.candidate_digest != candidate.digest:
        problem = f"the verdict is about {verdict.candidate_digest}, not about {candidate.digest}"
    elif verdict.key != candidate.key.digest:
        problem = "the verdict was found on another holdout than the candidate's"
    if problem:
        raise Permanent(
            f"refused to register {candidate.handle}",
            problem=problem,
            expected="an accepting verdict on this candidate",
            next_step=f"ridgeway judge {candidate.handle}",
        )
