"""mypy, for real once; the rest is what becomes of its output."""

from __future__ import annotations

import pytest

from ridgeway.artifacts import BuildFinding
from ridgeway.code_gate import Place, look
from ridgeway.code_gate.type_check import findings_in
from ridgeway.errors import UsageError
from tests.code_gate.conftest import Writes


def test_a_type_that_does_not_agree_is_a_finding(place: Place, write: Writes) -> None:
    write("steps/a.py", "def f(x: int) -> str:\n    return x\n")
    report = look("types", place)
    words = 'Incompatible return value type (got "int", expected "str")'
    assert report.findings == (BuildFinding("types", "steps/a.py", 2, 12, "return-value", words),)
    assert [path.name for path in place.folder.iterdir()] == ["steps"]


def test_only_errors_are_findings(place: Place) -> None:
    text = (
        '{"file": "a.py", "line": 3, "column": 0, "message": "see there", "code": null, "severity": "note"}\n'
        "pyproject.toml: [mypy]: Unrecognized option: bogus = 1\n"
        '{"file": "a.py", "line": 4, "column": -1, "message": "no", "code": null, "severity": "error"}\n'
    )
    assert list(findings_in(text, place)) == [BuildFinding("types", "a.py", 4, 0, "", "no")]


def test_nothing_to_look_at_is_told(place: Place) -> None:
    with pytest.raises(UsageError, match="nothing to look at"):
        look("types", place)
