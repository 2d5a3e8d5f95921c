"""The data gate in a process of its own: it imports Great Expectations while the caller imports everything else.

Its import takes as long as a whole small retraining, and two imports in one process cannot run side by side. The child
reads one request from its standard input, answers on its standard output and ends; it also ends when the caller is
gone, however that died. Whatever goes wrong with it, the caller evaluates by itself and says what there is to say.

    python -m ridgeway.actions.gate
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ridgeway.artifacts import DataReport, Dataset, from_json, to_json

if TYPE_CHECKING:
    import pandas as pd

    from ridgeway.data_gate import Limits

_CHILD: ContextVar[subprocess.Popen[bytes] | None] = ContextVar("ridgeway_gate", default=None)


@dataclass(frozen=True)
class Question:
    """What is asked of the gate: rows that are kept at ``rows``, a suite, and how strict to be."""

    dataset: Dataset
    rows: Path
    suite: Mapping[str, Any]
    limits: Limits
    ignore: Sequence[str]


@contextlib.contextmanager
def prepared() -> Iterator[None]:
    """Within it a second process gets ready to answer; at the end it is gone, asked or not.

    On one processor, or where Great Expectations is imported already, there is nothing to win and nothing is started.
    """
    if (os.cpu_count() or 1) < 2 or "great_expectations" in sys.modules:
        yield
        return
    child = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-P", "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the caller, which ends this one
    )
    token = _CHILD.set(child)
    try:
        yield
    finally:
        _CHILD.reset(token)
        child.kill()
        child.communicate()


def check(question: Question, frame: pd.DataFrame) -> DataReport:
    """What the gate finds, from the prepared process if there is one, else evaluated here.

    Args:
        question: What is asked.
        frame: The same rows as ``question.rows``, without the ignored columns.

    Raises:
        RidgewayError: The suite cannot be evaluated.
    """
    child = _CHILD.get()
    report = _ask(child, question) if child is not None else None
    return _evaluate(question, frame) if report is None else report


def _ask(child: subprocess.Popen[bytes], question: Question) -> DataReport | None:
    """The child's answer; None if it has none, for whatever reason."""
    request = {
        "dataset": to_json(question.dataset),
        "rows": str(question.rows),
        "suite": question.suite,
        "limits": dataclasses.asdict(question.limits),
        "ignore": list(question.ignore),
    }
    try:
        answer, _ = child.communicate(json.dumps(request).encode())
        report: DataReport = from_json(json.loads(answer))
    except (OSError, ValueError):
        return None
    return report


def _evaluate(question: Question, frame: pd.DataFrame) -> DataReport:
    from ridgeway import data_gate

    return data_gate.check(
        frame, question.dataset, dict(question.suite), limits=question.limits, ignore=tuple(question.ignore)
    )


def answer(request: IO[bytes], reply: IO[bytes]) -> None:
    """The child's whole life: get ready, read a question, answer it. An error is no answer: the caller finds it too."""
    from ridgeway import data_gate, data_source
    from ridgeway.data_gate import evaluation  # noqa: F401 - this is what takes so long

    content = request.read()
    if not content:
        return
    asked = json.loads(content)
    dataset: Dataset = from_json(asked["dataset"])
    frame = data_source.conform(data_source.read_table(Path(asked["rows"]), {}), dataset.columns, source=dataset.source)
    looked_at = frame.drop(columns=[name for name in asked["ignore"] if name in frame.columns])
    limits = data_gate.Limits(**asked["limits"])
    report = data_gate.check(looked_at, dataset, asked["suite"], limits=limits, ignore=tuple(asked["ignore"]))
    reply.write(json.dumps(to_json(report)).encode())


if __name__ == "__main__":
    from ridgeway.settings import quiet_environment

    quiet_environment()
    answer(sys.stdin.buffer, sys.stdout.buffer)
