"""The light look at releases: the same lines as MLflow's own client gives, without importing it."""

from __future__ import annotations

import dataclasses
import datetime
import http.server
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ridgeway.artifacts import Person, Release
from ridgeway.errors import Unreachable, UsageError
from ridgeway.registry import GlancedRelease, glance_releases, read_glanced
from ridgeway.registry.releases import Releases, glanced
from tests.registry.conftest import Server, open_registry

SQLITE = "sqlite:///.ridgeway/mlflow.db"


def wish(model: str = "models:/diabetes/2", *, name: str = "diabetes") -> Release:
    """A release that has just been asked for."""
    moment = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Release(
        name=name,
        number=0,
        run_id="",
        kind="release",
        model=model,
        model_digest="sha256:m2",
        stages=("qa", "production"),
        state="started",
        requested_by=Person("ada", "system", "local"),
        requested_at=moment,
    )


@dataclasses.dataclass(frozen=True)
class Looked:
    """Where releases are kept, and what a light look at them is told."""

    releases: Releases
    uri: str
    name: str
    root: Path

    def glance(self) -> tuple[GlancedRelease, ...]:
        seen = glance_releases(self.uri, self.name, self.root)
        assert seen is not None
        return seen


@pytest.fixture(params=["sqlite", "server"])
def looked(request: pytest.FixtureRequest, tmp_path: Path) -> Looked:
    """The same over a file and over HTTP; the server's project is shared, the model's name is not."""
    if request.param == "sqlite":
        root = request.getfixturevalue("root")
        return Looked(Releases(open_registry(root)), SQLITE, "diabetes", root)
    server: Server = request.getfixturevalue("served")[1]
    name = f"l-{tmp_path.name[-20:]}"
    return Looked(Releases(open_registry(tmp_path, server.uri, name=name)), server.uri, name, tmp_path)


def without_time(seen: GlancedRelease) -> GlancedRelease:
    """MLflow keeps when the run began, some milliseconds after the record was made; it alone knows of files."""
    return dataclasses.replace(seen, requested_at="", files="")


def test_a_look_equals_the_records(looked: Looked) -> None:
    assert looked.glance() == ()
    name, first = looked.name, looked.releases.start(wish(name=looked.name))
    second = looked.releases.start(dataclasses.replace(wish(name=name), kind="rollback", stages=("production",)))
    looked.releases.save(dataclasses.replace(first, state="waiting", sentence="waits for „Ü'\"`“ and\na second line"))
    looked.releases.save(dataclasses.replace(second, state="rolled_back", sentence="it was slow"))
    seen = looked.glance()
    assert [without_time(one) for one in seen] == [without_time(glanced(one)) for one in looked.releases.latest()]
    assert [(one.number, one.state, one.kind, one.model, one.target) for one in seen] == [
        (2, "rolled_back", "rollback", "models:/diabetes/2", "production"),
        (1, "waiting", "release", "models:/diabetes/2", "production"),
    ]
    assert [read_glanced(looked.uri, looked.root, one) for one in seen] == looked.releases.latest()
    now = datetime.datetime.now(datetime.UTC)
    for one in seen:
        assert abs((now - datetime.datetime.fromisoformat(one.requested_at)).total_seconds()) < 60


def test_other_runs_and_deleted_ones_are_no_releases(looked: Looked) -> None:
    registry = looked.releases._registry
    registry.start_run("retraining")
    registry.start_run("release")  # killed between its claim and its record
    kept = looked.releases.start(wish(name=looked.name))
    gone = looked.releases.start(wish("models:/diabetes/3", name=looked.name))
    registry._connection.client.delete_run(gone.run_id)
    assert [one.number for one in looked.glance()] == [kept.number]
    assert glance_releases(looked.uri, "another", looked.root) == ()


def test_no_file_is_no_release_and_none_is_made(tmp_path: Path) -> None:
    assert glance_releases(SQLITE, "diabetes", tmp_path) == ()
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_as_expected_is_left_to_mlflow(root: Path) -> None:
    path = root / ".ridgeway/mlflow.db"
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE tags RENAME COLUMN value TO text")
    database.close()
    assert glance_releases(SQLITE, "diabetes", root) is None
    path.write_bytes(b"not a database at all" * 100)
    assert glance_releases(SQLITE, "diabetes", root) is None


def test_a_number_that_is_none_is_left_to_mlflow(root: Path) -> None:
    releases = Releases(open_registry(root))
    releases._registry.tag_run(releases.start(wish()).run_id, {"ridgeway.release.number": "one"})
    assert glance_releases(SQLITE, "diabetes", root) is None


def test_no_server_is_not_no_release(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="does not answer"):
        glance_releases("http://127.0.0.1:9", "diabetes", tmp_path)


def test_what_only_mlflow_can_speak_is_left_to_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    assert glance_releases("http://127.0.0.1:9", "diabetes", tmp_path) is None


@pytest.mark.parametrize("uri", ["", "mlruns", "postgresql://db/mlflow", "file:/x"])
def test_an_address_of_no_known_kind(uri: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        glance_releases(uri, "diabetes", tmp_path)


class Strange(http.server.BaseHTTPRequestHandler):
    """A server that is no tracking server, or has trouble of its own."""

    code, content = 200, b""
    seen: list[str] = []  # noqa: RUF012 - what was asked, of all requests

    def do_GET(self) -> None:
        type(self).seen.append(self.headers.get("Authorization", ""))
        self.send_response(self.code)
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def strange() -> Iterator[tuple[type[Strange], str]]:
    handler = type("Handler", (Strange,), {"seen": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield handler, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("code", "content"), [(500, b""), (401, b"{}"), (200, b"<html>"), (200, json.dumps({"experiments": []}).encode())]
)
def test_strange_answers_are_left_to_mlflow(
    strange: tuple[type[Strange], str], code: int, content: bytes, tmp_path: Path
) -> None:
    handler, address = strange
    handler.code, handler.content = code, content
    assert glance_releases(address, "diabetes", tmp_path) is None


def test_a_server_that_knows_no_such_model(strange: tuple[type[Strange], str], tmp_path: Path) -> None:
    handler, address = strange
    handler.code = 404
    assert glance_releases(f"{address}/", "diabetes", tmp_path) == ()


def test_credentials_are_shown(
    strange: tuple[type[Strange], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, address = strange
    handler.code = 404
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-token")
    glance_releases(address, "diabetes", tmp_path)
    assert handler.seen == ["Bearer a-token"]


def test_it_imports_no_mlflow(root: Path) -> None:
    Releases(open_registry(root)).start(wish())
    program = (
        "import sys; from pathlib import Path; from ridgeway.registry import glance_releases; "
        f"seen = glance_releases({SQLITE!r}, 'diabetes', Path('.')); assert len(seen) == 1; "
        "sys.exit('mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
