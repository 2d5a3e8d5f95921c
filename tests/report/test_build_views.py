"""A build as text, Markdown and page: all findings, whatever they hold, in every width."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ridgeway import report
from ridgeway.artifacts import BuildFinding, GateReport
from ridgeway.errors import UsageError

GATES = [
    GateReport(
        "ruff",
        "found",
        (
            BuildFinding("ruff", "steps/b.py", 30, 0, "format", "not as ruff format writes it"),
            BuildFinding("ruff", "steps/a.py", 3, 8, "F401", "`os` imported but unused"),
        ),
        "2 findings in 2 files",
        "ruff check --fix .",
        1.25,
        files=("gates/ruff-check.out",),
    ),
    GateReport(
        "tests",
        "found",
        (
            BuildFinding("tests", "", 0, 0, "no-tests", "no test was found"),
            BuildFinding("tests", "steps/a.py", 1, 0, "AssertionError", "test_a: assert '<b>[x](y)' == '|'"),
        ),
        "1 of 4 tests failed",
        "",
        65,
    ),
    GateReport("types", "broken", (), "mypy is not installed", "uv pip install mypy", 0.1, exit_code=2),
    GateReport("data", "passed", (), "442 rows pass", seconds=9),
]


def record(outcome: str = "found", gates: list[GateReport] = GATES, **changes: Any) -> dict[str, Any]:
    run = report.RunInfo(
        **{
            "run_id": "ab" * 16,
            "flow": "build",
            "project": "diabetes",
            "started_at": "2026-03-02T04:00:00Z",
            "ended_at": "2026-03-02T04:01:10Z",
            "outcome": outcome,
            "sentence": "build: 4 findings by ruff and tests",
            "next_step": "ruff check --fix .",
            "commit": "cd" * 20,
            "clean": False,
            **changes,
        }
    )
    return report.build_record_of_build(run, gates)


def test_wide() -> None:
    assert report.render_build(record(), width=100, color=False) == (
        "FOUND  build: 4 findings by ruff and tests\n"
        "diabetes · build · run abababababab · 1 min 10 s · commit cdcdcdcdcdcd (with uncommitted changes)\n"
        "\n"
        "gate   outcome               time  what came of it\n"
        "ruff   found                1.2 s  2 findings in 2 files\n"
        "tests  found           1 min 05 s  1 of 4 tests failed\n"
        "types  could not look      100 ms  mypy is not installed\n"
        "data   passes               9.0 s  442 rows pass\n"
        "\n"
        "steps/a.py:1  AssertionError  test_a: assert '<b>[x](y)' == '|'\n"
        "steps/a.py:3:8  F401  `os` imported but unused\n"
        "\n"
        "steps/b.py:30  format  not as ruff format writes it\n"
        "\n"
        "the whole project  no-tests  no test was found\n"
        "\n"
        "Next  ruff check --fix .\n"
        "Next  uv pip install mypy"
    )


def test_narrow() -> None:
    text = report.render_build(record(), width=48, color=False)
    assert max(map(len, text.splitlines())) <= 48
    assert "steps/a.py:1  AssertionError\n    test_a: assert '<b>[x](y)' == '|'\n" in text
    assert "tests: 1 of 4 tests failed\n" in text


def test_colour_is_asked_for() -> None:
    assert "\x1b[" in report.render_build(record(), width=100, color=True)
    assert "\x1b" not in report.render_build(record(sentence="a\x1b[31m"), width=100, color=False)


def test_markdown_lets_nothing_act() -> None:
    text = report.render_build_markdown(record())
    assert text.startswith("## ❌ Found: build: 4 findings by ruff and tests\n\n**Next:** `ruff check --fix .`")
    assert "| `steps/a.py:3:8` | `F401` | \\`os\\` imported but unused |" in text
    assert "&lt;b&gt;\\[x\\](y)' == '\\|'" in text
    assert "| types | **could not look** | 100 ms | mypy is not installed |" in text
    assert "| the whole project | `no-tests` | no test was found |" in text


def test_markdown_of_very_many_findings_is_cut() -> None:
    many = tuple(BuildFinding("ruff", "a.py", line, 1, "E1") for line in range(1, 500))
    text = report.render_build_markdown(record(gates=[GateReport("ruff", "found", many)]))
    assert text.count("`E1`") == 100
    assert "and 399 more" in text
    assert (
        report.render_build(record(gates=[GateReport("ruff", "found", many)]), width=90, color=False).count("E1") == 499
    )


def test_the_page_holds_all_and_needs_nothing(tmp_path: Path) -> None:
    files = report.write_build(record(), tmp_path / "report")
    page = files.page.read_text(encoding="utf-8")
    for text in (
        "steps/a.py",
        "F401",
        "&lt;b&gt;[x](y)",
        "could not look",
        "no test was found",
        "gates/ruff-check.out",
    ):
        assert text in page
    for text in ("<script", "<b>[x]", "http://", "https://"):
        assert text not in page
    assert json.loads(files.record.read_text(encoding="utf-8")) == record()


def test_without_gates_there_is_the_error() -> None:
    told = record(
        "failed", [], sentence="no server is up", next_step="ridgeway up", details={"problem": "none\nat all"}
    )
    assert report.render_build(told, width=80, color=False).splitlines()[-4:] == [
        "",
        "problem  none at all",
        "",
        "Next  ridgeway up",
    ]


def test_another_record_is_none_of_these() -> None:
    assert not report.is_build({"kind": "RetrainingRecord"})
    with pytest.raises(UsageError, match="cannot read the record of a build"):
        report.render_build({**record(), "schema": 2}, width=80, color=False)
