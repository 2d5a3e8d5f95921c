"""The same registry behind a real tracking server, and what was trained before the server was there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ridgeway import package
from ridgeway.errors import NotFound, Permanent
from ridgeway.registry import Glance, glance
from tests.registry.conftest import FRAME, KEY, Server, candidate_of, fitted, full, open_registry, verdict_on


def test_what_was_trained_over_sqlite_is_loaded_over_http(served: tuple[Path, Server], tmp_path: Path) -> None:
    """On another machine: only the server's address is known, no file of the project is there."""
    _, server = served
    registry = open_registry(tmp_path, server.uri)
    version = registry.by_alias("challenger")
    assert version is not None
    assert version.tags["ridgeway.commit"] == "abc"
    model = registry.load_model(version.run_id)
    assert package.digest(model) == version.digest == registry.candidate(version.run_id).digest
    assert np.load(registry.read_file(version.run_id, "identities/sealed.npy")).tolist() == [2, 4]
    assert registry.find_admission(version) == registry.verdict(version.run_id)
    question = {"holdout": "h1", "policy": "p1"}
    assert registry.find_verdict(version.digest, "mean", KEY.digest, **question) == registry.verdict(version.run_id)
    assert registry.looks(KEY.digest) == 1
    with pytest.raises(NotFound, match=r"has no file nothing\.json"):
        registry.read_file(version.run_id, "nothing.json")


def test_a_plain_mlflow_client_loads_it(served: tuple[Path, Server], monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    _, server = served
    monkeypatch.setattr("warnings.warn", lambda *_, **__: None)  # its scoring code warns on import
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(server.uri)
    try:
        sklearn_model = mlflow.sklearn.load_model("models:/diabetes@challenger")
        function = mlflow.pyfunc.load_model("models:/diabetes/1")
    finally:
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])
    expected = fitted(1.0).predict(FRAME)
    assert sklearn_model.predict(FRAME).tolist() == expected.tolist()
    assert function.predict(FRAME).tolist() == expected.tolist()
    assert function.metadata.signature.inputs.input_names() == ["a", "b"]


def test_a_candidate_over_http_from_start_to_end(served: tuple[Path, Server], tmp_path: Path) -> None:
    _, server = served
    registry = open_registry(tmp_path, server.uri, name="remote")
    np.save(tmp_path / "x.npy", np.array([1, 2], dtype=np.uint64))
    candidate = candidate_of(registry.start_run("retraining"), 3.0)
    files = {"identities/training.npy": tmp_path / "x.npy", "identities/sealed.npy": tmp_path / "x.npy"}
    registry.save_candidate(candidate, fitted(3.0), files=files, signature_frame=FRAME)
    registry.save_verdict(candidate.run_id, verdict_on(candidate))
    found = registry.find_candidate(candidate.inputs)
    assert found is not None
    version = registry.register(found, verdict_on(candidate), tags={})
    assert version == registry.register(found, verdict_on(candidate), tags={})
    assert (version.number, version.aliases) == (1, ("challenger",))
    registry.end_run(candidate.run_id, "FINISHED")
    assert registry.find_run(candidate.run_id[:8]).status == "FINISHED"
    for name in files:
        assert np.load(registry.read_file(candidate.run_id, name)).tolist() == [1, 2]
    registry.write_json(candidate.run_id, "a/record.json", {"value": 1})
    registry.write_json(candidate.run_id, "b/record.json", {"value": 2})
    registry.write_json(candidate.run_id, "a/record.json", {"value": 3})
    assert registry.read_json(candidate.run_id, "a/record.json")["value"] == 3
    assert registry.read_json(candidate.run_id, "b/record.json")["value"] == 2
    folder = registry.read_file(candidate.run_id, "model")
    assert (folder / "MLmodel").exists()
    assert package.digest(registry.load_model(candidate.run_id)) == candidate.digest


def test_over_sqlite_again_after_the_server_wrote(served: tuple[Path, Server]) -> None:
    root, server = served
    over_http = open_registry(root, server.uri)
    run_id = over_http.start_run("release")
    over_http.write_json(run_id, "release.json", {"value": 1})
    over_file = open_registry(root)
    assert over_file.read_json(run_id, "release.json") == {"schema": 1, "value": 1}
    assert over_file.uri != over_http.uri


def test_a_parameter_cannot_change(served: tuple[Path, Server], tmp_path: Path) -> None:
    _, server = served
    registry = open_registry(tmp_path, server.uri)
    run_id = registry.start_run("build")
    registry.log_params(run_id, {"alpha": 1})
    registry.log_params(run_id, {"alpha": 1})
    with pytest.raises(Permanent, match="alpha"):
        registry.log_params(run_id, {"alpha": 2})


def test_a_glance_equals_the_full_client_on_a_server(served: tuple[Path, Server], tmp_path: Path) -> None:
    _, server = served
    seen = glance(server.uri + "/", "diabetes", tmp_path)
    assert seen == full(open_registry(tmp_path, server.uri))
    assert seen is not None
    assert seen.versions[0].aliases == ("challenger",)
    assert glance(server.uri, "no-such-model", tmp_path) == Glance(())


def test_a_glance_over_many_pages(served: tuple[Path, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ridgeway.registry import look

    _, server = served
    pages: list[str] = []
    real = look.ask

    def ask(address: str, call: str, **parameters: str) -> tuple[int, dict[str, object]]:
        pages.append(call)
        return real(address, call, **{**parameters, **({"max_results": "1"} if "max_results" in parameters else {})})

    registry = open_registry(tmp_path, server.uri, name="paged")
    client = registry._connection.client
    client.create_registered_model("paged")
    for number in range(3):
        client.create_model_version("paged", f"s3://elsewhere/{number}")
    monkeypatch.setattr(look, "ask", ask)
    assert glance(server.uri, "paged", tmp_path) == full(registry)
    assert pages.count("model-versions/search") >= 3
