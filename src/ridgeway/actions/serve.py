"""A model as the scoring server takes it: compiled, proven against the estimator, and kept by its digest."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ridgeway.actions import candidate as candidates
from ridgeway.actions import retraining
from ridgeway.actions.models import open_registry, resolve
from ridgeway.artifacts import Candidate, parse_handle
from ridgeway.errors import UsageError
from ridgeway.project import Project, environment_digest
from ridgeway.registry import Registry

log = logging.getLogger("ridgeway.serve")

MANIFEST = "model.json"


@dataclass(frozen=True)
class Package:
    """A package on this machine, and a row that can be asked of it."""

    folder: Path
    name: str
    version: str
    kind: str
    """The form it was compiled to, such as ``linear``."""
    example: list[Any]
    """One made-up row: medians, and most frequent values."""


def package(project: Project, text: str) -> Package:
    """The compiled package of a registered model, or of a run's candidate; compiled once for each environment.

    Raises:
        NotFound: There is no such model.
        BadData: The rows it was made from, on which it must be proven, are nowhere to be had.
        ModelError: No form gives the estimator's own predictions.
    """
    registry = open_registry(project)
    subject, version = _subject(registry, text)
    folder = project.state / "packages" / subject.digest.replace(":", "-") / environment_digest()[7:23] / version
    if not (folder / MANIFEST).is_file():
        _compile(project, registry, subject, folder)
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    example = json.loads((folder.parent / f"{version}.example.json").read_text(encoding="utf-8"))
    return Package(folder, subject.name, version, str(manifest["kind"]), example)


def _subject(registry: Registry, text: str) -> tuple[Candidate, str]:
    handle = parse_handle(text)
    if handle.kind == "models":
        version = resolve(registry, text)
        return registry.candidate(version.run_id), str(version.number)
    if handle.kind == "runs":
        run_id = registry.find_run(handle.name).run_id
        return registry.candidate(run_id), run_id[:12]
    raise UsageError(f"{text} cannot be served", expected="models:/NAME/7, models:/NAME@ALIAS or runs:/ID/model")


def _compile(project: Project, registry: Registry, subject: Candidate, folder: Path) -> None:
    from ridgeway.compiled import compile_model
    from ridgeway.registry.model_folder import typical_row

    log.info("compiling %s", subject.handle)
    estimator = registry.load_model(subject.run_id)
    dataset, frame = retraining.rows_of(project, subject)
    data = candidates.examples(project, dataset, frame, subject.key)
    features = frame[[column.name for column in subject.features]]
    manifest = compile_model(
        estimator,
        folder,
        name=subject.name,
        version=folder.name,
        features=subject.features,
        task=subject.task,
        classes=tuple(estimator.classes_.tolist()) if subject.classes else (),
        holdout_frame=data.features[data.sealed] if data.sealed.any() else features.head(100),
        lineage={"model": subject.digest, "run": subject.run_id, "dataset": subject.dataset},
    )
    error = manifest["parity"].get("largest_error", 0.0)
    log.info("%s; answers as the trained model does, within %.1e", manifest["parity"]["form"], error)
    example = json.loads(typical_row(features).to_json(orient="values"))[0]
    folder.parent.mkdir(parents=True, exist_ok=True)
    (folder.parent / f"{folder.name}.example.json").write_text(json.dumps(example), encoding="utf-8")
