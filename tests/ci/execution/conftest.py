"""Pipelines of a few lines, carried out with real processes in a git repository of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ridgeway.ci.azure import Folder, Inputs, plan
from ridgeway.ci.execution import Approval, Ended, Machine, Outcome, execute, prepare
from ridgeway.ci.execution.agent import inherited
from ridgeway.ci.execution.checkout import source
from ridgeway.ci.execution.run import up_to

Carried = Callable[..., "Told"]


@dataclass
class Told:
    """A run as its watcher has seen it."""

    answers: dict[str, bool | None] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    asked: list[Approval] = field(default_factory=list)
    outcome: Outcome | None = None
    root: Path = Path()
    hears: Callable[[str, str], None] | None = None

    def begins(self, path: str, what: str) -> None:
        """Nothing of interest."""

    def says(self, path: str, line: str) -> None:
        self.lines.append(line)
        if self.hears:
            self.hears(path, line)

    def ends(self, end: Ended) -> None:
        """The outcome has them all."""

    def approves(self, approval: Approval) -> bool | None:
        self.asked.append(approval)
        return self.answers.get(approval.environment)

    @property
    def made(self) -> Outcome:
        assert self.outcome is not None
        return self.outcome

    @property
    def results(self) -> dict[str, str]:
        """Results by path, the steps without those that nobody wrote."""
        return {
            path: end.result
            for path, end in self.made.ends.items()
            if path.rsplit("/", 1)[-1] not in {"checkout", "download"}
        }

    def notes(self, path: str) -> str:
        return "; ".join(self.made.ends[path].notes)

    def log(self, path: str) -> str:
        return (Path(self.made.folder) / self.made.ends[path].log).read_text(encoding="utf-8")


def repository(folder: Path, files: dict[str, str]) -> Path:
    """A repository with one commit of the files."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    git(folder, "init", "--quiet", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "First")
    return folder


def git(folder: Path, *arguments: str) -> str:
    own = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "core.hooksPath=/dev/null"]
    done = subprocess.run(["git", *own, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def carried(tmp_path: Path) -> Carried:
    """Carries a pipeline out; what its watcher was told. Retries wait for nothing, processes have a second to end."""

    def carry(text: str, told: Told | None = None, **options: Any) -> Told:
        told = told or Told(options.pop("answers", {}))
        files = {"ci.yml": textwrap.dedent(text), "file.txt": "committed\n", **options.pop("files", {})}
        told.root = tmp_path / "repository"
        if not told.root.exists():
            repository(told.root, files)
        (told.root / "ci.yml").write_text(files["ci.yml"], encoding="utf-8")
        stages = options.pop("stages", ())
        jobs, secure_files = options.pop("jobs", 2), options.pop("secure_files", {})
        machine = Machine(
            inherited(os.environ),
            sys.platform,
            Path(sys.executable),
            jobs=jobs,
            secure_files=secure_files,
            retry_seconds=0,
        )
        found = source(told.root)
        made = up_to(plan("ci.yml", Inputs(commit=found.commit, **options), Folder(told.root)), stages)
        told.outcome = execute(made, machine, found, prepare(told.root), told)
        return told

    return carry
