"""Golden rows of a trained model, and the question that an endpoint is asked with them."""

from __future__ import annotations

import dataclasses
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from ridgeway import training
from ridgeway.actions import candidate as candidates
from ridgeway.actions import retraining, serve
from ridgeway.artifacts import Candidate, Column, Deployment
from ridgeway.errors import BadData, ModelError, NotFound
from ridgeway.probe import Budget, Expected, Golden, ProbeRequest
from ridgeway.project import Project
from ridgeway.registry import Registry
from ridgeway.targets import Keys

log = logging.getLogger("ridgeway.probe_endpoint")

MOST_ON_LAST_STAGE = 50


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """What a model's endpoints are asked: all of it that is kept with the model, read once."""

    version: str
    rows: Golden


def question(project: Project, registry: Registry, model: str) -> Question:
    """The question that goes with a model.

    Raises:
        NotFound: There is no such model.
        ModelError: It has no golden rows, and none can be made.
    """
    subject = serve.subject(registry, model)
    kept = serve.kept(project, subject)
    rows = golden(project, registry, registry.candidate(subject.run_id))
    tolerance = max(rows.tolerance, kept.largest_error if kept else 0.0)
    return Question(subject.version, dataclasses.replace(rows, tolerance=tolerance))


def request(
    project: Project, asked: Question, deployment: Deployment, *, address: str, keys: Keys | None
) -> ProbeRequest:
    """How an endpoint is to be asked: with the model's golden rows, as the settings say.

    On the last stage, which is production, with no more than 50 rows, and never under load.

    Args:
        project: Whose settings count.
        asked: The model's question.
        deployment: What should run there.
        address: What clients call.
        keys: Of the endpoint; None where it asks for none.
    """
    settings, target = project.settings.release.probe, project.settings.targets[deployment.target]
    is_last = deployment.target == project.settings.release.stages[-1]
    is_loaded = deployment.target in settings.load_on and not is_last
    authority, image = target.tls.authority, deployment.image
    return ProbeRequest(
        endpoint=f"{deployment.kind}://{deployment.target}/{deployment.name}",
        address=address.rstrip("/"),
        expected=Expected(project.name, asked.version, image.model_digest, image.package, image.handle),
        golden=asked.rows,
        primary=keys.primary if keys else "",
        secondary=keys.secondary if keys else "",
        authority=str(project.home / authority) if authority else "",
        rows=min(settings.rows, MOST_ON_LAST_STAGE) if is_last else settings.rows,
        budget=Budget(settings.p50_ms, settings.p99_ms, settings.load_seconds if is_loaded else 0.0),
        replicas=deployment.replicas,
    )


def golden(project: Project, registry: Registry, candidate: Candidate) -> Golden:
    """Rows of a model's holdout with the predictions that were stored at training.

    For a run that stored none they are made from the kept rows and the stored model, and stored with the run then.

    Raises:
        ModelError: The run stored none, and the rows it was made from are nowhere to be had; or it had no holdout.
    """
    frame = _stored(project, registry, candidate)
    if frame is None:
        frame = _made(project, registry, candidate)
    if frame.empty:
        raise _none(candidate, "its holdout has no rows")
    return as_golden(frame, candidate)


def as_golden(frame: pd.DataFrame, candidate: Candidate) -> Golden:
    """A table of :func:`ridgeway.training.golden` as a probe sends it.

    Raises:
        ModelError: Columns are missing.
    """
    try:
        columns = [_cells(frame[column.name], column) for column in candidate.features]
        names = [name for name in frame.columns if str(name).startswith(training.GOLDEN_PROBABILITY)]
        numbers = frame[names or [training.GOLDEN_VALUE]].to_numpy("float64").tolist()
        labels = [json.loads(text) for text in frame[training.GOLDEN_LABEL]] if names else []
    except (KeyError, TypeError, ValueError):
        raise _none(candidate, "what is stored has other columns than the model") from None
    return Golden(candidate.features, tuple(zip(*columns, strict=True)), tuple(map(tuple, numbers)), tuple(labels))


def _cells(values: pd.Series[Any], column: Column) -> list[Any]:
    """Values as JSON carries them, by the declared type; None for a missing one."""
    gaps = values.isna()
    return [None if gap else _cell(value, column.type) for value, gap in zip(values.tolist(), gaps, strict=True)]


def _cell(value: Any, kind: str) -> Any:
    if kind == "boolean":
        return bool(value)
    if kind == "datetime":
        return pd.Timestamp(value).isoformat()
    if kind == "string":
        return str(value)
    # A column of whole numbers with gaps is kept as floats.
    return int(value) if kind == "integer" and value == int(value) else value


def _stored(project: Project, registry: Registry, candidate: Candidate) -> pd.DataFrame | None:
    try:
        path = registry.read_file(candidate.run_id, candidates.GOLDEN)
    except NotFound:
        return None
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError):
        # Without the error's own words: they may tell values.
        raise _none(candidate, "the file that was stored at training cannot be read") from None
    finally:
        if path.is_relative_to(project.state / "downloads"):  # personal data stay with the run
            path.unlink(missing_ok=True)


def _made(project: Project, registry: Registry, candidate: Candidate) -> pd.DataFrame:
    log.info("making golden rows of %s, whose run stored none", candidate.handle)
    try:
        dataset, rows = retraining.rows_of(project, candidate)
    except BadData as error:
        raise _none(candidate, f"its run stored none, and {error.problem or error.summary}") from error
    data = candidates.examples(project, dataset, rows, candidate.key)
    estimator = registry.load_model(candidate.run_id)
    try:
        data = dataclasses.replace(data, features=data.features[[column.name for column in candidate.features]])
        frame = training.golden(estimator, data, candidate.task)
    except Exception as error:  # noqa: BLE001 - whatever an estimator raises may tell values of the rows
        raise _none(candidate, f"the model fails on its own holdout ({type(error).__name__})") from None
    with tempfile.TemporaryDirectory(prefix="ridgeway-") as folder:
        file = Path(folder) / "rows.parquet"
        frame.to_parquet(file, index=False)
        registry.write_file(candidate.run_id, candidates.GOLDEN, file)
    return frame


def _none(candidate: Candidate, problem: str) -> ModelError:
    return ModelError(
        f"probe_endpoint: there are no golden rows of {candidate.handle}",
        problem=problem,
        expected="rows of its holdout with the predictions of training",
        next_step="ridgeway run retraining, which stores them; or the project that still keeps its rows",
    )
