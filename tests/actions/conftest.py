"""Retrainings over a real SQLite registry, step by step in this process, without an orchestrator around them."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ridgeway import orchestrator, scaffold
from ridgeway.actions import release
from ridgeway.actions.models import open_registry
from ridgeway.actions.retraining import Retraining
from ridgeway.project import Project, load_step, open_project, prepare_state
from ridgeway.registry import Registry
from ridgeway.registry.connection import create_database
from ridgeway.registry.releases import Releases
from ridgeway.run_log import RunLog
from ridgeway.targets.memory import Place, place

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


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def in_memory(root: Path, *, answers: bool = True) -> None:
    """Makes the project's two stages places of this process, where the real server answers without keys."""
    file = root / "ridgeway.toml"
    text = file.read_text(encoding="utf-8").partition("[targets.qa]")[0].replace("load_seconds = 2", "load_seconds = 0")
    for name in ("qa", "production"):
        text += f'[targets.{name}]\nkind = "memory"\naddress = "http://127.0.0.1:{free_port()}"\n'
        text += 'access = { mode = "none" }\nrollout = { bake_seconds = 0 }\n'
        place(root, name).answers = answers
    file.write_text(text + '[approvers]\nrelease-manager = ["*"]\n', encoding="utf-8")


@dataclass(frozen=True)
class Yard:
    """A project with one registered model and two stages that are places of this process."""

    root: Path

    def project(self, *overrides: str) -> Project:
        """The project as its settings are now."""
        return open_project(self.root, overrides=overrides)

    def place(self, name: str = "production") -> Place:
        """The place of a stage, with its knobs."""
        return place(self.root, name)

    def edit(self, old: str, new: str) -> None:
        """Replaces text in the settings, which must be there."""
        text = (self.root / "ridgeway.toml").read_text(encoding="utf-8")
        assert old in text
        (self.root / "ridgeway.toml").write_text(text.replace(old, new), encoding="utf-8")

    def releases(self) -> Releases:
        """The records."""
        return Releases(open_registry(self.project()))

    def released(self, subject: str = "models:/diabetes/1", **options: Any) -> dict[str, Any]:
        """What a release comes to: the flow's steps one after the other, without an orchestrator."""
        with release.start(subject, **options) as job:
            image = job.build()
            for stage in job.trials:
                job.probe(job.deploy(image, stage))
            if job.ask(image).state == "approved" and not job.stops_early:
                job.roll_out(image)
        return release.summary(job)


@pytest.fixture
def yard(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    """A project of the test's own, with the working directory in it; its servers end with the test."""
    in_memory(workshop.root)
    monkeypatch.chdir(workshop.root)
    yard = Yard(workshop.root)
    yield yard
    for name in ("qa", "production"):
        yard.place(name).server.close()
