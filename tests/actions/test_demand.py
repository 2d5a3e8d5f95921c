"""A judgement on demand leaves a run that is ended, whatever happens, and that says whose it was."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ridgeway.actions import demand
from ridgeway.actions.models import open_registry
from ridgeway.errors import NotFound, StorageError
from ridgeway.project import open_project

# MLflow asks SQLAlchemy for something that its version 2.1 has deprecated; MLflow's users cannot change that.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "ridgeway.toml").write_text('[project]\nname = "churn"\n', encoding="utf-8")
    return tmp_path


def test_the_run_is_ended_however_its_block_ends(root: Path) -> None:
    registry = open_registry(open_project(root))
    for error in (StorageError("disk full"), KeyboardInterrupt()):
        with pytest.raises(type(error)), demand._run(registry):
            raise error
    with demand._run(registry):
        pass
    runs = registry.runs()
    assert sorted(run.status for run in runs) == ["FAILED", "FINISHED", "KILLED"]
    assert {(run.flow, run.tags["ridgeway.host"], run.tags["ridgeway.pid"]) for run in runs} == {
        ("judge", socket.gethostname(), str(os.getpid()))
    }


def test_looking_makes_no_registry(root: Path) -> None:
    for look in (demand.plan, demand.judge):
        with pytest.raises(NotFound, match="nothing was ever trained here"):
            look(open_project(root), "models:/churn/1", None)
    assert [path.name for path in root.iterdir()] == ["ridgeway.toml"]
