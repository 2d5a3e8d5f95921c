"""A version that anyone registers starts one release: over a real MLflow server and over its SQLite file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ridgeway.registry import Registry
from ridgeway.registry.newest import newest
from ridgeway.rules.triggers import Mark, Registered, first_mark
from tests.registry.conftest import Server, blank  # noqa: F401 - a fixture
from tests.services.watcher.conftest import Place

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory, blank: Path) -> Any:  # noqa: F811
    import shutil

    root = tmp_path_factory.mktemp("mlflow")
    server = Server(Path(shutil.copy(blank, root / "mlflow.db")), root)
    try:
        server.wait(150)
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["file", pytest.param("server", marks=pytest.mark.slow)])
def client(request: pytest.FixtureRequest, place: Place, blank: Path) -> Any:  # noqa: F811
    """MLflow's own client on the project's registry, as somebody uses it who has never heard of Ridgeway."""
    import shutil

    if request.param == "file":
        uri = "sqlite:///.ridgeway/mlflow.db"
        shutil.copy(blank, place.root / ".ridgeway" / "mlflow.db")
    else:
        uri = request.getfixturevalue("mlflow_server").uri
        toml = place.root / "ridgeway.toml"
        toml.write_text(f'{toml.read_text()}[registry]\nuri = "{uri}"\n')
    return Registry(uri, name=place.name, root=place.root)._connection.client


def register(client: Any, name: str, **tags: str) -> int:
    if not client.search_registered_models(f"name='{name}'"):
        client.create_registered_model(name)
    return int(client.create_model_version(name, "s3://bucket/model", tags=tags or None).version)


def releases(place: Place) -> list[str]:
    return [run["parameters"]["model"] for run in place.runs("release")]


def test_a_registration_starts_one_release(place: Place, client: Any) -> None:
    register(client, place.name)
    place.look()
    for _ in range(3):
        place.look(after=5)
    assert releases(place) == []  # what is there at a first start is known
    number = register(client, place.name)
    register(client, f"{place.name}-other")
    place.look(after=5)
    place.look(after=5)
    assert releases(place) == [f"models:/{place.name}/{number}"]
    (run,) = place.runs("release")
    assert re.fullmatch(rf"release/{place.name} model:{place.name}/{number}:\d{{13}}", run["idempotency_key"])


def test_what_is_registered_while_nobody_watches_is_found(place: Place, client: Any) -> None:
    place.look()
    first, second = register(client, place.name), register(client, place.name)
    place.new_watcher()
    place.look()
    place.new_watcher()
    place.look()
    assert releases(place) == [f"models:/{place.name}/{number}" for number in (first, second)]


def test_one_that_is_only_half_registered_is_waited_for(place: Place, client: Any) -> None:
    place.look()
    half = register(client, place.name, **{"ridgeway.digest": "sha256:1"})
    place.look(after=5)
    whole = register(client, place.name, **{"ridgeway.digest": "sha256:2", "ridgeway.complete": "1"})
    place.look(after=5)
    place.new_watcher()
    place.look(after=5)
    assert releases(place) == [f"models:/{place.name}/{whole}"]
    client.set_registered_model_alias(place.name, "challenger", str(half))
    place.look(after=5)
    assert releases(place) == [f"models:/{place.name}/{number}" for number in (whole, half)]
    lost = register(client, place.name, **{"ridgeway.digest": "sha256:1"})
    place.look(after=5)
    client.delete_model_version(place.name, str(lost))
    place.look(after=5)
    assert len(releases(place)) == 2


def test_a_model_that_was_deleted_and_made_anew(place: Place, client: Any) -> None:
    for _ in range(3):
        register(client, place.name)
    place.look()
    client.delete_registered_model(place.name)
    place.look(after=5)
    assert register(client, place.name) == 1
    place.look(after=5)
    place.look(after=5)
    assert releases(place) == [f"models:/{place.name}/1"]
    assert register(client, place.name) == 2
    place.look(after=5)
    assert releases(place) == [f"models:/{place.name}/1", f"models:/{place.name}/2"]


def test_where_a_person_starts_releases_nothing_is_watched(place: Place, client: Any) -> None:
    toml = place.root / "ridgeway.toml"
    toml.write_text(toml.read_text().replace('started_by = "server"', 'started_by = "person"'))
    place.look()
    register(client, place.name)
    place.look(after=5)
    assert releases(place) == []


@pytest.mark.slow
def test_many_versions_at_once(place: Place, client: Any) -> None:
    name, root = place.name, place.root
    uri = client.tracking_uri
    for _ in range(60):  # more than a page
        register(client, name)
    found = newest(uri, name, root, Mark())
    assert found is not None
    assert [version.number for version in found] == list(range(1, 61))
    assert newest(uri, name, root, first_mark(found)) in ((), found[-50:])
    assert newest(uri, name, root, Mark(10**6, 10**15, (7,))) in ((found[6],), (found[6], *found[-50:]))
    assert all(isinstance(version, Registered) and version.is_ready for version in found)


def test_a_registry_that_only_mlflow_can_ask_is_said_once(
    place: Place, client: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if client.tracking_uri.startswith("sqlite"):
        (place.root / ".ridgeway" / "mlflow.db").write_bytes(b"not a database")
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_AWS_SIGV4", "true")
    place.look()
    place.look(after=5)
    assert caplog.text.count("cannot watch the registry for new versions") == 1
