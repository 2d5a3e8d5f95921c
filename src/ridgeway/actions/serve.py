"""A model as the scoring server takes it: compiled and proven once, kept with its run, and then the same everywhere.

Whoever compiles first stores the package with the MLflow run, and everyone after takes those very bytes. A parameter of
the run decides who was first, because MLflow lets a parameter be written once; a tag says that a package is whole.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ridgeway.actions import candidate as candidates
from ridgeway.actions import retraining
from ridgeway.actions.models import open_registry, resolve
from ridgeway.artifacts import parse_handle
from ridgeway.errors import ModelError, NotFound, Permanent, StorageError, UsageError
from ridgeway.project import Project
from ridgeway.registry import Registry
from ridgeway.registry.look import DIGEST_TAG

log = logging.getLogger("ridgeway.serve")

MANIFEST = "model.json"
EXAMPLE = "example.json"
PACKAGE_TAG = "ridgeway.package."
"""And the version: digest of the package that is stored with a run. Written last."""
PACKAGE_PARAMETER = "package."
"""And the version: the same digest, which can be written once only."""


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
    digest: str = ""
    """``sha256:…``, of its manifest, which names the digest of each file."""
    largest_error: float = 0.0
    """How far it was seen to be from the trained estimator: |a − b| / max(1, |b|)."""


@dataclass(frozen=True)
class Subject:
    """A trained model that a handle names."""

    run_id: str
    digest: str
    version: str
    """Its number; of a run's candidate the first digits of the run."""


def package(project: Project, text: str) -> Package:
    """The compiled package of a registered model, or of a run's candidate, on this machine.

    Taken from this machine if it is here, else from the run, else compiled and stored with the run.

    Raises:
        NotFound: There is no such model.
        BadData: The rows it was made from, on which it must be proven, are nowhere to be had.
        ModelError: No form gives the estimator's own predictions; or the stored package was altered.
    """
    registry = open_registry(project)
    wanted = subject(registry, text)
    found = kept(project, wanted)
    if found is None:
        _bring(project, registry, wanted, _place(project, wanted))
        found = _read(_place(project, wanted))
    return found


def kept(project: Project, wanted: Subject) -> Package | None:
    """The package of a trained model if it is on this machine.

    Raises:
        ModelError: It was altered.
    """
    place = _place(project, wanted)
    return _read(place) if (place / MANIFEST).is_file() else None


def _place(project: Project, wanted: Subject) -> Path:
    return project.state / "packages" / wanted.digest.replace(":", "-") / wanted.version


def subject(registry: Registry, text: str) -> Subject:
    """The trained model that a handle names.

    Raises:
        NotFound: There is none.
        UsageError: It is not the handle of a model.
    """
    handle = parse_handle(text)
    if handle.kind == "models":
        version = resolve(registry, text)
        return Subject(version.run_id, version.digest, str(version.number))
    if handle.kind == "runs":
        run = registry.find_run(handle.name)
        if DIGEST_TAG not in run.tags:
            raise NotFound(f"run {run.run_id} holds no candidate", next_step="ridgeway list runs")
        return Subject(run.run_id, run.tags[DIGEST_TAG], run.run_id[:12])
    raise UsageError(f"{text} cannot be served", expected="models:/NAME/7, models:/NAME@ALIAS or runs:/ID/model")


def _bring(project: Project, registry: Registry, wanted: Subject, place: Path) -> None:
    """Puts the stored package in its place; compiles and stores it first where there is none."""
    stored = registry.run(wanted.run_id).tags.get(PACKAGE_TAG + wanted.version, "")
    with _draft(place) as draft:
        if not stored:
            own = _compile(project, registry, wanted, draft)
            stored = _store(registry, wanted, draft, own)
            if stored == own:
                _put(draft, place)
                return
            shutil.rmtree(draft)
        _fetch(project, registry, wanted, stored, draft)
        _put(draft, place)


@contextmanager
def _draft(place: Path) -> Iterator[Path]:
    """A path beside ``place`` for a folder that is gone at the end unless it was put in place."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".", dir=place.parent))
    except OSError as error:
        raise StorageError("cannot keep the model package", where=str(place), problem=str(error)) from error
    try:
        yield folder / "package"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(draft: Path, place: Path) -> None:
    """Makes a whole package known; if another process was faster, its is as good."""
    example = place.with_name(f"{place.name}.{EXAMPLE}")
    try:
        draft.with_name(EXAMPLE).replace(example)
        if place.is_dir() and not (place / MANIFEST).is_file():
            shutil.rmtree(place)
        draft.rename(place)
    except OSError as error:
        if not (place / MANIFEST).is_file():
            raise StorageError("cannot keep the model package", where=str(place), problem=str(error)) from error


def _read(place: Path) -> Package:
    from ridgeway_server.errors import PackageError
    from ridgeway_server.packages import read_manifest

    try:
        manifest = read_manifest(place)
        example = json.loads(place.with_name(f"{place.name}.{EXAMPLE}").read_text(encoding="utf-8"))
    except (PackageError, OSError, ValueError) as error:
        raise _altered(str(place), str(error), next_step=f"rm -r {place}, then the same command") from error
    named = {name: manifest[name] for name in ("name", "version", "kind", "digest")}
    return Package(place, **named, example=example, largest_error=manifest["parity"].get("largest_error", 0.0))


def _altered(where: str, problem: str, *, next_step: str) -> ModelError:
    return ModelError(
        "the model package was altered after it was made",
        where=where,
        problem=problem,
        expected="the files that were written when it was compiled and proven",
        next_step=next_step,
    )


# ---- with the run ----------------------------------------------------------------------------------------------------


def _folder(wanted: Subject, digest: str) -> str:
    """Where a package is inside its run: by content, so that two that are stored at once do not mix."""
    return f"package/{wanted.version}/{digest.removeprefix('sha256:')[:16]}"


def _store(registry: Registry, wanted: Subject, draft: Path, digest: str) -> str:
    """Stores a package with its run; the digest of the one that counts, which is the first."""
    folder, key = _folder(wanted, digest), PACKAGE_PARAMETER + wanted.version
    for file in sorted(draft.iterdir()):
        registry.write_file(wanted.run_id, f"{folder}/files/{file.name}", file)
    registry.write_file(wanted.run_id, f"{folder}/{EXAMPLE}", draft.with_name(EXAMPLE))
    try:
        registry.log_params(wanted.run_id, {key: digest})
    except Permanent:
        # It has another value already; or something else is wrong, and then there is none.
        if key not in registry.run(wanted.run_id).parameters:
            raise
    first = registry.run(wanted.run_id).parameters[key]
    registry.tag_run(wanted.run_id, {PACKAGE_TAG + wanted.version: first})
    return first


def _fetch(project: Project, registry: Registry, wanted: Subject, digest: str, draft: Path) -> None:
    """Copies the package that a run holds to ``draft``, known to be unaltered.

    Raises:
        ModelError: It was altered.
    """
    from ridgeway_server.errors import PackageError
    from ridgeway_server.packages import read_package

    folder = _folder(wanted, digest)
    source = registry.read_file(wanted.run_id, folder)
    try:
        shutil.copytree(source / "files", draft)
        shutil.copyfile(source / EXAMPLE, draft.with_name(EXAMPLE))
        found, problem = read_package(draft).manifest["digest"], ""
    except (PackageError, OSError) as error:
        found, problem = "", str(error).replace(str(draft), "package")
    finally:
        if source.is_relative_to(project.state / "downloads"):
            shutil.rmtree(source, ignore_errors=True)
    if found != digest:
        where, problem = f"{folder} of run {wanted.run_id}", problem or f"{found}, where {digest} was stored"
        raise _altered(where, problem, next_step="train the model again: ridgeway run retraining")


# ---- made ------------------------------------------------------------------------------------------------------------


def _compile(project: Project, registry: Registry, wanted: Subject, draft: Path) -> str:
    """Compiles a model to the folder ``draft``, with an example row beside it; the package's digest."""
    from ridgeway.compiled import compile_model
    from ridgeway.registry.model_folder import typical_row

    candidate = registry.candidate(wanted.run_id)
    log.info("compiling %s", candidate.handle)
    estimator = registry.load_model(wanted.run_id)
    dataset, frame = retraining.rows_of(project, candidate)
    data = candidates.examples(project, dataset, frame, candidate.key)
    features = frame[[column.name for column in candidate.features]]
    manifest = compile_model(
        estimator,
        draft,
        name=candidate.name,
        version=wanted.version,
        features=candidate.features,
        task=candidate.task,
        classes=tuple(estimator.classes_.tolist()) if candidate.classes else (),
        holdout_frame=data.features[data.sealed] if data.sealed.any() else features.head(100),
        lineage={"model": candidate.digest, "run": wanted.run_id, "dataset": candidate.dataset},
    )
    error = manifest["parity"].get("largest_error", 0.0)
    log.info("%s; answers as the trained model does, within %.1e", manifest["parity"]["form"], error)
    example = json.loads(typical_row(features).to_json(orient="values"))[0]
    draft.with_name(EXAMPLE).write_text(json.dumps(example), encoding="utf-8")
    return str(manifest["digest"])
