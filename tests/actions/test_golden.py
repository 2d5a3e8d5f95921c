"""Golden rows: stored at training, made later where they were not, and found nowhere but with the run."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from ridgeway import training
from ridgeway.actions import candidate as candidates
from ridgeway.actions import endpoints, golden, retraining, serve
from ridgeway.artifacts import Candidate, Column, Image
from ridgeway.errors import ModelError
from ridgeway.probe import Budget
from ridgeway.project import Project, open_project
from ridgeway.registry import Registry
from ridgeway.rules import rows
from ridgeway.targets import Keys
from tests.actions.conftest import FEW_COLUMNS, Workshop


def candidate_of(workshop: Workshop) -> Candidate:
    registry = workshop.registry
    return registry.candidate(serve.subject(registry, "models:/diabetes/1").run_id)


def opened(workshop: Workshop, *overrides: str) -> Project:
    return open_project(workshop.root, overrides=[FEW_COLUMNS, *overrides])


def stored_file(workshop: Workshop) -> Path:
    return workshop.registry.read_file(candidate_of(workshop).run_id, candidates.GOLDEN)


# ---- what is stored --------------------------------------------------------------------------------------------------


def test_training_stores_sealed_rows_with_the_predictions_of_the_estimator(made: Workshop) -> None:
    candidate, registry = candidate_of(made), made.registry
    found = golden.golden(opened(made), registry, candidate)
    assert [column.name for column in found.columns] == ["age", "sex", "bmi"]
    assert len(found.rows) == candidate.sealed_rows
    sealed = candidates.read_predictions(registry.read_file(candidate.run_id, candidates.SEALED), candidate.task)
    assert sorted(value for (value,) in found.numbers) == pytest.approx(sorted(sealed.values.tolist()), rel=1e-12)
    frame = pd.DataFrame(found.rows, columns=["age", "sex", "bmi"])
    assert registry.load_model(candidate.run_id).predict(frame).tolist() == [value for (value,) in found.numbers]


def examples(count: int, *, per_entity: int = 1) -> training.Examples:
    random = np.random.default_rng(3)
    frame = pd.DataFrame({"a": random.normal(size=count), "who": np.arange(count) // per_entity})
    columns = (Column("a", "number"), Column("who", "integer"), Column("y", "number"))
    key = rows.key_rule(columns, entity="who" if per_entity > 1 else "", holdout=0.5)
    return training.examples(frame.assign(y=frame["a"]), columns, key=key, label="y", ignore=())


def test_rows_are_chosen_by_their_identity_and_spread_over_entities() -> None:
    data = examples(1000)
    model = LinearRegression().fit(data.features, data.target)
    chosen = training.golden(model, data, "regression")
    assert len(chosen) == training.GOLDEN_ROWS
    sealed = pd.Series(data.identities[data.sealed], index=data.features[data.sealed]["who"]).sort_values()
    assert chosen["who"].tolist() == sealed.index[: training.GOLDEN_ROWS].tolist()
    of_few = examples(1000, per_entity=50)
    whose = training.golden(model, of_few, "regression")["who"]
    entities = of_few.features[of_few.sealed]["who"].nunique()
    assert whose.head(entities).nunique() == entities > 3


class Counting(LinearRegression):  # type: ignore[misc]
    """Takes anything, and predicts the number of the row."""

    def predict(self, features: pd.DataFrame) -> Any:
        return np.arange(len(features)) / 4


def test_every_type_of_column_survives(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "number": [0.1, np.nan, 1e300],
            "whole": [2**60 + 1, -1, 0],
            "gaps": [3.0, np.nan, 5.0],
            "flag": [True, False, True],
            "perhaps": pd.Series([True, None, False], dtype=object),
            "text": pd.Series(["Köln", None, "NA"]),
            "group": pd.Categorical(["b", None, "a"], categories=["b", "a"]),
            "since": pd.to_datetime(["2024-02-29 12:30", None, "1999-12-31 00:00"]),
        }
    )
    kinds = ["number", "integer", "integer", "boolean", "boolean", "string", "string", "datetime"]
    columns = tuple(Column(name, kind) for name, kind in zip(frame.columns, kinds, strict=True))  # type: ignore[arg-type]
    identities = np.array([1, 2, 3], dtype=np.uint64)
    data = training.Examples(frame, np.zeros(3), identities, np.ones(3, dtype=bool))
    file = tmp_path / "rows.parquet"
    training.golden(Counting(), data, "regression").to_parquet(file, index=False)
    read = pd.read_parquet(file)
    pd.testing.assert_frame_equal(read[list(frame.columns)], frame)
    found = golden.as_golden(read, CANDIDATE(features=columns))
    assert found.rows == (
        (0.1, 2**60 + 1, 3, True, True, "Köln", "b", "2024-02-29T12:30:00"),
        (None, -1, None, False, None, None, None, None),
        (1e300, 0, 5, True, False, "NA", "a", "1999-12-31T00:00:00"),
    )
    assert found.numbers == ((0.0,), (0.25,), (0.5,))
    assert type(found.rows[0][2]) is int


def CANDIDATE(**changes: Any) -> Candidate:  # noqa: N802 - one like any other, with changes
    key = rows.key_rule((Column("a", "number"),), entity="", holdout=0.2)
    made = Candidate(
        run_id="ab" * 16, name="m", digest="sha256:1", inputs="sha256:2", dataset="data://m@sha256:3", key=key,
        task="regression", features=(), label="y", classes=(), parameters={}, seed=0, training_rows=1, sealed_rows=1,
        out_of_fold=0, metrics={},
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


# ---- runs that stored none -------------------------------------------------------------------------------------------


def test_an_older_run_gets_its_rows_from_the_kept_ones_once(workshop: Workshop) -> None:
    project, registry, candidate = opened(workshop), workshop.registry, candidate_of(workshop)
    before = golden.golden(project, registry, candidate)
    stored_file(workshop).unlink()
    assert golden.golden(project, registry, candidate) == before
    assert stored_file(workshop).is_file()


def test_an_older_run_whose_rows_are_gone(workshop: Workshop) -> None:
    stored_file(workshop).unlink()
    for file in (workshop.root / ".ridgeway" / "data").iterdir():
        file.unlink()
    (workshop.root / "data/diabetes.csv").unlink()
    with pytest.raises(ModelError) as caught:
        golden.golden(opened(workshop), workshop.registry, candidate_of(workshop))
    assert "there are no golden rows of runs:/" in str(caught.value)
    assert "its run stored none, and data://diabetes@sha256:" in str(caught.value)
    assert "next      ridgeway run retraining" in str(caught.value)


def test_a_damaged_file_is_told_without_what_is_in_it(workshop: Workshop) -> None:
    stored_file(workshop).write_bytes(b"Jane Doe, 59")
    with pytest.raises(ModelError, match="cannot be read") as caught:
        golden.golden(opened(workshop), workshop.registry, candidate_of(workshop))
    assert "Jane" not in str(caught.value)
    pd.DataFrame({"age": [59.0]}).to_parquet(stored_file(workshop))
    with pytest.raises(ModelError, match="other columns than the model"):
        golden.golden(opened(workshop), workshop.registry, candidate_of(workshop))


def test_a_download_is_gone_once_it_is_read(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    project, registry, candidate = opened(workshop), workshop.registry, candidate_of(workshop)
    download = project.state / "downloads" / candidate.run_id / candidates.GOLDEN
    download.parent.mkdir(parents=True)
    shutil.copyfile(stored_file(workshop), download)
    monkeypatch.setattr(Registry, "read_file", lambda *_: download)
    assert golden.golden(project, registry, candidate).rows
    assert not download.exists()


# ---- the question ----------------------------------------------------------------------------------------------------


def image(workshop: Workshop) -> Image:
    digest = candidate_of(workshop).digest
    return Image("folder/diabetes", "sha256:" + "1" * 64, "models:/diabetes/1", digest, "sha256:2", "sha256:3")


def test_what_an_endpoint_is_asked_follows_the_settings(made: Workshop) -> None:
    project = opened(
        made, "release.probe.rows=70", "release.probe.load_seconds=3", "targets.qa.replicas=2",
        'targets.qa.tls.authority="tls/ca.pem"',
    )  # fmt: skip
    deployment = endpoints.deployment(project, "qa", image(made), "releases:/diabetes/1")
    keys = Keys("p" * 20, "s" * 20)
    question = golden.question(project, made.registry, "models:/diabetes/1")
    asked = golden.request(project, question, deployment, address="http://127.0.0.1:8081/", keys=keys)
    assert (asked.endpoint, asked.target, asked.address) == ("process://qa/diabetes", "qa", "http://127.0.0.1:8081")
    assert (asked.expected.model, asked.expected.version) == ("diabetes", "1")
    assert asked.expected.model_digest == image(made).model_digest
    assert (asked.expected.package_digest, asked.expected.image_digest) == ("sha256:2", "sha256:" + "1" * 64)
    assert (asked.primary, asked.secondary) == (keys.primary, keys.secondary)
    assert (asked.rows, asked.replicas, asked.budget) == (70, 2, Budget(10, 50, 3))
    assert asked.authority == str(made.root / "tls/ca.pem")
    assert asked.golden.tolerance == 1e-9
    for secret in (keys.primary, keys.secondary, str(asked.golden.rows[0][2])):
        assert secret not in repr(asked)


def test_production_gets_no_load_and_at_most_fifty_rows(made: Workshop) -> None:
    project = opened(made, "release.probe.rows=70", 'release.probe.load_on=["qa", "production"]')
    deployment = endpoints.deployment(project, "production", image(made), "releases:/diabetes/1")
    question = golden.question(project, made.registry, "models:/diabetes/1")
    asked = golden.request(project, question, deployment, address="http://h:1", keys=None)
    assert (asked.rows, asked.budget.load_seconds, asked.primary) == (50, 0.0, "")
    trial = endpoints.deployment(project, "qa", image(made), "releases:/diabetes/1")
    first = golden.request(project, question, trial, address="http://h:1", keys=None)
    assert (first.rows, first.budget.load_seconds) == (70, 2.0)


# ---- persons ---------------------------------------------------------------------------------------------------------


def planted(root: Path) -> float:
    """Changes one row so that it can be told from all others, and is sealed; its recognisable value."""
    file = root / "data/diabetes.csv"
    frame = pd.read_csv(file)
    columns = tuple(Column(str(name), "number") for name in frame.columns if name != "progression")
    for attempt in range(100):
        value = 27.18281 + attempt / 1e8
        changed = frame.copy()
        changed.loc[7, "bmi"] = value
        identity = rows.identities(changed.iloc[[7]], columns)
        if rows.sealed(identity, 0.2)[0]:
            changed.to_csv(file, index=False)
            return value
    raise AssertionError("no value was sealed")


def test_no_row_of_the_holdout_is_written_anywhere_but_with_the_run(
    workshop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    value = planted(workshop.root)
    started = datetime.datetime.now().timestamp() - 1
    job = workshop.retrained(FEW_COLUMNS)
    assert job.candidate is not None
    retraining._close(job, None)
    package = serve.package(opened(workshop), job.candidate.handle)
    found = golden.golden(opened(workshop), workshop.registry, job.candidate)
    assert any(value in row for row in found.rows), "the planted row is a golden one"
    kept = (workshop.root / "data", workshop.root / ".ridgeway" / "data")
    searched = []
    for file in workshop.root.rglob("*"):
        allowed = any(file.is_relative_to(folder) for folder in kept) or file.match("golden/rows.parquet")
        if file.is_file() and not allowed and file.stat().st_mtime >= started:
            content = file.read_bytes()
            assert b"27.18281" not in content, file
            assert struct.pack("<d", value) not in content, file
            searched.append(file)
    names = {file.name for file in searched}
    assert {"model.json", "weights.npy", "report.html", "run.json", "MLmodel", "mlflow.db", "candidate.json"} <= names
    assert package.folder / "model.json" in searched
    assert "27.18281" not in caplog.text
