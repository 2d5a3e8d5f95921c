"""Many models: which one a name means, loading on demand within a budget, changes under a running server."""

from __future__ import annotations

import shutil
import threading
import time

import pytest

from ridgeway_server.errors import PackageError, Refusal
from ridgeway_server.repository import Repository, Rules


def wait_for(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def repository(packages, **rules) -> Repository:
    made = Repository(Rules(packages.root, **rules), lambda work, done: done(_outcome(work)))
    made.start()
    return made


def _outcome(work):
    try:
        return work()
    except PackageError as error:
        return error


def test_versions_are_ordered_as_people_count(packages) -> None:
    for version in ("1", "9", "10", "2.1"):
        packages.linear(version=version)
    models = repository(packages)
    assert models.find("toy").version == "10"
    assert models.find("toy", "9").version == "9"
    assert models.find().version == "10"
    with pytest.raises(Refusal, match="no version '11'"):
        models.find("toy", "11")


def test_the_default_model(packages) -> None:
    packages.linear()
    packages.linear("other", "3")
    assert repository(packages, default="other/3").find().name == "other"
    with pytest.raises(Refusal, match="none is the default"):
        repository(packages).find()


def test_a_folder_that_is_one_package(packages) -> None:
    packages.root = packages.linear("alone", "7")
    assert repository(packages).find().name == "alone"


def test_a_package_in_the_wrong_folder_is_not_served(packages) -> None:
    folder = packages.linear()
    shutil.move(folder, packages.root / "toy" / "2")
    models = repository(packages)
    assert not models.ready
    with pytest.raises(Refusal, match="not what its folder says"):
        models.find("toy")


def test_least_recently_used_models_go_first(packages) -> None:
    for name in ("a", "b", "c"):
        packages.linear(name)
    models = repository(packages, load="lazy", memory_bytes=50_000)
    for use, name in enumerate("abac", 1):
        entry = models.find(name)
        entry.used = use
        if entry.model is None:
            models.load(entry, lambda: None)
    assert {name: models.find(name).model is not None for name in "abc"} == {"a": True, "b": False, "c": True}
    assert models.memory_used <= 50_000


def test_a_model_larger_than_the_budget_is_refused(packages) -> None:
    packages.linear()
    with pytest.raises(Refusal, match="more than all models may take"):
        repository(packages, memory_bytes=10_000).find("toy")


def test_loading_on_demand_over_http(packages, serve) -> None:
    packages.linear()
    for number in range(20):
        packages.linear(f"m{number}", offset=float(number))
    client = serve(load="lazy", model_memory_mib=0)
    assert client.get("/v2/health/ready").status == 200
    for number in (3, 19, 3):
        assert client.post(f"/models/m{number}/score", {"data": [[0, 0, 0]]}).json == {"result": [float(number)]}
    assert client.get("/v2/models/m5/ready").status == 200
    index = client.post("/v2/repository/index", {"ready": True}).json
    assert sorted(entry["name"] for entry in index) == ["m19", "m3", "m5"]
    assert len(client.post("/v2/repository/index", b"").json) == 21
    assert client.post("/v2/repository/index", b"[").status == 400


def test_changes_on_disk_lose_no_request(packages, serve) -> None:
    packages.linear(offset=1.0)
    client = serve()
    seen, failures, stop = [], [], threading.Event()

    def load() -> None:
        while not stop.is_set():
            answer = client.post("/models/toy/score", {"data": [[0, 0, 0]]})
            (seen if answer.status == 200 else failures).append(answer.json)

    thread = threading.Thread(target=load)
    thread.start()
    packages.linear(version="2", offset=2.0)
    wait_for(lambda: seen[-1:] == [{"result": [2.0]}])
    packages.linear(version="2", offset=3.0)
    wait_for(lambda: seen[-1] == {"result": [3.0]})
    shutil.rmtree(packages.root / "toy" / "2")
    wait_for(lambda: seen[-1] == {"result": [1.0]})
    stop.set()
    thread.join()
    assert failures == []
    assert {answer["result"][0] for answer in seen} == {1.0, 2.0, 3.0}


def test_a_damaged_new_version_is_not_taken_up(packages, serve) -> None:
    packages.linear(offset=1.0)
    client = serve()
    folder = packages.linear("toy", "2", 2.0)
    (folder / "offset.npy").write_bytes(b"cut")
    wait_for(lambda: any(entry["state"] == "UNAVAILABLE" for entry in client.post("/v2/repository/index", b"").json))
    assert client.post("/score", {"data": [[0, 0, 0]]}).json == {"result": [1.0]}
    answer = client.post("/models/toy/versions/2/score", {"data": [[0, 0, 0]]})
    assert answer.status == 503
    assert "cut short" in answer.json["error"]
    assert client.get("/v2/health/ready").status == 200


def test_a_damaged_change_leaves_the_loaded_model_in_place(packages, serve) -> None:
    folder = packages.linear(offset=1.0)
    client = serve()
    (folder / "model.json").write_bytes(b"{}")
    wait_for(lambda: any(entry["reason"] for entry in client.post("/v2/repository/index", b"").json))
    assert client.post("/score", {"data": [[0, 0, 0]]}).json == {"result": [1.0]}


def test_a_damaged_only_model_makes_the_server_not_ready_and_say_why(packages, serve) -> None:
    folder = packages.linear()
    (folder / "weights.npy").write_bytes(b"")
    client = serve()
    answer = client.get("/v2/health/ready")
    assert answer.status == 503
    assert "cut short" in answer.json["error"]
    assert client.get("/v2/health/live").status == 200
    assert client.post("/score", {"data": [[0, 0, 0]]}).status == 503
    packages.linear()
    wait_for(lambda: client.get("/v2/health/ready").status == 200)
    assert client.alive()


def test_loading_and_unloading_over_http(packages, serve) -> None:
    packages.linear()
    client = serve(repository_control=True)
    assert client.post("/v2/repository/models/toy/unload", b"").status == 200
    assert client.post("/score", {"data": [[0, 0, 0]]}).status == 503
    assert client.post("/v2/repository/models/toy/load", b"").status == 200
    assert client.alive()
    assert client.post("/v2/repository/models/none/load", b"").status == 404


def test_an_empty_folder_is_live_and_not_ready(packages, serve) -> None:
    packages.root.mkdir()
    client = serve()
    assert client.get("/v2/health/live").status == 200
    assert client.get("/v2/health/ready").status == 503
    assert client.post("/score", {"data": [[0, 0, 0]]}).status == 404
    packages.linear()
    wait_for(lambda: client.get("/v2/health/ready").status == 200)
    assert client.alive()


@pytest.mark.slow
def test_a_thousand_models_in_one_process(packages, serve) -> None:
    for number in range(1000):
        packages.linear(f"m{number}", offset=float(number))
    client = serve()
    for number in range(1000):
        assert client.post(f"/models/m{number}/score", {"data": [[0, 0, 0]]}).json == {"result": [float(number)]}
    assert len(client.post("/v2/repository/index", {"ready": True}).json) == 1000
