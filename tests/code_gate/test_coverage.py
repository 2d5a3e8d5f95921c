"""Coverage XML, and what is to be measured."""

from __future__ import annotations

import pytest

from ridgeway.code_gate import Place, coverage
from tests.code_gate.conftest import Writes

XML = """<?xml version="1.0" ?>
<coverage><sources><source>{folder}/steps</source></sources><packages><package><classes>
<class filename="a.py"><lines>
<line number="1" hits="1"/><line number="2" hits="1" branch="true" condition-coverage="50% (1/2)"/>
<line number="3" hits="0"/><line number="4" hits="0"/><line number="9" hits="0"/>
</lines></class>
<class filename="b.py"><lines/></class>
</classes></package></packages></coverage>
"""


def test_lines_and_branches_count_alike(place: Place, write: Writes) -> None:
    for name in ("steps/a.py", "steps/b.py"):
        write(name, "")
    found = coverage.read(write("coverage.xml", XML.format(folder=place.folder)), place)
    assert found is not None
    assert found.files == (
        coverage.FileMeasured("steps/a.py", 7, 3, (3, 4, 9)),
        coverage.FileMeasured("steps/b.py", 0, 0, ()),
    )
    (one,) = found.findings(50)
    assert one.message == "tests run 42.8 % of it, not lines 3-4, 9 (all: 42.8 %, build.coverage: 50 %)"


def test_nothing_measured_is_no_full_coverage() -> None:
    (one,) = coverage.Measured(()).findings(80)
    assert one.message.startswith("nothing was measured")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("pyproject.toml", '[tool.coverage.run]\nsource = ["steps"]\n', ["--cov"]),
        ("pyproject.toml", "[tool.coverage.run]\nbranch = true\n", ["--cov=steps"]),
        (".coveragerc", "[run]\nsource = steps\n", ["--cov"]),
        ("setup.cfg", "[coverage:run]\nbranch = 1\n", ["--cov=steps"]),
        ("README.md", "", ["--cov=steps"]),
    ],
)
def test_what_is_measured_is_what_the_configuration_says(
    place: Place, write: Writes, name: str, text: str, expected: list[str]
) -> None:
    write("steps/a.py", "")
    write(name, text)
    assert coverage.subjects(place.folder) == expected
