from __future__ import annotations

from typing import Any

import pytest

from ridgeway.report import render_markdown
from ridgeway.report.markdown import escape

REFUSED = """\
## ❌ Bad data: data/diabetes.csv is refused: 2 of 25 expectations fail, both on bmi

**Next:** put bmi back into kg/m², or take the new distribution as reference: ridgeway profile data/diabetes.csv \
--rebase --reason TEXT

**Data:** 25 expectations: 22 met, 1 warning, 2 failures.

| Outcome | Column | Expectation | Observed | Expected | Rows |
| --- | --- | --- | --- | --- | ---: |
| **fails** | bmi | mean to have stayed: the mean moved by 54 standard deviations; from one on, units or the source \
are taken to be wrong | mean 264 | mean 26.4 ± 4.4 | – |
| **fails** | bmi | values to be between: every value is about ten times too large: a different unit, or a decimal \
point that was lost | 180 to 422 | 15 to 60 | 442 |
| warning | bmi | mean to have stayed: the mean moved by 0.28 standard deviations (p = 0.0004): found, recorded with \
the model, and not refused | mean 27.6 | mean 26.4 ± 4.4 | – |

diabetes · retraining · run `3f2a9c1e7d5b4a6088c2e4f60718293a` · 1.9 s · commit `8f14e45fceea`
"""


def test_bad_data_whole(examples: dict[str, dict[str, Any]]) -> None:
    assert render_markdown(examples["refused"]) == REFUSED


def test_evidence_slices_and_plot(examples: dict[str, dict[str, Any]]) -> None:
    lines = render_markdown(examples["harmed"]).splitlines()
    assert "| sealed | 420 | **−15.1 %** | −34.3 to −2.8 % |" in lines
    assert "| older | 181 | −54.6 % | 0.00026 | **harmed** |" in lines
    assert lines[lines.index("```text") + 1].startswith("sealed")


def test_a_hold_says_how_much_is_missing(examples: dict[str, dict[str, Any]]) -> None:
    assert "- At the present inflow: 17 weeks (7 to 32)" in render_markdown(examples["held"])
    assert "present inflow" not in render_markdown(examples["accepted"])


def test_every_table_row_has_as_many_cells_as_its_head(example: dict[str, Any]) -> None:
    cells = 0
    for line in render_markdown(example).splitlines():
        if not line.startswith("|"):
            cells = 0
            continue
        found = line.replace(r"\|", "").count("|")
        cells = cells or found
        assert found == cells, line


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("![x](http://y/z.png)", r"!\[x\](http\://y/z.png)"),
        ("www.example.org", r"www\.example.org"),
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
        ("a\nb\r\n\n| c", r"a b \| c"),
        ("`code` *bold* _it_ ~~no~~ @team", r"\`code\` \*bold\* \_it\_ \~\~no\~\~ \@team"),
        (r"\`", r"\\\`"),
        ("\x1b[1m", "\\\\x1b\\[1m"),
    ],
)
def test_escaping(text: str, literal: str) -> None:
    assert escape(text) == literal


def test_data_cannot_become_markup(examples: dict[str, dict[str, Any]]) -> None:
    text = render_markdown(examples["hostile"])
    assert "<script" not in text
    assert r"!\[x\](http\://evil.example/x.png)" in text
    assert "![" not in text
    assert "\x1b" not in text
