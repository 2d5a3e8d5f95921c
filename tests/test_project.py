"""The repository agrees with itself: environments, pinned versions, contracts, the two commands, README."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYTHONS = ("3.11", "3.12", "3.13")


@pytest.fixture(scope="module")
def pyproject(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tracked(repository: Path) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    return [repository / name for name in listed.stdout.split("\0") if name and (repository / name).is_file()]


def requirements(pyproject: dict[str, Any]) -> list[Requirement]:
    return [Requirement(text) for text in pyproject["project"]["dependencies"] + pyproject["dependency-groups"]["dev"]]


# ---- environments ----------------------------------------------------------------------------------------------------


CONDA_NAMES = {"docker": "docker-py", "kubernetes": "python-kubernetes"}
"""Where conda-forge calls a distribution by another name."""


def test_the_conda_environment_has_the_names_and_ranges_of_pyproject(
    repository: Path, pyproject: dict[str, Any]
) -> None:
    conda = yaml.safe_load((repository / "env/conda.yml").read_text(encoding="utf-8"))["dependencies"]
    plain = [entry for entry in conda if isinstance(entry, str)]
    by_pip = [entry["pip"] for entry in conda if isinstance(entry, dict)]
    wanted = {"python": pyproject["project"]["requires-python"], "pip": ""}
    requirements = map(Requirement, pyproject["project"]["dependencies"])
    wanted |= {CONDA_NAMES.get(item.name, item.name): str(item.specifier) for item in requirements}
    found = {name: ranges for name, _, ranges in (entry.partition(" ") for entry in plain)}
    assert {name: set(ranges.split(",")) for name, ranges in found.items()} == {
        name: set(ranges.split(",")) for name, ranges in wanted.items()
    }
    assert by_pip == [["--editable .."]]


def pins(repository: Path) -> list[Requirement]:
    text = (repository / "env/requirements.txt").read_text(encoding="utf-8")
    return [Requirement(line.rstrip(" \\")) for line in text.splitlines() if re.match(r"[A-Za-z0-9]", line)]


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_is_pinned_inside_its_range(repository: Path, pyproject: dict[str, Any], python: str) -> None:
    chosen = {
        canonicalize_name(pin.name): pin
        for pin in pins(repository)
        if pin.marker is None or pin.marker.evaluate(machine(python))
    }
    for wanted in requirements(pyproject):
        pin = chosen[canonicalize_name(wanted.name)]
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert wanted.specifier.contains(exact.version), f"{pin} is outside {wanted}: make lock"


def machine(python: str) -> dict[str, str]:
    return {
        "python_version": python,
        "python_full_version": f"{python}.5",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "platform_machine": "x86_64",
    }


def test_every_pin_has_hashes_and_nothing_says_where_it_came_from(repository: Path) -> None:
    text = (repository / "env/requirements.txt").read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text)[1:]
    assert len(blocks) == len(pins(repository)) > 100
    assert [block.partition("\n")[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host", text) is None


def test_no_file_names_a_package_registrys_host(repository: Path, tracked: list[Path]) -> None:
    hosts = [".".join(parts).encode() for parts in (("pypi", "org"), ("pythonhosted", "org"), ("anaconda", "org"))]
    named = [
        f"{file.relative_to(repository)}: {host.decode()}"
        for file in tracked
        for host in hosts
        if host in file.read_bytes()
    ]
    assert named == []


def test_the_pythons_that_are_promised_are_the_pythons_that_are_allowed(pyproject: dict[str, Any]) -> None:
    promised = [
        line.rpartition(" ")[2] for line in pyproject["project"]["classifiers"] if re.search(r":: 3\.\d+$", line)
    ]
    allowed = Requirement(f"python {pyproject['project']['requires-python']}").specifier
    assert promised == list(PYTHONS)
    assert [f"3.{minor}" for minor in range(9, 20) if allowed.contains(f"3.{minor}")] == list(PYTHONS)


# ---- the architecture ------------------------------------------------------------------------------------------------


def test_every_contract_is_a_sentence(pyproject: dict[str, Any]) -> None:
    names = [contract["name"] for contract in pyproject["tool"]["importlinter"]["contracts"]]
    assert len(names) == len(set(names)) >= 10
    assert [name for name in names if len(name.split()) < 4] == []


@pytest.fixture(scope="module")
def copy_of_the_code(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("code")
    for name in ("src", "flows", "steps"):
        shutil.copytree(repository / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(repository / "pyproject.toml", copy)
    return copy


def check_contracts(folder: Path) -> subprocess.CompletedProcess[str]:
    # The path puts the copy before the editable installation of the repository.
    program = "import sys; sys.path[:0] = ['src', '.']; from importlinter.cli import lint_imports_command as run; run()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-logo"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_code_keeps_its_contracts(copy_of_the_code: Path) -> None:
    done = check_contracts(copy_of_the_code)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "line", "broken"),
    [
        ("src/ridgeway/stray.py", "", "Inside ridgeway"),
        ("src/ridgeway/data_source.py", "import ridgeway.training", "Inside ridgeway"),
        ("src/ridgeway/settings.py", "import mlflow", "MLflow has one home"),
        ("src/ridgeway/actions/__init__.py", "import prefect", "Prefect has one home"),
        ("src/ridgeway/cli/__init__.py", "import steps", "Commands load flows by path"),
        ("src/ridgeway_server/errors.py", "import ridgeway.errors", "The scoring server knows nothing"),
    ],
)
def test_a_breach_of_the_architecture_fails_the_build(
    copy_of_the_code: Path, path: str, line: str, broken: str
) -> None:
    file = copy_of_the_code / path
    before = file.read_text(encoding="utf-8") if file.exists() else None
    file.write_text(f"{before or ''}\n{line}\n", encoding="utf-8")
    try:
        done = check_contracts(copy_of_the_code)
    finally:
        file.unlink() if before is None else file.write_text(before, encoding="utf-8")
    assert done.returncode == 1, done.stdout
    assert re.search(rf"{broken}[^K]*BROKEN", done.stdout), done.stdout


# ---- the two commands, and README ------------------------------------------------------------------------------------


def test_every_target_of_the_makefile_is_explained(repository: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (repository / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout
    assert [line.split()[1] for line in shown.splitlines()] == targets
    assert {"demo", "test", "test-all", "lint", "lock", "clean"} <= set(targets)


def test_continuous_integration_runs_the_two_commands(repository: Path) -> None:
    script = repository / ".ci/run"
    assert script.stat().st_mode & 0o111
    text = script.read_text(encoding="utf-8")
    assert text.index("make demo") < text.index("make test")
    assert "set -euo pipefail" in text
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("script", ["env/install.sh", "demo/play.sh"])
def test_the_scripts_are_posix_shell(repository: Path, script: str) -> None:
    shell = shutil.which("dash") or "sh"
    subprocess.run([shell, "-n", repository / script], check=True)


def test_readmes_table_is_what_ls_shows(repository: Path, tracked: list[Path]) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    table = [cell.rstrip("/") for cell in re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)]
    shown = {file.relative_to(repository).parts[0] for file in tracked}
    assert sorted(table) == sorted(name for name in shown if not name.startswith("."))


def test_the_changelog_has_a_standing_section_for_what_comes_next(repository: Path) -> None:
    text = (repository / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE)[0] == "[Unreleased]"
