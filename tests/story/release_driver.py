"""Carries out commands as processes that die at a named moment: forks of one that has everything imported already.

``python -m tests.story.release_driver`` reads orders as lines of JSON and answers each with a line of JSON. A fork is a
process of its own, which a kill -9 leaves no time for anything; what it saves is the seconds that imports take.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ridgeway.cli import invoke
from ridgeway.settings import quiet_environment
from tests.story.conftest import Ended

ROOT = Path(__file__).parents[2]
HEAVY = (
    "mlflow", "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store", "pandas",
    "prefect", "prefect.flow_engine", "prefect.task_engine", "sklearn.linear_model", "sklearn.pipeline", "skops.io",
    "ridgeway.actions.release", "ridgeway.actions.rollback", "ridgeway.cli.approve", "ridgeway.cli.run.release",
    "ridgeway.targets.process.target", "ridgeway.targets.kubernetes.target", "ridgeway.probe", "ridgeway.compiled",
)  # fmt: skip
"""What commands import, and what that imports late."""


@dataclass(frozen=True)
class Moment:
    """Before, or after, the n-th call of a function."""

    when: str
    """``before`` or ``after``."""
    what: str
    """``module:Class.method`` or ``module:function``; of a function that others import by name, where they have it."""
    nth: int = 1
    victim: int = 0
    """The process that dies then; 0: the command itself."""

    def __str__(self) -> str:
        return f"{self.when} {self.what.rpartition(':')[2]} {self.nth}"


# ---- the driver ------------------------------------------------------------------------------------------------------


@dataclass
class Driver:
    """The process that forks; ends with the block."""

    environment: Mapping[str, str] = field(default_factory=dict)

    def __enter__(self) -> Driver:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.story.release_driver"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **self.environment},
        )
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closing its input ends it
            pass

    def carry_out(
        self,
        folder: Path,
        *arguments: str,
        environment: Mapping[str, str],
        moment: Moment | None = None,
        count: tuple[str, ...] = (),
    ) -> tuple[Ended, dict[str, int]]:
        """How a command ended, and how often it called each function of ``count``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as place:
            order = {
                "folder": str(folder), "arguments": arguments, "environment": dict(environment), "place": place,
                "count": count,
                "moment": [moment.what, moment.when, moment.nth, moment.victim] if moment else None,
            }  # fmt: skip
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
            texts = [(Path(place) / name).read_text(encoding="utf-8") for name in ("out", "err")]
            counted = Path(place) / "counted"
            calls = json.loads(counted.read_text()) if counted.exists() else {}
        return Ended(answer["code"], *texts), calls


# ---- in its process --------------------------------------------------------------------------------------------------


def main() -> None:
    """Forks for each order; returns at the end of input."""
    quiet_environment()  # before what reads it
    for name in HEAVY:
        importlib.import_module(name)
    assert threading.active_count() == 1, "a fork has the thread that forks and no other"
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _carry_out(order)
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(json.dumps({"code": os.waitstatus_to_exitcode(status)}) + "\n")
        sys.stdout.flush()


def _carry_out(order: dict[str, Any]) -> None:
    code = 70
    try:
        place = Path(order["place"])
        for number, name in ((0, os.devnull), (1, place / "out"), (2, place / "err")):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT, 0o600), number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(order["folder"])
        os.environ.update(order["environment"])
        calls: dict[str, int] = {}
        for what in order["count"]:
            _wrap(what, functools.partial(_count, calls, what))
        if order["moment"]:
            what, when, nth, victim = order["moment"]
            _wrap(what, functools.partial(_die, Fate(when, nth, victim or os.getpid())))
        sys.argv = ["ridgeway", *order["arguments"]]
        code = invoke(order["arguments"])
        (place / "counted").write_text(json.dumps(calls))
    except Exception:  # noqa: BLE001 - whatever it is, the fork must not go on as the driver
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wrap(what: str, around: Callable[..., Any]) -> None:
    module, _, path = what.partition(":")
    owner = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    function = getattr(owner, name)

    @functools.wraps(function)
    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        return around(function, *arguments, **keywords)

    setattr(owner, name, wrapped)


def _count(calls: dict[str, int], what: str, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    calls[what] = calls.get(what, 0) + 1
    return function(*arguments, **keywords)


@dataclass
class Fate:
    """Who dies when."""

    when: str
    nth: int
    victim: int
    calls: int = 0

    def strike(self, when: str) -> None:
        if (self.when, self.nth) == (when, self.calls):
            os.kill(self.victim, signal.SIGKILL)


def _die(fate: Fate, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    fate.calls += 1
    fate.strike("before")
    result = function(*arguments, **keywords)
    fate.strike("after")
    return result


if __name__ == "__main__":
    main()
