"""Everything that can be wrong with a registry ends in one clear error of the right kind, and soon."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ridgeway.errors import Busy, Permanent, RidgewayError, StorageError, Transient, Unreachable
from ridgeway.registry import Registry
from ridgeway.registry.connection import create_database, import_mlflow, inspect_database, translated
from tests.registry.conftest import FRAME, candidate_of, fitted, open_registry

# ---- servers ---------------------------------------------------------------------------------------------------------


class Stub(ThreadingHTTPServer):
    """A server that answers the first ``healthy`` requests as MLflow would and all others with ``status``."""

    def __init__(self, status: int, body: bytes, healthy: int = 0, delay_seconds: float = 0) -> None:
        self.seen: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler) -> None:  # noqa: N805
                self.seen.append(handler.path)
                time.sleep(delay_seconds)
                code, answer = (200, b'{"experiments": []}') if len(self.seen) <= healthy else (status, body)
                with contextlib.suppress(OSError):  # a client that does not wait
                    handler.send_response(code)
                    handler.send_header("Content-Length", str(len(answer)))
                    handler.end_headers()
                    handler.wfile.write(answer)

            do_POST = do_GET  # noqa: N815

            def log_message(handler, *_: object) -> None:  # noqa: N805
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.daemon_threads = False  # so that closing waits for them, and their sockets are closed
        self.uri = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def stub() -> Iterator[Callable[..., Stub]]:
    started: list[Stub] = []

    def start(status: int, body: bytes = b"", **more: float) -> Stub:
        started.append(Stub(status, body, **more))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def failure(action: Callable[[], object], within_seconds: float) -> RidgewayError:
    start = time.monotonic()
    with pytest.raises(RidgewayError) as caught:
        action()
    assert time.monotonic() - start < within_seconds
    assert "Traceback" not in str(caught.value)
    return caught.value


def test_no_server(tmp_path: Path) -> None:
    error = failure(open_registry(tmp_path, "http://127.0.0.1:9").versions, 2)
    assert isinstance(error, Unreachable)
    assert error.exit_code == 75
    assert "registry.uri" in str(error)


def test_an_address_that_nobody_knows(tmp_path: Path) -> None:
    assert isinstance(failure(open_registry(tmp_path, "http://no-such-host.invalid").versions, 15), Unreachable)


def test_a_server_that_accepts_and_never_answers(
    tmp_path: Path, stub: Callable[..., Stub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ridgeway.registry.look.TIMEOUT_SECONDS", 0.2)
    server = stub(200, b"{}", delay_seconds=1.0)
    assert isinstance(failure(open_registry(tmp_path, server.uri).versions, 2), Unreachable)


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (500, Transient, "status 500"),
        (503, Transient, "status 503"),
        (401, Permanent, "MLFLOW_TRACKING_USERNAME"),
        (403, Permanent, "no right to do this"),
        (404, Permanent, "no MLflow tracking server"),
    ],
)
def test_a_server_that_refuses_at_once(
    status: int, kind: type[RidgewayError], text: str, tmp_path: Path, stub: Callable[..., Stub]
) -> None:
    error = failure(open_registry(tmp_path, stub(status, b"<html>").uri).versions, 2)
    assert type(error) is kind
    assert text in str(error)


@pytest.mark.parametrize(("status", "kind"), [(502, Transient), (403, Permanent), (401, Permanent)])
def test_a_server_that_refuses_later(
    status: int, kind: type[RidgewayError], tmp_path: Path, stub: Callable[..., Stub], monkeypatch: pytest.MonkeyPatch
) -> None:
    import_mlflow()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    error = failure(open_registry(tmp_path, stub(status, b"<html>", healthy=1).uri).versions, 5)
    assert type(error) is kind


def test_a_server_that_goes_away(tmp_path: Path, stub: Callable[..., Stub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    server = stub(200, b"{}")
    registry = open_registry(tmp_path, server.uri)
    _ = registry._connection.client
    server.shutdown()
    server.server_close()
    assert isinstance(failure(registry.versions, 5), Unreachable)
    assert isinstance(failure(lambda: registry.start_run("build"), 5), Unreachable)


# ---- SQLite files ----------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"hello, this is text" * 1000)
    error = failure(open_registry(tmp_path, "sqlite:///mlflow.db").versions, 2)
    assert type(error) is Permanent
    assert "a whole SQLite database that MLflow made" in str(error)


def test_a_database_with_other_tables(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("CREATE TABLE customers (id)")
    database.close()
    error = failure(open_registry(tmp_path, "sqlite:///mlflow.db").versions, 2)
    assert type(error) is Permanent
    assert "customers" in str(error)


def test_a_damaged_database(root: Path) -> None:
    path = root / ".ridgeway/mlflow.db"
    content = bytearray(path.read_bytes())
    content[4096:200_000] = bytes(200_000 - 4096)
    path.write_bytes(content)
    error = failure(open_registry(root).versions, 10)
    assert type(error) is Permanent
    assert "backup" in str(error)


def test_a_newer_schema(root: Path) -> None:
    with sqlite3.connect(root / ".ridgeway/mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    database.close()
    error = failure(open_registry(root).versions, 10)
    assert type(error) is Permanent
    assert "install the version of ridgeway that wrote it" in str(error)


def test_a_locked_database(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ridgeway.registry.connection.LOCK_SECONDS", 0.2)
    database = sqlite3.connect(root / ".ridgeway/mlflow.db")
    database.execute("BEGIN EXCLUSIVE")
    error = failure(open_registry(root).versions, 3)
    database.close()
    assert isinstance(error, Busy)
    assert error.exit_code == 75


@pytest.mark.slow
def test_a_database_that_is_locked_in_the_middle(root: Path) -> None:
    registry = open_registry(root)
    registry.start_run("build")
    database = sqlite3.connect(root / ".ridgeway/mlflow.db")
    database.execute("BEGIN EXCLUSIVE")
    error = failure(lambda: registry.start_run("build"), 60)
    database.close()
    assert isinstance(error, Busy)
    assert registry.start_run("build")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system needs root")
    yield folder
    # Lazily: MLflow keeps a connection to the database open for as long as the process lives.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leave: int) -> None:
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    (folder / "ballast").write_bytes(bytes(max(0, free - leave)))


def test_a_disk_that_is_full_from_the_start(small_disk: Path) -> None:
    fill(small_disk, 100_000)
    error = failure(open_registry(small_disk).versions, 20)
    assert isinstance(error, StorageError)
    assert "free some space" in str(error)
    assert [path.name for path in (small_disk / ".ridgeway").iterdir()] == ["mlflow.db.lock"]


def test_a_disk_that_fills_up(small_disk: Path, blank: Path) -> None:
    (small_disk / ".ridgeway").mkdir()
    shutil.copy(blank, small_disk / ".ridgeway/mlflow.db")
    registry = open_registry(small_disk)
    candidate = candidate_of(registry.start_run("retraining"), 1.0)
    fill(small_disk, 40_000)
    big = small_disk.parent / "big"
    big.write_bytes(bytes(1_000_000))
    error = failure(
        lambda: registry.save_candidate(candidate, fitted(1.0), files={"big": big}, signature_frame=FRAME), 20
    )
    assert isinstance(error, StorageError)
    fill_rest = small_disk / "rest"
    with pytest.raises(OSError, match="space"):
        fill_rest.write_bytes(bytes(10_000_000))
    assert isinstance(failure(lambda: registry.start_run("build"), 20), StorageError)
    assert registry.find_candidate(candidate.inputs) is None
    (small_disk / "ballast").unlink()
    fill_rest.unlink()
    registry.save_candidate(candidate, fitted(1.0), files={"big": big}, signature_frame=FRAME)
    assert registry.find_candidate(candidate.inputs) is not None


def test_a_disk_that_cannot_be_written(small_disk: Path, blank: Path) -> None:
    (small_disk / ".ridgeway").mkdir()
    shutil.copy(blank, small_disk / ".ridgeway/mlflow.db")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    registry = open_registry(small_disk)
    assert registry.versions() == []
    error = failure(lambda: registry.start_run("build"), 20)
    assert isinstance(error, StorageError)
    assert "may write" in str(error)
    elsewhere = Registry("sqlite:///new/mlflow.db", name="diabetes", root=small_disk)
    assert isinstance(failure(elsewhere.versions, 20), StorageError)


def test_a_database_killed_while_it_is_made_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    (tmp_path / ".mlflow.db.99999").write_bytes(b"half a file of a dead process")
    path.touch()
    create_database(path)
    assert inspect_database(path)
    with sqlite3.connect(path) as database:
        locations = database.execute("SELECT artifact_location FROM experiments").fetchall()
    database.close()
    assert locations == [("mlflow-artifacts:/0",)]


# ---- the translation -------------------------------------------------------------------------------------------------


def test_errors_of_programmers_stay_what_they_are() -> None:
    assert translated(KeyError("x"), "mlflow.db", "reading") is None
    own = Busy("busy")
    assert translated(own, "mlflow.db", "reading") is own
