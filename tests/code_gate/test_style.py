"""ruff, for real: lint, formatting, files that do not parse, and a configuration that it cannot read."""

from __future__ import annotations

import pytest

from ridgeway.artifacts import BuildFinding
from ridgeway.code_gate import Place, look
from ridgeway.code_gate.style import _plain
from ridgeway.errors import Permanent
from tests.code_gate.conftest import Writes

CLEAN = "import os\n\nprint(os.sep)\n"


def places(place: Place) -> list[tuple[str, str]]:
    return [(one.place, one.rule) for one in look("ruff", place).findings]


def test_clean_code_passes_and_nothing_is_left_in_the_tree(place: Place, write: Writes) -> None:
    write("steps/a.py", CLEAN)
    report = look("ruff", place)
    assert (report.outcome, report.findings, report.next_step) == ("passed", (), "")
    assert report.files == ("gates/ruff-check.out", "gates/ruff-format.out")
    assert [path.name for path in place.folder.rglob("*")] == ["steps", "a.py"]


def test_each_finding_has_file_line_column_and_rule(place: Place, write: Writes) -> None:
    write("pyproject.toml", '[tool.ruff.lint]\nselect = ["F"]\n')
    write("steps/a.py", "import os\nx = 1\n")
    write("b.py", "x = {  'a':1 }\n")
    report = look("ruff", place)
    assert report.findings == (
        BuildFinding("ruff", "b.py", 1, 0, "format", "not as ruff format writes it"),
        BuildFinding("ruff", "steps/a.py", 1, 8, "F401", "`os` imported but unused"),
        BuildFinding("ruff", "steps/a.py", 2, 0, "format", "not as ruff format writes it"),
    )
    assert (report.sentence, report.outcome) == ("3 findings in 2 files", "found")
    assert report.next_step == "ruff check --fix .     and     ruff format ."


def test_a_file_that_does_not_parse_is_told_once_per_error_and_the_others_are_looked_at(
    place: Place, write: Writes
) -> None:
    write("flows/a.py", "def f():\n    return (\n")
    write("flows/b.py", "import os\n")
    found = places(place)
    assert all(rule == "invalid-syntax" for file, rule in found if file.startswith("flows/a.py"))
    assert [file.rpartition(":")[0] for file, _ in found if file.startswith("flows/a.py")][-1] == "flows/a.py:3"
    assert ("flows/b.py:1:8", "F401") in found


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[tool.ruff]\nlint.selct = []\n", 1, "unknown field `selct`"),
        ("[project]\nname = 'a'\n[tool.ruff\n", 3, "unclosed table"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_a_finding_in_it(
    place: Place, write: Writes, text: str, line: int, words: str
) -> None:
    write("pyproject.toml", text)
    write("a.py", CLEAN)
    (one,) = look("ruff", place).findings
    assert (one.file, one.rule) == ("pyproject.toml", "configuration")
    assert words in one.message
    assert abs(one.line - line) <= 1


def test_a_configuration_that_mends_by_itself_does_not_mend_here(place: Place, write: Writes) -> None:
    write("pyproject.toml", "[tool.ruff]\nfix = true\n")
    file = write("a.py", "import os\n")
    assert ("a.py:1:8", "F401") in places(place)
    assert file.read_text() == "import os\n"


def test_local_state_is_no_part_of_the_source(place: Place, write: Writes) -> None:
    write(".ridgeway/published/ab/a.py", "import os\n")
    write("a.py", CLEAN)
    assert places(place) == []


def test_what_it_says_when_it_breaks_down_is_told(place: Place, write: Writes) -> None:
    write("pyproject.toml", '[tool.ruff]\nrequired-version = "<0.1"\n')
    with pytest.raises(Permanent, match=r"(?s)ruff: the tool ended with code 2.*[Rr]equired version"):
        look("ruff", place)


def test_a_ruff_that_cannot_say_it_as_json_is_understood(place: Place) -> None:
    text = "Would reformat: steps/a.py\n1 file would be reformatted, 3 files already formatted\n"
    assert [one.place for one in _plain(text, place)] == ["steps/a.py"]
