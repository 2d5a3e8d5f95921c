"""A project in a git repository, brought up for real on ports of its own, and what tests ask of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ridgeway.orchestrator import rest
from ridgeway.orchestrator.publication import trigger
from ridgeway.run_log import Process, RunLog, RunRecord, is_alive
from ridgeway.services import state as states

PROGRAM = [sys.executable, "-P", "-c", "import ridgeway.cli as cli; cli.main()"]
FLOW = '''
"""A flow that begins, waits for a file if it is told to, and tells."""
from prefect import flow

from ridgeway.orchestrator import as_task
from steps.begin import begin
from steps.tell import tell

start, finish = as_task(begin), as_task(tell)


@flow(name="patient")
def patient(word: str = "", until: str = ""):
    """Tells a word.

    Args:
        word: What to tell.
        until: File to wait for.
    """
    start(word, until)
    return finish(word)
'''
BEGIN = '''
import os, time
from pathlib import Path


def begin(word, until):
    """Waits until there is a file."""
    with Path(".ridgeway/begun.txt").open("a") as told:
        told.write(f"{word} {os.getpid()}\\n")
    while until and not Path(until).exists():
        time.sleep(0.05)
'''
TELL = '''
from pathlib import Path

TEXT = "first"


def tell(word):
    """Adds a line."""
    with Path(".ridgeway/told.txt").open("a") as told:
        told.write(f"{TEXT} {word}\\n")
    return {"sentence": f"{TEXT} {word}", "exit_code": 0}
'''
SETTINGS = """
[project]
name = "toy"
[flows]
retry_delay_seconds = 1
[servers]
prefect_port = PREFECT
mlflow_port = MLFLOW
[triggers]
data = false
poll_seconds = 1
"""


@dataclass
class Ups:
    """A project and its services."""

    root: Path
    port: int
    name: str = "toy"
    environment: dict[str, str] = field(default_factory=lambda: {**os.environ})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    # ---- commands

    def command(self, *arguments: str, seconds: float = 150) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def up(self) -> None:
        done = self.command("up", "--detach")
        assert done.returncode == 0, done.stderr + self.logs()

    def down(self, *options: str) -> subprocess.CompletedProcess[str]:
        return self.command("down", *options)

    # ---- services

    def service(self, name: str) -> states.ServiceState:
        state = states.read_state(self.root)
        assert state is not None
        found = state.service(name)
        assert found is not None
        return found

    def process(self, name: str) -> Process:
        if name == "supervisor":
            state = states.read_state(self.root)
            assert state is not None
            return state.supervisor
        if name == "zygote":
            return self._zygote()
        process = self.service(name).process
        assert process is not None
        return process

    def _zygote(self) -> Process:
        supervisor = self.process("supervisor").pid
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, IndexError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == supervisor and "zygote" in (folder / "cmdline").read_text():
                    return Process.of(int(folder.name))
        raise AssertionError("no zygote")

    def kill(self, name: str) -> None:
        os.kill(self.process(name).pid, signal.SIGKILL)

    def is_ready(self, name: str) -> bool:
        state = states.running(self.root)
        service = state.service(name) if state else None
        return service is not None and service.condition == "ready" and is_alive(service.process or Process(0, "", ""))

    def logs(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in states.folder(self.root).glob("*.log"))

    # ---- runs

    def trigger(self, **parameters: Any) -> str:
        return trigger(self.url, f"patient/{self.name}", parameters).flow_run_id

    def flow_run(self, flow_run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = rest.call(f"{self.url}/flow_runs/{flow_run_id}")
        return found

    def set_state(self, flow_run_id: str, kind: str) -> Any:
        return rest.call(f"{self.url}/flow_runs/{flow_run_id}/set_state", {"state": {"type": kind}})

    def state_of(self, flow_run_id: str) -> str:
        with suppress(OSError):
            return str(self.flow_run(flow_run_id)["state_type"])
        return ""

    def becomes(self, flow_run_id: str, *kinds: str, seconds: float = 60) -> dict[str, Any]:
        self.eventually(lambda: self.state_of(flow_run_id) in kinds, seconds)
        return self.flow_run(flow_run_id)

    def record(self, flow_run_id: str) -> RunRecord:
        return self.eventually(lambda: self._records(flow_run_id))[0]  # type: ignore[no-any-return]

    def _records(self, flow_run_id: str) -> list[RunRecord]:
        return [one for one in RunLog(self.root).records() if one.flow_run_id == flow_run_id]

    def told(self, word: str) -> int:
        """How often a word was told."""
        return self._lines("told.txt", word)

    def begun(self, word: str) -> int:
        """How often a run with this word has begun."""
        return self._lines("begun.txt", word)

    def pid_of(self, word: str) -> int:
        lines = (self.root / ".ridgeway" / "begun.txt").read_text().splitlines()
        return int([line for line in lines if line.split()[0] == word][-1].split()[1])

    def _lines(self, name: str, word: str) -> int:
        with suppress(FileNotFoundError):
            lines = (self.root / ".ridgeway" / name).read_text().splitlines()
            return sum(word in line.split() for line in lines)
        return 0

    def eventually(self, condition: Callable[[], Any], seconds: float = 60) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, f"not within {seconds} s\n{self.logs()}"
            time.sleep(0.1)
        return found


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def make(root: Path, port: int, *, name: str = "toy", settings: str = "") -> Ups:
    """A project with one flow, committed."""
    for folder in ("flows", "steps"):
        (root / folder).mkdir(parents=True)
        (root / folder / "__init__.py").touch()
    (root / "flows" / "patient.py").write_text(FLOW)
    (root / "steps" / "begin.py").write_text(BEGIN)
    (root / "steps" / "tell.py").write_text(TELL)
    written = settings or SETTINGS.replace("PREFECT", str(port)).replace("MLFLOW", str(port + 1))
    (root / "ridgeway.toml").write_text(written.replace('"toy"', f'"{name}"'))
    (root / ".gitignore").write_text(".ridgeway/\n__pycache__/\n")
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "First")
    return Ups(root, port, name)


def processes_of(root: Path) -> list[str]:
    """Command lines of processes that work in a project, or for it."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            inside = (folder / "cwd").readlink().is_relative_to(root)
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if (inside or str(root) in line) and int(folder.name) != os.getpid():
                found.append(f"{folder.name} {line}")
    return found


@contextmanager
def brought_up(root: Path, port: int) -> Iterator[Ups]:
    """A project that is up meanwhile."""
    ups = make(root, port)
    try:
        ups.up()
        yield ups
    finally:
        ups.down("--force")
