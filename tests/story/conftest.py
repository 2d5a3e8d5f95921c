"""Whole stories: projects made by `ridgeway new`, commands called as the terminal calls them, and what is left of it.

Commands run in this process, because importing what they need takes longer than all that they do; where a process must
die, a real one does. All projects share one local Prefect server, which ends with the session.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ridgeway.cli import invoke
from ridgeway.registry import GlancedVersion, glance
from ridgeway.run_log import RunLog, RunRecord

if TYPE_CHECKING:
    from tests.story.release_project import ReleaseStory

# MLflow asks SQLAlchemy for something that its version 2.1 has deprecated; MLflow's users cannot change that.
KNOWN_WARNINGS = ("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning",)
# What `ridgeway` on the command line does. Who runs tests in the background hands on that Ctrl-C is to be ignored.
PROGRAM = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import ridgeway.cli as c; c.main()"
FEW_COLUMNS = 'data.ignore=["bp", "s1", "s2", "s3", "s4", "s5", "s6"]'


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            for warning in KNOWN_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The error as the terminal shows it, from ``error:`` to the end."""
        return self.err[self.err.index("error: ") :] if "error: " in self.err else ""

    @property
    def line(self) -> str:
        """The last line of the result."""
        return self.out.rstrip("\n").rpartition("\n")[2]


@dataclass(frozen=True)
class Story:
    """A project, and commands given in it."""

    root: Path
    name: str = "diabetes"

    def ridgeway(self, *arguments: str | Path, **environment: str) -> Ended:
        """What a command given in the project's folder came to."""
        return ridgeway(*arguments, folder=self.root, **environment)

    def process(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """A command under way in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment, "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def versions(self, uri: str = "sqlite:///.ridgeway/mlflow.db") -> tuple[GlancedVersion, ...]:
        """What the registry holds, as its tables have it."""
        seen = glance(uri, self.name, self.root)
        assert seen is not None
        return seen.versions

    def runs(self) -> list[RunRecord]:
        """The runs on record, newest first."""
        return RunLog(self.root).records()

    def path(self, name: str) -> Path:
        """A file of the project."""
        return self.root / name

    def edit(self, name: str, old: str, new: str) -> None:
        """Replaces text in a file of the project, which must be there."""
        text = self.path(name).read_text(encoding="utf-8")
        assert old in text
        self.path(name).write_text(text.replace(old, new), encoding="utf-8")


def ridgeway(*arguments: str | Path, folder: Path, **environment: str) -> Ended:
    """What a command given in ``folder`` came to; this process is left as it was."""
    out, err = io.StringIO(), io.StringIO()
    with _as_it_was(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        os.chdir(folder)
        os.environ.update(environment)
        code = invoke([str(argument) for argument in arguments])
    return Ended(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """A command is alone in its process: another one finds no environment, folder or modules of this one."""
    environment, folder = dict(os.environ), Path.cwd()
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = written
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        for name in [name for name in sys.modules if re.match(r"(flows|steps)(\.|$)", name)]:
            del sys.modules[name]


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A project with one model, made of three columns; to be copied, not to be changed. Its server serves all."""
    story = Story(tmp_path_factory.mktemp("first") / "diabetes")
    made = ridgeway("new", story.root, folder=story.root.parent)
    assert made.code == 0, made.err
    try:
        trained = story.ridgeway("run", "retraining", "--set", FEW_COLUMNS)
        assert (trained.code, trained.line) == (0, "models:/diabetes/1"), trained.err
        yield story
    finally:
        story.ridgeway("down")


def copied(source: Path, target: Path, *, server: Path) -> Path:
    """A copy of a project that uses the same Prefect server."""
    shutil.copytree(source, target, ignore=lambda folder, _: ["prefect"] if folder.endswith(".ridgeway") else [])
    (target / ".ridgeway").mkdir(exist_ok=True)
    (target / ".ridgeway" / "prefect").symlink_to(server)
    return target


@pytest.fixture
def story(first: Story, tmp_path: Path) -> Story:
    """A project of the test's own with one registered model."""
    return Story(copied(first.root, tmp_path / "diabetes", server=first.root / ".ridgeway" / "prefect"))


@pytest.fixture(scope="module")
def lasting(first: Story, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A project with one registered model for all tests of a module that must leave it so."""
    target = tmp_path_factory.mktemp("lasting") / "diabetes"
    return Story(copied(first.root, target, server=first.root / ".ridgeway" / "prefect"))


@pytest.fixture
def empty(first: Story, tmp_path: Path) -> Story:
    """A new project in which nothing has run."""
    story = Story(tmp_path / "diabetes")
    assert ridgeway("new", story.root, folder=tmp_path).code == 0
    (story.root / ".ridgeway").mkdir()
    (story.root / ".ridgeway" / "prefect").symlink_to(first.root / ".ridgeway" / "prefect")
    return story


@pytest.fixture
def around(first: Story, tmp_path: Path) -> Callable[..., Story]:
    """Makes a project around a data file of one's own."""

    def make(name: str, data: Path, label: str) -> Story:
        made = ridgeway("new", name, "--data", data, "--label", label, folder=tmp_path)
        assert made.code == 0, made.err
        (tmp_path / name / ".ridgeway").mkdir()
        (tmp_path / name / ".ridgeway" / "prefect").symlink_to(first.root / ".ridgeway" / "prefect")
        return Story(tmp_path / name, name)

    return make


@pytest.fixture(scope="session")
def pair(first: Story, tmp_path_factory: pytest.TempPathFactory) -> ReleaseStory:
    """A project with two models of the same columns, of which nothing was released; to be copied, not to be changed."""
    from tests.story.release_project import two_models

    return two_models(first, tmp_path_factory.mktemp("pair"))


def tree(root: Path) -> dict[str, str]:
    """Every file below a folder with the digest of its content."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
