"""`.ci/run` installs what is missing, starts and stops the lab, and leaves nothing running that it started."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="continuous integration runs on Linux")


class Agent:
    """A tree with a Makefile of the test's own, and a package manager and a lab that write down their calls."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.tree, self.bin, self.log = folder / "tree", folder / "bin", folder / "calls"
        for path in (self.tree / ".ci", self.bin):
            path.mkdir(parents=True)
        shutil.copy(repository / ".ci/run", self.tree / ".ci/run")
        self.makefile("demo:\n\t@echo demo\ntest:\n\t@echo 3 passed\n")
        self.put("dpkg-query", "echo install ok installed")
        self.put("apt-get", f'echo "apt-get $*" >>{self.log}')

    def makefile(self, text: str) -> None:
        (self.tree / "Makefile").write_text(text, encoding="utf-8")

    def put(self, name: str, script: str) -> Path:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    def lab(self, status: str) -> Path:
        cases = (
            f'status) echo "{status}" ;; env) echo export KUBECONFIG=/lab/config ;; *) echo "lab $1" >>{self.log} ;;'
        )
        return self.put("lab", f'case "$1" in {cases} esac')

    def run(self, lab: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "HOME": str(self.tree),
            "RIDGEWAY_LAB": str(lab or self.bin / "no-lab"),
        }
        return subprocess.run(
            [self.tree / ".ci/run"], env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    @property
    def calls(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []


@pytest.fixture
def agent(repository: Path, tmp_path: Path) -> Agent:
    return Agent(repository, tmp_path)


def test_the_demo_comes_first_and_the_tests_closing_line_is_the_last(agent: Agent) -> None:
    done = agent.run()
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("demo\n") < done.stdout.index("3 passed")
    assert done.stdout.splitlines()[-1] == "3 passed"
    assert "no lab at" in done.stdout
    assert agent.calls == []


def test_a_lab_that_was_down_is_started_required_and_stopped(agent: Agent) -> None:
    agent.makefile("demo:\ntest:\n\t@echo $$RIDGEWAY_REQUIRE $$KUBECONFIG $$CI\n")
    done = agent.run(agent.lab("nothing runs"))
    has_postgresql = any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    required = "postgresql,docker,kubernetes" if has_postgresql else "docker,kubernetes"
    assert done.stdout.splitlines()[-1] == f"{required} /lab/config true"
    assert agent.calls == ["lab up", "lab down"]


def test_a_lab_that_was_up_stays_up(agent: Agent) -> None:
    agent.run(agent.lab('dockerd up"; sleep 0.2; echo "registry up'))  # told line by line
    assert agent.calls == ["lab up"]


@pytest.mark.parametrize("broken", ["demo", "test"])
def test_a_failure_is_a_failure_and_the_lab_is_stopped_all_the_same(agent: Agent, broken: str) -> None:
    agent.makefile("demo:\ntest:\n" + f"{broken}:\n\t@exit 3\n")
    assert agent.run(agent.lab("nothing runs")).returncode != 0
    assert agent.calls[-1] == "lab down"


def test_a_process_that_is_left_behind_is_named_stopped_and_a_failure(agent: Agent) -> None:
    agent.makefile("demo:\n\t@setsid sleep 614 >/dev/null 2>&1 &\ntest:\n")
    done = agent.run()
    assert done.returncode == 1
    assert "still running: " in done.stdout
    assert "sleep 614" in done.stdout
    assert subprocess.run(["pgrep", "-f", "^sleep 614$"], capture_output=True, check=False).returncode == 1


@pytest.mark.slow  # ten seconds of grace
def test_a_process_that_ignores_the_request_to_stop_is_killed(agent: Agent) -> None:
    agent.makefile("demo:\n\t@setsid sh -c 'trap \"\" TERM; exec sleep 615' >/dev/null 2>&1 &\ntest:\n")
    assert agent.run().returncode == 1
    assert subprocess.run(["pgrep", "-f", "^sleep 615$"], capture_output=True, check=False).returncode == 1


def test_nothing_waits_for_a_keyboard(agent: Agent) -> None:
    agent.makefile("demo:\n\t@if read answer; then exit 1; fi\ntest:\n")
    assert agent.run().returncode == 0


def test_missing_packages_are_installed_after_the_lists_are_fetched(agent: Agent) -> None:
    agent.put("dpkg-query", 'case "$*" in *chromium*) exit 1 ;; *) echo install ok installed ;; esac')
    done = agent.run()
    if os.geteuid() == 0:
        assert agent.calls == [
            "apt-get update -qq",
            "apt-get install -qq -y --no-install-recommends chromium chromium-driver",
        ]
    else:
        assert "not root: going on without chromium chromium-driver" in done.stdout
    assert done.returncode == 0
