"""The gate's own process: the same report, and whatever happens to it changes nothing."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ridgeway.actions import data, gate
from ridgeway.artifacts import DataReport, Dataset
from ridgeway.data_gate import Limits
from ridgeway.data_source import read_table

ROOT = Path(__file__).parents[2]


@pytest.fixture
def question(tmp_path: Path) -> gate.Question:
    """The example's data with four impossible rows, and its suite."""
    frame = read_table(ROOT / "data" / "diabetes.csv", {})
    frame.loc[:3, "bmi"] = 999.0
    frame.to_parquet(tmp_path / "rows.parquet", index=False)
    suite = json.loads((ROOT / "data" / "suite.json").read_text(encoding="utf-8"))
    dataset = Dataset("diabetes", "sha256:0", len(frame), data.declared(suite).columns, "rows.parquet")
    return gate.Question(dataset, tmp_path / "rows.parquet", suite, Limits(), ["s6"])


def here(question: gate.Question) -> DataReport:
    return gate.check(question, read_table(question.rows, {}).drop(columns=["s6"]))


@pytest.fixture
def somewhere_else(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a command, where Great Expectations is not imported yet."""
    monkeypatch.delitem(sys.modules, "great_expectations", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with gate.prepared():
        yield


def child() -> subprocess.Popen[bytes]:
    found = gate._CHILD.get()
    assert found is not None
    return found


@pytest.mark.slow
def test_another_process_finds_the_same(question: gate.Question, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, replied = io.BytesIO(), io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(gate, "_evaluate", lambda *_: None)  # only the child may answer
        patch.delitem(sys.modules, "great_expectations", raising=False)
        patch.setattr(os, "cpu_count", lambda: 2)
        with gate.prepared():
            elsewhere = here(question)
    assert elsewhere == here(question)
    assert {line.first_rows for line in elsewhere.failures if line.unexpected_rows == 4} == {(1, 2, 3, 4)}
    gate.answer(asked, replied)  # nobody asked
    assert replied.getvalue() == b""


def test_a_child_that_dies_is_no_loss(question: gate.Question, somewhere_else: None) -> None:
    child().send_signal(signal.SIGKILL)
    assert not here(question).ok


@pytest.mark.slow
def test_what_the_child_cannot_do_is_told_by_the_caller(question: gate.Question, somewhere_else: None) -> None:
    broken = gate.Question(question.dataset, question.rows, {"name": "x", "expectations": []}, Limits(), [])
    with pytest.raises(Exception, match="suite"):
        here(broken)


def test_at_the_end_it_is_gone_asked_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "great_expectations", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with gate.prepared():
        process = child()
    assert process.poll() is not None
    assert gate._CHILD.get() is None


@pytest.mark.slow
def test_it_ends_with_its_caller_however_that_dies(tmp_path: Path) -> None:
    script = (
        "import os, sys, time\n"
        "from ridgeway.actions import gate\n"
        "os.cpu_count = lambda: 2\n"
        "with gate.prepared():\n"
        "    print(gate._CHILD.get().pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert caller.stdout is not None
    pid = int(caller.stdout.readline())
    caller.kill()
    caller.communicate()
    deadline = time.monotonic() + 60  # it may still be importing
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{pid}").exists()


def test_a_processor_alone_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    with gate.prepared():
        assert gate._CHILD.get() is None
