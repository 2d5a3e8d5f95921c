"""One project brought up for real: published, triggered, carried out, brought down, and nothing left."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ridgeway.orchestrator import rest
from ridgeway.services import state as states
from tests.services.ups import make, processes_of

pytestmark = pytest.mark.timeout(240)


def test_from_up_to_down(tmp_path: Path) -> None:
    """The whole way once, as a newcomer goes it."""
    ups = make(tmp_path / "toy", 18220)
    done = ups.command("up", "--detach")
    try:
        assert done.returncode == 0, done.stderr + ups.logs()
        assert "toy is published from commit" in done.stdout
        assert {one.name: one.condition for one in states.read_state(ups.root).services} == {  # type: ignore[union-attr]
            "prefect": "ready",
            "mlflow": "ready",
            "worker": "ready",
            "watcher": "ready",
            "publisher": "done",
        }
        assert rest.is_healthy(ups.url, timeout_seconds=5)

        run = ups.trigger(word="hello")
        ups.becomes(run, "COMPLETED")
        assert ups.told("hello") == 1
        record = ups.eventually(lambda: ups.record(run))
        ups.eventually(lambda: ups.record(run).state == "finished")
        assert (record.flow, record.command.split()[0]) == ("patient", "worker")
        assert ups.record(run).sentence == "first hello"
        ups.eventually(lambda: not list(states.folder(ups.root).glob("claims/*")))

        again = ups.command("up")
        assert (again.returncode, "it is up already" in again.stderr) == (0, True)
        taken = ups.command("up", "--plan")
        assert "nothing would be started" in taken.stdout
    finally:
        ended = ups.down("--force")
    assert ended.returncode == 0, ended.stderr
    ups.eventually(lambda: not processes_of(ups.root), 10)
    left = sorted(path.name for path in states.folder(ups.root).iterdir() if path.suffix != ".log")
    assert left == []
    assert not (ups.root / ".ridgeway/prefect/server.json").exists()
    with socket.create_server(("127.0.0.1", 18220)):
        pass  # the port is free again
