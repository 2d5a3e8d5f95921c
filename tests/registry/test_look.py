"""The light look: equal to what MLflow's own client says, without importing it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ridgeway.artifacts import Candidate
from ridgeway.errors import Unreachable, UsageError
from ridgeway.registry import Glance, Registry, glance, refuse_local_in_ci
from tests.registry.conftest import full, verdict_on

SQLITE = "sqlite:///.ridgeway/mlflow.db"


def test_a_glance_equals_the_full_client(registry: Registry, root: Path, save: Callable[..., Candidate]) -> None:
    for alpha in (1.0, 2.0):
        candidate = save(registry, alpha)
        registry.register(candidate, verdict_on(candidate), tags={"note": "Ü; '\"`"})
    registry.set_alias("champion", 1)
    client = registry._connection.client
    client.create_model_version("diabetes", "s3://elsewhere/model")
    client.create_model_version("diabetes", "s3://elsewhere/other")
    client.delete_model_version("diabetes", "4")
    seen = glance(SQLITE, "diabetes", root)
    assert seen == full(registry)
    assert seen is not None
    assert [(one.number, one.aliases, one.complete) for one in seen.versions] == [
        (1, ("champion",), True),
        (2, ("challenger",), True),
        (3, (), False),
    ]
    assert seen.by_alias("champion") == seen.by_digest(seen.versions[0].digest) == seen.versions[0]
    assert seen.by_alias("other") is None
    assert seen.by_digest("") is None
    assert glance(SQLITE, "other", root) == Glance(())


def test_nothing_there_yet_is_no_version(tmp_path: Path) -> None:
    assert glance(SQLITE, "diabetes", tmp_path) == Glance(())


def test_what_is_not_as_expected_is_left_to_mlflow(root: Path) -> None:
    path = root / ".ridgeway/mlflow.db"
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE model_version_tags RENAME COLUMN value TO text")
    database.close()
    assert glance(SQLITE, "diabetes", root) is None
    path.write_bytes(b"not a database at all" * 100)
    assert glance(SQLITE, "diabetes", root) is None


def test_a_locked_database_is_left_to_mlflow(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ridgeway.registry.look.TIMEOUT_SECONDS", 0.1)
    database = sqlite3.connect(root / ".ridgeway/mlflow.db")
    database.execute("BEGIN EXCLUSIVE")
    assert glance(SQLITE, "diabetes", root) is None
    database.close()


def test_no_server_is_not_no_version(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="does not answer"):
        glance("http://127.0.0.1:9", "diabetes", tmp_path)


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_TRACKING_AUTH"])
def test_what_only_mlflow_can_speak_is_left_to_mlflow(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "true")
    assert glance("http://127.0.0.1:9", "diabetes", tmp_path) is None


@pytest.mark.parametrize(
    "uri", ["", "mlruns", "postgresql://db/mlflow", "sqlite://", "sqlite:///", "http://", "file:/x"]
)
def test_addresses_that_are_no_registry(uri: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"registry\.uri"):
        glance(uri, "diabetes", tmp_path)


def test_a_local_file_is_refused_in_ci() -> None:
    with pytest.raises(UsageError, match=r"registry\.uri"):
        refuse_local_in_ci(SQLITE)
    refuse_local_in_ci("https://mlflow.example.org")


def test_the_package_and_a_glance_import_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ridgeway.registry import glance, Registry\n"
        "glance('sqlite:///x.db', 'm', Path('.'))\n"
        "Registry('https://mlflow.example.org', name='m', root=Path('.'))\n"
        "heavy = {'mlflow', 'sklearn', 'numpy', 'pandas', 'scipy', 'requests', 'sqlalchemy', 'skops', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == "[]"
