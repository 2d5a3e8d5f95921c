"""Commands called as the terminal calls them: most need neither servers nor models, a few a registered model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ridgeway.artifacts import Deployment, Image, InstanceType
from ridgeway.cli import invoke
from ridgeway.run_log import RunLog
from ridgeway.targets import memory
from tests.actions.conftest import made, workshop, yard

__all__ = ["made", "workshop", "yard"]  # fixtures of that folder, here too

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """The width that output has where there is no terminal, whatever the tests themselves run in."""
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with nothing but settings and one flow file; the working directory is in it."""
    (tmp_path / "ridgeway.toml").write_text("[project]\nname = 'churn'\n[training]\nseed = 3\n", encoding="utf-8")
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "retraining.py").write_text('"""Retraining: data to model."""\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ridgeway(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command: its exit code, stdout and stderr."""

    def command(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = invoke(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


@pytest.fixture
def ended(project: Path) -> str:
    """The id of a run that went through one step and ended."""
    with RunLog(project).start("retraining", run_id="ab" * 16) as record:
        with record.step("load_data"):
            import logging

            logging.getLogger("ridgeway.load_data").warning("442 rows")
        record.end("finished", sentence="accepted")
    return "ab" * 16


@pytest.fixture
def places(project: Path) -> dict[str, memory.Place]:
    """The two stages of the project as places of this process, with their knobs. Nothing runs there."""
    settings = (project / "ridgeway.toml").read_text(encoding="utf-8")
    targets = "".join(f'[targets.{name}]\nkind = "memory"\n' for name in ("qa", "production"))
    (project / "ridgeway.toml").write_text(settings + targets, encoding="utf-8")
    return {name: memory.place(project, name) for name in ("qa", "production")}


def deployed(place: memory.Place, target: str, **changes: Any) -> Deployment:
    """Puts an endpoint with keys into a place, as a release would; what runs there now."""
    digest = "sha256:" + "1" * 64
    image = Image("folder/churn", digest, "models:/churn/7", digest, digest, digest)
    machine = InstanceType("cpu-small", 1, 512)
    asked = Deployment(target, "memory", "churn", image, "releases:/churn/3", machine, **changes)
    there = memory.MemoryTarget(target, "churn", place)
    there.apply(there.plan(asked, there.observe()), package=None, say=lambda _: None)
    return asked
