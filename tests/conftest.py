"""For every test: a quiet, empty environment, and an honest account of what could not be tested here."""

from __future__ import annotations

import functools
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from ridgeway.orchestrator.environment import environment
from ridgeway.settings import NOT_SETTINGS, PREFIX, quiet_environment

ROOT = Path(__file__).parents[1]

# Before any of these libraries is imported: they read their environment then, and once.
for variable in [name for name in os.environ if name.startswith(PREFIX) and name not in NOT_SETTINGS]:
    del os.environ[variable]
quiet_environment()
STATE = Path(tempfile.mkdtemp(prefix="ridgeway-tests-"))
os.environ |= {"PREFECT_HOME": str(STATE / "prefect"), "MPLBACKEND": "agg", "NO_COLOR": "1"}
# As every process of a project has it: whichever test imports Prefect first, it keeps off the terminal and hears steps.
os.environ |= {name: value for name, value in environment(STATE).items() if name.startswith("PREFECT_LOGGING")}
# Prefect stays imported between tests, and what it logs outside of a run is nobody's.
os.environ["PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW"] = "ignore"
# Threads of OpenMP that wait for a core by spinning make a small fit take a hundred times as long on a busy machine.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("FORCE_COLOR", None)


def docker_answers() -> bool:
    """Whether a Docker engine accepts a connection and answers a ping."""
    address = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    kind, target = (
        (socket.AF_UNIX, address.path)
        if address.scheme == "unix"
        else (socket.AF_INET, (address.hostname, address.port))
    )
    try:
        with socket.socket(kind) as connection:
            connection.settimeout(3)
            connection.connect(target)
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b"200 OK" in connection.recv(1024)
    except OSError:
        return False


def kubernetes_answers() -> bool:
    """Whether the API server of the current context accepts a connection."""
    path = Path(os.environ.get("KUBECONFIG", Path.home() / ".kube/config"))
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        contexts = {item["name"]: item["context"]["cluster"] for item in config["contexts"]}
        clusters = {item["name"]: item["cluster"]["server"] for item in config["clusters"]}
        address = urlsplit(clusters[contexts[config["current-context"]]])
        with socket.create_connection((address.hostname or "", address.port or 443), timeout=3):
            return True
    except (OSError, KeyError, TypeError, yaml.YAMLError):
        return False


def postgresql_is_installed() -> bool:
    """Whether the programs of a PostgreSQL server are there, and one is allowed to run them."""
    from tests.services.postgresql import programs

    return programs() is not None and (os.geteuid() != 0 or shutil.which("setpriv") is not None)


NEEDS: dict[str, tuple[str, Callable[[], bool]]] = {
    "docker": ("no Docker engine answers", docker_answers),
    "kubernetes": ("no cluster answers", kubernetes_answers),
    "postgresql": ("no PostgreSQL is installed", postgresql_is_installed),
}


@functools.cache
def is_present(need: str) -> bool:
    """Whether what a marker names is there; asked once in a session."""
    return NEEDS[need][1]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leaves out a test whose engine or cluster is missing, or fails it where RIDGEWAY_REQUIRE asks for that."""
    required = os.environ.get("RIDGEWAY_REQUIRE", "").split(",")
    for need, (reason, _) in NEEDS.items():
        if item.get_closest_marker(need) and not is_present(need):
            if need in required:
                pytest.fail(f"RIDGEWAY_REQUIRE asks for {need}, but {reason}", pytrace=False)
            pytest.skip(reason)


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Names the reason in the closing line: ``412 passed, 20 skipped: no cluster answers``."""
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason in {text for text, _ in NEEDS.values()}:
            return f"skipped: {reason}", "s", "SKIPPED"
    return None


def pytest_unconfigure() -> None:
    """Removes the session's state."""
    shutil.rmtree(STATE, ignore_errors=True)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the working copy."""
    return ROOT


@pytest.fixture(scope="session")
def uv(repository: Path) -> str:
    """A uv as `make` would use it."""
    for candidate in ("uv", repository / ".tools/bin/uv", repository / ".tools/lib/bin/uv"):
        if found := shutil.which(candidate):
            return found
    pytest.fail("no uv found; `make setup` brings one")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the working directory for the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
