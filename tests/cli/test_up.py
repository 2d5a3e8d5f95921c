from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from ridgeway.run_log import Process
from ridgeway.services import state as states
from ridgeway.services.state import ServiceState, UpState
from tests.cli.conftest import Command


def test_a_plan_touches_nothing(project: Path, ridgeway: Command) -> None:
    code, out, err = ridgeway("up", "--plan")
    assert (code, err) == (0, "")
    assert out == (
        "prefect    Prefect server: runs, schedules, triggers, at http://127.0.0.1:4200\n"
        "mlflow     MLflow server: models and their runs, at http://127.0.0.1:5050\n"
        "worker     carries published runs out, 2 at a time\n"
        "watcher    watches data, models and missed schedules; notifies\n"
        "publisher  publishes the flows of HEAD, if nothing is published yet\n"
    )
    assert not (project / ".ridgeway").exists()


def test_a_plan_as_json(project: Path, ridgeway: Command) -> None:
    code, out, _ = ridgeway("up", "--plan", "--json", "--set", "servers.prefect_port=18228")
    content = json.loads(out)
    assert (code, content["is_up"]) == (0, False)
    assert content["plan"][0]["address"] == "http://127.0.0.1:18228"


def test_a_port_that_is_taken(project: Path, ridgeway: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = ridgeway("up", "--detach", "--set", f"servers.mlflow_port={port}")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: port {port} is taken\n")
    assert f"servers.mlflow_port = {port}" in err
    assert f"process {os.getpid()}" in err


@pytest.fixture
def up(project: Path) -> Path:
    """Looks as if it were up: this very process is the supervisor."""
    states.folder(project).mkdir(parents=True)
    log = str(states.log_file(project, "prefect"))
    service = ServiceState("prefect", "ready", "http://127.0.0.1:4200", log, Process.current())
    states.write_state(project, UpState(Process.current(), "1", (service,)))
    return project


def test_up_twice(up: Path, ridgeway: Command) -> None:
    code, out, err = ridgeway("up")
    assert (code, err) == (0, "it is up already; `ridgeway down` stops it\n")
    assert out.splitlines()[1].split() == [
        "prefect",
        "ready",
        "http://127.0.0.1:4200",
        ".ridgeway/services/prefect.log",
    ]


def test_down_says_what_it_would_stop(up: Path, ridgeway: Command) -> None:
    code, out, err = ridgeway("down", "--plan", "--json")
    assert (code, err) == (0, "would stop prefect at http://127.0.0.1:4200\n")
    assert json.loads(out)["would_stop"] == ["prefect at http://127.0.0.1:4200"]
    assert states.running(up) is not None
