"""A build of a new project, whole: three gates at once, for real, under the orchestrator."""

from __future__ import annotations

import json
import os
import signal
import time
import xml.etree.ElementTree as ET

import pytest

from tests.story.conftest import Story, tree


def test_every_gate_tells_all_that_it_finds(empty: Story) -> None:
    """Formatting, lint, a failed test, untested code and refused data, in one go."""
    empty.path("steps/extra.py").write_text(
        "import os\ndef twice(x) :\n" + "    x = 2 * x\n" * 9 + "    return x\n", encoding="utf-8"
    )
    failing = (
        "from steps.make_model import make_model\n\n\ndef test_a_model():\n    assert make_model({}, seed=0) is None\n"
    )
    empty.path("tests/test_more.py").write_text(failing, encoding="utf-8")
    rows = empty.path("data/diabetes.csv").read_text(encoding="utf-8")
    lines = rows.splitlines(keepends=True)
    empty.path("data/diabetes.csv").write_text("".join([*lines[:5], "9" + lines[5], *lines[6:]]), encoding="utf-8")

    ended = empty.ridgeway("run", "build", "--only", "gates", "--json")
    assert ended.code == 7, ended.err
    summary = json.loads(ended.out)
    assert summary["outcome"] == "found"
    assert [(gate["gate"], gate["outcome"]) for gate in summary["gates"]] == [
        ("ruff", "found"),
        ("tests", "found"),
        ("data", "found"),
    ]
    found = [(one["file"], one["line"], one["rule"]) for gate in summary["gates"] for one in gate["findings"]]
    for expected in (
        ("steps/extra.py", 1, "F401"),
        ("steps/extra.py", 2, "format"),
        ("tests/test_more.py", 5, "AssertionError"),
        ("steps/extra.py", 1, "coverage"),
        ("data/diabetes.csv", 6, "expect_column_values_to_be_between"),
    ):
        assert expected in found

    run = empty.runs()[0]
    assert (run.flow, run.state, run.exit_code) == ("build", "failed", 7)
    assert {step.name: step.state for step in run.steps} == {
        "check_code": "failed",
        "run_tests": "failed",
        "check_examples": "failed",
    }
    kept = empty.root / ".ridgeway/runs" / run.id
    assert ET.parse(kept / "gates/junit.xml").getroot().find(".//failure") is not None
    assert ET.parse(kept / "gates/coverage.xml").getroot().tag == "coverage"
    assert "steps/extra.py" in (kept / "report/report.html").read_text(encoding="utf-8")
    shown = empty.ridgeway("show", f"runs:/{run.id[:12]}")
    assert "steps/extra.py:1:8  F401  `os` imported but unused" in shown.out


@pytest.mark.slow
def test_a_new_project_passes_and_its_tree_stays_as_it_is(empty: Story) -> None:
    before = tree(empty.root)
    ended = empty.ridgeway("run", "build", "--only", "gates")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("PASSED  ruff, tests and data passed; nothing was published\n")
    assert "4 tests passed; coverage 100.0 %" in ended.out
    made = {name for name in tree(empty.root) if not name.startswith(".ridgeway/") and "__pycache__" not in name}
    assert made == {name for name in before if not name.startswith(".ridgeway/")}


@pytest.mark.slow
def test_types_and_contracts_fit_a_new_project(empty: Story) -> None:
    checks = 'build.checks=["types", "contracts"]'
    ended = empty.ridgeway("run", "build", "--only", "code", "--set", checks)
    assert ended.code == 0, ended.out + ended.err
    empty.edit("steps/run_tests.py", '"""The tests', 'import flows.retraining as first  # noqa\n\n"""The tests')
    empty.edit("steps/make_model.py", "*, seed: int) -> Pipeline:", "*, seed: int) -> str:")
    ended = empty.ridgeway("run", "build", "--only", "code", "--set", checks, "--json")
    assert ended.code == 7
    found = {(one["gate"], one["file"]) for gate in json.loads(ended.out)["gates"] for one in gate["findings"]}
    assert ("contracts", "steps/run_tests.py") in found


@pytest.mark.slow
def test_an_interrupted_build_leaves_nothing_running(empty: Story) -> None:
    note = empty.root / "pid"
    endless = (
        "import os, time\n\n\ndef test_a():\n"
        f"    open({str(note)!r}, 'w').write(str(os.getpid()))\n    time.sleep(600)\n"
    )
    empty.path("tests/test_project.py").write_text(endless, encoding="utf-8")
    process = empty.process("run", "build", "--only", "tests")
    until = time.monotonic() + 120
    while not (note.is_file() and note.read_text()) and time.monotonic() < until:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: what was finished is kept" in err
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
    run = empty.runs()[0]
    assert (run.state, [step.state for step in run.steps]) == ("interrupted", ["interrupted"])
