"""Retrainings over a real SQLite registry, step by step in this process, without an orchestrator around them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ridgeway import orchestrator, scaffold
from ridgeway.actions.models import open_registry
from ridgeway.actions.retraining import Retraining
from ridgeway.project import load_step, open_project, prepare_state
from ridgeway.registry import Registry
from ridgeway.registry.connection import create_database
from ridgeway.run_log import RunLog

FEW_COLUMNS = 'data.ignore=["bp", "s1", "s2", "s3", "s4", "s5", "s6"]'
STEPS = ("load_data", "make_model")


@dataclass(frozen=True)
class Workshop:
    """A project, and retrainings of it."""

    root: Path

    @property
    def registry(self) -> Registry:
        """The project's registry."""
        return open_registry(open_project(self.root))

    def trained(self, *overrides: str) -> Retraining:
        """A retraining that has got as far as a candidate."""
        project = open_project(self.root, overrides=overrides)
        prepare_state(project)
        registry = open_registry(project)
        run_id = registry.start_run("retraining")
        job = Retraining(project, registry, RunLog(self.root).start("retraining", run_id=run_id), project.source)
        load, make = (load_step(self.root, name) for name in STEPS)
        job.train(job.load(load), make)
        return job

    def judged(self, *overrides: str) -> Retraining:
        """A retraining that has got as far as a verdict."""
        job = self.trained(*overrides)
        assert job.candidate is not None
        job.judge(job.candidate)
        return job

    def retrained(self, *overrides: str) -> Retraining:
        """A whole retraining."""
        job = self.judged(*overrides)
        assert job.candidate is not None
        assert job.verdict is not None
        if job.verdict.accepted:
            job.register(job.candidate, job.verdict)
        return job


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A project with one registered model of three columns; to be copied, not to be changed."""
    root = tmp_path_factory.mktemp("made") / "diabetes"
    template = scaffold.read_template(scaffold.template_root())
    scaffold.write(scaffold.plan(template, name="diabetes", version="1.0"), root)
    (root / ".ridgeway").mkdir()
    create_database(root / ".ridgeway" / "mlflow.db")
    workshop = Workshop(root)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(orchestrator, "emit", lambda *_: None)
        assert workshop.retrained(FEW_COLUMNS).version is not None
    return workshop


@pytest.fixture
def workshop(made: Workshop, tmp_path: Path) -> Iterator[Workshop]:
    """A project of the test's own with one registered model. Events go nowhere: there is no server to send them to."""
    root = Path(shutil.copytree(made.root, tmp_path / "diabetes"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(orchestrator, "emit", lambda *_: None)
        yield Workshop(root)
