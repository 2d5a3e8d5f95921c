"""Preprocessing taken apart: each feature that reaches the last estimator, as a formula over one input column.

A feature is ``((x − center) / scale) · factor + add`` of a column's value, its filled-in value, or its code. These are
the very operations that scikit-learn's scalers do, in their order, so that the result is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ridgeway.compiled.draft import Unsupported


@dataclass(frozen=True, slots=True)
class Cell:
    """One feature as a formula over input column ``position``."""

    position: int
    fill: Any = None
    """What stands in for a missing value; None: nothing does."""
    codes: tuple[tuple[Any, float], ...] | None = None
    """Pairs of a value and its number, for encoded columns; a missing value is None."""
    default: float | None = None
    """The number of a value that is not in ``codes``; None: it is an error."""
    center: float = 0.0
    scale: float = 1.0
    factor: float = 1.0
    add: float = 0.0

    @property
    def fresh(self) -> bool:
        """True if no arithmetic has been done yet."""
        return (self.center, self.scale, self.factor, self.add) == (0.0, 1.0, 1.0, 0.0)

    @property
    def slope(self) -> float:
        """The formula as ``slope · x + shift``: its slope."""
        return self.factor / self.scale

    @property
    def shift(self) -> float:
        """The formula as ``slope · x + shift``: its shift."""
        return -self.center / self.scale * self.factor + self.add


Cells = list[Cell]


def split_pipeline(estimator: Any, width: int) -> tuple[Cells, Any]:
    """The features that reach the last step of an estimator, and that step.

    Raises:
        Unsupported: A step before it does something that cells cannot say.
    """
    cells: Cells = [Cell(position) for position in range(width)]
    while type(estimator).__name__ == "Pipeline":
        for _, step in estimator.steps[:-1]:
            cells = through(step, cells)
        estimator = estimator.steps[-1][1]
    return cells, estimator


def through(step: Any, cells: Cells) -> Cells:
    """The features behind a transformer, given those before it.

    Raises:
        Unsupported: It is not one of those known here.
    """
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return cells
    kind = type(step).__name__
    if not type(step).__module__.startswith("sklearn.") or kind not in _KNOWN:
        raise Unsupported(f"the transformer {kind}")
    if getattr(step, "n_features_in_", len(cells)) != len(cells):
        raise Unsupported(f"{kind} over {step.n_features_in_} features where {len(cells)} are known")
    return _KNOWN[kind](step, cells)


def _pipeline(step: Any, cells: Cells) -> Cells:
    for _, inner in step.steps:
        cells = through(inner, cells)
    return cells


def _column_transformer(step: Any, cells: Cells) -> Cells:
    if step.transformer_weights:
        raise Unsupported("ColumnTransformer with weights")
    found: Cells = []
    for name, inner, columns in step.transformers_:
        if isinstance(inner, str) and inner == "drop":
            continue
        places = step._transformer_to_input_indices[name]  # noqa: SLF001 - names resolved to places, kept nowhere else
        if np.isscalar(columns) and not isinstance(columns, slice):
            raise Unsupported("ColumnTransformer that hands on a column as a vector")
        found += through(inner, [cells[place] for place in places])
    return found


def _affine(step: Any, cells: Cells, **slots: Any) -> Cells:
    moved = []
    for place, cell in enumerate(cells):
        own: dict[str, Any] = {name: float(values[place]) for name, values in slots.items() if values is not None}
        first = "center" in slots or "scale" in slots
        if (first and not cell.fresh) or (not first and (cell.factor, cell.add) != (1.0, 0.0)):
            raise Unsupported(f"{type(step).__name__} behind another scaler")
        moved.append(replace(cell, **own))
    return moved


def _standard_scaler(step: Any, cells: Cells) -> Cells:
    return _affine(step, cells, center=step.mean_ if step.with_mean else None, scale=step.scale_)


def _robust_scaler(step: Any, cells: Cells) -> Cells:
    return _affine(
        step,
        cells,
        center=step.center_ if step.with_centering else None,
        scale=step.scale_ if step.with_scaling else None,
    )


def _min_max_scaler(step: Any, cells: Cells) -> Cells:
    if step.clip:
        raise Unsupported("MinMaxScaler that clips")
    return _affine(step, cells, factor=step.scale_, add=step.min_)


def _max_abs_scaler(step: Any, cells: Cells) -> Cells:
    if getattr(step, "clip", False):
        raise Unsupported("MaxAbsScaler that clips")
    return _affine(step, cells, scale=step.scale_)


def _simple_imputer(step: Any, cells: Cells) -> Cells:
    missing = step.missing_values
    if step.add_indicator or step.keep_empty_features or not (missing is None or missing != missing):  # noqa: PLR0124 - NaN
        raise Unsupported("SimpleImputer with an indicator, empty features, or its own mark of a missing value")
    filled = []
    for place, cell in enumerate(cells):
        value = step.statistics_[place]
        if not cell.fresh or cell.codes is not None or value is None or value != value:  # noqa: PLR0124 - NaN
            raise Unsupported("SimpleImputer behind another step, or without a value to fill in")
        value = value.item() if isinstance(value, np.generic) else value
        filled.append(cell if cell.fill is not None else replace(cell, fill=value))
    return filled


def _one_hot_encoder(step: Any, cells: Cells) -> Cells:
    if step.handle_unknown not in ("error", "ignore") or getattr(step, "infrequent_categories_", None) is not None:
        raise Unsupported("OneHotEncoder with infrequent categories")
    dropped = step.drop_idx_ if step.drop_idx_ is not None else [None] * len(cells)
    default = 0.0 if step.handle_unknown == "ignore" else None
    found = []
    for cell, categories, drop in zip(cells, step.categories_, dropped, strict=True):
        values = _values(cell, categories)
        for place in range(len(values)):
            if place != drop:
                codes = tuple((value, float(other == place)) for other, value in enumerate(values))
                found.append(replace(cell, codes=codes, default=default))
    return found


def _ordinal_encoder(step: Any, cells: Cells) -> Cells:
    if step.handle_unknown not in ("error", "use_encoded_value") or getattr(step, "_infrequent_enabled", False):
        raise Unsupported("OrdinalEncoder with infrequent categories")
    default = float(step.unknown_value) if step.handle_unknown == "use_encoded_value" else None
    found = []
    for cell, categories in zip(cells, step.categories_, strict=True):
        values = _values(cell, categories)
        missing = float(step.encoded_missing_value)
        codes = tuple((v, missing if v is None else float(number)) for number, v in enumerate(values))
        found.append(replace(cell, codes=codes, default=default))
    return found


def _values(cell: Cell, categories: Any) -> list[Any]:
    """The categories as JSON can carry them, a missing one as None."""
    if not cell.fresh or cell.codes is not None:
        raise Unsupported("an encoder behind another step")
    plain = [value.item() if isinstance(value, np.generic) else value for value in categories]
    values = [None if value is None or value != value else value for value in plain]  # noqa: PLR0124 - NaN
    if len(set(values)) != len(values) or not all(isinstance(v, str | int | float | bool | None) for v in values):
        raise Unsupported("categories that JSON cannot carry")
    return values


def _selector(step: Any, cells: Cells) -> Cells:
    return [cell for cell, kept in zip(cells, step.get_support(), strict=True) if kept]


def _function_transformer(step: Any, cells: Cells) -> Cells:
    if step.func is not None:
        raise Unsupported("FunctionTransformer with a function")
    return cells


_KNOWN: dict[str, Callable[[Any, Cells], Cells]] = {
    "Pipeline": _pipeline,
    "ColumnTransformer": _column_transformer,
    "StandardScaler": _standard_scaler,
    "RobustScaler": _robust_scaler,
    "MinMaxScaler": _min_max_scaler,
    "MaxAbsScaler": _max_abs_scaler,
    "SimpleImputer": _simple_imputer,
    "OneHotEncoder": _one_hot_encoder,
    "OrdinalEncoder": _ordinal_encoder,
    "FunctionTransformer": _function_transformer,
    "VarianceThreshold": _selector,
    "SelectKBest": _selector,
    "SelectPercentile": _selector,
}


def tables(cells: Sequence[Cell]) -> dict[int, tuple[list[Any], str]]:
    """Per encoded column the values that its features know, and whether an unknown one is an ``error`` or ``zero``.

    Raises:
        Unsupported: Features of one column disagree about unknown or missing values.
    """
    found: dict[int, tuple[list[Any], str]] = {}
    for cell in cells:
        if cell.codes is None:
            continue
        values = [value for value, _ in cell.codes]
        unknown = "error" if cell.default is None else "zero"
        if cell.fill is not None and cell.fill not in values and unknown == "error":
            raise Unsupported("an imputer that fills in a value which the encoder does not know")
        known = found.setdefault(cell.position, (values, unknown))
        if known != (values, unknown):
            raise Unsupported("two encoders of one column")
    return found


def code(cell: Cell, value: Any) -> float:
    """The number of a value in an encoded column; of an unknown one the default."""
    if value is None and cell.fill is not None:
        value = cell.fill
    default: float = 0.0 if cell.default is None else cell.default
    codes: dict[Any, float] = dict(cell.codes or ())
    return codes.get(value, default)
