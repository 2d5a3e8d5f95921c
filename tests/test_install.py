"""`env/install.sh` finds what it needs on any machine, or says in one line what is missing. No network is used here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = ("sh", "awk", "cat", "cksum", "dirname", "grep", "rm", "mkdir", "uname", "chmod")
"""What the script may use of a POSIX system."""


class Machine:
    """A working copy and a PATH on which there is nothing but a POSIX shell and what a test puts there."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.tree, self.bin = folder / "tree", folder / "bin"
        self.bin.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found
            (self.bin / tool).symlink_to(found)
        (self.tree / "env").mkdir(parents=True)
        for name in ("env/install.sh", "env/requirements.txt", "pyproject.toml"):
            shutil.copy(repository / name, self.tree / name)

    def put(self, name: str, script: str) -> Path:
        """A program on this machine's PATH."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    def install(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.bin / "sh"), "env/install.sh", *arguments]
        variables = {"PATH": str(self.bin), "HOME": str(self.tree), **environment}
        return subprocess.run(command, cwd=self.tree, env=variables, capture_output=True, text=True, check=False)


@pytest.fixture
def machine(repository: Path, tmp_path: Path) -> Machine:
    return Machine(repository, tmp_path)


REAL = f'exec "{sys.executable}" "$@"'
"""A Python that works."""
STUB = "echo 'command exists in another version' >&2; exit 127"
"""What version managers leave on PATH."""
NO_VENV = f'case "$1 $2" in "-m venv") echo "ensurepip is not available"; exit 1 ;; "-m pip") {{}} ;; *) {REAL} ;; esac'


def test_without_python_there_is_one_line_that_says_what_to_do(machine: Machine) -> None:
    machine.put("python3", STUB)
    done = machine.install()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "install: no Python 3.11, 3.12 or 3.13 found; install one, or name it: make … PYTHON=/path/to/python3.12\n"
    )


def test_a_python_that_is_named_but_unfit_is_named_in_the_message(machine: Machine) -> None:
    machine.put("python3", REAL)
    done = machine.install(PYTHON="python2")
    assert done.returncode == 1
    assert "found as PYTHON=python2;" in done.stderr


def test_neither_venv_nor_pip_is_said_with_the_way_out(machine: Machine) -> None:
    machine.put("python3", NO_VENV.format("exit 1"))
    done = machine.install()
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "install: no recent uv on PATH: installing one into .tools",
        (
            "install: this Python can install nothing: it has neither venv nor pip. On Debian or Ubuntu: "
            "apt-get install python3-venv; anywhere: install uv"
        ),
    ]


def test_a_stub_is_passed_over_and_pip_alone_brings_uv(machine: Machine) -> None:
    machine.put("python3.13", STUB)
    pip = (
        "mkdir -p .tools/lib/bin; printf '#!/bin/sh\\necho uv 0.9.1\\n' >.tools/lib/bin/uv; chmod +x .tools/lib/bin/uv"
    )
    machine.put("python3", NO_VENV.format(pip))
    done = machine.install("uv")
    assert (done.returncode, done.stdout) == (0, ".tools/lib/bin/uv\n"), done.stderr


@pytest.mark.parametrize(("version", "taken"), [("0.13.9", True), ("0.8.0", True), ("1.0.0", True), ("0.7.22", False)])
def test_a_uv_that_is_too_old_is_not_used(machine: Machine, version: str, taken: bool) -> None:
    old = machine.put("uv", f'echo "uv {version} (x86_64)"')
    done = machine.install("uv")
    assert (done.stdout == f"{old}\n") is taken
    assert (done.returncode == 0) is taken


def test_an_unreachable_index_is_said_once(machine: Machine) -> None:
    machine.put("python3", NO_VENV.format('case "$3" in --version) exit 0 ;; *) exit 1 ;; esac'))
    done = machine.install()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "install: pip could not install uv: is a package index reachable from here?"


def recording_uv(machine: Machine) -> Path:
    """A uv that makes environments and otherwise writes down what it was asked to do."""
    log = machine.tree / "asked"
    machine.put(
        "uv",
        'case "$1" in --version) echo "uv 0.13.9"; exit ;;\n'
        f"venv) mkdir -p .venv/bin; printf '%s\\n' \"#!/bin/sh\" '{REAL}' >.venv/bin/python; "
        "chmod +x .venv/bin/python ;; esac\n"
        f'echo "$* index=$UV_DEFAULT_INDEX certificate=$SSL_CERT_FILE" >>{log}',
    )
    machine.put("python3", REAL)
    return log


def test_the_own_tree_gets_exactly_the_pinned_versions_and_then_itself(machine: Machine) -> None:
    log = recording_uv(machine)
    (machine.tree / "src/ridgeway").mkdir(parents=True)
    assert machine.install().returncode == 0
    _, sync, itself = log.read_text().splitlines()
    assert "pip sync --python .venv/bin/python --require-hashes env/requirements.txt" in sync
    assert "pip install --python .venv/bin/python --no-deps --no-build-isolation --editable ." in itself


def test_a_project_takes_ridgeway_from_the_named_wheel(machine: Machine, tmp_path: Path) -> None:
    log = recording_uv(machine)
    wheel = tmp_path / "ridgeway-1.whl"
    wheel.write_bytes(b"")
    assert machine.install(RIDGEWAY_WHEEL=str(wheel)).returncode == 0
    asked = log.read_text().splitlines()[-1]
    assert f"--constraints env/requirements.txt {wheel} " in asked
    assert "--find-links" not in asked


@pytest.mark.parametrize("given", [True, False])
def test_a_project_that_cannot_be_installed_is_told_of_the_wheel(machine: Machine, tmp_path: Path, given: bool) -> None:
    recording_uv(machine)
    failing = (machine.bin / "uv").read_text().partition("\n")[2]
    machine.put("uv", f'{failing}[ "$1" != pip ] || exit 2')
    wheel = tmp_path / "ridgeway-1.whl"
    wheel.write_bytes(b"")
    done = machine.install(**({"RIDGEWAY_WHEEL": str(wheel)} if given else {}))
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("install: failed: ")
    assert (f"RIDGEWAY_WHEEL={wheel}" if given else "make test RIDGEWAY_WHEEL=/path/to/ridgeway-….whl") in last


def test_a_wheel_that_is_not_there_is_named(machine: Machine) -> None:
    recording_uv(machine)
    done = machine.install(RIDGEWAY_WHEEL="/nowhere/ridgeway-1.whl")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "install: RIDGEWAY_WHEEL=/nowhere/ridgeway-1.whl is not a file"


def test_what_pip_was_told_is_told_to_uv(machine: Machine) -> None:
    log = recording_uv(machine)
    machine.install(PIP_INDEX_URL="https://packages.example/simple", PIP_CERT="/certificates/own.pem")
    assert (
        log.read_text()
        .splitlines()[-1]
        .endswith("index=https://packages.example/simple certificate=/certificates/own.pem")
    )


def test_a_second_time_nothing_is_done_until_something_changes(machine: Machine) -> None:
    log = recording_uv(machine)
    for _ in range(3):
        assert machine.install().returncode == 0
    before = log.read_text()
    assert before.count("pip install") == 1
    with (machine.tree / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert machine.install().returncode == 0
    assert log.read_text().count("pip install") == 2


def test_an_installation_that_failed_is_tried_again(machine: Machine) -> None:
    log = recording_uv(machine)
    working = (machine.bin / "uv").read_text()
    machine.put("uv", f'{working.partition(chr(10))[2]}[ "$1" != pip ] || exit 3')
    assert machine.install().returncode == 3
    assert not (machine.tree / ".venv/.installed").exists()
    (machine.bin / "uv").write_text(working)
    assert machine.install().returncode == 0
    assert log.read_text().count("pip install") == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_fresh_copy_installs_from_the_pinned_versions(repository: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (repository / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repository / name, copy / name)
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    command = ["make", "setup", f"PYTHON={sys.executable}"]
    subprocess.run(command, cwd=copy, env=environment, check=True)
    shown = subprocess.run([copy / ".venv/bin/ridgeway", "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("ridgeway, version")
    place = [copy / ".venv/bin/python", "-c", "import ridgeway; print(ridgeway.__file__)"]
    assert subprocess.run(place, capture_output=True, text=True, check=True).stdout.startswith(str(copy / "src"))
