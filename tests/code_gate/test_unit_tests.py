"""pytest, for real: tests that fail, do not end, are killed, are not there; and what of the code they run."""

from __future__ import annotations

import dataclasses

import pytest

from ridgeway.artifacts import GateReport
from ridgeway.code_gate import Place, Selection, look
from ridgeway.code_gate.junit import read_cases
from ridgeway.code_gate.unit_tests import _under_way
from ridgeway.errors import Permanent
from tests.code_gate.conftest import Writes


def ran(place: Place, **chosen: object) -> GateReport:
    report: GateReport = look("tests", place, chosen=Selection(**chosen))  # type: ignore[arg-type]
    return report


def told(report: GateReport) -> list[tuple[str, str, str]]:
    return [(one.place, one.rule, one.message) for one in report.findings]


def test_each_failed_test_is_told_with_the_line_that_failed(place: Place, write: Writes) -> None:
    write("steps/__init__.py", "")
    write("steps/a.py", "def half(x):\n    return x / 0\n")
    write(
        "tests/test_a.py",
        "import json\n\nimport pytest\n\nfrom steps.a import half\n\n\n"
        "def is_two(x):\n    assert x == 2\n\n\n"
        "def test_good():\n    pass\n\n\n"
        "def test_below():\n    is_two(1)\n\n\n"
        "def test_of_ours():\n    half(2)\n\n\n"
        "def test_of_a_library():\n    json.loads('{')\n\n\n"
        "@pytest.fixture\ndef broken():\n    raise ValueError('no')\n\n\n"
        "def test_setup(broken):\n    pass\n\n\n"
        "@pytest.mark.parametrize('a', [1, 2])\ndef test_each(a):\n    assert a == 1, 'not\\none'\n\n\n"
        "@pytest.mark.skip\ndef test_later():\n    pass\n\n\n"
        "@pytest.mark.slow\ndef test_slow():\n    assert 0\n",
    )
    report = ran(place)
    assert told(report) == [
        ("steps/a.py:2", "ZeroDivisionError", "test_of_ours: division by zero"),
        ("tests/test_a.py:9", "AssertionError", "test_below: assert 1 == 2"),
        (
            "tests/test_a.py:25",
            "JSONDecodeError",
            "test_of_a_library: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        ("tests/test_a.py:30", "ValueError", 'test_setup: failed on setup with "ValueError: no"'),
        ("tests/test_a.py:39", "AssertionError", "test_each[2]: not"),
    ]
    assert report.sentence == "5 of 8 tests failed, 1 of them skipped"
    assert report.figures == {"tests": 8, "failed": 5, "skipped": 1}
    assert report.files == ("gates/junit.xml", "gates/pytest.out")


def test_files_that_do_not_import_are_findings_at_their_line(place: Place, write: Writes) -> None:
    write("tests/test_a.py", "x = 1\nimport nothing_of_that_name\n")
    write("tests/test_b.py", "x = 1\ndef (:\n")
    assert told(ran(place)) == [
        ("tests/test_a.py:2", "ModuleNotFoundError", "No module named 'nothing_of_that_name'"),
        ("tests/test_b.py:2", "SyntaxError", "invalid syntax"),
    ]


def test_code_that_no_test_runs_is_told_where_too_much_of_it_is_not(place: Place, write: Writes) -> None:
    write("pyproject.toml", '[tool.pytest.ini_options]\naddopts = "-q -p pytest_cov"\npythonpath = ["."]\n')
    write("steps/__init__.py", "")
    write("steps/a.py", "def f(x):\n    if x:\n        return 1\n    y = 2\n    return y\n")
    write("steps/b.py", "x = 1\n")
    write("tests/test_a.py", "from steps import a, b\n\n\ndef test_a():\n    assert a.f(1) == b.x\n")
    report = ran(place, least_coverage=80)
    words = "tests run 60.0 % of it, not lines 4-5 (all: 66.6 %, build.coverage: 80 %)"
    assert told(report) == [("steps/a.py:4", "coverage", words)]
    assert report.sentence == "1 test passed; coverage 66.6 %, asked for 80 %"
    assert report.files == ("gates/junit.xml", "gates/coverage.xml", "gates/pytest.out")
    assert ran(place, least_coverage=60).outcome == "passed"
    assert sorted(path.name for path in place.folder.iterdir() if path.name != "__pycache__") == [
        "pyproject.toml",
        "steps",
        "tests",
    ]


def test_the_output_says_which_test_was_under_way(place: Place, write: Writes) -> None:
    write(
        "tests/test_a.py", "async def test_one():\n    pass\n\n\nclass TestB:\n    def test_two(self):\n        pass\n"
    )
    started = "tests/test_a.py::test_one PASSED [ 50%]\ntests/test_a.py::TestB::test_two[x] "
    assert _under_way(started, place) == ("tests/test_a.py", 6, "TestB::test_two[x]")
    stopped = f"{started}\n\n!!!! KeyboardInterrupt !!!!\n{place.folder}/steps/a.py:9: KeyboardInterrupt\n"
    assert _under_way(stopped, place) == ("steps/a.py", 9, "TestB::test_two[x]")
    assert _under_way("collecting ...", place) == ("", 0, "")


@pytest.mark.slow
def test_a_test_that_never_ends_is_named(place: Place, write: Writes) -> None:
    write(
        "tests/test_a.py", "import time\n\n\ndef test_one():\n    pass\n\n\ndef test_endless():\n    time.sleep(99)\n"
    )
    report = ran(dataclasses.replace(place, timeout_seconds=10))
    (one,) = report.findings
    assert (one.place, one.rule) == ("tests/test_a.py:9", "time-limit")
    assert one.message == "test_endless still ran after 10 s (build.timeout_seconds)"
    assert report.figures["tests"] == 1


def test_tests_that_are_killed_are_named(place: Place, write: Writes) -> None:
    write(
        "tests/test_a.py",
        "import os\n\n\ndef test_one():\n    pass\n\n\ndef test_dies():\n    os.kill(os.getpid(), 9)\n",
    )
    (one,) = ran(place).findings
    assert (one.place, one.rule) == ("tests/test_a.py:8", "killed")
    assert one.message == "the tests ended in the middle: pytest was killed by SIGKILL in test_dies"


def test_whoever_leaves_in_the_middle_with_code_0_has_not_passed(place: Place, write: Writes) -> None:
    write("tests/test_a.py", "import os\n\n\ndef test_a():\n    os._exit(0)\n")
    with pytest.raises(Permanent, match="ended with code 0 before it had looked at everything"):
        ran(place)


def test_no_tests_is_a_finding_and_no_slow_ones_is_not(place: Place, write: Writes) -> None:
    assert told(ran(place)) == [("", "no-tests", "no test was found")]
    write("tests/test_a.py", "import pytest\n\n\n@pytest.mark.slow\ndef test_a():\n    pass\n")
    assert told(ran(place)) == [("", "no-tests", "no test was found that is not marked slow")]
    assert ran(place, which="slow").sentence == "1 test passed"
    write("tests/test_a.py", "def test_a():\n    pass\n")
    assert ran(place, which="slow").outcome == "skipped"


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        ("pyproject.toml", "[tool.pytest.ini_options]\naddopts = '--bogus'\n", "unrecognized arguments: --bogus"),
        ("conftest.py", "x = 1\nimport nothing_of_that_name\n", "No module named 'nothing_of_that_name'"),
    ],
)
def test_a_configuration_that_does_not_work_is_a_finding_in_it(
    place: Place, write: Writes, file: str, text: str, found: str
) -> None:
    write(file, text)
    write("tests/test_a.py", "def test_a():\n    pass\n")
    (one,) = ran(place).findings
    assert (one.file, one.rule) == (file, "configuration")
    assert found in one.message


def test_half_a_file_of_results_is_none(place: Place, write: Writes) -> None:
    assert read_cases(write("junit.xml", "<testsuites><testsuite><testcase name='a'"), place) == []
    assert read_cases(place.folder / "nothing.xml", place) == []
    assert read_cases(write("junit.xml", "<testsuites/>"), place) == []
