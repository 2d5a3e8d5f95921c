"""A loaded model: checked rows in, predictions out, by one of five forms. ``load_model`` makes one from a package.

Only the form that a package needs is imported: onnxruntime or scikit-learn stay out of a server of linear models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ridgeway_server.answers import Answer, binary_answer, softmax
from ridgeway_server.errors import PackageError, Refusal
from ridgeway_server.features import EncodedColumn
from ridgeway_server.packages import Package
from ridgeway_server.signature import Matrix, Table


class Predictor(Protocol):
    """One form of a model: what the packages of its kind hold, ready to be called."""

    def __call__(self, table: Table) -> Answer:
        """The predictions for all rows of ``table``."""


class Model:
    """A model that can answer: its name, version, signature, and the predictor that its package holds."""

    def __init__(self, package: Package, predictor: Predictor) -> None:
        manifest = package.manifest
        self.name: str = manifest["name"]
        self.version: str = manifest["version"]
        self.kind: str = manifest["kind"]
        self.task: str = manifest["task"]
        self.digest: str = manifest["digest"]
        self.manifest = manifest
        self.signature = package.signature
        self.classes: list[Any] = manifest["classes"]
        self.row_wise: bool = manifest.get("row_wise", True)
        self.costly = self.kind not in ("linear", "logistic")
        self.size_bytes = 20_000 + 3 * sum(map(len, package.files.values()))
        self.predictor = predictor
        self.header = f"Ridgeway-Model: {self.name}/{self.version}\r\n".encode()
        self.batcher: Any = None

    def predict(self, table: Table) -> Answer:
        """Predictions for checked rows.

        Raises:
            Refusal: 422 where a prediction is not finite: the row is outside what the model can compute.
        """
        with np.errstate(all="ignore"):  # An overflow is answered by the check below, not by a warning in the log.
            answer = self.predictor(table)
        numbers = answer.values if answer.values is not None else answer.probabilities
        if numbers is not None and not np.isfinite(numbers).all():
            row = int(np.argwhere(~np.isfinite(numbers))[0][0]) + 1
            raise Refusal(
                422,
                f"row {row} leads to a prediction that is not a finite number",
                "values nearer to the training data",
            )
        return answer

    def labels(self, answer: Answer) -> list[Any]:
        """The predicted labels of a classification."""
        assert answer.labels is not None
        classes = self.classes
        return [classes[place] for place in answer.labels.tolist()]


def load_model(package: Package, *, trusted: tuple[str, ...] = ()) -> Model:
    """The model in a package; ``trusted`` are module names whose types skops may build beside its own libraries.

    Raises:
        PackageError: The files do not fit the manifest, or a library that it needs is not installed.
    """
    loaders: dict[str, Callable[[Package], Predictor]] = {
        "linear": LinearForm,
        "logistic": LogisticForm,
        "trees": _load_trees,
        "onnx": _load_onnx,
        "skops": lambda one: _load_skops(one, trusted),
    }
    try:
        return Model(package, loaders[package.manifest["kind"]](package))
    except PackageError:
        raise
    except Exception as error:
        raise PackageError(f"{package.folder} cannot be loaded: {type(error).__name__}: {error}") from error


# ---- linear and logistic: closed form ------------------------------------------------------------------------------


class LinearScores:
    """``scores = numbers · weights + offset + one row of a table per text column``; shape (rows, outputs).

    Missing numbers are replaced by ``fill`` first. Text that a table does not hold adds nothing or is refused, as the
    encoder that it was compiled from did.
    """

    def __init__(self, package: Package) -> None:
        signature, form = package.signature, package.manifest["form"]
        self.signature = signature
        self.numbers = [i for i, column in enumerate(signature.columns) if column.type != "string"]
        self.weights = package.array("weights.npy", len(self.numbers), -1).astype(np.float64)
        self.offset = package.array("offset.npy", self.weights.shape[1]).astype(np.float64)
        self.fill = package.array("fill.npy", len(self.numbers)) if "fill.npy" in package.files else None
        width = self.weights.shape[1]
        self.tables = [EncodedColumn(package, record, width) for record in form.get("tables", [])]

    def __call__(self, table: Table) -> Matrix:
        """The scores of all rows."""
        if table.matrix is not None:
            numbers = table.matrix
        else:
            columns = [table.columns[i] for i in self.numbers]
            numbers = np.column_stack(columns) if columns else np.empty((table.rows, 0))
        if self.fill is not None:
            numbers = np.where(np.isnan(numbers), self.fill, numbers)
        scores: Matrix = numbers @ self.weights + self.offset
        for encoded in self.tables:
            scores += encoded(table)
        return scores


class LinearForm:
    """A regression in closed form."""

    def __init__(self, package: Package) -> None:
        self.scores = LinearScores(package)
        if self.scores.weights.shape[1] != 1:
            raise PackageError(f"{package.folder}: a regression with {self.scores.weights.shape[1]} outputs")
        # One gemv in place of a gemm with one column.
        plain = self.scores.fill is None and not self.scores.tables
        self.vector = self.scores.weights[:, 0].copy() if plain else None
        self.constant = float(self.scores.offset[0])

    def __call__(self, table: Table) -> Answer:
        """The values of all rows."""
        if self.vector is not None and table.matrix is not None:
            return Answer(table.matrix @ self.vector + self.constant)
        return Answer(self.scores(table)[:, 0])


class LogisticForm:
    """A logistic regression in closed form: one score for two classes, else one per class (softmax)."""

    def __init__(self, package: Package) -> None:
        self.scores = LinearScores(package)
        outputs, classes = self.scores.weights.shape[1], len(package.manifest["classes"])
        if classes < 2 or outputs != (1 if classes == 2 else classes):
            raise PackageError(f"{package.folder}: {outputs} scores for {classes} classes")
        self.binary = outputs == 1
        self.vector = (
            self.scores.weights[:, 0] if self.binary and not self.scores.tables and self.scores.fill is None else None
        )
        self.constant = float(self.scores.offset[0])

    def __call__(self, table: Table) -> Answer:
        """Labels and probabilities of all rows."""
        scores = self.scores(table)
        if self.binary:
            return binary_answer(scores[:, 0])
        return Answer(labels=scores.argmax(axis=1), probabilities=softmax(scores))


# ---- the other forms, each imported only where a package needs it --------------------------------------------------


def _load_trees(package: Package) -> Predictor:
    from ridgeway_server.trees import TreesForm

    return TreesForm(package)


def _load_onnx(package: Package) -> Predictor:
    from ridgeway_server.onnx_form import OnnxForm

    return OnnxForm(package)


def _load_skops(package: Package, trusted: tuple[str, ...]) -> Predictor:
    from ridgeway_server.skops_form import SkopsForm

    return SkopsForm(package, trusted)
