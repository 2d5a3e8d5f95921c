from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ridgeway.artifacts import Verdict, to_json
from ridgeway.errors import StorageError, UsageError
from ridgeway.report import Findings, RunInfo, Step, build_record, read_record, write_report
from ridgeway.report.record import findings_of


def run(**changes: Any) -> RunInfo:
    return RunInfo(
        run_id="ab12",
        flow="retraining",
        project="d",
        started_at="2026-03-02T04:00:00Z",
        ended_at="2026-03-02T04:00:09.5Z",
        outcome="failed",
        sentence="stopped",
        **changes,
    )


def test_the_record_of_a_run_that_made_nothing() -> None:
    assert build_record(run(seed=3, steps=(Step("load_data", 0.5, "failed"),)), Findings()) == {
        "schema": 1,
        "kind": "RetrainingRecord",
        "outcome": {"code": "failed", "sentence": "stopped", "next_step": "", "details": {}},
        "run": {
            "id": "ab12",
            "flow": "retraining",
            "project": "d",
            "started_at": "2026-03-02T04:00:00Z",
            "ended_at": "2026-03-02T04:00:09.5Z",
            "seconds": 9.5,
            "build_url": "",
        },
        "lineage": {"commit": "", "clean": None, "environment": "", "seed": 3},
        "settings": {},
        "steps": [{"name": "load_data", "seconds": 0.5, "outcome": "failed", "attempts": 1}],
        "dataset": None,
        "data_report": None,
        "candidate": None,
        "verdict": None,
        "model_version": None,
        "plots": None,
    }


def test_every_record_equals_itself_after_a_file(example: dict[str, Any]) -> None:
    assert json.loads(json.dumps(example, allow_nan=False)) == example


def test_the_nouns_come_back(examples: dict[str, dict[str, Any]]) -> None:
    found = findings_of(examples["accepted"])
    assert isinstance(found.verdict, Verdict)
    assert json.loads(json.dumps(to_json(found.verdict))) == examples["accepted"]["verdict"]
    assert found.version is not None
    assert found.version.handle == "models:/diabetes/2"


def test_numbers_that_json_cannot_say_become_none() -> None:
    record = build_record(
        run(settings={"a": float("nan"), "b": [float("inf"), np.float64(1.5), np.int64(2)]}), Findings()
    )
    assert record["settings"] == {"a": None, "b": [None, 1.5, 2]}


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("servers.database", "postgresql://me:hunter2@db/x", "postgresql://(hidden)@db/x"),
        ("servers.database", "sqlite", "sqlite"),
        ("notifications.signing_key", "s3cret", "(hidden)"),
        ("registry.password", "s3cret", "(hidden)"),
        ("registry.password", "", ""),
        ("registry", {"uri": "https://u:p@m", "token": "t"}, {"uri": "https://(hidden)@m", "token": "(hidden)"}),
        ("data.key_columns", ["a", "b"], ["a", "b"]),
    ],
)
def test_secrets_do_not_enter_the_record(name: str, value: Any, shown: Any) -> None:
    assert build_record(run(settings={name: value}), Findings())["settings"] == {name: shown}


def test_an_unreadable_time_gives_no_duration() -> None:
    record = build_record(RunInfo("ab12", "retraining", "d", "yesterday", "", "failed", "stopped"), Findings())
    assert record["run"]["seconds"] is None


@pytest.mark.parametrize("record", [{}, {"schema": 2, "kind": "RetrainingRecord"}, {"schema": 1, "kind": "Dataset"}])
def test_a_foreign_record_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot read the record"):
        findings_of(record)


def test_writing_and_reading(example: dict[str, Any], tmp_path: Path) -> None:
    files = write_report(example, tmp_path / "reports" / "ab12")
    assert sorted(path.name for path in files.record.parent.iterdir()) == ["record.json", "report.html", "report.md"]
    assert read_record(files.record) == example
    before = {path: path.read_bytes() for path in files.record.parent.iterdir()}
    write_report(example, tmp_path / "reports" / "ab12")
    assert {path: path.read_bytes() for path in files.record.parent.iterdir()} == before


def test_a_folder_that_cannot_be_made(examples: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write the report of this run"):
        write_report(examples["held"], tmp_path / "file" / "ab12")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"schema": 9}', b"\xff\xfe"])
def test_files_that_are_no_record(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(UsageError, match="cannot read the record"):
        read_record(tmp_path / "record.json")


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the record"):
        read_record(tmp_path / "record.json")
