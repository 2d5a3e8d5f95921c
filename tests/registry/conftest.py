"""A registry on a SQLite file of its own for each test, and the smallest whole candidates."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from ridgeway import package
from ridgeway.artifacts import Candidate, Column, KeyRule, Verdict
from ridgeway.registry import Glance, GlancedVersion, Registry
from ridgeway.registry.connection import create_database
from ridgeway.registry.records import is_complete

# MLflow 3.17 asks SQLAlchemy for something that its version 2.1 has deprecated; MLflow's users cannot change that.
KNOWN_WARNINGS = ["ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            for warning in KNOWN_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


KEY = KeyRule((Column("a", "number"), Column("b", "number")), "", 0.2)
FRAME = pd.DataFrame({"a": [1.0, 2.0, 4.0, 8.0], "b": [1.0, -1.0, 2.0, 0.5]})


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables and nothing in them: making one takes a second, copying it none."""
    path = tmp_path_factory.mktemp("blank") / "mlflow.db"
    create_database(path)
    return path


@pytest.fixture
def root(tmp_path: Path, blank: Path) -> Path:
    """A project's folder with an empty registry."""
    (tmp_path / ".ridgeway").mkdir()
    shutil.copy(blank, tmp_path / ".ridgeway" / "mlflow.db")
    return tmp_path


@pytest.fixture
def registry(root: Path) -> Registry:
    return open_registry(root)


def open_registry(root: Path, uri: str = "sqlite:///.ridgeway/mlflow.db", name: str = "diabetes") -> Registry:
    return Registry(uri, name=name, root=root, models=package)


def fitted(alpha: float) -> Ridge:
    return Ridge(alpha=alpha).fit(FRAME, [1.0, 2.0, 3.0, 5.0])


def candidate_of(run_id: str, alpha: float) -> Candidate:
    return Candidate(
        run_id=run_id,
        name="diabetes",
        digest=package.digest(fitted(alpha)),
        inputs=f"sha256:inputs-{alpha}",
        dataset="data://diabetes@sha256:0123456789abcdef",
        key=KEY,
        task="regression",
        features=(Column("a", "number"), Column("b", "number")),
        label="y",
        classes=(),
        parameters={"alpha": alpha},
        seed=0,
        training_rows=4,
        sealed_rows=2,
        out_of_fold=0,
        metrics={"r2": 0.5, "mean_squared_error": float("nan")},
    )


def verdict_on(candidate: Candidate, outcome: Any = "accept", opponent: str = "mean") -> Verdict:
    return Verdict(
        outcome=outcome,
        reason="beats_mean",
        sentence="13 % better on 88 unseen rows",
        next_step="ridgeway run release",
        candidate=candidate.handle,
        candidate_digest=candidate.digest,
        opponent=opponent,
        opponent_digest=opponent,
        key=candidate.key.digest,
        loss="squared_error",
        looks=1,
        holdout="h1",
        policy="p1",
    )


def full(registry: Registry) -> Glance:
    """What MLflow's own client sees, in the form of a glance."""
    return Glance(
        tuple(
            GlancedVersion(
                one.number, one.digest, one.run_id, is_complete(one), one.aliases, dict(sorted(one.tags.items()))
            )
            for one in registry.all_versions()
        )
    )


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """What a candidate brings beside its model."""
    made = {"training.npy": [1, 3, 5, 7], "sealed.npy": [2, 4]}
    for name, identities in made.items():
        np.save(tmp_path / name, np.array(identities, dtype=np.uint64))
    return {f"identities/{name}": tmp_path / name for name in made}


@pytest.fixture
def save(files: dict[str, Path]) -> Callable[..., Candidate]:
    """Saves a candidate in a run of its own."""

    def save(registry: Registry, alpha: float = 1.0) -> Candidate:
        candidate = candidate_of(registry.start_run("retraining"), alpha)
        registry.save_candidate(candidate, fitted(alpha), files=files, signature_frame=FRAME)
        return candidate

    return save


class Server:
    """A real MLflow tracking server on a database and an artifact folder, as ``ridgeway up`` starts one."""

    def __init__(self, database: Path, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{database}"]
        command += ["--artifacts-destination", str(database.parent / "artifacts"), "--serve-artifacts"]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True
            )

    def wait(self, seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.2)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(20)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, blank: Path) -> Iterator[tuple[Path, Server]]:
    """A project that was trained in over SQLite before a server was put in front of its database."""
    root = tmp_path_factory.mktemp("served")
    (root / ".ridgeway").mkdir()
    database = Path(shutil.copy(blank, root / ".ridgeway" / "mlflow.db"))
    registry = open_registry(root)
    np.save(root / "sealed.npy", np.array([2, 4], dtype=np.uint64))
    candidate = candidate_of(registry.start_run("retraining"), 1.0)
    identities = {"identities/sealed.npy": root / "sealed.npy"}
    registry.save_candidate(candidate, fitted(1.0), files=identities, signature_frame=FRAME)
    registry.save_verdict(candidate.run_id, verdict_on(candidate))
    registry.register(candidate, verdict_on(candidate), tags={"ridgeway.commit": "abc"})
    server = Server(database, root)
    try:
        server.wait()
        yield root, server
    finally:
        server.stop()
