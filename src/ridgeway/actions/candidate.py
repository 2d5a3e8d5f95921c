"""From checked rows to a candidate: found again if the very same inputs made one before, trained and kept otherwise."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ridgeway import package, training
from ridgeway.artifacts import Candidate, Column, Dataset, KeyRule
from ridgeway.project import Project, digest_of, environment_digest, load_step, steps_digest
from ridgeway.registry import Registry
from ridgeway.rules import promotion, rows

log = logging.getLogger("ridgeway.train_model")

SEALED = "predictions/sealed.parquet"
OUT_OF_FOLD = "predictions/out_of_fold.parquet"
TRAINING_IDENTITIES = "identities/training.npy"
SEALED_IDENTITIES = "identities/sealed.npy"
GOLDEN = "golden/rows.parquet"
"""Sealed rows with the model's predictions, for the probe of an endpoint. Persons' data: with the run only."""


@dataclass(frozen=True)
class Predictions:
    """Predictions with the identity and the actual value of each row, in canonical order.

    ``values`` has shape (rows,) for regression, (rows, classes) for classification.
    """

    identities: rows.Words
    actual: Any
    values: training.Floats


def examples(project: Project, dataset: Dataset, frame: pd.DataFrame, key: KeyRule) -> training.Examples:
    """The rows of a Dataset in canonical order, with today's features and the rows sealed under ``key``."""
    data = project.settings.data
    return training.examples(frame, dataset.columns, key=key, label=data.label, ignore=data.ignore)


def recipe(project: Project, make_model: Callable[..., Any] | None = None) -> training.Recipe:
    """What the settings and the user's function (that of ``steps/make_model.py`` by default) say about the model."""
    chosen = project.settings.training
    return training.Recipe(
        make_model or load_step(project.root, "make_model"),
        chosen.parameters,
        chosen.seed,
        chosen.task,
        folds=chosen.out_of_fold,
        jobs=chosen.jobs,
    )


def inputs_digest(project: Project, dataset: Dataset, key: KeyRule, unfitted: Any) -> str:
    """``sha256:…`` over all that goes into a candidate: equal inputs make the same model, trained once."""
    return digest_of(
        {
            "dataset": dataset.digest,
            "key": key.digest,
            "label": project.settings.data.label,
            "ignore": sorted(project.settings.data.ignore),
            "training": project.settings.training.model_dump(mode="json", exclude={"jobs"}),
            "estimator": package.digest(unfitted),
            "steps": steps_digest(project.root),
            "environment": environment_digest(),
        }
    )


def train(
    project: Project,
    rows: tuple[Dataset, pd.DataFrame],
    how: training.Recipe,
    *,
    identity: Identity,
    registry: Registry,
) -> Candidate:
    """A new candidate from these rows, trained and kept under ``identity.run_id``.

    Raises:
        ModelError: The user's model cannot be fitted, predicted with, or carried elsewhere.
    """
    dataset, frame = rows
    data = examples(project, dataset, frame, identity.key)
    log.info("%d training rows, %d sealed ones", int(data.training.sum()), int(data.sealed.sum()))
    trained = training.train(how, data)
    package.check_portable(trained.estimator, root=project.root)
    candidate = _candidate(project, dataset, data, trained, identity)
    _keep(candidate, data, trained, registry)
    log.info("%s", ", ".join(f"{name} {value:.4g}" for name, value in candidate.metrics.items()))
    return candidate


@dataclass(frozen=True)
class Identity:
    """What a candidate is known by before it is trained."""

    run_id: str
    inputs: str
    """From :func:`inputs_digest`."""
    key: KeyRule


def _candidate(
    project: Project, dataset: Dataset, data: training.Examples, trained: training.Trained, identity: Identity
) -> Candidate:
    chosen = project.settings.training
    types = {column.name: column.type for column in dataset.columns}
    return Candidate(
        run_id=identity.run_id,
        name=project.name,
        digest=package.digest(trained.estimator),
        inputs=identity.inputs,
        dataset=dataset.handle,
        key=identity.key,
        task=chosen.task,
        features=tuple(Column(str(name), types[str(name)]) for name in data.features.columns),
        label=project.settings.data.label,
        classes=trained.classes,
        parameters=dict(chosen.parameters),
        seed=chosen.seed,
        training_rows=int(data.training.sum()),
        sealed_rows=int(data.sealed.sum()),
        out_of_fold=chosen.out_of_fold,
        metrics=promotion.metrics(chosen.task, data.target[data.sealed], trained.sealed, classes=trained.classes)
        if data.sealed.any()
        else {},
    )


def _keep(candidate: Candidate, data: training.Examples, trained: training.Trained, registry: Registry) -> None:
    with tempfile.TemporaryDirectory(prefix="ridgeway-") as folder:
        files = _files(Path(folder), candidate, data, trained)
        registry.save_candidate(
            candidate,
            trained.estimator,
            files=files,
            signature_frame=data.features[data.training],
        )


def _files(
    folder: Path, candidate: Candidate, data: training.Examples, trained: training.Trained
) -> Mapping[str, Path]:
    files = {name: folder / name.replace("/", "-") for name in (SEALED, TRAINING_IDENTITIES, SEALED_IDENTITIES)}
    _write_predictions(files[SEALED], data, data.sealed, trained.sealed)
    np.save(files[TRAINING_IDENTITIES], np.sort(data.identities[data.training]), allow_pickle=False)
    np.save(files[SEALED_IDENTITIES], np.sort(data.identities[data.sealed]), allow_pickle=False)
    if trained.out_of_fold is not None:
        files[OUT_OF_FOLD] = folder / "out_of_fold.parquet"
        _write_predictions(files[OUT_OF_FOLD], data, data.training, trained.out_of_fold)
    golden = training.golden(trained.estimator, data, candidate.task)
    if len(golden):
        files[GOLDEN] = folder / "golden.parquet"
        golden.to_parquet(files[GOLDEN], index=False)
    return files


def _write_predictions(path: Path, data: training.Examples, chosen: Any, values: training.Floats) -> None:
    columns = {f"p{index}": column for index, column in enumerate(values.T)} if values.ndim == 2 else {"p": values}
    frame = pd.DataFrame({"identity": data.identities[chosen], "actual": data.target[chosen], **columns})
    frame.to_parquet(path, index=False)


def read_predictions(path: Path, task: str) -> Predictions:
    """Predictions as they were stored with a candidate."""
    frame = pd.read_parquet(path)
    names = [name for name in frame.columns if name not in ("identity", "actual")]
    values = frame[names].to_numpy(dtype=np.float64)
    identities = frame["identity"].to_numpy(dtype=np.uint64)
    return Predictions(identities, frame["actual"].to_numpy(), values if task == "classification" else values[:, 0])
