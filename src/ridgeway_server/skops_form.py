"""Models as scikit-learn estimators, loaded by skops: it builds only trusted types and runs no stored code."""

from __future__ import annotations

from typing import Any

import numpy as np
import skops.io

from ridgeway_server.answers import Answer
from ridgeway_server.errors import PackageError
from ridgeway_server.packages import Package
from ridgeway_server.signature import Table

TRUSTED_LIBRARIES = ("sklearn", "numpy", "scipy")


class SkopsForm:
    """An estimator in ``estimator.skops``.

    The manifest's form says how it takes rows: ``matrix`` (float64), ``objects`` (one array of mixed cells) or
    ``frame`` (pandas, with the ``dtypes`` of training); and which types beyond skops' own it is ``trusted`` to build.
    Those must belong to scikit-learn, numpy or scipy, or to a module that the server's own setting names: a package
    cannot vouch for itself.
    """

    def __init__(self, package: Package, trusted: tuple[str, ...]) -> None:
        form = package.manifest["form"]
        if "estimator.skops" not in package.files:
            raise PackageError(f"{package.folder}: no file 'estimator.skops'")
        wanted = list(form["trusted"])
        allowed = (*TRUSTED_LIBRARIES, *trusted)
        foreign = [name for name in wanted if name.split(".")[0] not in allowed and name not in allowed]
        if foreign:
            raise PackageError(f"{package.folder} asks to build {foreign!r}; trust their modules by the setting trust")
        self.estimator: Any = skops.io.loads(package.files["estimator.skops"], trusted=wanted)
        self.takes: str = form["input"]
        self.dtypes: dict[str, str] = form.get("dtypes", {})
        self.signature = package.signature
        self.task: str = package.manifest["task"]
        self.places = {label: place for place, label in enumerate(package.manifest["classes"])}

    def __call__(self, table: Table) -> Answer:
        """Values, or labels and probabilities, of all rows."""
        rows = self._rows(table)
        if self.task == "regression":
            return Answer(np.asarray(self.estimator.predict(rows), np.float64).reshape(-1))
        if hasattr(self.estimator, "predict_proba"):
            # Labels are those of the largest probability: one pass through the estimator in place of two. Packaging
            # has compared them with `predict` and refuses this form where they differ.
            probabilities = np.asarray(self.estimator.predict_proba(rows), np.float64)
            return Answer(labels=probabilities.argmax(axis=1), probabilities=probabilities)
        labels = [self.places[label] for label in self.estimator.predict(rows).tolist()]
        return Answer(labels=np.array(labels, np.intp))

    def _rows(self, table: Table) -> Any:
        if self.takes == "matrix":
            return table.matrix
        columns = table.columns if table.matrix is None else list(table.matrix.T)
        if self.takes == "frame":
            return self._frame(columns)
        cells = np.empty((table.rows, len(columns)), object)
        for place, values in enumerate(columns):
            cells[:, place] = values
        gaps = np.array([[cell is None for cell in row] for row in cells], bool)
        cells[gaps] = np.nan  # As pandas holds a missing text, which encoders learn as a category.
        return cells

    def _frame(self, columns: list[Any]) -> Any:
        import pandas as pd

        names = self.signature.names
        frame = pd.DataFrame(dict(zip(names, columns, strict=True)), columns=list(names))
        for name, dtype in self.dtypes.items():
            # A column of whole numbers with gaps was never an integer column in training either.
            if not (dtype.startswith(("int", "uint", "bool")) and frame[name].isna().any()):
                frame[name] = frame[name].astype(dtype)
        return frame
