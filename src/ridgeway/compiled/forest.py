"""scikit-learn's tree ensembles as flat arrays: forests, extra trees, single trees, gradient boosting of both kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ridgeway.compiled.cells import Cells, code, split_pipeline, tables
from ridgeway.compiled.draft import Draft, Unsupported, array_bytes
from ridgeway.compiled.parity import Subject

_FORESTS = ("RandomForestRegressor", "RandomForestClassifier", "ExtraTreesRegressor", "ExtraTreesClassifier")
_SINGLE = ("DecisionTreeRegressor", "DecisionTreeClassifier", "ExtraTreeRegressor", "ExtraTreeClassifier")
_BOOSTED = ("GradientBoostingRegressor", "GradientBoostingClassifier")
_HISTOGRAM = ("HistGradientBoostingRegressor", "HistGradientBoostingClassifier")


@dataclass(slots=True)
class Tree:
    """One tree: arrays over its nodes; a leaf's children are −1. ``values`` is nodes × outputs."""

    feature: Any
    threshold: Any
    left: Any
    right: Any
    missing_left: Any
    values: Any
    depth: int


@dataclass(slots=True)
class Forest:
    """All trees, the score's column that each adds to (empty: all columns), where scores start, and how they end."""

    trees: list[Tree]
    output: list[int]
    base: Any
    link: str
    single: bool


def forest_form(subject: Subject) -> Draft:
    """A tree ensemble as arrays, with the encoders before it.

    Raises:
        Unsupported: It is no tree ensemble, or of a kind that is not known here.
    """
    cells, last = split_pipeline(subject.estimator, len(subject.columns))
    text = {i for i, column in enumerate(subject.columns) if column.type == "string"}
    if any(cell.position in text and cell.codes is None for cell in cells):
        raise Unsupported("a text column that is not encoded")
    forest = _forest(last)
    files = _files(forest)
    form: dict[str, Any] = {
        "depth": max(tree.depth for tree in forest.trees), "single": forest.single, "link": forest.link,
        "output": forest.output,
    }  # fmt: skip
    encoded, extra = _features(cells, len(subject.columns))
    return Draft("trees", files | extra, form | encoded)


def _forest(last: Any) -> Forest:
    kind = type(last).__name__
    if type(last).__module__.startswith("sklearn."):
        if kind in _FORESTS:
            return _averaged([one.tree_ for one in last.estimators_], classes=kind.endswith("Classifier"))
        if kind in _SINGLE:
            return _averaged([last.tree_], classes=kind.endswith("Classifier"))
        if kind in _BOOSTED:
            return _boosted(last)
        if kind in _HISTOGRAM:
            return _histogram(last)
    raise Unsupported(f"{kind}, which is not a known tree ensemble")


def _plain(tree: Any, values: Any) -> Tree:
    missing = getattr(tree, "missing_go_to_left", np.zeros(tree.node_count, np.uint8))
    return Tree(tree.feature, tree.threshold, tree.children_left, tree.children_right, missing, values, tree.max_depth)


def _averaged(trees: list[Any], *, classes: bool) -> Forest:
    if any(tree.n_outputs != 1 for tree in trees):
        raise Unsupported("several outputs")
    parts = []
    for tree in trees:
        values = tree.value[:, 0, :]
        if classes:
            values = values / values.sum(axis=1, keepdims=True)
        parts.append(_plain(tree, values / len(trees)))
    return Forest(
        parts, [], np.zeros(parts[0].values.shape[1]), "probabilities" if classes else "identity", single=True
    )


def _boosted(last: Any) -> Forest:
    outputs = last.estimators_.shape[1]
    trees = [
        _plain(one.tree_, last.learning_rate * one.tree_.value[:, 0, :]) for stage in last.estimators_ for one in stage
    ]
    if not isinstance(last.init_, str) and type(last.init_).__name__ not in ("DummyRegressor", "DummyClassifier"):
        raise Unsupported("gradient boosting that starts from another model")
    if type(last).__name__.endswith("Classifier") and last.loss != "log_loss":
        raise Unsupported(f"gradient boosting with the loss {last.loss}")
    base = last._raw_predict_init(np.zeros((1, last.n_features_in_), np.float32))[0]  # noqa: SLF001 - the start is kept nowhere
    link = "identity" if type(last).__name__.endswith("Regressor") else "logistic" if outputs == 1 else "softmax"
    output = [] if outputs == 1 else [place for _ in last.estimators_ for place in range(outputs)]
    return Forest(trees, output, base, link, single=True)


def _histogram(last: Any) -> Forest:
    loss = type(last._loss).__name__  # noqa: SLF001 - the parts of a histogram booster have no public names
    links = {"HalfSquaredError": "identity", "AbsoluteError": "identity", "PinballLoss": "identity",
             "HalfBinomialLoss": "logistic", "HalfMultinomialLoss": "softmax"}  # fmt: skip
    if loss not in links or last.is_categorical_ is not None:
        raise Unsupported("histogram boosting with categories of its own, or another loss")
    trees, output = [], []
    for stage in last._predictors:  # noqa: SLF001
        for place, predictor in enumerate(stage):
            nodes = predictor.nodes
            leaf = nodes["is_leaf"].astype(bool)
            left = np.where(leaf, -1, nodes["left"].astype(np.int64))
            right = np.where(leaf, -1, nodes["right"].astype(np.int64))
            trees.append(
                Tree(nodes["feature_idx"], nodes["num_threshold"], left, right, nodes["missing_go_to_left"],
                     np.where(leaf, nodes["value"], 0.0)[:, None], int(nodes["depth"].max()))
            )  # fmt: skip
            output.append(place)
    base = np.asarray(last._baseline_prediction, np.float64).ravel()  # noqa: SLF001
    return Forest(trees, [] if len(base) == 1 else output, base, links[loss], single=False)


def _files(forest: Forest) -> dict[str, bytes]:
    sizes = [len(tree.feature) for tree in forest.trees]
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    leaf = np.concatenate([tree.left < 0 for tree in forest.trees])
    own = np.arange(sum(sizes))

    def children(side: str) -> Any:
        parts = [getattr(tree, side).astype(np.int64) + start for tree, start in zip(forest.trees, starts, strict=True)]
        return np.where(leaf, own, np.concatenate(parts)).astype(np.int32)

    def nodes(side: str, dtype: Any) -> Any:
        return np.where(leaf, 0, np.concatenate([getattr(tree, side) for tree in forest.trees])).astype(dtype)

    values = np.where(leaf[:, None], np.concatenate([tree.values for tree in forest.trees]), 0.0)
    arrays = {
        "feature": nodes("feature", np.int32), "threshold": nodes("threshold", np.float64), "left": children("left"),
        "right": children("right"), "missing_left": nodes("missing_left", np.uint8), "roots": starts.astype(np.int32),
        "values": values.astype(np.float64), "base": np.asarray(forest.base, np.float64).ravel(),
    }  # fmt: skip
    return {f"{name}.npy": array_bytes(array) for name, array in arrays.items()}


def _features(cells: Cells, width: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest's record and the files that make features from columns; nothing where they are the columns."""
    plain = all(cell.fresh and cell.fill is None and cell.codes is None for cell in cells)
    if plain and [cell.position for cell in cells] == list(range(width)):
        return {}, {}
    fills = [np.nan if c.fill is None or c.codes is not None else float(c.fill) for c in cells]
    steps = np.array([[c.center, c.scale, c.factor, c.add] for c in cells]).T
    files = {"fill.npy": array_bytes(np.array(fills)), "steps.npy": array_bytes(steps)}
    encoded = []
    for position, (values, unknown) in tables(cells).items():
        places = [place for place, cell in enumerate(cells) if cell.position == position and cell.codes is not None]
        rows = [[code(cells[place], value) for place in places] for value in (*values, object())]
        name = f"table_{position}.npy"
        files[name] = array_bytes(np.array(rows, np.float64).reshape(len(values) + 1, len(places)))
        encoded.append({"column": position, "values": values, "unknown": unknown, "file": name, "places": places})
    return {"positions": [cell.position for cell in cells], "tables": encoded}, files
