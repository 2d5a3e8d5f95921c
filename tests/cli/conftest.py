"""Commands that need neither servers nor models, called as the terminal calls them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ridgeway.cli import run
from ridgeway.run_log import RunLog

Command = Callable[..., tuple[int, str, str]]


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
        code = run(arguments)
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
