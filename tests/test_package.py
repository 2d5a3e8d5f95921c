"""The digest of an estimator, what may leave the project, and skops files."""

from __future__ import annotations

import collections
import datetime
import enum
import functools
import json
import os
import subprocess
import sys
import threading
import types
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostRegressor,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    StackingRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.impute import SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import ElasticNetCV, LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    QuantileTransformer,
    SplineTransformer,
    StandardScaler,
)
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeRegressor
from skops.io._protocol import PROTOCOL

from ridgeway.errors import ModelError, StorageError
from ridgeway.package import check_portable, digest, dump, load, trusted_types, unportable

RANDOM = np.random.default_rng(0)
NUMBERS = pd.DataFrame(RANDOM.normal(size=(60, 4)), columns=list("abcd"))
TARGET = NUMBERS["a"] * 2 - NUMBERS["b"] + RANDOM.normal(size=60) * 0.1
LABELS = np.where(TARGET > 0, "high", "low")
MIXED = NUMBERS.assign(city=["north", "south", "east"] * 20, a=NUMBERS["a"].where(NUMBERS["a"] > -1))


def mixed_pipeline() -> Pipeline:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = ColumnTransformer([("n", numbers, list("abcd")), ("c", OneHotEncoder(), ["city"])])
    return Pipeline([("columns", columns), ("model", GradientBoostingClassifier(n_estimators=5, random_state=0))])


REGRESSORS = {
    "ridge": make_pipeline(StandardScaler(), Ridge()),
    "elastic_net_cv": ElasticNetCV(cv=3),
    "tree": DecisionTreeRegressor(random_state=0),
    "extra_trees": ExtraTreesRegressor(5, random_state=0),
    "boosting": GradientBoostingRegressor(n_estimators=5, random_state=0),
    "huber_boosting": GradientBoostingRegressor(n_estimators=5, loss="huber", random_state=0),
    "hist_boosting": HistGradientBoostingRegressor(max_iter=5, random_state=0),
    "ada": AdaBoostRegressor(n_estimators=3, random_state=0),
    "neighbours": KNeighborsRegressor(algorithm="kd_tree"),
    "ball_tree": KNeighborsRegressor(algorithm="ball_tree"),
    "svr": SVR(),
    "splines": make_pipeline(SplineTransformer(), Ridge()),
    "gaussian_process": GaussianProcessRegressor(random_state=0),
    "neural": MLPRegressor(hidden_layer_sizes=(4,), max_iter=5, random_state=0),
    "grid": GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=3),
    "target": TransformedTargetRegressor(Ridge(), transformer=QuantileTransformer(n_quantiles=10)),
    "stacking": StackingRegressor([("r", Ridge()), ("t", DecisionTreeRegressor(random_state=0))], cv=3),
    "selection": make_pipeline(SelectKBest(f_regression, k=2), Ridge()),
    "function": make_pipeline(FunctionTransformer(np.arctan), Ridge()),
    "random_state": make_pipeline(QuantileTransformer(n_quantiles=10, random_state=np.random.RandomState(0)), Ridge()),
}
CLASSIFIERS = {
    "logistic": LogisticRegression(),
    "sgd": SGDClassifier(loss="log_loss", random_state=0),
    "forest": RandomForestClassifier(5, random_state=0),
    "hist_boosting": HistGradientBoostingClassifier(max_iter=5, random_state=0),
    "svc": SVC(),
    "calibrated": CalibratedClassifierCV(LogisticRegression(), cv=3),
}
FITS: dict[str, Callable[[], Any]] = {
    **{
        f"regressor-{name}": functools.partial(lambda one: clone(one).fit(NUMBERS, TARGET), one)
        for name, one in REGRESSORS.items()
    },
    **{
        f"classifier-{name}": functools.partial(lambda one: clone(one).fit(NUMBERS, LABELS), one)
        for name, one in CLASSIFIERS.items()
    },
    "mixed": lambda: mixed_pipeline().fit(MIXED, LABELS),
    "categories": lambda: HistGradientBoostingClassifier(
        max_iter=3, random_state=0, categorical_features="from_dtype"
    ).fit(MIXED.astype({"city": "category"}), LABELS),
    "text": lambda: make_pipeline(TfidfVectorizer(), Ridge()).fit(["a red cat", "a blue dog", "red dogs"], [1, 2, 3]),
    "isotonic": lambda: IsotonicRegression().fit([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]),
    "isolation": lambda: IsolationForest(n_estimators=3, random_state=0).fit(NUMBERS),
}


def fit(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a few iterations do not converge
        return FITS[name]()


# ---- the digest ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FITS)
def test_the_same_fit_has_the_same_digest_and_survives_a_file(name: str, tmp_path: Path) -> None:
    first, second = fit(name), fit(name)
    identity = digest(first)
    assert identity == digest(second) == digest(first)
    assert identity.startswith("sha256:")
    assert len(identity) == 71
    check_portable(first)
    dump(first, tmp_path / "model.skops")
    loaded = load(tmp_path / "model.skops")
    assert digest(loaded) == identity
    assert [path.name for path in tmp_path.iterdir()] == ["model.skops"]


EVERY = """
import json, sys, warnings
import numpy as np
from pathlib import Path
from sklearn.base import RegressorMixin, clone
from sklearn.utils import all_estimators
from ridgeway.package import digest, dump, load
warnings.simplefilter("ignore")
table = np.abs(np.random.default_rng(0).normal(size=(60, 4)))
found = {}
for name, kind in all_estimators():
    try:
        estimator = kind()
        if "random_state" in estimator.get_params():
            estimator.set_params(random_state=0)
        target = table[:, 0] - table[:, 1]
        target = target if issubclass(kind, RegressorMixin) else np.where(target > 0, "high", "low")
        models = [clone(estimator).fit(table, target) for _ in range(2)]
    except Exception:
        continue  # it needs arguments, or another shape of data
    found[name] = {digest(model) for model in models}
    if name != "Birch":  # which skops cannot write
        path = Path(sys.argv[1], name)
        dump(models[0], path)
        found[name].add(digest(load(path)))
print(json.dumps({name: sorted(digests) for name, digests in found.items()}))
"""


@pytest.mark.slow
def test_every_estimator_of_scikit_learn_in_two_processes(tmp_path: Path) -> None:
    """Fitted twice in each, and read from a file: one digest."""
    first, second = (json.loads(output) for output in in_two_processes(EVERY, str(tmp_path)))
    assert first == second
    assert len(first) > 120
    assert {name: digests for name, digests in first.items() if len(digests) != 1} == {}


def in_two_processes(code: str, *arguments: str) -> list[str]:
    return [
        subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]


PROCESS = """
import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from ridgeway.package import digest
x = np.random.default_rng(0).normal(size=(60, 3))
boosted = HistGradientBoostingRegressor(max_iter=3, random_state=0).fit(x, x[:, 0])
text = TfidfVectorizer().fit(["a red cat", "the blue dog"])
print(digest(boosted), digest(text), digest([{"b", "a", "c"}, {"x": 1, "y": {2.5, "z"}}]))
"""


@pytest.mark.slow
def test_two_processes_agree() -> None:
    first, second = in_two_processes(PROCESS)
    assert first == second
    assert len(set(first.split())) == 3


def _numbers_inside(model: Any) -> list[tuple[str, np.ndarray[Any, Any]]]:
    return [
        (name, value)
        for name, value in vars(model).items()
        if isinstance(value, np.ndarray) and value.dtype == float and value.size
    ]


@pytest.mark.parametrize("name", ["regressor-elastic_net_cv", "classifier-logistic", "classifier-svc", "isotonic"])
def test_any_changed_number_changes_the_digest(name: str) -> None:
    model = fit(name)
    identity = digest(model)
    changed = 0
    for _, numbers in _numbers_inside(model):
        before = numbers.copy()
        try:
            numbers.flat[0] = np.nextafter(numbers.flat[0], np.inf)
        except ValueError:  # read-only
            continue
        assert digest(model) != identity
        numbers[...] = before
        assert digest(model) == identity
        changed += 1
    assert changed >= 2


def test_a_changed_threshold_deep_in_a_tree_changes_the_digest() -> None:
    model = fit("regressor-boosting")
    identity = digest(model)
    tree = model.estimators_[3, 0].tree_
    tree.threshold[0] = np.nextafter(tree.threshold[0], np.inf)
    assert digest(model) != identity
    boosted = fit("regressor-hist_boosting")
    identity = digest(boosted)
    nodes = boosted._predictors[2][0].nodes
    nodes["value"][-1] = np.nextafter(nodes["value"][-1], np.inf)
    assert digest(boosted) != identity


def test_settings_and_classes_count() -> None:
    models = [Ridge(), Ridge(alpha=2.0), Ridge(alpha=1), Ridge(solver="svd"), make_pipeline(Ridge()), StandardScaler()]
    assert len({digest(model) for model in models}) == len(models)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.0, -0.0),
        (1, 1.0),
        (1, True),
        ("1", 1),
        ("1", b"1"),
        (None, "None"),
        (np.float64(1), 1.0),
        (np.float32(1), np.float64(1)),
        ([1, 2], (1, 2)),
        ([1, 2], [2, 1]),
        ([[1], 2], [1, [2]]),
        (["ab", "c"], ["a", "bc"]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
        ({1, 2}, frozenset({1, 2})),
        (np.array([1.0, 2.0]), np.array([[1.0, 2.0]])),
        (np.array([1.0]), np.array([1.0], dtype=">f8")),
        (np.array([0.0]), np.array([-0.0])),
        (np.array([1, 2]), np.array([1, 2], dtype="m8[s]")),
        (np.array(["a", "bc"], dtype=object), np.array(["ab", "c"], dtype=object)),
        (np.array(["a"], dtype=object), np.array(["a"])),
        (scipy.sparse.csr_array([[1.0, 0.0]]), scipy.sparse.csr_array([[0.0, 1.0]])),
        (np.ma.array([1.0, 2.0], mask=[0, 1]), np.ma.array([1.0, 2.0], mask=[0, 0])),
        (np.random.RandomState(0), np.random.RandomState(1)),
        (np.random.default_rng(0), np.random.default_rng(1)),
        (np.log, np.exp),
        (np.mean, np.median),
        (functools.partial(np.mean, axis=0), functools.partial(np.mean, axis=1)),
        (datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)),
        (datetime.datetime(2026, 1, 1), datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)),
        (slice(1), slice(2)),
        (range(1), range(2)),
        (pd.Series([1.0, 2.0]), pd.Series([1.0, 2.5])),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
        (pd.Index(["a"]), pd.Index(["b"])),
        (pd.array([1, None], dtype="Int64"), pd.array([1, 2], dtype="Int64")),
        (10**30, 10**30 + 1),
        (1 + 2j, 1 - 2j),
        (types.MappingProxyType({"a": 1}), types.MappingProxyType({"a": 2})),
        (collections.deque([1], maxlen=2), collections.deque([1], maxlen=3)),
    ],
)
def test_different_content_has_a_different_digest(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)


def nan(payload: int) -> float:
    return float(np.array([0x7FF8000000000000 + payload], dtype=np.uint64).view(np.float64)[0])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a", "b", "c"}, {"c", "b", "a"}),
        (np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3))),
        (np.arange(12.0)[::2], np.arange(12.0)[::2].copy()),
        (scipy.sparse.csr_array([[1.0, 2.0]]), scipy.sparse.csr_array([[1.0, 2.0]])),
        (np.ma.array([1.0, 2.0], mask=[0, 1]), np.ma.array([1.0, 9.0], mask=[0, 1])),
        (pd.DataFrame({"a": [1], "b": [2]}), pd.DataFrame({"a": [1]}).assign(b=[2])),
        (np.random.default_rng(3), np.random.default_rng(3)),
        (float("nan"), nan(0)),
        ([[1.0], [1.0]], [[1.0]] * 2),
        (np.array([], dtype=float), np.empty(0)),
    ],
)
def test_equal_content_has_an_equal_digest(one: Any, other: Any) -> None:
    assert digest(one) == digest(other)


def test_every_bit_of_a_nan_counts() -> None:
    assert digest(nan(0)) != digest(nan(1))
    assert digest(np.array([nan(0)])) != digest(np.array([nan(1)]))


def test_padding_between_the_fields_of_a_record_does_not_count() -> None:
    kind = np.dtype([("small", "u1"), ("large", "f8")], align=True)
    clean, dirty = (np.frombuffer(bytes([fill]) * 32, dtype=np.uint8).copy().view(kind) for fill in (0, 255))
    for records in (clean, dirty):
        records["small"], records["large"] = 1, 2.0
    assert clean.tobytes() != dirty.tobytes()
    assert digest(clean) == digest(dirty)


class Node:
    """May point anywhere."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.next: Node | None = None


def ring(*names: str) -> Node:
    nodes = [Node(name) for name in names]
    for node, following in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
        node.next = following
    return nodes[0]


def test_cycles_end() -> None:
    assert digest(ring("a", "b")) == digest(ring("a", "b"))
    assert digest(ring("a", "b")) != digest(ring("a", "c"))
    assert digest(ring("a", "b")) != digest(ring("a", "b", "a"))
    holds_itself: list[Any] = [1]
    holds_itself.append(holds_itself)
    assert digest(holds_itself) == digest(holds_itself)
    shared = ring("a", "b")
    assert digest([shared, shared.next, shared]) == digest([ring("a", "b"), ring("b", "a"), ring("a", "b")])


def test_what_is_shared_is_hashed_once() -> None:
    value: Any = [1.0]
    for _ in range(60):
        value = [value, value]  # 2 ** 60 lists when written out
    assert digest(value).startswith("sha256:")


class Slotted:
    __slots__ = ("left", "right")

    def __init__(self, left: int, right: int) -> None:
        self.left, self.right = left, right


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Holder(BaseEstimator):
    def __init__(self, value: Any = None) -> None:
        self.value = value


def test_ordinary_objects_count_by_their_attributes() -> None:
    assert digest(Slotted(1, 2)) == digest(Slotted(1, 2)) != digest(Slotted(2, 1))
    assert digest(Colour.RED) != digest(Colour.BLUE)
    assert digest(collections.OrderedDict(a=1)) != digest({"a": 1})
    assert digest(collections.defaultdict(list)) != digest(collections.defaultdict(set))
    assert digest(sklearn.utils.Bunch(a=1)) != digest(sklearn.utils.Bunch(a=2))


def test_the_version_of_scikit_learn_is_not_content(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = digest(fit("regressor-ridge"))
    monkeypatch.setattr("sklearn.base.__version__", "99.0")
    assert digest(fit("regressor-ridge")) == identity


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (threading.Lock(), "lock"),
        (lambda table: table, "lambda"),
        ((number for number in [1]), "generator"),
        (os, "module"),
    ],
)
def test_what_has_no_content_is_named_with_its_path(value: Any, problem: str) -> None:
    model = Pipeline([("scale", StandardScaler()), ("hold", Holder({"deep": [0, value]}))])
    with pytest.raises(ModelError, match="cannot take the digest") as caught:
        digest(model)
    assert caught.value.where == "model.steps[1][1].value['deep'][1]"
    assert problem in caught.value.problem


def test_too_deep_is_an_error_of_ours() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ModelError, match="nested too deeply"):
        digest(value)
    while value:  # Python would free so deep a list recursively
        value = value.pop()


# ---- portability -----------------------------------------------------------------------------------------------------


def project_class(module: str) -> type:
    return type("Doubling", (BaseEstimator, TransformerMixin), {"__module__": module, "__qualname__": "Doubling"})


def test_what_cannot_leave_is_found_wherever_it_is() -> None:
    def local(table: Any) -> Any:
        return table

    first, second = project_class("steps.make_model"), project_class("flows.retraining")
    model = Pipeline(
        [
            ("lambda", FunctionTransformer(lambda table: table)),
            ("local", FunctionTransformer(functools.partial(local))),
            ("class", first()),
            ("type", Holder({"kind": second})),
            ("main", Holder([project_class("__main__")()])),
            ("fine", FunctionTransformer(np.log1p)),
        ]
    )
    found = [(finding.path, finding.name.rsplit(".", 1)[-1], finding.reason) for finding in unportable(model)]
    assert found == [
        ("model.steps[0][1].func", "<lambda>", "is a lambda"),
        ("model.steps[1][1].func.func", "local", "is defined inside a function"),
        ("model.steps[2][1]", "Doubling", "belongs to this project"),
        ("model.steps[3][1].value['kind']", "Doubling", "belongs to this project"),
        ("model.steps[4][1].value[0]", "Doubling", "belongs to this project"),
    ]
    with pytest.raises(ModelError, match=r"pyproject\.toml") as caught:
        check_portable(model)
    assert "is a lambda" in caught.value.problem
    assert caught.value.where == "model.steps[0][1].func"


def test_any_module_of_the_project_counts_when_its_folder_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "features_of_mine.py").write_text("def double(table):\n    return table * 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import features_of_mine

    model = FunctionTransformer(features_of_mine.double)
    assert unportable(model) == ()
    assert [finding.name for finding in unportable(model, root=tmp_path)] == ["features_of_mine.double"]
    environment = tmp_path / ".venv"
    (environment / "site-packages").mkdir(parents=True)
    (tmp_path / "features_of_mine.py").rename(environment / "site-packages/features_of_mine.py")
    monkeypatch.setattr(features_of_mine, "__file__", str(environment / "site-packages/features_of_mine.py"))
    assert unportable(model, root=tmp_path) == ()
    del sys.modules["features_of_mine"]


# ---- files -----------------------------------------------------------------------------------------------------------


class Doubling(BaseEstimator, RegressorMixin):
    """A user's own model, in a module that is neither scikit-learn's nor the project's."""

    def fit(self, table: Any, target: Any) -> Doubling:
        self.mean_ = float(np.mean(target))
        return self

    def predict(self, table: Any) -> Any:
        return np.full(len(table), self.mean_)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of ``Doubling`` as if it came from a wheel."""
    module = types.ModuleType("company_models")
    module.Doubling = Doubling  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "company_models", module)
    monkeypatch.setattr(Doubling, "__module__", "company_models")
    return "company_models.Doubling"


def test_a_type_of_the_users_is_refused_until_it_is_named(own: str, tmp_path: Path) -> None:
    model, path = Doubling().fit(NUMBERS, TARGET), tmp_path / "model.skops"
    with pytest.raises(ModelError, match=own) as caught:
        dump(model, path)
    assert caught.value.next_step == f'training.trusted_types = ["{own}"]'
    assert not list(tmp_path.iterdir())
    assert dump(model, path, trusted=[own]) == [own]
    with pytest.raises(ModelError, match=r"training\.trusted_types"):
        load(path)
    assert digest(load(path, trusted=["company_models.*"])) == digest(model)
    with pytest.raises(ModelError, match="not trusted"):
        load(path, trusted=["company_model.*", "company_models.Doubl", "Doubling"])


def forge(path: Path, state: dict[str, Any]) -> None:
    """A skops file that says whatever its maker wants."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", json.dumps({**state, "protocol": PROTOCOL, "_skops_version": "0"}))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("numpy", "load"),
        ("numpy", "memmap"),
        ("numpy.lib._datasource", "DataSource"),
        ("numpy.f2py", "compile"),
        ("numpy.testing", "measure"),
        ("scipy._lib.array_api_compat.numpy", "load"),
        ("scipy._lib._ccallback", "LowLevelCallable"),
        ("scipy.io", "netcdf_file"),
        ("scipy.io._netcdf", "netcdf_file"),
        ("sklearn.datasets", "fetch_openml"),
        ("sklearn.datasets._base", "urlretrieve"),
        ("sklearn.base", "os"),
        ("sklearn.utils._testing", "raises"),
        ("sklearn_evil", "Model"),
        ("sklearn", "no_such_thing"),
        ("subprocess", "Popen"),
    ],
)
def test_forged_files_are_refused_before_anything_runs(module: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    empty = {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "content": []}
    for loader, more in {"FunctionNode": {}, "ConstructorFromReduceNode": {"content": empty}}.items():
        forge(path, {"__class__": name, "__module__": module, "__loader__": loader, **more})
        with pytest.raises(ModelError, match="not trusted"):
            load(path)


def test_a_partial_is_as_trusted_as_its_function(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    dump(FunctionTransformer(functools.partial(np.power, 2.0)), path)
    assert load(path).transform(3.0) == 8.0
    with pytest.raises(ModelError, match=r"os\.getenv"):
        dump(FunctionTransformer(functools.partial(os.getenv, "HOME")), path)


@pytest.mark.parametrize("cut", [0, 10, 1000])
def test_a_file_that_was_cut_off(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    dump(fit("regressor-ridge"), path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ModelError, match=r"cannot read the model in model\.skops"):
        load(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot read the model"):
        load(tmp_path / "model.skops")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write the model"):
        dump(fit("regressor-ridge"), tmp_path / "nowhere" / "model.skops")


def test_trees_need_trust_and_have_it(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    assert dump(fit("regressor-tree"), path) == ["sklearn.tree._tree.Tree"]
    assert trusted_types(path) == ["sklearn.tree._tree.Tree"]


def test_what_skops_cannot_write(tmp_path: Path) -> None:
    from sklearn.cluster import Birch

    with pytest.raises(ModelError, match="without pickle"):
        dump(Birch().fit(NUMBERS), tmp_path / "model.skops")
    assert not list(tmp_path.iterdir())
