"""Models that somebody registered with MLflow alone: judged before a release, and nothing is built without a yes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import Ridge

from ridgeway.actions import adoption, release
from ridgeway.actions.models import open_registry, verdict_of
from ridgeway.artifacts import ModelVersion
from ridgeway.errors import NotAccepted, NotProven, UsageError
from ridgeway.project import open_project
from tests.actions.conftest import FEW_COLUMNS, Workshop, Yard

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")


def register(root: Path, source: str, run_id: str = "") -> ModelVersion:
    """As `mlflow.register_model`, or the button on MLflow's page, does it."""
    registry = open_registry(open_project(root))
    client = registry._connection.client
    version = client.create_model_version(registry.name, source, run_id or None)
    return registry.version(int(version.version))


def register_candidate(workshop: Workshop, *overrides: str) -> ModelVersion:
    """A candidate that a retraining has trained and not registered, registered by hand."""
    job = workshop.trained(*overrides)
    assert job.candidate is not None
    run = job.registry._connection.client.get_run(job.candidate.run_id)
    job.record.end()
    return register(workshop.root, f"{run.info.artifact_uri}/model", job.candidate.run_id)


def foreign(workshop: Workshop, **options: Any) -> ModelVersion:
    """A model from a notebook, with MLflow's own means."""
    import mlflow.sklearn

    registry = workshop.registry
    run_id = registry.start_run("notebook")
    folder = workshop.root / ".ridgeway" / "artifacts" / "diabetes" / run_id / "artifacts" / "model"
    mlflow.sklearn.save_model(Ridge().fit([[1.0], [2.0]], [1.0, 2.0]), folder, pip_requirements=[], **options)
    run = registry._connection.client.get_run(run_id)
    return register(workshop.root, f"{run.info.artifact_uri}/model", run_id)


def admit(workshop: Workshop, version: ModelVersion, *overrides: str) -> ModelVersion:
    project = open_project(workshop.root, overrides=overrides)
    return adoption.admit(project, open_registry(project), version)


def test_a_candidate_is_judged_and_taken_in_as_it_stands(workshop: Workshop) -> None:
    version = register_candidate(workshop)
    assert version.digest == ""
    looks = workshop.registry.looks(workshop.registry.candidate(version.run_id).key.digest)
    admitted = admit(workshop, version)
    assert (admitted.number, admitted.aliases) == (2, ("challenger",))
    candidate = workshop.registry.candidate(version.run_id)
    assert admitted.digest == candidate.digest
    verdict = verdict_of(workshop.registry, admitted)
    assert verdict is not None
    assert (verdict.accepted, verdict.candidate_digest, verdict.opponent) == (
        True,
        candidate.digest,
        "models:/diabetes/1",
    )
    assert workshop.registry.looks(candidate.key.digest) == looks + 1
    assert [one.number for one in workshop.registry.versions()] == [1, 2]
    run = workshop.registry.run(admitted.tags["ridgeway.registered_by"])
    assert (run.flow, run.status) == ("adoption", "FINISHED")


@pytest.mark.slow
def test_killed_while_it_was_taken_in(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    version = register_candidate(workshop)
    registry = workshop.registry
    client = registry._connection.client
    written = 0

    def dies(*arguments: Any, **keywords: Any) -> None:
        nonlocal written
        written += 1
        if written > limit:
            raise KeyboardInterrupt
        tag(*arguments, **keywords)

    tag = client.set_model_version_tag
    monkeypatch.setattr(client, "set_model_version_tag", dies)
    project = open_project(workshop.root)
    for limit in (0, 1, 10):  # noqa: B007 - read where the tags are written
        written = 0
        with pytest.raises(KeyboardInterrupt):
            adoption.admit(project, registry, version)
        assert not registry.version(version.number).digest  # it still counts as somebody else's
    monkeypatch.undo()
    admitted = admit(workshop, version)
    assert admitted.digest
    assert workshop.registry.looks(workshop.registry.candidate(version.run_id).key.digest) == 2  # one of them its own


@pytest.mark.slow
def test_a_worse_candidate_is_rejected_and_without_enough_rows_nothing_is_proven(workshop: Workshop) -> None:
    worse = register_candidate(workshop, "training.parameters={alpha=100000}", FEW_COLUMNS)
    with pytest.raises(NotAccepted, match=r"models:/diabetes/2 may not be released") as refused:
        admit(workshop, worse, FEW_COLUMNS)
    assert refused.value.exit_code == 3
    assert "judged now against models:/diabetes/1: reject" in refused.value.problem
    same = register_candidate(workshop, "training.parameters={alpha=1.001}", FEW_COLUMNS)
    with pytest.raises(NotProven) as held:
        admit(workshop, same, FEW_COLUMNS, "rules.minimum_rows=400")
    assert held.value.exit_code == 4
    assert workshop.registry.version(2).digest == workshop.registry.version(3).digest == ""
    looks = workshop.registry.looks(workshop.registry.candidate(worse.run_id).key.digest)
    with pytest.raises(NotAccepted):
        admit(workshop, worse, FEW_COLUMNS)  # judged before: no further look
    assert workshop.registry.looks(workshop.registry.candidate(worse.run_id).key.digest) == looks


def test_a_model_that_is_registered_twice_is_the_one_that_it_is(workshop: Workshop) -> None:
    first = workshop.registry.version(1)
    run = workshop.registry._connection.client.get_run(first.run_id)
    again = register(workshop.root, f"runs:/{first.run_id}/model", first.run_id)
    assert admit(workshop, again).number == 1
    other = register(workshop.root, f"{run.info.artifact_uri}/another", first.run_id)
    with pytest.raises(NotProven):  # it names our run, and holds something else
        admit(workshop, other)


@pytest.mark.parametrize("form", ["pickle", "cloudpickle"])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_a_pickle_is_not_opened(workshop: Workshop, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    version = foreign(workshop, serialization_format=form)
    monkeypatch.setattr("pickle.load", lambda *_, **__: pytest.fail("opened"))
    monkeypatch.setattr("pickle.loads", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(NotAccepted, match="no verdict on it is possible") as refused:
        admit(workshop, version)
    assert refused.value.exit_code == 3
    assert "stored as a pickle" in refused.value.problem


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_of_a_model_from_elsewhere_nobody_knows_what_it_has_seen(workshop: Workshop) -> None:
    version = foreign(workshop, serialization_format="skops")
    nowhere = register(workshop.root, "s3://bucket/model")
    for one in (version, nowhere):
        with pytest.raises(NotProven, match="no verdict on it is possible") as refused:
            admit(workshop, one)
        assert refused.value.exit_code == 4
        assert "which rows it was trained on" in refused.value.problem


def test_a_release_begins_with_the_judgement_and_without_a_yes_nothing_is_built(yard: Yard) -> None:
    workshop = Workshop(yard.root)
    accepted = register_candidate(workshop)
    worse = register_candidate(workshop, "training.parameters={alpha=100000}")
    with pytest.raises(NotAccepted):
        yard.released(worse.handle)
    assert yard.releases().latest() == []
    assert not [path for path in (yard.root / ".ridgeway").rglob("*") if "image" in path.name]
    with pytest.raises(NotAccepted, match="a release begins with one"):  # a plan writes nothing
        release.subject_of(yard.project(), release.Request(accepted.handle))
    done = yard.released(accepted.handle)
    assert (done["model"], done["outcome"]) == (accepted.handle, "waiting")


def test_who_starts_releases(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.edit('started_by = "person"', 'started_by = "server"')
    for options in ({}, {"ci": False}):
        with pytest.raises(UsageError, match="are started by server, and this is a person"):
            yard.released(**options)
    for key in ("nightly", "release/diabetes model:diabetes/2:1700000000000", "model:diabetes/1"):
        monkeypatch.setattr(release, "idempotency_key", lambda key=key: key)
        with pytest.raises(UsageError, match="this is a person"):
            yard.released()
    monkeypatch.setattr(release, "idempotency_key", lambda: "release/diabetes model:diabetes/1:1700000000000")
    assert yard.released()["outcome"] == "waiting"
    monkeypatch.setattr(release, "idempotency_key", lambda: "")
    assert yard.released(by_server=True)["outcome"] == "waiting"
