"""The two forms that need a library in the image: ONNX, and scikit-learn itself loaded by skops."""

from __future__ import annotations

import copy
import warnings
from importlib import metadata
from typing import Any

from ridgeway.compiled.draft import Draft, Unsupported
from ridgeway.compiled.parity import Subject


def onnx_form(subject: Subject, *, float32: bool) -> Draft:
    """The estimator converted by skl2onnx, in float64 or (smaller, faster, not exact) float32.

    Raises:
        Unsupported: skl2onnx is not installed, or knows no way to convert this estimator.
    """
    try:
        from skl2onnx import to_onnx  # type: ignore[import-untyped,unused-ignore]
        from skl2onnx.common import data_types  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise Unsupported("skl2onnx is not installed") from None
    number = data_types.FloatTensorType if float32 else data_types.DoubleTensorType
    text = any(column.type == "string" for column in subject.columns)
    by_column = text or _selects_by_name(subject.estimator)
    if by_column:
        types = [
            (c.name, (data_types.StringTensorType if c.type == "string" else number)([None, 1]))
            for c in subject.columns
        ]
    else:
        types = [("input", number([None, len(subject.columns)]))]
    options = {id(subject.estimator): {"zipmap": False}} if subject.task == "classification" else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = to_onnx(subject.estimator, initial_types=types, options=options).SerializeToString()
    except Exception as error:
        raise Unsupported(f"skl2onnx cannot convert it ({type(error).__name__}: {str(error)[:120]})") from error
    form = {"dtype": "float32" if float32 else "float64", "inputs": "columns" if by_column else "matrix"}
    return Draft("onnx", {"model.onnx": network}, form, _pins("onnxruntime"), float32=float32)


def skops_form(subject: Subject, *, takes: str) -> Draft:
    """The estimator itself, dumped by skops; ``takes`` is how it will get its rows: matrix, objects or frame.

    Raises:
        Unsupported: It cannot be stored, or cannot take its rows in this way.
    """
    import skops.io

    text = any(column.type == "string" for column in subject.columns)
    if takes == "matrix" and text:
        raise Unsupported("text columns in a matrix of numbers")
    estimator = _single_threaded(subject.estimator)
    if takes != "frame":
        _forget_names(estimator)
    try:
        content = skops.io.dumps(estimator)
        trusted = skops.io.get_untrusted_types(data=content)
    except Exception as error:
        raise Unsupported(f"skops cannot store it ({type(error).__name__}: {str(error)[:120]})") from error
    form: dict[str, Any] = {"input": takes, "trusted": trusted}
    libraries = ["scikit-learn", "skops"]
    if takes == "frame":
        form["dtypes"] = {name: str(dtype) for name, dtype in subject.rows.dtypes.items()}
        libraries.append("pandas")
    libraries += sorted({name.split(".")[0] for name in trusted} - {"sklearn", "numpy", "scipy", "builtins"})
    return Draft("skops", {"estimator.skops": content}, form, _pins(*libraries), hasattr(estimator, "predict_proba"))


def _pins(*libraries: str) -> tuple[str, ...]:
    pins = []
    for library in libraries:
        try:
            pins.append(f"{library}=={metadata.version(library)}")
        except metadata.PackageNotFoundError:
            pins.append(library)
    return tuple(pins)


def _single_threaded(estimator: Any) -> Any:
    """A copy that works in its caller's thread: a pool of threads costs a small request more than it saves."""
    own = copy.deepcopy(estimator)
    jobs = {name: 1 for name in own.get_params(deep=True) if name == "n_jobs" or name.endswith("__n_jobs")}
    own.set_params(**jobs)
    return own


def _selects_by_name(estimator: Any) -> bool:
    return any(type(part).__name__ == "ColumnTransformer" for part in _parts(estimator, set()))


def _forget_names(estimator: Any) -> None:
    """Turn column names into places, so that the estimator takes arrays and the image needs no pandas."""
    for part in _parts(estimator, set()):
        if type(part).__name__ == "ColumnTransformer" and hasattr(part, "feature_names_in_"):
            part.transformers_ = [
                (name, step, _places(part, name, columns)) for name, step, columns in part.transformers_
            ]
        part.__dict__.pop("feature_names_in_", None)


def _places(part: Any, name: str, columns: Any) -> Any:
    places = part._transformer_to_input_indices.get(name, [])  # noqa: SLF001 - names resolved to places, kept nowhere else
    return places[0] if isinstance(columns, str) else places


def _parts(value: Any, seen: set[int]) -> list[Any]:
    """An estimator and all estimators inside it."""
    if id(value) in seen:
        return []
    seen.add(id(value))
    if isinstance(value, list | tuple):
        return [part for item in value for part in _parts(item, seen)]
    if isinstance(value, dict):
        return [part for item in value.values() for part in _parts(item, seen)]
    if not hasattr(value, "get_params"):
        return []
    return [value, *(part for item in list(vars(value).values()) for part in _parts(item, seen))]
