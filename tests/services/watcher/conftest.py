"""A real Prefect server with all its services, projects with published flows on it, and a clock that tests turn."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ridgeway.artifacts import Origin, PublishedFlow, Schedule
from ridgeway.orchestrator import rest
from ridgeway.orchestrator.environment import home, local_server
from ridgeway.orchestrator.flow_runs import Api
from ridgeway.orchestrator.publication.records import to_record
from ridgeway.orchestrator.serving import _prepare_database, _template
from ridgeway.services.watcher import Watcher

PORTS = range(18260, 18280)
TOML = """
[project]
name = "{name}"
[data]
source = "data/rows.csv"
[release]
started_by = "server"
[triggers]
data = true
debounce_seconds = 30
[servers]
prefect = "{url}"
[flows]
retries = 2
retry_delay_seconds = 1
"""
SCHEMAS = {
    "retraining": {"source": {"type": "string", "default": ""}},
    "release": {"model": {"type": "string"}},
}


def eventually(condition: Callable[[], Any], seconds: float = 15) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.05)
    return found


def listen() -> socket.socket:
    """A socket on one of the ports of these tests, so that a server can be started again on it."""
    for port in PORTS:
        try:
            return socket.create_server(("127.0.0.1", port))
        except OSError:
            continue
    raise AssertionError(f"none of the ports {PORTS} is free")


class PrefectServer:
    """Prefect's server as `ridgeway up` runs it; it may be stopped and started again, with the same database."""

    def __init__(self, root: Path) -> None:
        self.root = root
        home(root).mkdir(parents=True)
        _prepare_database(home(root) / "prefect.db", _template())
        self._listening = listen()
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/api"
        self.start()

    def start(self) -> None:
        read_end, self._lifeline = os.pipe()
        environment = local_server(self.root, self.url, os.environ, lasting=True)
        environment["PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL"] = "0.2"  # 5 s, which tests would wait for
        listening = str(self._listening.fileno())
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ridgeway.orchestrator.serving", str(self.root), listening, str(read_end)],
            pass_fds=[self._listening.fileno(), read_end],
            env=environment,
            stderr=subprocess.DEVNULL,  # what it says of connections that its end cuts off
        )
        os.close(read_end)
        try:
            eventually(lambda: rest.is_healthy(self.url, timeout_seconds=1), 150)
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        os.close(self._lifeline)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:  # it waits for work of its own that a busy machine does not get done
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.stop()
        self._listening.close()


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    server = PrefectServer(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


@dataclass
class Clock:
    """Seconds that only go forward, as fast as a test wants."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Place:
    """A project whose flows are published, and its watcher."""

    root: Path
    name: str
    api: Api
    clock: Clock = field(default_factory=Clock)
    deployments: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.watcher = self.new_watcher()

    def new_watcher(self) -> Watcher:
        """As after a restart of the watcher: only what is on disk is known."""
        self.watcher = Watcher(self.root, clock=self.clock)
        return self.watcher

    def look(self, *, after: float = 0.0) -> None:
        """One look, some seconds later."""
        self.clock.now += after
        self.watcher.look()

    @property
    def source(self) -> Path:
        return self.root / "data" / "rows.csv"

    def publish(self, flow: str, schedules: tuple[Schedule, ...] = ()) -> str:
        """As `ridgeway publish` does; the deployment's id."""
        call = self.api.call
        flow_id = call("flows/", {"name": flow})["id"]
        schema = {"type": "object", "properties": SCHEMAS[flow], "additionalProperties": False}
        origin = Origin("/repository", "c" * 40, "", str(self.root))
        published = PublishedFlow(flow, self.name, f"flows/{flow}.py:{flow}", origin, schema, schedules=schedules)
        self.deployments[flow] = call("deployments/", {**to_record(published), "flow_id": flow_id})["id"]
        return self.deployments[flow]

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """All runs of a flow, by the time of their making."""
        wanted = {"flow_runs": {"deployment_id": {"any_": [self.deployments[flow]]}}, "sort": "START_TIME_ASC"}
        found: list[dict[str, Any]] = self.api.call("flow_runs/filter", wanted)
        return sorted(found, key=lambda run: run["created"])

    def run(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.call(f"flow_runs/{run_id}")
        return found

    def states(self, flow: str) -> dict[str, tuple[str, str]]:
        """Run → type of its state and message."""
        return {run["id"]: (run["state_type"], run["state"]["message"]) for run in self.runs(flow)}

    def trigger(self, flow: str = "retraining", **parameters: Any) -> str:
        made = self.api.call(f"deployments/{self.deployments[flow]}/create_flow_run", {"parameters": parameters})
        return str(made["id"])

    def set_state(self, run_id: str, kind: str, message: str = "") -> None:
        content = {"state": {"type": kind, "name": kind.title(), "message": message}, "force": True}
        self.api.call(f"flow_runs/{run_id}/set_state", content)

    def schedule(self, flow: str, *, hours_ago: float, hours_ahead: float = 2) -> list[dict[str, Any]]:
        """Runs that Prefect's own scheduler would have made, oldest first; cut off are those of before."""
        begin = datetime.now(UTC) - timedelta(hours=hours_ago)
        end = datetime.now(UTC) + timedelta(hours=hours_ahead)
        window = {"start_time": begin.isoformat(), "end_time": end.isoformat(), "min_runs": 50, "max_runs": 50}
        self.api.call(f"deployments/{self.deployments[flow]}/schedule", window)
        made = [run for run in self.runs(flow) if run["auto_scheduled"]]
        return sorted(made, key=lambda run: run["expected_start_time"])


@pytest.fixture
def place(tmp_path: Path, prefect_server: PrefectServer, request: pytest.FixtureRequest) -> Place:
    """A project of its own on the shared server."""
    name = f"p{abs(hash(request.node.nodeid)) % 10**8}"
    return make_place(tmp_path / "home", name, prefect_server)


def make_place(root: Path, name: str, server: PrefectServer) -> Place:
    (root / "data").mkdir(parents=True)
    (root / ".ridgeway").mkdir()
    (root / "ridgeway.toml").write_text(TOML.format(name=name, url=server.url))
    (root / "data" / "rows.csv").write_text("a,b\n1,2\n")
    place = Place(root, name, Api(server.url))
    _make_pool(place.api)
    place.publish("retraining")
    place.publish("release")
    return place


def _make_pool(api: Api) -> None:
    if not api.call("work_pools/filter", {"work_pools": {"name": {"any_": ["ridgeway"]}}}):
        api.call("work_pools/", {"name": "ridgeway", "type": "process"})
