"""The wheel carries all that a new project needs, from a working copy and by way of the sdist alike."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ridgeway import __version__, scaffold

MAKE_DATA = """
import numpy, pandas
draw = numpy.random.default_rng(0)
rows = 2000
months = draw.integers(1, 72, rows)
plan = draw.choice(["basic", "plus", "pro"], rows)
charge = numpy.where(draw.random(rows) < 0.1, numpy.nan, draw.normal(60, 15, rows).round(2))
churned = numpy.where(draw.random(rows) < 1 / (1 + numpy.exp(months / 12 - 2 + 2 * (plan == "pro"))), "yes", "no")
plan = numpy.where(draw.random(rows) < 0.05, None, plan)
frame = pandas.DataFrame({"months": months, "plan": plan, "charge": charge, "churned": churned})
frame.to_parquet("churn.parquet", index=False)
"""
"""Strings, missing values in a text and in a number, and a label that is a text."""


def build(repository: Path, kind: str, target: Path) -> Path:
    """The one file that hatchling makes of the repository."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(target)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    (made,) = target.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(repository, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def test_the_wheel_carries_the_scaffold_of_the_repository_and_nothing_else(repository: Path, unpacked: Path) -> None:
    carried = scaffold.read_template(unpacked / "ridgeway/_scaffold")
    assert carried == scaffold.read_template(repository)
    files = [file.relative_to(unpacked) for file in unpacked.rglob("*") if file.is_file()]
    assert {file.parts[0] for file in files} == {"ridgeway", "ridgeway_server", f"ridgeway-{__version__}.dist-info"}
    assert [file for file in files if "__pycache__" in file.parts or file.suffix == ".pyc"] == []
    assert (unpacked / "ridgeway/py.typed").is_file()


def test_the_wheel_says_what_it_needs_and_under_which_licence(unpacked: Path) -> None:
    info = unpacked / f"ridgeway-{__version__}.dist-info"
    metadata = (info / "METADATA").read_text(encoding="utf-8")
    assert f"Version: {__version__}\n" in metadata
    assert "License-Expression: Apache-2.0\n" in metadata
    assert "Requires-Dist: marshmallow<4,>=3.18\n" in metadata
    assert (info / "licenses/LICENSE").is_file()
    assert "ridgeway = ridgeway.cli:main" in (info / "entry_points.txt").read_text(encoding="utf-8")


def test_a_new_project_from_the_wheel_is_that_from_the_working_copy(unpacked: Path, elsewhere: Path) -> None:
    # Isolated from the editable installation of the repository, which a .pth file would put on the path.
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from ridgeway.cli import main; main()"
    command = [sys.executable, "-c", program, str(unpacked), "new", "made"]
    subprocess.run(command, check=True, capture_output=True)
    planned = scaffold.plan(scaffold.read_template(scaffold.template_root()), name="made", version=__version__)
    made = {
        file.relative_to(elsewhere / "made").as_posix(): file.read_bytes()
        for file in (elsewhere / "made").rglob("*")
        if file.is_file()
    }
    assert made == {file.path: file.content for file in planned}


@pytest.mark.slow
def test_the_sdist_makes_the_same_wheel(repository: Path, unpacked: Path, tmp_path: Path) -> None:
    sdist = build(repository, "sdist", tmp_path / "sdist")
    shutil.unpack_archive(sdist, tmp_path / "source", filter="data")
    again = build(tmp_path / "source" / f"ridgeway-{__version__}", "wheel", tmp_path / "wheel")
    inside = {name for name in zipfile.ZipFile(again).namelist() if not name.endswith("RECORD")}
    before = {file.relative_to(unpacked).as_posix() for file in unpacked.rglob("*") if file.is_file()}
    assert inside == {name for name in before if not name.endswith("RECORD")}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_wheel_in_an_empty_environment_makes_a_project_whose_own_tests_pass(
    wheel: Path, uv: str, repository: Path, elsewhere: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}

    def run(*command: str | Path, folder: Path = elsewhere, codes: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(
            list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode in codes, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    pins = repository / "env/requirements.txt"
    python, ridgeway = elsewhere / "empty/bin/python", elsewhere / "empty/bin/ridgeway"
    run(uv, "venv", "--quiet", "--python", sys.executable, elsewhere / "empty")
    run(uv, "pip", "install", "--quiet", "--python", python, "--constraints", pins, wheel)
    run(python, "-c", MAKE_DATA)
    run(ridgeway, "new", "churn", "--data", "churn.parquet", "--label", "churned")
    project = elsewhere / "churn"
    assert 'task = "classification"' in (project / "ridgeway.toml").read_text(encoding="utf-8")
    tested = run("make", "test", f"RIDGEWAY_WHEEL={wheel}", f"PYTHON={sys.executable}", folder=project)
    assert "4 passed" in tested
    assert run(project / ".venv/bin/ridgeway", "--version", folder=project).strip().endswith(__version__)
    try:
        trained = run("make", "train", f"RIDGEWAY_WHEEL={wheel}", folder=project)
    finally:
        run(project / ".venv/bin/ridgeway", "down", folder=project)
    assert "models:/churn/1" in trained
