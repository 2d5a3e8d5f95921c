"""Where a run keeps what it keeps, and where a job works: the folders that an agent has, and their variables."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ridgeway.ci.azure import Counters
from ridgeway.errors import StorageError
from ridgeway.places import state_of
from ridgeway.run_log import exclusive

FOLDER: Final = "ci"
"""In the project's state: a folder for each run, named by its number."""
_COUNTERS: Final = "counters.json"


@dataclass(frozen=True)
class RunFolder:
    """One run's folder.

    Attributes:
        path: Absolute.
        number: Of the run, from 1.
    """

    path: Path
    number: int

    @property
    def artifacts(self) -> Path:
        """A folder for each published artifact."""
        return self.path / "artifacts"

    @property
    def work(self) -> Path:
        """Where jobs work; removed with them."""
        return self.path / "work"

    def log(self, path: str, place: int) -> Path:
        """The log of a step.

        Example:
            >>> str(RunFolder(Path("/r/1"), 1).log("QA/release/run", 2))
            '/r/1/logs/QA/release/02_run.log'
        """
        stage, job, step = path.split("/", 2)
        return self.path / "logs" / stage / job / f"{place:02}_{re.sub(r'[^-_A-Za-z0-9]', '-', step)}.log"


def prepare(root: Path) -> RunFolder:
    """A new run's folder below the state of the repository at ``root``, with the next number.

    Raises:
        StorageError: The disk is full or cannot be written.
    """
    runs = state_of(root) / FOLDER
    with writing("cannot make a folder for the run", runs):
        # A project made by us has it in its .gitignore; pipelines of other repositories run here as well.
        is_new = not runs.parent.exists()
        runs.mkdir(parents=True, exist_ok=True)
        if is_new:
            (runs.parent / ".gitignore").write_text("*\n", encoding="utf-8")
        number = max((int(found.name) for found in runs.iterdir() if found.name.isdecimal()), default=0) + 1
        while True:
            with suppress(FileExistsError):
                (runs / str(number)).mkdir()
                break
            number += 1
        made = RunFolder(runs / str(number), number)
        made.artifacts.mkdir()
    return made


@contextmanager
def writing(doing: str, where: Path) -> Iterator[None]:
    """Within it, what the disk refuses is an error that says what was being done.

    Raises:
        StorageError: The disk is full or cannot be written.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            doing,
            where=str(error.filename or where),
            problem=error.strerror or str(error),
            expected="space, and the right to write",
            next_step="make room, then run the same command again",
        ) from error


@contextmanager
def counted(root: Path, file: str) -> Iterator[Counters]:
    """The counters of a pipeline, as its earlier runs here left them; kept again at the end.

    Args:
        root: The repository's root.
        file: The pipeline's file.
    """
    kept = state_of(root) / FOLDER / _COUNTERS
    with exclusive(root, "ci counters", wait_seconds=30):
        counters = Counters(dict(_read(kept).get(file, {})))
    before = dict(counters.last)
    try:
        yield counters
    finally:
        if counters.last != before:
            with exclusive(root, "ci counters", wait_seconds=30), writing("cannot keep the counters", kept):
                made = _read(kept)
                last = made.get(file, {})
                made[file] = {name: max(value, last.get(name, value)) for name, value in counters.last.items()}
                partial = kept.with_suffix(".partial")
                partial.write_text(json.dumps(made), encoding="utf-8")
                partial.replace(kept)


def _read(kept: Path) -> dict[str, dict[str, int]]:
    with suppress(OSError, ValueError):
        made = json.loads(kept.read_text(encoding="utf-8"))
        return made if isinstance(made, dict) else {}
    return {}


@dataclass(frozen=True)
class Workspace:
    """The folders of a job, as an agent of Azure Pipelines has them.

    Attributes:
        root: ``Pipeline.Workspace`` and ``Agent.BuildDirectory``.
    """

    root: Path

    @property
    def sources(self) -> Path:
        """``Build.SourcesDirectory``."""
        return self.root / "s"

    @property
    def temporary(self) -> Path:
        """``Agent.TempDirectory``."""
        return self.root / "_temp"

    @property
    def tools(self) -> Path:
        """``Agent.ToolsDirectory``."""
        return self.root / "_tool"

    def make(self) -> None:
        """Makes all of them.

        Raises:
            StorageError: The disk is full or cannot be written.
        """
        with writing("cannot make the folders of a job", self.root):
            for name in ("s", "a", "b", "TestResults", "_temp", "_tool"):
                (self.root / name).mkdir(parents=True, exist_ok=True)

    def remove(self) -> None:
        """Removes them with all that is in them, as far as that is possible."""
        shutil.rmtree(self.root, ignore_errors=True)

    def variables(self) -> dict[str, str]:
        """The predefined variables that name them."""
        root, sources = str(self.root), str(self.sources)
        return {
            "Agent.BuildDirectory": root,
            "Agent.HomeDirectory": root,
            "Agent.TempDirectory": str(self.temporary),
            "Agent.ToolsDirectory": str(self.tools),
            "Agent.WorkFolder": str(self.root.parent),
            "Build.ArtifactStagingDirectory": f"{root}/a",
            "Build.BinariesDirectory": f"{root}/b",
            "Build.Repository.LocalPath": sources,
            "Build.SourcesDirectory": sources,
            "Build.StagingDirectory": f"{root}/a",
            "Common.TestResultsDirectory": f"{root}/TestResults",
            "Pipeline.Workspace": root,
            "System.ArtifactsDirectory": f"{root}/a",
            "System.DefaultWorkingDirectory": sources,
        }
