"""The data gate of a build: the project's data, examples of its own, and made ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from ridgeway import scaffold
from ridgeway.actions import examples
from ridgeway.artifacts import GateReport
from ridgeway.errors import Unreachable, UsageError
from ridgeway.project import open_project


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A new project."""
    template = scaffold.read_template(scaffold.template_root())
    scaffold.write(scaffold.plan(template, name="diabetes", version="1.0"), tmp_path / "diabetes")
    (tmp_path / "diabetes" / ".ridgeway").mkdir()
    return tmp_path / "diabetes"


def looked(root: Path, *overrides: str) -> GateReport:
    return examples.look(open_project(root, overrides=overrides))


def told(report: GateReport) -> list[tuple[str, str, str]]:
    return [(one.place, one.rule, one.message) for one in report.findings]


def test_a_new_project_passes_and_what_passed_is_not_tried_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = looked(root)
    assert (report.outcome, report.findings) == ("passed", ())
    assert report.sentence == "442 rows pass, and 1 good and 5 bad examples are told apart"
    monkeypatch.setattr("ridgeway.actions.data.try_out", None)
    assert looked(root).sentence == report.sentence


def test_refused_rows_are_told_with_file_line_and_expectation(root: Path) -> None:
    lines = (root / "data/diabetes.csv").read_text().splitlines()
    lines[3] = ",".join(["1000", *lines[3].split(",")[1:]])
    (root / "data/diabetes.csv").write_text("\n".join(lines) + "\n")
    report = looked(root)
    assert report.outcome == "found"
    assert report.sentence == "data/diabetes.csv is refused"
    assert ("data/diabetes.csv:4", "expect_column_values_to_be_between") in [told[:2] for told in told(report)]


def test_data_and_steps_that_cannot_be_read_are_findings(root: Path) -> None:
    (root / "data/diabetes.csv").write_text("age,sex\n1\n")
    (one,) = told(looked(root))
    assert one[:2] == ("data/diabetes.csv", "unreadable")
    step = root / "steps/load_data.py"
    step.write_text(step.read_text().replace("    return read_table(source, types)", "    return 1 / 0"))
    (one,) = told(looked(root))
    assert one[0].startswith("steps/load_data.py:")
    assert one[1] == "load_data"
    assert "ZeroDivisionError" in one[2]


def test_examples_of_ones_own_are_held_against_the_gate(root: Path) -> None:
    folder = root / "data/examples"
    folder.mkdir()
    lines = (root / "data/diabetes.csv").read_text().splitlines(keepends=True)
    (folder / "good_first.csv").write_text("".join(lines[:40]))
    (folder / "bad_gap.csv").write_text(lines[0] + lines[1].replace(lines[1].split(",")[2], "", 1))
    assert looked(root).sentence == "442 rows pass, and 1 good and 1 bad example are told apart"
    (folder / "bad_nothing.csv").write_text("".join(lines[:40]))
    (folder / "good_not.csv").write_text(lines[0] + "".join(lines[1:3]).replace(",", ",9", 3))
    report = looked(root)
    assert report.sentence == "442 rows pass, but examples are not told apart"
    assert ("data/examples/bad_nothing.csv", "bad-example", "the data gate must refuse it, and lets it pass") in told(
        report
    )
    assert any(place.startswith("data/examples/good_not.csv") for place, _, _ in told(report))


@pytest.mark.slow
def test_a_gate_without_teeth_is_found_out(root: Path) -> None:
    report = looked(root, "data.false_alarms=1e-300")
    assert report.outcome == "found"
    assert report.sentence == "442 rows pass, but examples are not told apart"
    words = "lets every value moved pass in bmi: nothing would be noticed"
    assert ("data/suite.json", "expect_column_distribution_to_hold", words) in told(report)


def test_errors_come_back_from_the_other_process(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    answer = tmp_path / "answer.json"
    (root / "data/suite.json").unlink()
    examples.answer(answer, [])
    with pytest.raises(UsageError, match="no expectation suite"):
        examples.read_answer(answer)
    monkeypatch.setattr(examples, "look", lambda _: (_ for _ in ()).throw(Unreachable("away", next_step="later")))
    examples.answer(answer, [])
    with pytest.raises(Unreachable, match="away"):
        examples.read_answer(answer)
    assert examples.read_answer(tmp_path / "nothing.json") is None
