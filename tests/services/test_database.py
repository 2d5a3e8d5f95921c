"""Both databases of a team: made where the role may, judged before a server is started on them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ridgeway.errors import Busy, Permanent, RidgewayError, StorageError, Unreachable, UsageError
from ridgeway.services.database import MLFLOW, PREFECT, check_file, explain, judge_schema, prepare, preparing_sql
from ridgeway.settings.database import read_database
from tests.services.postgresql import PASSWORD, Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    server = Cluster()
    yield server
    server.remove()


def refused(setting: str, password: str = PASSWORD) -> RidgewayError:
    with pytest.raises(RidgewayError) as caught:
        prepare(setting, password=password)
    assert password not in str(caught.value)
    return caught.value


def test_sqlite_needs_no_preparing() -> None:
    assert prepare("sqlite") is None


@pytest.mark.postgresql
def test_both_databases_are_made_once(cluster: Cluster) -> None:
    said: list[str] = []
    address = prepare(cluster.address("once"), password=PASSWORD, say=said.append)
    assert address == read_database(cluster.address("once"))
    assert said == ["made the database once_prefect for Prefect", "made the database once_mlflow for MLflow"]
    assert cluster.sql("SELECT extname FROM pg_extension WHERE extname = 'pg_trgm'", database="once_prefect")
    assert cluster.sql("SHOW server_encoding", database="once_mlflow") == "UTF8"
    prepare(cluster.address("once"), password=PASSWORD, say=said.append)
    assert len(said) == 2


@pytest.mark.postgresql
def test_a_role_that_may_make_nothing_is_told_the_sql_that_helps(cluster: Cluster) -> None:
    setting = cluster.address("theirs", "poor")
    error = refused(setting)
    assert isinstance(error, UsageError)
    assert "there is no database theirs_prefect, and the role may not create one" in error.problem
    address = read_database(setting)
    assert address is not None
    assert error.next_step.endswith(preparing_sql(address))
    first, second, _, extension = preparing_sql(address).splitlines()
    cluster.sql(first)
    cluster.sql(second)
    cluster.sql(extension, database="theirs_prefect")
    prepare(setting, password=PASSWORD)  # what was advised is enough


@pytest.mark.postgresql
def test_databases_of_someone_else(cluster: Cluster) -> None:
    cluster.sql("CREATE DATABASE other_prefect")
    assert "the role may not make tables in other_prefect" in refused(cluster.address("other", "poor")).problem
    prepare(cluster.address("busy"), password=PASSWORD)
    cluster.sql("CREATE TABLE invoices (id int)", database="busy_mlflow")
    assert refused(cluster.address("busy")).problem == "it holds tables of another program"


@pytest.mark.postgresql
def test_schemas_of_other_releases(cluster: Cluster) -> None:
    setting = cluster.address("aged")
    prepare(setting, password=PASSWORD)
    for database in ("aged_prefect", "aged_mlflow"):
        cluster.sql("CREATE TABLE alembic_version (version_num text)", database=database, user="ridgeway")
        cluster.sql("INSERT INTO alembic_version VALUES ('ffffffffffff')", database=database)
    error = refused(setting)
    assert isinstance(error, Permanent)
    assert "Prefect" in error.summary
    assert error.problem == "a newer release wrote it"
    # Prefect brings an older schema up to date by itself; MLflow wants to be told, after a backup.
    known = PREFECT.revisions(in_file=False)
    older = min(known.known - {known.head})
    cluster.sql(f"UPDATE alembic_version SET version_num = '{older}'", database="aged_prefect")
    error = refused(setting)
    assert "MLflow" in error.summary
    cluster.sql("UPDATE alembic_version SET version_num = '0584bdc529eb'", database="aged_mlflow")
    error = refused(setting)
    assert error.problem == "an older release wrote it"
    assert f"mlflow db upgrade postgresql+psycopg://ridgeway@127.0.0.1:{cluster.port}/aged_mlflow" in error.next_step


@pytest.mark.postgresql
def test_what_keeps_one_out(cluster: Cluster) -> None:
    wrong = refused(cluster.address("out"), "wrong-9217")
    assert isinstance(wrong, UsageError)
    assert "RIDGEWAY_SERVERS__DATABASE_PASSWORD" in wrong.next_step
    assert isinstance(refused(cluster.address("out", "nobody")), UsageError)
    silent = refused(cluster.address("out").replace(str(cluster.port), "1"))
    assert isinstance(silent, Unreachable)
    assert "127.0.0.1:1" in silent.expected


@pytest.mark.postgresql
def test_a_lock_that_someone_holds(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg

    monkeypatch.setattr("ridgeway.services.database.CONNECT_SECONDS", 1.0)
    setting = cluster.address("held")
    prepare(setting, password=PASSWORD)
    cluster.sql("CREATE TABLE alembic_version (version_num text)", database="held_mlflow", user="ridgeway")
    where = f"host=127.0.0.1 port={cluster.port} user=admin dbname=held_mlflow"
    with psycopg.connect(where, password=PASSWORD) as other:
        other.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
        error = refused(setting)
    assert isinstance(error, Busy)
    assert "nobody who holds a lock" in error.expected


@pytest.mark.postgresql
def test_a_server_that_lets_nobody_in_or_only_read(cluster: Cluster) -> None:
    cluster.stop()
    cluster.start(max_connections="1", superuser_reserved_connections="0", max_wal_senders="0")
    try:
        import psycopg

        where = f"host=127.0.0.1 port={cluster.port} user=ridgeway dbname=postgres"
        with psycopg.connect(where, password=PASSWORD):
            assert isinstance(refused(cluster.address("crowd")), Busy)
    finally:
        cluster.stop()
        cluster.start()


def test_words_for_what_postgresql_says() -> None:
    address = read_database("postgresql://ridgeway@db.example/team")
    assert address is not None
    assert isinstance(explain("53100", "could not extend file", address, "team_mlflow"), StorageError)
    assert isinstance(explain("25006", "read-only", address, "team_mlflow"), StorageError)
    assert explain("XX000", "internal", address, "team_mlflow").problem == "internal (XX000)"


# ---- files -----------------------------------------------------------------------------------------------------------


def database_file(path: Path, revision: str, table: str = "runs") -> Path:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"CREATE TABLE {table} (id int)")
        if revision:
            database.execute("CREATE TABLE alembic_version (version_num text)")
            database.execute("INSERT INTO alembic_version VALUES (?)", [revision])
    return path


def test_installed_packages_tell_their_newest_revision() -> None:
    for program in (PREFECT, MLFLOW):
        for in_file in (True, False):
            revisions = program.revisions(in_file=in_file)
            assert revisions.head in revisions.known
            assert len(revisions.known) > 60
    known = MLFLOW.revisions(in_file=True)
    assert judge_schema({"runs"}, [known.head], known) == ""


@pytest.mark.parametrize(("program", "old"), [(PREFECT, ""), (MLFLOW, "an older release wrote it")])
def test_files_of_other_releases(tmp_path: Path, program: object, old: str) -> None:
    assert program in (PREFECT, MLFLOW)
    chosen = PREFECT if program is PREFECT else MLFLOW
    check_file(tmp_path / "none.db", chosen)
    known = chosen.revisions(in_file=True)
    check_file(database_file(tmp_path / "now.db", known.head), chosen)
    with pytest.raises(Permanent, match="a newer release wrote it"):
        check_file(database_file(tmp_path / "newer.db", "ffffffffffff"), chosen)
    with pytest.raises(Permanent, match="it holds tables of another program"):
        check_file(database_file(tmp_path / "foreign.db", ""), chosen)
    older = database_file(tmp_path / "older.db", min(known.known - {known.head}))
    if old:
        with pytest.raises(Permanent, match=old):
            check_file(older, chosen)
    else:
        check_file(older, chosen)


def test_files_that_are_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"no database at all " * 100)
    with pytest.raises(Permanent, match="a whole SQLite database that MLflow made"):
        check_file(path, MLFLOW)
    monkeypatch.setattr("ridgeway.services.database.CONNECT_SECONDS", 0.1)
    held = database_file(tmp_path / "held.db", MLFLOW.revisions(in_file=True).head)
    with closing(sqlite3.connect(held, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Busy, match="no other process that holds its lock"):
            check_file(held, MLFLOW)
