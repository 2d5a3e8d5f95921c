"""The very image, run: it answers, writes nothing, has no rights and nothing to build or install with."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import docker
import httpx
import pytest

from ridgeway import image
from ridgeway.artifacts import Image
from ridgeway.errors import RidgewayError, Unreachable, UsageError
from tests.image.conftest import Built
from tests.server.toys import OFFSET

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


class Served:
    """`serve_here` on a thread, until the server is told to end."""

    def __init__(self, engine: docker.DockerClient, made: Image, keys: dict[str, str] | None = None) -> None:
        self.engine, self.image, self.lines = engine, made, list[str]()
        self.address, self._published = "", threading.Event()
        self.code: int | None = None
        self.thread = threading.Thread(target=self._run, args=(keys,))
        self.thread.start()
        assert self._published.wait(60)
        assert self.address, "\n".join(self.lines)
        self._wait()

    def _run(self, keys: dict[str, str] | None) -> None:
        def published(address: str) -> None:
            self.address = address
            self._published.set()

        try:
            self.code = image.serve_here(self.image, port=0, say=self.lines.append, keys=keys, ready=published)
        except RidgewayError as error:
            self.lines.append(str(error))
            self._published.set()

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.address}/v2/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        pytest.fail(f"not ready: {self.lines}")

    @property
    def container(self) -> docker.models.containers.Container:
        found = self.engine.containers.list(filters={"label": "dev.ridgeway.served=here"})
        (ours,) = [one for one in found if self.address.rpartition(":")[2] in json.dumps(one.ports)]
        return ours

    def end(self) -> int | None:
        if self.thread.is_alive():
            self.container.kill("SIGTERM")
            self.thread.join(30)
        return self.code


@pytest.fixture(scope="module")
def served(engine: docker.DockerClient, built: Built) -> Iterator[Served]:
    running = Served(engine, built.image)
    yield running
    running.end()


def test_a_golden_row_is_answered_by_the_model_and_the_image_that_were_asked_for(served: Served, built: Built) -> None:
    answer = httpx.post(f"{served.address}/score", json={"data": [[50, 20, 1]]})
    assert answer.json() == {"result": [25.0 + 40.0 - 1.0 + OFFSET]}
    assert answer.headers["Ridgeway-Model"] == "toy/1"
    assert built.image.digest in httpx.get(f"{served.address}/v2").text


def test_it_runs_without_rights_on_a_disk_that_cannot_be_written(served: Served) -> None:
    code, said = served.container.exec_run(
        ["python3", "-c", "import os; print(os.getuid(), os.getgid()); open('/app/x', 'w')"]
    )
    assert code == 1
    assert b"65532 65532\n" in said
    assert b"Read-only file system" in said
    assert served.container.attrs["HostConfig"]["CapDrop"] == ["ALL"]


def test_there_is_nothing_to_build_or_install_with_and_no_ridgeway(served: Served) -> None:
    for module in ("pip", "setuptools", "ensurepip", "ridgeway", "mlflow"):
        code, _ = served.container.exec_run(["python3", "-c", f"import {module}"])
        assert code == 1, module
    code, found = served.container.exec_run(["sh", "-c", "command -v pip pip3 gcc cc g++ make uv; true"])
    assert (code, found) == (0, b"")


def test_keys_are_demanded_where_they_are_given(engine: docker.DockerClient, built: Built) -> None:
    running = Served(engine, built.image, {"primary": "p" * 32, "secondary": "s" * 32})
    try:
        body = {"data": [[50, 20, 1]]}
        assert httpx.post(f"{running.address}/score", json=body).status_code == 401
        for key in ("p" * 32, "s" * 32):
            headers = {"X-API-Key": key}
            assert httpx.post(f"{running.address}/score", json=body, headers=headers).status_code == 200
    finally:
        assert running.end() == 0
    assert any("listening on" in line for line in running.lines)


def test_ctrl_c_stops_it_and_leaves_no_container(engine: docker.DockerClient, built: Built) -> None:
    script = (
        "import json, sys\n"
        "from ridgeway import image\n"
        "from ridgeway.artifacts import Image\n"
        "made = Image(**json.loads(sys.argv[1]))\n"
        "tell = lambda address: print(address, flush=True)\n"
        "sys.exit(image.serve_here(made, port=0, say=lambda line: print(line, file=sys.stderr), ready=tell))\n"
    )
    given = [sys.executable, "-c", script, json.dumps(dataclasses.asdict(built.image))]
    with subprocess.Popen(given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        port = process.stdout.readline().strip().rpartition(":")[2]
        assert any("listening on" in line for line in process.stderr)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(60) == 0
    assert port not in json.dumps([one.ports for one in engine.containers.list(all=True)])


def test_a_port_that_is_taken_is_named(served: Served, built: Built) -> None:
    port = int(served.address.rpartition(":")[2])
    with pytest.raises(UsageError, match=f"port {port} of this machine is taken"):
        image.serve_here(built.image, port=port, say=print)


def test_without_an_engine_there_is_one_clear_message(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(Unreachable, match="no Docker engine answers"):
        image.serve_here(built.image, port=0, say=print)
