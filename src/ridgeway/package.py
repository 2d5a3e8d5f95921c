"""The trained estimator as content and as a file: its digest, whether it can leave this project, and skops dumps of it.

Nothing here pickles. A digest is taken over canonical content, never over a file, because two dumps of one object
differ. A file is read only when every type in it is known to be harmless or was named in ``training.trusted_types``.
"""

from __future__ import annotations

import collections
import copyreg
import datetime
import decimal
import enum
import functools
import hashlib
import importlib
import inspect
import os
import pathlib
import re
import struct
import sys
import threading
import types
import uuid
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse

from ridgeway.errors import ModelError, StorageError

PROJECT_PACKAGES = ("steps", "flows", "__main__", "__mp_main__")
"""Modules of the user's project: the scoring image does not have them."""


# ---- what an object is made of ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Parts:
    """One object taken apart: its own bytes, and its children with the label that leads to each."""

    head: bytes
    children: Sequence[tuple[str, Any]] = ()
    arrangement: Literal["sequence", "set", "mapping"] = "sequence"
    """A mapping's children alternate between key and value."""


def _name(thing: Any) -> str:
    """Where a class or function is found: module and qualified name."""
    return f"{thing.__module__}.{thing.__qualname__}"


def _float_bytes(value: float) -> bytes:
    # Eight bytes keep -0.0 apart from 0.0 and every NaN payload as it is; text would not.
    return struct.pack(">d", value)


_LEAVES: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"",
    type(Ellipsis): lambda _: b"",
    bool: lambda value: b"1" if value else b"0",
    int: lambda value: str(value).encode() if abs(value) < 2**62 else hex(value).encode(),
    float: _float_bytes,
    complex: lambda value: struct.pack(">dd", value.real, value.imag),
    str: lambda value: value.encode("utf-8", "surrogatepass"),
    bytes: bytes,
    bytearray: bytes,
    range: lambda value: repr(value).encode(),
    decimal.Decimal: lambda value: str(value).encode(),
    datetime.date: lambda value: value.isoformat().encode(),
    datetime.timedelta: lambda value: repr(value).encode(),
    uuid.UUID: lambda value: value.bytes,
    pathlib.PurePosixPath: lambda value: str(value).encode(),
    pathlib.PosixPath: lambda value: str(value).encode(),
}


def _leaf(value: Any) -> bytes | None:
    """The whole canonical form of a value without parts, or None if it has some."""
    kind = type(value)
    if write := _LEAVES.get(kind):
        return kind.__name__.encode() + b":" + write(value)
    if isinstance(value, np.generic) and value.dtype.names is None:
        return b"scalar:" + value.dtype.str.encode() + b":" + value.tobytes()
    if isinstance(value, np.dtype):
        return b"dtype:" + repr(value.descr if value.names else value.str).encode()
    return None


def _array(value: np.ndarray[Any, Any]) -> _Parts:
    head = f"array:{value.dtype.str}:{value.shape}".encode()
    if value.dtype.names is not None:
        # Field by field: the padding between the fields of a record is whatever memory held before.
        fields = [(f"[{name!r}]", np.ascontiguousarray(value[name])) for name in value.dtype.names]
        return _Parts(head + repr(value.dtype.names).encode(), fields)
    if value.dtype.kind in "OT":
        flat = value.ravel(order="C").tolist()
        if all(type(item) is str for item in flat):
            encoded = [item.encode("utf-8", "surrogatepass") for item in flat]
            return _Parts(head + b":strings:" + _joined(encoded))
        return _Parts(head, [(f"[{index}]", item) for index, item in enumerate(flat)])
    # As unsigned bytes and without a copy where the memory already lies in C order.
    content: Any = np.ascontiguousarray(value).reshape(-1).view(np.uint8) if value.size and value.itemsize else b""
    return _Parts(head + b":" + hashlib.sha256(memoryview(content)).digest())


def _masked(value: np.ma.MaskedArray[Any, Any]) -> _Parts:
    mask = np.ma.getmaskarray(value)
    # What lies under the mask is not content.
    shown = np.where(mask, np.zeros((), value.dtype), value.data)
    return _Parts(b"masked", [(".data", shown), (".mask", mask), (".fill_value", np.asarray(value.fill_value))])


def _sparse(value: Any) -> _Parts:
    entries = value.tocoo(copy=True)
    entries.sum_duplicates()
    head = f"sparse:{_name(type(value))}:{value.shape}".encode()
    return _Parts(head, [(".coords", tuple(entries.coords)), (".data", entries.data)])


def _items(value: Mapping[Any, Any]) -> list[tuple[str, Any]]:
    return [pair for key, item in value.items() for pair in ((f".keys()[{key!r:.60}]", key), (f"[{key!r:.60}]", item))]


def _elements(value: Iterable[Any]) -> list[tuple[str, Any]]:
    return [(f"[{index}]", item) for index, item in enumerate(value)]


def _container(value: Any) -> _Parts | None:
    """Lists, tuples, sets and mappings, with the attributes that a subclass may carry."""
    kind = type(value)
    head = _name(kind).encode()
    if isinstance(value, Mapping) and isinstance(value, dict | types.MappingProxyType):
        parts = _Parts(head, _items(value), "mapping")
    elif isinstance(value, set | frozenset):
        parts = _Parts(head, [("{…}", item) for item in value], "set")
    elif isinstance(value, list | tuple | collections.deque):
        parts = _Parts(head, _elements(value))
    else:
        return None
    own = dict(getattr(value, "__dict__", {}))
    own |= {name: getattr(value, name) for name in ("default_factory", "maxlen") if hasattr(value, name)}
    return _Parts(head + b"+", [("", parts), *_attributes(own)]) if own else parts


_NOT_CONTENT = {
    "_sklearn_version",  # noted for a warning at loading
    "_stop_words_id",  # a memory address, by which text vectorizers remember what they have checked
    "refit_time_",  # seconds
}
"""Attributes of scikit-learn's estimators that say something about a process, and nothing about the model."""
_SECONDS = {"mean_fit_time", "std_fit_time", "mean_score_time", "std_score_time"}
"""Columns of a search's ``cv_results_`` that no two fits share."""


def _attributes(state: Mapping[str, Any], *, owner: type = object) -> list[tuple[str, Any]]:
    """Attributes by name, sorted: each name, then its value."""
    dropped = _NOT_CONTENT if owner.__module__.startswith("sklearn.") else {"_sklearn_version"}
    pairs = [(f".{name}", name, state[name]) for name in sorted(state.keys() - dropped)]
    return [part for label, name, value in pairs for part in ((label, name), (label, _timeless(name, value, owner)))]


def _timeless(name: str, value: Any, owner: type) -> Any:
    if name == "cv_results_" and owner.__module__.startswith("sklearn.") and isinstance(value, dict):
        return {key: column for key, column in value.items() if key not in _SECONDS}
    return value


def _is_callable_by_name(value: Any) -> bool:
    return isinstance(value, type | np.ufunc) or (
        callable(value) and hasattr(value, "__qualname__") and not isinstance(value, types.MethodType)
    )


def _ufunc_name(value: np.ufunc) -> str:
    for module in ("numpy", "scipy.special"):
        if getattr(importlib.import_module(module), value.__name__, None) is value:
            return f"{module}.{value.__name__}"
    raise ModelError(f"a universal function named {value.__name__!r} is neither numpy's nor scipy.special's")


def _by_name(value: Any) -> str:
    """The importable name of a class or function.

    Raises:
        ModelError: It is a lambda or a local one, so that its name does not lead to it.
    """
    if isinstance(value, np.ufunc):
        return _ufunc_name(value)
    module = getattr(value, "__module__", None) or getattr(getattr(value, "__self__", None), "__name__", "")
    name = f"{module}.{value.__qualname__}"
    if "<" in name:
        raise ModelError(f"{name} is a lambda or a local function: its name does not tell what it does")
    return name


def _callable(value: Any) -> _Parts | None:
    if isinstance(value, functools.partial):
        return _Parts(b"partial", [(".func", value.func), (".args", value.args), (".keywords", value.keywords)])
    if isinstance(value, types.MethodType):
        return _Parts(b"method:" + value.__name__.encode(), [(".__self__", value.__self__)])
    if isinstance(value, types.BuiltinFunctionType) and not isinstance(value.__self__, types.ModuleType | type(None)):
        return _Parts(b"method:" + value.__name__.encode(), [(".__self__", value.__self__)])
    if _is_callable_by_name(value):
        return _Parts(b"name:" + _by_name(value).encode())
    return None


_SPECIAL: tuple[tuple[Any, Callable[[Any], _Parts]], ...] = (
    (np.random.RandomState, lambda value: _Parts(b"RandomState", [(".get_state()", value.get_state(legacy=False))])),
    (np.random.Generator, lambda value: _Parts(b"Generator", [(".bit_generator.state", value.bit_generator.state)])),
    (enum.Enum, lambda value: _Parts(f"enum:{_name(type(value))}.{value.name}".encode())),
    (slice, lambda value: _Parts(b"slice", [(".start", value.start), (".stop", value.stop), (".step", value.step)])),
    (memoryview, lambda value: _array(np.asarray(value))),
    (
        (datetime.datetime, datetime.time),
        lambda value: _Parts(f"{_name(type(value))}:{value.isoformat()}:{value.tzinfo}:{value.fold}".encode()),
    ),
    (re.Pattern, lambda value: _Parts(b"pattern", [(".pattern", value.pattern), (".flags", value.flags)])),
)
"""Values whose pickling state says less, or something else, than their content."""


def _special(value: Any) -> _Parts | None:
    for kind, take_apart in _SPECIAL:
        if isinstance(value, kind):
            return take_apart(value)
    return _pandas(value) if type(value).__module__.split(".", maxsplit=1)[0] == "pandas" else None


def _pandas(value: Any) -> _Parts | None:
    # By content: how pandas lays columns out in blocks depends on how the table was made.
    import pandas as pd

    head = _name(type(value)).encode()
    if isinstance(value, pd.DataFrame):
        columns = [(f".iloc[:, {index}]", value.iloc[:, index]) for index in range(value.shape[1])]
        return _Parts(head, [(".columns", value.columns), (".index", value.index), *columns])
    if isinstance(value, pd.Series):
        return _Parts(head, [(".name", value.name), (".index", value.index), (".array", value.array)])
    if isinstance(value, pd.Index):
        names = (".names", list(value.names))
        return _Parts(head, [names, (".values", list(value) if value.nlevels > 1 else value.array)])
    if isinstance(value, pd.api.extensions.ExtensionArray):
        missing = np.asarray(value.isna())
        shown = [None if gone else item for item, gone in zip(value, missing, strict=True)]
        return _Parts(head + str(value.dtype).encode(), [("", shown)])
    if isinstance(value, pd.Timestamp | pd.Timedelta | pd.Period | pd.Interval | type(pd.NaT)):
        return _Parts(head + repr(value).encode())
    return None


_OPAQUE = (types.ModuleType, types.GeneratorType, types.CoroutineType, types.FrameType, types.CodeType)


def _object(value: Any) -> _Parts:
    """Any other object: its class and state as ``copy`` would take them, without a byte of pickle."""
    kind = type(value)
    if isinstance(value, _OPAQUE):
        raise ModelError(f"a {kind.__name__} has no content of its own")
    head = b"object:" + _name(kind).encode()
    reduced = value.__reduce_ex__(2)
    if isinstance(reduced, str):
        return _Parts(head + b":" + reduced.encode())
    rebuild, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    # The class is in the head already, and is what pickle would be told first.
    origin = [] if rebuild is copyreg.__newobj__ and len(arguments) == 1 else [("", rebuild), ("", arguments)]  # type: ignore[attr-defined]
    return _Parts(head, [*origin, *_state(state, kind), ("", list(items or ())), ("", dict(pairs or ()))])


def _state(state: Any, owner: type) -> list[tuple[str, Any]]:
    if isinstance(state, dict) and all(isinstance(name, str) for name in state):
        return _attributes(state, owner=owner)
    if isinstance(state, tuple) and len(state) == 2 and all(isinstance(part, dict | None) for part in state):
        return [pair for part in state for pair in _attributes(part or {}, owner=owner)]
    return [("", state)]


def _take_apart(value: Any) -> _Parts:
    """The parts of any object that is not a leaf.

    Raises:
        ModelError: It has no content that could be told from outside.
    """
    if isinstance(value, _Parts):
        return value
    if isinstance(value, np.ma.MaskedArray):
        return _masked(value)
    if isinstance(value, np.ndarray | np.void):
        return _array(np.asarray(value))
    if scipy.sparse.issparse(value):
        return _sparse(value)
    for attempt in (_special, _container, _callable):
        if (parts := attempt(value)) is not None:
            return parts
    return _object(value)


def _parts_at(value: Any, path: str) -> _Parts:
    try:
        return _take_apart(value)
    except RecursionError:
        raise  # told by the caller, who knows that it was the depth and not this one value
    except Exception as error:
        raise ModelError(
            "cannot take the digest of the model",
            where=path,
            problem=f"{_name(type(value))}: {error.summary if isinstance(error, ModelError) else error}",
            expected="attributes with content: numbers, text, arrays, estimators, importable functions",
            next_step="replace it in steps/make_model.py, or give its class a __getstate__ that returns its content",
        ) from error


# ---- the digest ------------------------------------------------------------------------------------------------------


def _joined(pieces: Iterable[bytes]) -> bytes:
    """Pieces, each with its length before it, so that no two lists of pieces look alike."""
    return b"".join(part for piece in pieces for part in (len(piece).to_bytes(8, "big"), piece))


class _Digester:
    """Hashes an object graph from its leaves up.

    Shared objects are hashed once; a reference back to an object that is still open is written as its distance, so that
    cycles end. An object within a cycle is hashed again wherever it appears, because its form depends on the way there.
    """

    _NO_REFERENCE = sys.maxsize
    _MOST_ENTRIES = 20_000_000
    """More objects than any model holds: only knots of cycles, entered from everywhere, get there."""

    def __init__(self) -> None:
        self._done: dict[int, bytes] = {}
        self._open: dict[int, int] = {}
        # Temporary objects must live as long as their id is remembered: Python reuses addresses.
        self._alive: list[Any] = []
        self._lowest = self._NO_REFERENCE
        self._entries = 0

    def form(self, value: Any, path: str) -> bytes:
        leaf = _leaf(value)
        if leaf is not None:
            return leaf if len(leaf) <= 64 else b"#" + hashlib.sha256(leaf).digest()
        key = id(value)
        if key in self._done:
            return self._done[key]
        if key in self._open:
            self._lowest = min(self._lowest, self._open[key])
            return b"back:" + str(len(self._open) - self._open[key]).encode()
        return self._enter(value, path)

    def _enter(self, value: Any, path: str) -> bytes:
        self._entries += 1
        if self._entries > self._MOST_ENTRIES:
            raise RecursionError("its objects refer to each other in too many ways")
        depth = self._open[id(value)] = len(self._open)
        outer, self._lowest = self._lowest, self._NO_REFERENCE
        result = b"#" + hashlib.sha256(self._content(_parts_at(value, path), path)).digest()
        del self._open[id(value)]
        if self._lowest > depth:
            self._done[id(value)] = result
            self._alive.append(value)
            self._lowest = outer
        else:
            # What refers back to this object only is of no concern to the objects above it.
            self._lowest = outer if self._lowest == depth else min(outer, self._lowest)
        return result

    def _content(self, parts: _Parts, path: str) -> bytes:
        forms = [self.form(child, path + label) for label, child in parts.children]
        if parts.arrangement == "set":
            forms.sort()
        elif parts.arrangement == "mapping":
            pairs = sorted(zip(forms[::2], forms[1::2], strict=True))
            forms = [form for pair in pairs for form in pair]
        return _joined([parts.head, *forms])


def digest(estimator: Any) -> str:
    """The identity of a fitted estimator: ``sha256:`` and 64 hex digits over its canonical content.

    Class paths, parameters and fitted attributes count, arrays by dtype, shape and bytes; the order of dictionaries and
    sets, the memory layout and the version of scikit-learn do not. Floating-point numbers count to the last bit: -0.0
    is not 0.0. Equal in every process that reaches equal content.

    Raises:
        ModelError: Something inside has no content that could be told; ``where`` is the path of attributes to it.

    Example:
        >>> from sklearn.linear_model import Ridge
        >>> digest(Ridge(alpha=1.0)) == digest(Ridge(alpha=1.0))
        True
        >>> digest(Ridge(alpha=0.0)) == digest(Ridge(alpha=-0.0))
        False
    """
    try:
        form = _Digester().form(estimator, "model")
    except RecursionError as error:
        raise ModelError(
            "cannot take the digest of the model",
            problem="its objects are nested too deeply, or refer to each other in too many ways",
            next_step="use a flatter structure in steps/make_model.py",
        ) from error
    return "sha256:" + hashlib.sha256(b"ridgeway-model-1:" + form).hexdigest()


# ---- can it leave this project? --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """Something inside an estimator that another machine could not import."""

    path: str
    """The attributes that lead to it, such as ``model.steps[0][1].func``."""
    name: str
    """Module and qualified name."""
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.name} {self.reason}"


def _belongs_to_project(module: str, root: Path | None) -> bool:
    if module.split(".", maxsplit=1)[0] in PROJECT_PACKAGES:
        return True
    origin = getattr(sys.modules.get(module), "__file__", None)
    if root is None or origin is None:
        return False
    path = Path(origin).resolve()
    return path.is_relative_to(root.resolve()) and "site-packages" not in path.parts


def _reason_against(thing: Any, root: Path | None) -> str:
    """Why a class or function cannot be imported elsewhere, or an empty text."""
    module, qualname = str(getattr(thing, "__module__", "") or ""), str(getattr(thing, "__qualname__", ""))
    if "<lambda>" in qualname:
        return "is a lambda"
    if "<locals>" in qualname:
        return "is defined inside a function"
    if _belongs_to_project(module, root):
        return "belongs to this project"
    return ""


def unportable(estimator: Any, *, root: Path | None = None) -> tuple[Finding, ...]:
    """What inside ``estimator`` the scoring image could not import, in the order of attributes.

    Args:
        estimator: Fitted or not.
        root: The project's folder. Modules below it count as the project's, unless they lie in a site-packages folder.

    Example:
        >>> from sklearn.preprocessing import FunctionTransformer
        >>> [(finding.path, finding.reason) for finding in unportable(FunctionTransformer(lambda x: x))]
        [('model.func', 'is a lambda')]
    """
    found: dict[tuple[str, str], Finding] = {}
    seen: dict[int, Any] = {}
    waiting: list[tuple[str, Any]] = [("model", estimator)]
    while waiting:
        path, value = waiting.pop()
        if id(value) in seen or _leaf(value) is not None:
            continue
        seen[id(value)] = value
        thing = value if _is_callable_by_name(value) else type(value)
        if not isinstance(value, _Parts) and (reason := _reason_against(thing, root)):
            finding = Finding(path, f"{thing.__module__}.{thing.__qualname__}", reason)
            found.setdefault((path, finding.name), finding)
        waiting.extend((path + label, child) for label, child in reversed(_parts_or_none(value)))
    return tuple(found.values())


def _parts_or_none(value: Any) -> Sequence[tuple[str, Any]]:
    # What cannot be taken apart is reported by the digest, with its own advice.
    try:
        return _take_apart(value).children
    except Exception:  # noqa: BLE001 - third-party state methods raise whatever they like
        return ()


def check_portable(estimator: Any, *, root: Path | None = None) -> None:
    """Nothing, when every class and function inside ``estimator`` can be imported where the model will answer.

    Raises:
        ModelError: A lambda, a local function or class, or one of this project's modules is inside.
    """
    findings = unportable(estimator, root=root)
    if findings:
        raise ModelError(
            "the model cannot leave this project",
            where=findings[0].path,
            problem="\n".join(f"{finding.name} {finding.reason}" for finding in findings[:5]),
            expected="classes and functions that the scoring image can import: it has no steps/ and no flows/",
            next_step="put it into a wheel, name it in pyproject.toml (dependencies), and import it from there",
        )


# ---- files without pickle --------------------------------------------------------------------------------------------

_TRUSTED_PACKAGES = ("sklearn", "numpy", "scipy")

# Values of the standard library that do nothing by themselves; the function inside a partial is checked like any other.
_TRUSTED_VALUES = {
    "functools.partial",
    "collections.OrderedDict",
    "datetime.date",
    "datetime.datetime",
    "datetime.timedelta",
    "datetime.timezone",
    "decimal.Decimal",
}

# Functions of numpy that compute and do nothing else; its universal functions (log1p, sqrt, …) need no list.
_NUMPY_FUNCTIONS = re.compile(
    r"numpy\.(amax|amin|argmax|argmin|around|average|clip|cumsum|diff|max|mean|median|min|nan_to_num|nanmax|nanmean"
    r"|nanmedian|nanmin|nanstd|nansum|nanvar|percentile|prod|ptp|quantile|round|std|sum|var)"
)

# Inside the trusted packages: what opens files or addresses when called, runs compilers, or is there for tests.
_NEVER = re.compile(
    r"(sklearn\.(datasets|externals|conftest|utils\._testing|utils\.discovery|_build_utils)"
    r"|numpy\.(f2py|distutils|testing|ctypeslib|lib|memmap|conftest|core\.memmap|_core\.memmap)"
    r"|scipy\.(io|datasets|misc|weave|conftest|_lib(?!\.array_api_compat)|LowLevelCallable))(\.|$)"
    r"|.*\.tests?\."
)


def _resolve(name: str) -> Any:
    """What ``name`` means, importing only modules of the trusted packages; None where it means nothing."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:length])
        if _NEVER.match(module):
            return None
        try:
            thing: Any = importlib.import_module(module)
        except ImportError:
            continue
        for part in parts[length:]:
            thing = getattr(thing, part, None)
        return thing
    return None


def _is_harmless(name: str) -> bool:
    """Whether ``name`` is a class, a universal function or a scikit-learn function that the trusted packages own."""
    if name in _TRUSTED_VALUES or _NUMPY_FUNCTIONS.fullmatch(name):
        return True
    if name.split(".", maxsplit=1)[0] not in _TRUSTED_PACKAGES or _NEVER.match(name):
        return False
    thing = _resolve(name)
    if isinstance(thing, np.ufunc):
        return True
    # A name that merely passes through a trusted package (its import of os, say) belongs to another one.
    module = str(getattr(thing, "__module__", ""))
    owner = module.split(".", maxsplit=1)[0]
    if isinstance(thing, type):
        return owner in _TRUSTED_PACKAGES or thing.__module__.startswith("_")
    # SciPy's splines keep a function of the array interface that they were computed with.
    return inspect.isroutine(thing) and (owner == "sklearn" or module.startswith("scipy._lib.array_api_compat."))


def _is_named(name: str, trusted: Collection[str]) -> bool:
    return any(name == entry or (entry.endswith(".*") and name.startswith(entry[:-1])) for entry in trusted)


def trusted_types(path: Path, *, trusted: Collection[str] = ()) -> list[str]:
    """The types in a skops file that need trust and have it, sorted; what skops trusts by itself is not listed.

    Args:
        path: A skops file. It is read, nothing in it is run.
        trusted: Full names of further types, or all of a package with ``package.*``: the setting
            ``training.trusted_types``.

    Raises:
        ModelError: The file is no skops file, or holds types that nobody named.
    """
    from skops.io import get_untrusted_types

    try:
        needed: list[str] = get_untrusted_types(file=path)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"cannot read the model in {path.name}",
            where=str(path),
            problem=f"not a whole skops file: {error}",
            next_step="train it again: ridgeway run retraining",
        ) from error
    strangers = [name for name in needed if not _is_harmless(name) and not _is_named(name, trusted)]
    if strangers:
        raise ModelError(
            f"the model holds types that are not trusted: {', '.join(strangers)}",
            where="setting training.trusted_types",
            problem="they are neither scikit-learn's, numpy's nor scipy's estimators or values",
            expected="each such type named, after a look at what it does when it is loaded",
            next_step=f"training.trusted_types = {strangers!r}".replace("'", '"'),
        )
    return needed


def dump(estimator: Any, path: Path, *, trusted: Collection[str] = ()) -> list[str]:
    """Writes ``estimator`` to ``path`` as a skops file, whole or not at all.

    Args:
        estimator: A fitted estimator that ``check_portable`` lets pass.
        path: The file to write; its folder exists.
        trusted: As for ``trusted_types``.

    Returns:
        The types in the file that a reader must trust, sorted.

    Raises:
        ModelError: It cannot leave the project, skops cannot store it, or it holds types that nobody named.
        StorageError: The disk is full or read-only.
    """
    from skops.io import dump as write
    from skops.io.exceptions import UnsupportedTypeException

    check_portable(estimator)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        write(estimator, draft)
        types_in_file = trusted_types(draft, trusted=trusted)
        draft.replace(path)
    except OSError as error:
        raise StorageError("cannot write the model", where=str(path), problem=str(error)) from error
    except (UnsupportedTypeException, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            "the model cannot be stored without pickle",
            problem=str(error),
            expected="an estimator that skops can write",
            next_step="use another estimator in steps/make_model.py",
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    return types_in_file


def load(path: Path, *, trusted: Collection[str] = ()) -> Any:
    """The estimator in a skops file.

    Args:
        path: A file written by ``dump`` or by MLflow's skops serialisation.
        trusted: As for ``trusted_types``.

    Raises:
        ModelError: The file is damaged, or holds types that nobody named; then nothing of it was run.
    """
    from skops.io import load as read

    allowed = trusted_types(path, trusted=trusted)
    try:
        return read(path, trusted=allowed)
    except (ImportError, AttributeError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"cannot load the model in {path.name}",
            where=str(path),
            problem=str(error),
            expected="the versions of scikit-learn, numpy and scipy that it was trained with",
            next_step="compare requirements.txt beside it with this environment",
        ) from error
