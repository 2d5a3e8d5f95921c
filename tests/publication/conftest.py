"""A project in a git repository, and one real Prefect server with all of its services for the whole session."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ridgeway.artifacts import Publication
from ridgeway.orchestrator import rest
from ridgeway.orchestrator.environment import environment, home
from ridgeway.orchestrator.publication import applying, looking
from ridgeway.orchestrator.publication import flows as flows_module
from ridgeway.orchestrator.serving import _prepare_database, _template
from ridgeway.project import Project
from tests.publication.toy import eventually, open_at, write_project

PORTS = range(18200, 18220)


def listen() -> socket.socket:
    for port in PORTS:
        with suppress(OSError):
            return socket.create_server(("127.0.0.1", port))
    raise OSError(f"no port of {PORTS} is free")


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server as a team has it; it ends when its lifeline is closed."""
    root = tmp_path_factory.mktemp("server")
    home(root).mkdir(parents=True)
    _prepare_database(home(root) / "prefect.db", _template())
    listening = listen()
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
    read_end, write_end = os.pipe()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "ridgeway.orchestrator.serving", str(root), str(listening.fileno()), str(read_end)],
        pass_fds=[listening.fileno(), read_end],
        env={
            **inherited,
            **environment(root),
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home(root) / 'prefect.db'}",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
        },
        stderr=subprocess.DEVNULL,  # what it says of connections that its end cuts off
    )
    os.close(read_end)
    listening.close()
    eventually(lambda: rest.is_healthy(address, timeout_seconds=1), 90)
    yield address
    os.close(write_end)
    try:
        process.wait(20)
    finally:
        process.kill()


@pytest.fixture(autouse=True)
def process_as_before() -> Iterator[None]:
    """Modules of projects, path, folder and held clones are this test's alone."""
    environ, path, folder = dict(os.environ), list(sys.path), Path.cwd()
    yield
    os.environ.clear()
    os.environ.update(environ)
    sys.path[:] = path
    os.chdir(folder)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("flows", "steps")]:
        del sys.modules[name]
    for place in list(checkout_module()._held):
        checkout_module()._release(place)


def checkout_module() -> Any:
    import ridgeway.orchestrator.publication.checkout  # noqa: F401 - the name in the package is the function's

    return sys.modules["ridgeway.orchestrator.publication.checkout"]


@pytest.fixture
def root(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A project of a name of its own, so that tests can share a server."""
    name = request.node.name.partition("[")[0].removeprefix("test_").replace("_", "-")[:50]
    return write_project(tmp_path / "home", f"t-{name}".rstrip("-"))


@pytest.fixture
def project(root: Path, server_url: str) -> Project:
    return open_at(root, server_url)


@pytest.fixture
def looked_here(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Flows are looked at in this process, where Prefect is imported already; the folders that were looked at."""
    folders: list[Path] = []

    def look(folder: Path, schedules: Any = ()) -> Any:
        folders.append(folder)
        read_end, write_end = os.pipe()
        before = Path.cwd()
        try:
            found = list(looking._looked(folder, schedules, write_end))
        finally:
            os.close(write_end)
            os.close(read_end)
            os.chdir(before)
            sys.path[:] = [entry for entry in sys.path if entry != str(folder)]
        return tuple(flows_module.Flow(**one) for one in found)

    monkeypatch.setattr("ridgeway.actions.publication.look", look)
    return folders


@pytest.fixture
def known(project: Project, server_url: str) -> Callable[[], Publication]:
    """What the server knows of the project."""
    return lambda: applying.read(applying.Door(server_url), project.name)
