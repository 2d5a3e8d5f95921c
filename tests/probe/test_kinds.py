"""Trained models of several kinds, from golden rows over the compiled package to the endpoint's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from ridgeway import training
from ridgeway.actions.golden import as_golden
from ridgeway.artifacts import Candidate, Column
from ridgeway.compiled import compile_model
from ridgeway.compiled.compile import _compare
from ridgeway.compiled.draft import Unsupported
from ridgeway.compiled.parity import Reference, Subject
from ridgeway.probe import Budget, Expected, probe
from ridgeway.rules.rows import key_rule
from tests.probe.conftest import MODEL, Endpoints, question

COLUMNS = (Column("size", "number"), Column("rooms", "integer"), Column("city", "string"), Column("new", "boolean"))


def houses(rows: int = 400) -> pd.DataFrame:
    random = np.random.default_rng(5)
    size = random.normal(80, 20, rows)
    frame = pd.DataFrame({"size": size, "rooms": random.integers(1, 6, rows)})
    frame["city"] = pd.Series(random.choice(["Köln", "Oslo", "Rome"], rows)).where(random.random(rows) > 0.1)
    frame["new"] = random.random(rows) < 0.5
    frame["size"] = frame["size"].where(random.random(rows) > 0.1)
    return frame.assign(price=size * 2 + 10 * (frame["city"] == "Oslo"), sold=np.where(size > 80, "yes", "no"))


def logistic() -> Any:
    return make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), ["city"]), (SimpleImputer(), ["size", "rooms", "new"])
        ),
        LogisticRegression(max_iter=1000),
    )


def trees() -> Any:
    return RandomForestClassifier(n_estimators=5, random_state=0)


@pytest.mark.parametrize(
    ("make", "label", "names", "forms", "kind"),
    [
        (LinearRegression, "price", ["rooms", "new"], ("closed form",), "linear"),
        (logistic, "sold", ["size", "rooms", "city", "new"], ("closed form",), "logistic"),
        (trees, "sold", ["rooms", "new"], ("skops",), "skops"),
    ],
    ids=["linear", "texts and gaps", "forest by skops"],
)
def test_a_trained_model_is_known_again_behind_the_server(
    make: Any, label: str, names: list[str], forms: tuple[str, ...], kind: str, endpoints: Endpoints, tmp_path: Path
) -> None:
    frame, task = houses(), "regression" if label == "price" else "classification"
    features = tuple(column for column in COLUMNS if column.name in names)
    columns = (*COLUMNS, Column(label, "number" if task == "regression" else "string"))
    ignored = [column.name for column in COLUMNS if column.name not in names]
    key = key_rule(COLUMNS, entity="", holdout=0.3)
    data = training.examples(frame, columns, key=key, label=label, ignore=ignored)
    estimator = make().fit(data.features[data.training], data.target[data.training])
    stored = tmp_path / "rows.parquet"
    training.golden(estimator, data, task).to_parquet(stored, index=False)  # type: ignore[arg-type]
    candidate = Candidate(
        run_id="ab" * 16, name="houses", digest=MODEL, inputs="", dataset="data://houses@sha256:3", key=key,
        task=task, features=features, label=label, classes=(), parameters={}, seed=0, training_rows=1, sealed_rows=1,
        out_of_fold=0, metrics={},
    )  # fmt: skip
    golden = as_golden(pd.read_parquet(stored), candidate)
    manifest = compile_model(
        estimator, endpoints.packages.root / "houses" / "7", name="houses", version="7", features=features, task=task,
        classes=tuple(estimator.classes_.tolist()) if task == "classification" else (),
        holdout_frame=data.features[data.sealed], lineage={"model": MODEL}, forms=forms,
    )  # fmt: skip
    assert manifest["kind"] == kind
    asked = question(
        endpoints.start(), expected=Expected("houses", "7", MODEL, manifest["digest"]), golden=golden,
        budget=Budget(load_seconds=0.3),
    )  # fmt: skip
    report = probe(asked)
    assert report.ok, report.failures
    assert report.rows == 50
    octets = "golden rows as octets" in {finding.check for finding in report.findings}
    assert octets == ("city" not in names)
    if "city" in names:
        assert any(None in row for row in golden.rows[:50])


class Failing:
    """A model that fails on a row, and tells it."""

    def predict(self, table: Any) -> Any:
        raise ValueError("could not convert string to float: 'Jane Doe'")


def test_what_a_form_fails_on_is_not_told_in_the_package() -> None:
    frame = pd.DataFrame({"name": ["Jane Doe"]})
    subject = Subject(None, (Column("name", "string"),), "regression", (), frame)
    with pytest.raises(Unsupported, match="it fails on the compared rows") as caught:
        _compare(Failing(), subject, Reference(frame, 1, np.zeros(1)))
    assert "Jane" not in str(caught.value)
