"""``compile_model``: from a fitted estimator to a proven package, in the first form that is exact."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from ridgeway.artifacts import Column
from ridgeway.compiled.closed import closed_form
from ridgeway.compiled.converted import onnx_form, skops_form
from ridgeway.compiled.draft import Draft, Unsupported
from ridgeway.compiled.forest import forest_form
from ridgeway.compiled.parity import (
    TOLERANCE,
    Evidence,
    Reference,
    Subject,
    compare,
    make_reference,
    row_wise,
    to_table,
)
from ridgeway.errors import ModelError, StorageError
from ridgeway_server.errors import PackageError, Refusal
from ridgeway_server.models import load_model
from ridgeway_server.packages import MANIFEST, NAME, SCHEMA, manifest_digest, read_manifest, read_package

if TYPE_CHECKING:
    import pandas as pd

FORMS = ("closed form", "trees", "onnx", "onnx float32", "skops", "skops with objects", "skops with pandas")
"""All forms in the order in which they are tried."""
_MAKERS: dict[str, Callable[[Subject], Draft]] = {
    "closed form": closed_form,
    "trees": forest_form,
    "onnx": lambda subject: onnx_form(subject, float32=False),
    "onnx float32": lambda subject: onnx_form(subject, float32=True),
    "skops": lambda subject: skops_form(subject, takes="matrix"),
    "skops with objects": lambda subject: skops_form(subject, takes="objects"),
    "skops with pandas": lambda subject: skops_form(subject, takes="frame"),
}


def compile_model(  # noqa: PLR0913 - one call with everything that a package records
    estimator: Any,
    folder: Path,
    *,
    name: str,
    version: str,
    features: tuple[Column, ...],
    task: str,
    classes: tuple[Any, ...],
    holdout_frame: pd.DataFrame,
    lineage: dict[str, Any],
    allow_float32: bool = False,
    forms: Sequence[str] = FORMS,
) -> dict[str, Any]:
    """Write the package that the scoring server loads, in the first form whose predictions equal the estimator's.

    Each form is written, loaded by the server's own code and compared with the estimator on held-out rows and on
    generated extreme ones: |a − b| ≤ 1e-9 · max(1, |b|), and equal labels. Forms that were passed over are recorded
    with the reason. The folder appears whole or not at all; one that is already there is replaced.

    Args:
        estimator: A fitted scikit-learn estimator; it is not changed.
        folder: Where the package goes; its parent is made if need be.
        name: The model's name: letters, digits, dots, dashes, underscores.
        version: Its version, of the same letters.
        features: Columns in the order in which they were trained on.
        task: ``regression`` or ``classification``.
        classes: Labels in the order of the probabilities; empty for a regression.
        holdout_frame: Held-out rows with at least the feature columns, with the types of training.
        lineage: Handed through to the package and to ``GET /v2/models/NAME``; JSON values.
        allow_float32: Take a float32 network where no exact form but scikit-learn itself is left; its error is
        recorded.
        forms: Which of ``FORMS`` may be used.

    Returns:
        The manifest as written: with ``kind``, ``digest``, and under ``parity`` the evidence and what was passed over.

    Raises:
        ModelError: No form is possible, or none is true to the estimator; the message lists what each lacked.
        StorageError: The folder cannot be written.
    """
    subject = _subject(estimator, features, task, classes, holdout_frame)
    base = {
        "schema": SCHEMA,
        "name": name,
        "version": version,
        "task": task,
        "classes": list(classes),
        "lineage": lineage,
    }
    for text in (name, version):
        if not NAME.fullmatch(text):
            raise ModelError(
                f"cannot package {name}/{version}", problem=f"{text!r} is not a name", expected=NAME.pattern
            )
    reference = make_reference(subject)
    passed_over: list[dict[str, str]] = []
    allowed = [form for form in FORMS if form in forms and (form != "onnx float32" or allow_float32)]
    for form in allowed:
        with _temporary(folder) as trial:
            try:
                manifest = _attempt(_MAKERS[form](subject), trial, base, subject, reference)
            except (Unsupported, PackageError, Refusal) as reason:
                # A refusal names a value of the row that it is about, and rows do not belong into a package.
                told = f"it refuses a row (status {reason.status})" if isinstance(reason, Refusal) else str(reason)
                passed_over.append({"form": form, "reason": told})
                continue
            manifest["parity"] = {"form": form, **manifest["parity"], "passed_over": passed_over}
            _write_manifest(trial.path, manifest)
            trial.publish(folder)
            return manifest
    reasons = "\n".join(f"{one['form']}: {one['reason']}" for one in passed_over)
    raise ModelError(
        f"cannot package {name}/{version}",
        problem=reasons,
        expected="a form that gives the estimator's own predictions",
        next_step="use transformers that depend on their row alone, or put your own into a wheel in pyproject.toml",
    )


def _subject(estimator: Any, features: tuple[Column, ...], task: str, classes: tuple[Any, ...], frame: Any) -> Subject:
    dated = [column.name for column in features if column.type == "datetime"]
    absent = [column.name for column in features if column.name not in frame.columns]
    problem = ""
    if dated:
        problem = f"date columns {dated!r}: requests carry numbers and texts"
    elif absent or not len(frame):
        problem = f"held-out rows without {absent!r}" if absent else "no held-out rows"
    elif task == "classification" and list(getattr(estimator, "classes_", classes)) != list(classes):
        problem = f"classes {list(classes)!r} given, {list(estimator.classes_)!r} in the estimator"
    if problem:
        raise ModelError(
            "cannot package the model", problem=problem, expected="numbers, texts and booleans, as in training"
        )
    return Subject(estimator, features, task, classes, frame[[column.name for column in features]])


def _attempt(
    draft: Draft, trial: _Trial, base: dict[str, Any], subject: Subject, reference: Reference
) -> dict[str, Any]:
    """Write a draft, load it as the server does, compare it.

    Raises:
        Unsupported: It is not true to the estimator.
        PackageError: The server would not load it.
        Refusal: It does not take all the rows that the estimator takes.
    """
    columns = [dataclasses.asdict(column) for column in reference.server_columns(subject.columns)]
    files = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in sorted(draft.files.items())
    }
    manifest: dict[str, Any] = {
        **base, "kind": draft.kind, "signature": {"columns": columns, "allow_infinity": False}, "form": draft.form,
        "files": files, "requires": list(draft.requires), "row_wise": True, "probabilities": draft.probabilities,
        "parity": {},
    }  # fmt: skip
    trial.write(draft.files)
    _write_manifest(trial.path, manifest)
    package = read_package(trial.path)
    trusted = tuple({name.split(".")[0] for name in draft.form.get("trusted", [])})
    model = load_model(package, trusted=trusted)
    evidence = _compare(model, subject, reference)
    if not evidence.labels_equal and not draft.float32:
        raise Unsupported("labels differ from the estimator's")
    if not evidence.exact and not draft.float32:
        raise Unsupported(evidence.first_difference)
    # Closed forms and trees are row-wise by construction; of a converted estimator it has to be seen.
    manifest["row_wise"] = draft.kind in ("linear", "logistic", "trees") or row_wise(
        model, to_table(reference.frame, subject.columns)
    )
    record = dataclasses.asdict(evidence)
    manifest["parity"] = {"tolerance": TOLERANCE, "dtype": "float32" if draft.float32 else "float64", **record}
    return manifest


def _compare(model: Any, subject: Subject, reference: Reference) -> Evidence:
    try:
        return compare(model, subject, reference)
    except (Refusal, PackageError):
        raise
    except Exception as error:
        # Without the error's own words: they may tell a value of a row.
        raise Unsupported(f"it fails on the compared rows ({type(error).__name__})") from error


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    manifest["digest"] = manifest_digest(manifest)
    (folder / MANIFEST).write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))


# ---- files ---------------------------------------------------------------------------------------------------------


class _Trial:
    """A folder beside the wanted one, gone at the end unless it was published."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> _Trial:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def write(self, files: dict[str, bytes]) -> None:
        """The files, on disk to stay."""
        try:
            for name, content in files.items():
                with (self.path / name).open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise StorageError("cannot write the model package", where=str(self.path), problem=str(error)) from error

    def publish(self, folder: Path) -> None:
        """Put it in place of what is there. Readers see the old package or the new one, for an instant neither."""
        try:
            self.path.chmod(0o755)
            if folder.exists():
                old = self.path.with_name(self.path.name + ".old")
                folder.rename(old)
                self.path.rename(folder)
                shutil.rmtree(old)
            else:
                self.path.rename(folder)
            read_manifest(folder)
        except (OSError, PackageError) as error:
            raise StorageError(
                "cannot put the model package in place", where=str(folder), problem=str(error)
            ) from error


def _temporary(folder: Path) -> _Trial:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return _Trial(Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent)))
    except OSError as error:
        raise StorageError("cannot write the model package", where=str(folder), problem=str(error)) from error
