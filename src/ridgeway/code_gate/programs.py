"""Programs started for a gate: within a time, ended with whoever asked, their output kept in files."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ridgeway.artifacts import BuildFinding
from ridgeway.errors import Permanent, UsageError

GUARD = Path(__file__).with_name("guard.py")
FOREIGN = ("PREFECT_", "COVERAGE_", "COV_", "PYTEST_XDIST", "PYTEST_CURRENT_TEST", "PYTEST_VERSION", "GIT_")
"""Beginnings of variables that are about this process: its server, the measurement, test or hook that it is part of."""
PATIENCE_SECONDS = 10
"""How long a program that was interrupted may take to say what it was doing."""
TOLD_LINES = 20
"""So many of the last lines of a program that went wrong are told."""
PAUSE_SECONDS = 0.1


class TimeIsUp(Permanent):
    """A gate that took too long and was ended."""

    exit_code = 7


@dataclass(frozen=True)
class Place:
    """What is looked at, and where tools may write; never into what is looked at, so that a clean tree stays clean."""

    folder: Path
    """The project's folder."""
    output: Path
    """Where the run keeps what tools say; files are named relative to its parent, the run's folder."""
    cache: Path
    """Where tools remember what they have seen."""
    timeout_seconds: float = 1800
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables for the tools, over those of this process."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set by whoever wants all programs to end at once."""

    def relative(self, file: str | Path) -> str:
        """A file as a finding names it: relative to the folder if it is below it.

        Example:
            >>> here = Place(Path("/p"), Path("/p/out"), Path("/p/cache"))
            >>> here.relative("/p/steps/a.py"), here.relative("./a.py"), here.relative("/elsewhere/a.py")
            ('steps/a.py', 'a.py', '/elsewhere/a.py')
        """
        path = Path(os.path.normpath(self.folder / file))
        for folder in (self.folder, self.folder.resolve()):
            if path.is_relative_to(folder):
                return path.relative_to(folder).as_posix()
        return path.as_posix()

    def kept(self, file: Path) -> str:
        """The name under which a report mentions a file of ``output``."""
        return file.relative_to(self.output.parent).as_posix()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended."""

    code: int
    """Its exit code; negative: the signal that killed it."""
    out: str
    err: str
    seconds: float
    is_late: bool = False
    """It took too long, and was interrupted and then ended."""

    @property
    def last_words(self) -> str:
        """The end of what it said, for a message."""
        lines = [line.rstrip() for line in f"{self.out}\n{self.err}".splitlines() if line.strip()]
        return "\n".join(lines[-TOLD_LINES:])

    @property
    def how(self) -> str:
        """``ended with code 2``, or by which signal.

        Example:
            >>> Ended(2, "", "", 0.1).how, Ended(-9, "", "", 0.1).how
            ('ended with code 2', 'was killed by SIGKILL')
        """
        if self.code >= 0:
            return f"ended with code {self.code}"
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-self.code).name}"
        return f"was killed by signal {-self.code}"


def require(gate: str, *modules: str) -> None:
    """Nothing, if the packages that a gate needs are installed here.

    Args:
        gate: Its name in build.checks.
        modules: Names under which the packages are imported.

    Raises:
        UsageError: One is missing.
    """
    packages = {"importlinter": "import-linter", "pytest_cov": "pytest-cov"}
    missing = [packages.get(name, name) for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{gate}: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed",
            where=f"Python environment {sys.prefix}",
            expected=f"what build.checks = [… {gate!r} …] needs",
            next_step=f"uv pip install {' '.join(missing)}     or     pip install 'ridgeway[build]'",
        )


def run_python(
    name: str, arguments: Sequence[str], place: Place, *, environment: Mapping[str, str] | None = None
) -> Ended:
    """How a Python program ended that ran in the folder, with this interpreter.

    Its output is kept as ``NAME.out`` and ``NAME.err`` (if it has any) in ``place.output``. On a time limit it is first
    interrupted, as by Ctrl-C, so that it can say what it was doing.

    Args:
        name: Of the files.
        arguments: Of the interpreter, such as ``["-m", "ruff", "check"]``.
        place: Where it runs, and for how long at most.
        environment: Variables over those of this process.

    Raises:
        KeyboardInterrupt: ``place.stop`` was set; the program has ended.
    """
    place.output.mkdir(parents=True, exist_ok=True)
    place.cache.mkdir(parents=True, exist_ok=True)
    out, err, began = place.output / f"{name}.out", place.output / f"{name}.err", time.monotonic()
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(  # noqa: S603 - our own guard and a tool's name
            [sys.executable, "-I", "-S", str(GUARD), sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            cwd=place.folder,
            env={**_inherited(os.environ), **place.environment, **(environment or {})},
            start_new_session=True,  # Ctrl-C is for us, and we end it
        )
        try:
            is_late = not _wait(process, place, began + place.timeout_seconds)
            if is_late:
                process.send_signal(signal.SIGINT)
                _wait(process, place, time.monotonic() + PATIENCE_SECONDS)
        finally:
            _end(process)
    ended = Ended(process.returncode, _text(out), _text(err), time.monotonic() - began, is_late)
    if not ended.err:
        err.unlink(missing_ok=True)
    return ended


def too_late(gate: str, ended: Ended, place: Place) -> TimeIsUp:
    """The error of a gate that took too long."""
    return TimeIsUp(
        f"{gate}: ended after {place.timeout_seconds:g} s",
        where="build.timeout_seconds",
        problem="\n".join(ended.err.splitlines()[-TOLD_LINES:]),
        next_step="a larger --set build.timeout_seconds=…",
    )


def crash(gate: str, ended: Ended, place: Place) -> Permanent:
    """The error of a tool that ended in the middle, with what it said."""
    return Permanent(
        f"{gate}: the tool {ended.how} before it had looked at everything",
        where=str(place.output),
        problem=ended.last_words,
        next_step="mend what it says, then the same command again",
    )


def in_order(findings: Sequence[BuildFinding]) -> tuple[BuildFinding, ...]:
    """Findings by file and line, each once."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda one: (one.file, one.line, one.column, one.rule)))


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "file"), counted(2, "file")
        ('1 file', '2 files')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def told(findings: Sequence[BuildFinding]) -> str:
    """How many findings in how many files.

    Example:
        >>> told([BuildFinding("ruff", "a.py"), BuildFinding("ruff", "a.py", 3)])
        '2 findings in 1 file'
    """
    return f"{counted(len(findings), 'finding')} in {counted(len({one.file for one in findings}), 'file')}"


def _wait(process: subprocess.Popen[bytes], place: Place, until: float) -> bool:
    """Whether it ended by then."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(PAUSE_SECONDS)
            return True
        if place.stop.is_set():
            raise KeyboardInterrupt
        if time.monotonic() >= until:
            return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """The guard ends its program when its pipe does."""
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.close()
    process.wait()


def _inherited(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(FOREIGN)}


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")
