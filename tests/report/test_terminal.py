from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from ridgeway.artifacts import Candidate, Column, DataReport, Dataset, Expectation, KeyRule, ModelVersion, Verdict
from ridgeway.report import Findings, RunInfo, build_record, render_noun, render_terminal
from ridgeway.report.axis import Axis
from ridgeway.report.record import findings_of
from ridgeway.report.text_plot import bar, foot
from ridgeway.report.wording import Thresholds

SHA = "sha256:" + "0123456789abcdef" * 4
CODES = re.compile(r"\x1b\[[0-9;]*m")

WIDE = """\
ACCEPTED  44 % better on 88 unseen rows, between 11 and 65 %: accepted
diabetes · retraining · run 3f2a9c1e7d5b… · 12.4 s · models:/diabetes/2

candidate against models:/diabetes/1 · squared error · superior_on_sealed
rows                   n     gain  interval
sealed                88  +44.4 %  +11.1 to +65.5 %                 │  ├─────────●──────┤
recent (not counted)  24  +42.0 %  −44.1 to +94.8 %   ├─────────────┼────────────●───────────────┤
                                                                    │ 0 and 1 %

slice   n     gain     p
women  45  +38.2 %  0.98  no harm shown
older  39  +42.0 %  0.99  no harm shown

Data  23 expectations: 22 met, 1 warning.
  warning  bmi  mean to have stayed
           the mean moved by 0.28 standard deviations (p = 0.0004): found, recorded with the model,
           and not refused
           observed mean 27.6; expected mean 26.4 ± 4.4

Next  ridgeway run release models:/diabetes/2"""

NARROW = """\
BAD DATA  data/diabetes.csv is refused: 2 of 25 expectations
fail, both on bmi
diabetes · retraining · run 3f2a9c1e7d5b… · 1.9 s

Data  25 expectations: 22 met, 1 warning, 2 failures.
  fails  bmi  mean to have stayed
           the mean moved by 54 standard deviations; from
           one on, units or the source are taken to be wrong
           observed mean 264; expected mean 26.4 ± 4.4
  fails  bmi  values to be between
           every value is about ten times too large: a
           different unit, or a decimal point that was lost
           observed 180 to 422; expected 15 to 60
           442 rows, first: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
  warning  bmi  mean to have stayed
           the mean moved by 0.28 standard deviations (p =
           0.0004): found, recorded with the model, and not
           refused
           observed mean 27.6; expected mean 26.4 ± 4.4

Next  put bmi back into kg/m², or take the new distribution
      as reference: ridgeway profile data/diabetes.csv
      --rebase --reason TEXT"""


def test_an_accepted_run_on_a_wide_terminal(examples: dict[str, dict[str, Any]]) -> None:
    assert render_terminal(examples["accepted"], width=100, color=False) == WIDE


def test_bad_data_on_a_narrow_terminal(examples: dict[str, dict[str, Any]]) -> None:
    assert render_terminal(examples["refused"], width=60, color=False) == NARROW


@pytest.mark.parametrize("width", [20, 40, 60, 83, 84, 120, 200])
@pytest.mark.parametrize("color", [True, False])
def test_no_line_is_wider_than_the_terminal(example: dict[str, Any], width: int, color: bool) -> None:
    text = render_terminal(example, width=width, color=color)
    assert max(len(CODES.sub("", line)) for line in text.splitlines()) <= width


def test_colour_adds_codes_and_nothing_else(example: dict[str, Any]) -> None:
    plain, coloured = (render_terminal(example, width=90, color=color) for color in (False, True))
    assert "\x1b" not in plain
    assert "\x1b" in coloured
    assert [line.rstrip() for line in CODES.sub("", coloured).splitlines()] == plain.splitlines()


def test_the_environment_changes_nothing(examples: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    before = [render_terminal(examples["held"], width=70, color=color) for color in (False, True)]
    for name, value in {"NO_COLOR": "1", "FORCE_COLOR": "1", "TERM": "dumb", "COLUMNS": "33"}.items():
        monkeypatch.setenv(name, value)
    assert [render_terminal(examples["held"], width=70, color=color) for color in (False, True)] == before


def test_a_harmed_slice_and_a_hold_say_so(examples: dict[str, dict[str, Any]]) -> None:
    harmed, held = (render_terminal(examples[name], width=80, color=False) for name in ("harmed", "held"))
    assert re.search(r"older +181 +−54\.6 % +0\.00026 +harmed", harmed)
    assert "Power  88 sealed rows show a gain of 8.4 % or more" in held
    assert held.endswith("and run the\n      same command again")
    assert "Power" not in harmed


def test_data_cannot_act_on_the_terminal(examples: dict[str, dict[str, Any]]) -> None:
    text = render_terminal(examples["hostile"], width=80, color=False)
    assert not set(text) & {"\x1b", "\x00", "\u202e"}
    assert r"\x1b[31mred" in text
    assert "[click](javascript:alert(1))" in text, "brackets are not markup"


def test_a_long_report_is_cut_and_says_so() -> None:
    lines = tuple(Expectation("expect_x", f"c{place}", "fail", "", "", reason="no") for place in range(55))
    text = render_noun(DataReport("data://d@" + SHA, SHA, lines), width=80, color=False)
    assert text.startswith("REFUSED  data://d@sha256:0123456789ab…\nData  55 expectations: 0 met, 55 failures.")
    assert "c19" in text
    assert "c20" not in text
    assert text.endswith("  and 35 more")


def test_failures_come_before_warnings(examples: dict[str, dict[str, Any]]) -> None:
    report = findings_of(examples["refused"]).data_report
    assert report is not None
    backwards = replace(report, expectations=tuple(reversed(report.expectations)))
    words = re.findall(r"^  (fails|warning)", render_noun(backwards, width=80, color=False), re.MULTILINE)
    assert words == ["fails", "fails", "warning"]


def test_a_candidate() -> None:
    columns = (Column("age", "integer"), Column("bmi", "number"))
    candidate = Candidate(
        "ab" * 16, "d", SHA, SHA, "data://d@" + SHA, KeyRule(columns, "", 0.2), "regression", columns, "y", (),
        {"alpha": 1.0}, 0, 354, 88, 0, {"r2": 0.4721, "mean_squared_error": 2933.1},
    )  # fmt: skip
    assert render_noun(candidate, width=80, color=False).splitlines() == [
        f"runs:/{'ab' * 16}/model",
        "Model        d, regression of y",
        "Digest       sha256:0123456789ab…",
        "Data         data://d@sha256:0123456789ab…",
        "Rows         354 for training, 88 sealed",
        "Features     age, bmi",
        "Parameters   alpha = 1.0",
        "Seed         0",
        "Out of fold  off",
        "Metrics      r2 0.4721, mean_squared_error 2,933",
    ]


def test_a_version() -> None:
    version = ModelVersion("d", 7, SHA, "ab12", "data://d@" + SHA, ("champion",), {"seed": "0"}, "2026-03-02T04:00:12Z")
    assert render_noun(version, width=80, color=False).splitlines() == [
        "models:/d/7",
        "Aliases     champion",
        "Registered  2026-03-02 04:00:12 UTC",
        "Digest      sha256:0123456789ab…",
        "Run         ab12",
        "Data        data://d@sha256:0123456789ab…",
        "seed        0",
    ]


def test_a_verdict_without_numbers() -> None:
    verdict = Verdict("hold", "too_few_rows", "12 sealed rows: held", "bring 18 more", "runs:/ab12/model", SHA, "mean",
                      "", "k", "squared_error")  # fmt: skip
    assert render_noun(verdict, width=80, color=False).splitlines() == [
        "HOLD  12 sealed rows: held",
        "",
        "candidate against predicting the mean · squared error · too_few_rows",
        "",
        "Next  bring 18 more",
    ]


def test_an_error_says_where_and_what() -> None:
    run = RunInfo(
        "ab12", "retraining", "d", "", "", "bad_data", "load_data: cannot read d.csv", "ls     or\n ridgeway settings",
        {"where": "data.source", "problem": "no such file", "expected": ""},
    )  # fmt: skip
    assert render_terminal(build_record(run, Findings()), width=80, color=False).splitlines() == [
        "BAD DATA  load_data: cannot read d.csv",
        "d · retraining · run ab12",
        "",
        "where    data.source",
        "problem  no such file",
        "",
        "Next  ls or ridgeway settings",
    ]


def test_settings_move_the_line_and_the_least_rows(examples: dict[str, dict[str, Any]]) -> None:
    settings = {"rules.worthwhile": 0.2, "rules.minimum_rows": 40}
    text = render_terminal({**examples["accepted"], "settings": settings}, width=100, color=False)
    assert re.search("│ +┊ 0 and 20 %$", text, re.MULTILINE)
    assert re.search(r"older +39 .* too few rows", text)


@pytest.mark.parametrize("width", [20, 30, 44])
@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.1), (-90.0, 1.2), (0.0, 90.0), (-5.0, 9.0)])
def test_the_foot_fits(width: int, low: float, high: float) -> None:
    line = foot(Axis(low, high), Thresholds(), width)
    assert len(line) <= width
    assert "│" in line


def test_nothing_to_do_after_an_unchanged_run(examples: dict[str, dict[str, Any]]) -> None:
    record = examples["held"]
    again = {**record, "outcome": {**record["outcome"], "code": "unchanged", "next_step": ""}}
    assert "Next" not in render_terminal(again, width=80, color=False)


def test_a_dataset_without_columns() -> None:
    assert "Rows" in render_noun(Dataset("d", SHA, 0, (), "d.csv"), width=80, color=False)


@pytest.mark.parametrize(
    ("triple", "line"),
    [
        ((0.0, 50.0, 100.0), "├────●────┤"),
        ((None, None, None), "  │        "),
        ((-500.0, 50.0, 900.0), "├─┼──●────┤"),
        ((20.0, 20.0, 20.0), "  ●        "),
    ],
)
def test_bars(triple: tuple[float | None, float | None, float | None], line: str) -> None:
    marks = (20.0,) if "│" in line or "┼" in line or triple[0] == 20.0 else ()
    assert bar(Axis(0.0, 100.0), triple, marks, 11) == line


def test_a_table_needs_neither_numpy_nor_jinja() -> None:
    """``ridgeway show`` should answer at once."""
    code = (
        "import sys; from ridgeway.report import render_noun; from ridgeway.artifacts import Dataset;"
        "render_noun(Dataset('d', 'sha256:0', 1, (), 'd.csv'), width=80, color=False);"
        "print(sorted({'numpy', 'jinja2', 'matplotlib', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
