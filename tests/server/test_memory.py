"""The largest requests, and the server inside a memory limit: it refuses, it slows down, it is not killed."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ridgeway_server.settings import Settings
from tests.server.test_http import chunked
from tests.server.test_supervisor import started
from tests.server.toys import read_answers, request

MEGABYTES_100 = 100 * 2**20


def padded(size: int) -> bytes:
    return b'{"data":[[10,1,1]]}' + b" " * (size - 19)


@pytest.mark.slow
def test_a_hundred_megabytes_and_one_byte(packages, serve) -> None:
    packages.linear()
    client = serve()
    assert client.raw(request(padded(MEGABYTES_100)), count=1)[0].json == {"result": [16.0]}
    assert client.raw(request(padded(MEGABYTES_100 + 1))[:5000])[0].status == 413
    answers = client.raw(chunked(padded(MEGABYTES_100), 2**20), count=1)
    assert answers[0].json == {"result": [16.0]}
    assert client.raw(chunked(padded(MEGABYTES_100 + 1), 2**20))[0].status == 413
    assert client.alive()


@pytest.fixture
def limited() -> Iterator[Path]:
    """A control group of 512 MiB, where this process may make one."""
    for root, file in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(root) / f"ridgeway-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / file).exists():
            (group / file).write_text(str(512 * 2**20))
            yield group
            for _ in range(100):
                try:
                    group.rmdir()
                    return
                except OSError:
                    time.sleep(0.1)
            return
        group.rmdir()
    pytest.skip("no control group can be made here")


def attacks() -> dict[str, bytes]:
    """Bodies of up to 100 MB, honest and not."""
    row = b"[1.25,2.5,3],"
    count = MEGABYTES_100 // len(row) - 10
    text = b'{"age":1,"bmi":2,"sex":3},'
    return {
        "numbers": request(b'{"data":[' + row * 900_000 + b"[1.25,2.5,3]]}"),
        "more rows than allowed": request(b'{"data":[' + row * count + b"[1.25,2.5,3]]}"),
        "empty lists": request(b'{"data":[' + b"[]," * (MEGABYTES_100 // 3 - 10) + b"[]]}"),
        "objects": request(b'{"data":[' + text * (MEGABYTES_100 // len(text) - 10) + text[:-1] + b"]}"),
        "raw rows": request(np.ones((900_000, 3)).tobytes(), "Content-Type: application/octet-stream"),
        "csv": request(
            b"age,bmi,sex\n" + b"1,2,3\n" * (MEGABYTES_100 // 6 - 10), "Content-Type: text/csv", path="/invocations"
        ),
        "chunks": chunked(padded(MEGABYTES_100), 2**20),
        "one long text": request(b'{"data":"' + b"x" * (MEGABYTES_100 - 20) + b'"}'),
        "nothing but brackets": request(b"[" * MEGABYTES_100),
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_stays_inside_its_memory(packages, tmp_path, limited) -> None:
    packages.linear()
    statuses: dict[str, set[int]] = {}
    with started(packages.root, tmp_path, "--body-seconds", "120", group=limited) as server:
        workers = server.workers()
        for name, raw in attacks().items():
            threads = [
                threading.Thread(target=_attack, args=(server, raw, statuses.setdefault(name, set()))) for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert server.client.alive(), name
        assert server.workers() == workers, "the worker was killed for its memory"
    assert all(found <= {200, 400, 413, 503, -1} for found in statuses.values()), statuses
    assert 200 in statuses["numbers"]
    assert 200 in statuses["raw rows"]
    assert 200 not in statuses["empty lists"] | statuses["objects"] | statuses["csv"]


def _attack(server, raw: bytes, found: set[int]) -> None:
    with server.client.connect(120) as connection:
        try:
            connection.sendall(raw)
        except OSError:
            found.add(-1)  # Refused and closed before all of it was sent.
            return
        found |= {answer.status for answer in read_answers(connection, 1)}


def test_limits_follow_from_the_memory_there_is(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("ridgeway_server.settings.memory_limit_bytes", lambda: 512 * 2**20)
    small = Settings(models=str(tmp_path))
    assert small.max_bodies_bytes == 128 * 2**20
    assert small.max_parse_bytes == int(0.3 * 512 * 2**20)
    monkeypatch.setattr("ridgeway_server.settings.memory_limit_bytes", lambda: None)
    assert Settings(models=str(tmp_path)).max_bodies_bytes == 400 * 2**20


def test_it_starts_in_a_process_of_its_own_with_little_memory(packages, tmp_path) -> None:
    packages.linear()
    with started(packages.root, tmp_path) as server:
        assert server.client.alive()
        pids = [server.process.pid, *server.workers()]
        lines = [line for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    used = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    assert used <= 50, f"{used:.1f} MB"


def test_help_names_each_setting() -> None:
    import sys

    shown = subprocess.run(
        [sys.executable, "-m", "ridgeway_server", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": "src"},
        check=True,
    )
    for name in Settings.__dataclass_fields__:
        assert "--" + name.replace("_", "-") in shown.stdout
    page = Path("docs/scoring-server.md").read_text()
    assert [name for name in Settings.__dataclass_fields__ if f"| `{name}` |" not in page] == []
