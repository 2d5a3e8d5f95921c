"""New data, as files, folders and addresses, start one retraining for each content that has come to rest."""

from __future__ import annotations

import http.server
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.watcher.conftest import Place


def rest_and_look(place: Place) -> None:
    """Sees what has changed, and looks again when it has come to rest."""
    place.look(after=5)
    place.look(after=31)


def test_what_is_there_at_a_first_start_begins_nothing(place: Place) -> None:
    for _ in range(5):
        rest_and_look(place)
    assert place.runs("retraining") == []


def test_new_rows_start_one_retraining_of_the_living_file(place: Place) -> None:
    place.look()
    with place.source.open("a") as rows:
        rows.write("3,4\n")
    place.look(after=5)
    place.look(after=20)
    assert place.runs("retraining") == []  # not yet at rest
    place.look(after=11)
    (run,) = place.runs("retraining")
    assert run["parameters"] == {"source": str(place.source)}
    assert run["state_type"] == "SCHEDULED"
    for _ in range(3):
        rest_and_look(place)
    assert len(place.runs("retraining")) == 1


def test_a_thousand_changes_within_a_second_start_one_retraining(place: Place) -> None:
    place.look()
    began = time.monotonic()
    for number in range(1000):
        with place.source.open("a") as rows:
            rows.write(f"{number},1\n")
        if number % 50 == 0:
            place.look(after=0.05)
    assert time.monotonic() - began < 20
    for _ in range(20):
        place.look(after=5)
    assert len(place.runs("retraining")) == 1


def test_the_same_content_again_is_nothing_new_and_an_earlier_one_is(place: Place) -> None:
    before = place.source.read_bytes()
    place.look()
    os.utime(place.source)
    rest_and_look(place)
    partial = place.source.with_name("partial")
    partial.write_bytes(before)
    partial.replace(place.source)  # another file of the same content
    rest_and_look(place)
    assert place.runs("retraining") == []
    for content in (b"a,b\n9,9\n", before, b"a,b\n9,9\n"):
        place.source.write_bytes(content)
        rest_and_look(place)
    assert len(place.runs("retraining")) == 3


def test_a_file_that_is_away_for_a_while_is_waited_for(place: Place) -> None:
    place.look()
    place.source.unlink()
    rest_and_look(place)
    rest_and_look(place)
    assert place.runs("retraining") == []
    place.source.write_text("a,b\n5,6\n")
    rest_and_look(place)
    assert len(place.runs("retraining")) == 1


def test_what_changed_while_nobody_watched_is_found_at_the_next_start(place: Place) -> None:
    place.look()
    place.source.write_text("a,b\n5,6\n")
    place.new_watcher()
    rest_and_look(place)
    assert len(place.runs("retraining")) == 1
    place.new_watcher()
    rest_and_look(place)
    assert len(place.runs("retraining")) == 1


def test_nothing_is_watched_unless_it_is_set(place: Place) -> None:
    place.look()
    toml = place.root / "ridgeway.toml"
    toml.write_text(toml.read_text().replace("data = true", "data = false"))
    place.source.write_text("a,b\n5,6\n")
    rest_and_look(place)
    assert place.runs("retraining") == []
    toml.write_text(toml.read_text().replace("data = false", "data = true"))
    rest_and_look(place)
    assert len(place.runs("retraining")) == 1  # what changed meanwhile


def test_a_folder_of_parquet_files(place: Place) -> None:
    toml = place.root / "ridgeway.toml"
    toml.write_text(toml.read_text().replace("data/rows.csv", "data/days"))
    days = place.root / "data" / "days"
    (days / "2026").mkdir(parents=True)
    (days / "2026" / "01.parquet").write_bytes(b"one")
    place.look()
    (days / "notes.txt").write_text("no data")
    rest_and_look(place)
    assert place.runs("retraining") == []
    (days / "2026" / "02.parquet").write_bytes(b"two")
    rest_and_look(place)
    (run,) = place.runs("retraining")
    assert run["parameters"] == {"source": str(days)}
    (days / "2026" / "01.parquet").unlink()
    rest_and_look(place)
    assert len(place.runs("retraining")) == 2


class Store(http.server.BaseHTTPRequestHandler):
    """An object store, as far as a HEAD goes."""

    tag: str = '"1"'
    code = 200

    def do_HEAD(self) -> None:
        self.send_response(self.code)
        for name, value in (("ETag", self.tag), ("Content-Length", "7")):
            if value:
                self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def store() -> Iterator[tuple[type[Store], str]]:
    handler = type("OneStore", (Store,), {})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield handler, f"http://127.0.0.1:{server.server_port}/rows.parquet?signature=planted-5f1c"
        server.shutdown()


def test_an_address_is_watched_by_its_etag(
    place: Place, store: tuple[type[Store], str], caplog: pytest.LogCaptureFixture
) -> None:
    handler, url = store
    toml = place.root / "ridgeway.toml"
    toml.write_text(toml.read_text().replace("data = true", f'data = true\nwatch = "{url}"'))
    place.look()
    rest_and_look(place)
    assert place.runs("retraining") == []
    handler.tag = '"2"'
    rest_and_look(place)
    (run,) = place.runs("retraining")
    assert run["parameters"] == {}  # the project's own load_data reads it
    handler.code = 503
    handler.tag = '"3"'
    rest_and_look(place)
    assert "status 503" in caplog.text
    handler.code = 200
    handler.tag = ""
    place.look(after=5)
    assert "neither an ETag nor a date of change" in caplog.text
    handler.tag = '"3"'
    rest_and_look(place)
    assert len(place.runs("retraining")) == 2
    written = (place.root / ".ridgeway" / "triggers.json").read_text() + caplog.text
    assert "planted-5f1c" not in written


def test_a_server_that_is_away_loses_no_change(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ridgeway")
    toml = place.root / "ridgeway.toml"
    right = toml.read_text()
    place.look()
    place.source.write_text("a,b\n5,6\n")
    toml.write_text(right.replace(place.api.url, "http://127.0.0.1:1/api"))
    rest_and_look(place)
    place.look(after=5)
    assert caplog.text.count("Prefect server: ") == 1  # said once
    toml.write_text(right)
    place.look(after=5)
    assert len(place.runs("retraining")) == 1
    assert "Prefect server: works again" in caplog.text


def test_a_flow_that_is_not_published_is_said_and_waited_for(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.look()
    place.api.call(f"deployments/{place.deployments['retraining']}")
    toml = place.root / "ridgeway.toml"
    toml.write_text(toml.read_text().replace(f'"{place.name}"', f'"{place.name}-new"'))
    place.source.write_text("a,b\n5,6\n")
    rest_and_look(place)
    place.look(after=5)
    assert caplog.text.count(f"retraining/{place.name}-new is not published") == 1
    place.name = f"{place.name}-new"
    place.publish("retraining")
    place.look(after=5)
    assert len(place.runs("retraining")) == 1


def test_settings_that_are_just_being_edited_do_not_end_the_watch(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.look()
    toml = place.root / "ridgeway.toml"
    right = toml.read_text()
    toml.write_text(right + "\n[trigg")
    place.source.write_text("a,b\n5,6\n")
    rest_and_look(place)
    assert caplog.text.count("settings: ") == 1
    assert len(place.runs("retraining")) == 1  # by the settings of before


def test_memory_that_cannot_be_read_begins_anew_and_starts_nothing(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.look()
    file: Path = place.root / ".ridgeway" / "triggers.json"
    for broken in ("", "{", '{"schema": 2}', '{"schema": 1, "epoch": "x"}', "[]"):
        file.write_text(broken)
        place.new_watcher()
        rest_and_look(place)
        assert "cannot be read" in caplog.text
        caplog.clear()
    assert place.runs("retraining") == []
