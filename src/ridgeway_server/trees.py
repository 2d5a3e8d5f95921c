"""Tree ensembles as arrays: all rows walk down all trees at once, one numpy step per level, exact in float64.

ONNX's tree operator compares in float32 and sends rows near a threshold down the wrong branch; this form does not.
"""

from __future__ import annotations

import numpy as np

from ridgeway_server.answers import Answer, binary_answer, softmax
from ridgeway_server.errors import PackageError
from ridgeway_server.features import Features
from ridgeway_server.packages import Package
from ridgeway_server.signature import Matrix, Table

_CELLS_AT_ONCE = 2_000_000
"""Rows × trees walked together: bounds the memory of a large request to some 100 MB."""


class TreesForm:
    """A forest or a boosted ensemble.

    Files: ``feature``, ``threshold``, ``left``, ``right`` per node (a leaf is its own child), ``missing_left`` per
    node, ``roots`` per tree, ``values`` (nodes × outputs, weighted, so that their sum over the trees is the score),
    ``base`` (outputs), and those of ``Features`` where columns are prepared first. The manifest's form holds
    ``depth``, ``single`` (inputs are rounded to float32 first, as scikit-learn's own trees do), ``link`` (identity,
    logistic, softmax or probabilities) and ``output`` (the score's column per tree, for one tree per class).
    """

    def __init__(self, package: Package) -> None:
        form = package.manifest["form"]
        width = len(form["positions"]) if "positions" in form else package.signature.width
        self.feature = package.array("feature.npy", -1).astype(np.intp)
        nodes = len(self.feature)
        self.threshold = package.array("threshold.npy", nodes).astype(np.float64)
        self.children = (
            np.stack([package.array("left.npy", nodes), package.array("right.npy", nodes)], 1).astype(np.intp).ravel()
        )
        self.missing_left = package.array("missing_left.npy", nodes).astype(bool)
        self.roots = package.array("roots.npy", -1).astype(np.intp)
        self.values = package.array("values.npy", nodes, -1).astype(np.float64)
        self.base = package.array("base.npy", -1).astype(np.float64)
        self.features = Features(package) if "positions" in form else None
        self.depth, self.single, self.link = int(form["depth"]), bool(form["single"]), str(form["link"])
        self.output = np.array(form["output"], np.intp) if form.get("output") else None
        # A missing value can also come from a table: encoders hand it on as NaN.
        self.has_missing = package.signature.may_miss or "positions" in form
        self._check_indices(package, nodes, width)

    def _check_indices(self, package: Package, nodes: int, width: int) -> None:
        # An index out of bounds would be an error per request; a negative one would silently count from the end.
        bounded = ((self.feature, width), (self.children, nodes), (self.roots, nodes))
        wrong = any(len(part) == 0 or part.min() < 0 or part.max() >= limit for part, limit in bounded)
        if wrong or self.link not in ("identity", "logistic", "softmax", "probabilities"):
            raise PackageError(
                f"{package.folder}: its trees point out of their arrays, or the link {self.link!r} is unknown"
            )

    def __call__(self, table: Table) -> Answer:
        """Values, or labels and probabilities, of all rows."""
        numbers = table.matrix if self.features is None else self.features(table)
        assert numbers is not None
        step = max(1, _CELLS_AT_ONCE // len(self.roots))
        parts = [self._scores(numbers[start : start + step]) for start in range(0, table.rows, step)]
        scores = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if self.link == "identity":
            return Answer(scores[:, 0])
        if self.link == "logistic":
            return binary_answer(scores[:, 0])
        probabilities = softmax(scores) if self.link == "softmax" else scores / scores.sum(axis=1, keepdims=True)
        return Answer(labels=probabilities.argmax(axis=1), probabilities=probabilities)

    def _scores(self, numbers: Matrix) -> Matrix:
        if self.single:
            numbers = numbers.astype(np.float32).astype(np.float64)
        flat, width = np.ascontiguousarray(numbers).ravel(), numbers.shape[1]
        offsets = (np.arange(len(numbers)) * width)[:, None]
        node = np.broadcast_to(self.roots, (len(numbers), len(self.roots)))
        for _ in range(self.depth):
            value = flat[offsets + self.feature[node]]
            right = value > self.threshold[node]
            if self.has_missing:
                right |= np.isnan(value) & ~self.missing_left[node]
            node = self.children[2 * node + right]
        return self._sum(node)

    def _sum(self, leaves: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> Matrix:
        scores = np.tile(self.base, (len(leaves), 1))
        if self.output is None:
            scores += self.values[leaves].sum(axis=1)
            return scores
        values = self.values[leaves, 0]
        for output in range(len(self.base)):
            scores[:, output] += values[:, self.output == output].sum(axis=1)
        return scores
