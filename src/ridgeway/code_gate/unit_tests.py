"""``tests``: pytest in the project's own configuration, and how much of the code the tests run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ridgeway.artifacts import BuildFinding, GateReport
from ridgeway.code_gate import coverage
from ridgeway.code_gate.junit import Case, read_cases
from ridgeway.code_gate.programs import Ended, Place, counted, crash, in_order, require, run_python

GATE = "tests"
NO_TESTS, WRONG_USE = 5, 4
"""Exit codes of pytest."""
_STARTED = re.compile(r"^(\S+?\.py)::(\S+)\s*$", re.MULTILINE)
"""In its output: a test that began and has not ended."""
_INTERRUPTED = re.compile(r"^(.+?\.py):(\d+): KeyboardInterrupt$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which tests run, and what is asked of them."""

    which: Literal["quick", "slow", "all"] = "quick"
    marker: str = "slow"
    """The mark of tests that are not quick; empty: there are none."""
    least_coverage: float = 0
    """Percent of the measured code that they must run; 0: not measured. A part of the tests is never asked for it."""

    @property
    def is_measured(self) -> bool:
        """Whether coverage is looked at."""
        return self.least_coverage > 0 and self.which != "slow"

    @property
    def expression(self) -> str:
        """What pytest's ``-m`` takes; empty: all tests.

        Example:
            >>> Selection().expression, Selection("slow").expression, Selection("all").expression
            ('not slow', 'slow', '')
        """
        if not self.marker or self.which == "all":
            return ""
        return self.marker if self.which == "slow" else f"not {self.marker}"


def look(place: Place, *, chosen: Selection) -> GateReport:
    """Failed tests, each with the line that failed, and code that no test runs where too much of it is not.

    Leaves ``junit.xml``, ``coverage.xml`` and ``pytest.out`` in ``place.output``.

    Raises:
        UsageError: pytest, or its coverage plugin, is not installed.
        Permanent: It ended in the middle.
    """
    require(GATE, "pytest", *(["pytest_cov"] if chosen.is_measured else []))
    junit, measured = place.output / "junit.xml", place.output / "coverage.xml"
    for old in (junit, measured):
        old.unlink(missing_ok=True)
    environment = {"COVERAGE_FILE": str(place.output / ".coverage")}
    ended = run_python("pytest", ["-m", "pytest", *_options(place, chosen)], place, environment=environment)
    cases = read_cases(junit, place)
    findings = [*(case.finding for case in cases if case.finding), *_end_of(ended, cases, place, chosen)]
    if not findings and ended.code not in (0, NO_TESTS):
        raise crash(GATE, ended, place)
    found = coverage.read(measured, place) if chosen.is_measured and ended.code in (0, 1) else None
    if found is not None:
        findings += found.findings(chosen.least_coverage)
    return _report(findings, cases, found, (ended, place, chosen))


def _options(place: Place, chosen: Selection) -> list[str]:
    """Over the project's own options: what makes the outcome readable, and keeps it out of the tree."""
    options = ["--verbosity=1", "--tb=short", "--color=no", f"--rootdir={place.folder}"]
    options += ["-o", f"cache_dir={place.cache / 'pytest'}", "-o", "junit_family=xunit1"]
    options += [f"--junitxml={place.output / 'junit.xml'}"]
    options += ["-m", chosen.expression] if chosen.expression else []
    if chosen.is_measured:
        # The threshold is build.coverage; one of the plugin's own would end it with a code that means a failed test.
        options += [*coverage.subjects(place.folder), "--cov-fail-under=0"]
        options += ["--cov-report=", f"--cov-report=xml:{place.output / 'coverage.xml'}"]
    return options


def _end_of(ended: Ended, cases: Sequence[Case], place: Place, chosen: Selection) -> list[BuildFinding]:
    """What its end says beyond the tests that failed."""
    if ended.is_late:
        file, line, test = _under_way(ended.out, place)
        words = f"{test or 'the tests'} still ran after {place.timeout_seconds:g} s (build.timeout_seconds)"
        return [BuildFinding(GATE, file, line, 0, "time-limit", words)]
    if ended.code < 0:
        file, line, test = _under_way(ended.out, place)
        words = f"the tests ended in the middle: pytest {ended.how}" + (f" in {test}" if test else "")
        return [BuildFinding(GATE, file, line, 0, "killed", words)]
    if ended.code == NO_TESTS and chosen.which != "slow":
        words = "no test was found" + (f" that is not marked {chosen.marker}" if "deselected" in ended.out else "")
        return [BuildFinding(GATE, "", 0, 0, "no-tests", words)]
    if ended.code == WRONG_USE:
        return [_configuration(ended, place)]
    if not cases and ended.code != NO_TESTS:
        # Whoever leaves by os._exit(0) has passed no test.
        raise crash(GATE, ended, place)
    return []


def _configuration(ended: Ended, place: Place) -> BuildFinding:
    """What pytest says of its own options, or of a conftest.py that does not import."""
    at = re.search(r"^(\S+\.py):(\d+): in ", ended.last_words, flags=re.MULTILINE)
    errors = re.findall(r"^(?:E   |.*?error: |ERROR: )(.+)$", ended.last_words, flags=re.MULTILINE)
    named = re.search(r"inifile: (\S+)", ended.last_words)
    file, line = (at[1], int(at[2])) if at else (named[1] if named and named[1] != "None" else "pyproject.toml", 0)
    words = errors[-1] if errors else ended.last_words.rpartition("\n")[2]
    return BuildFinding(GATE, place.relative(file), line, 0, "configuration", words)


def _under_way(out: str, place: Place) -> tuple[str, int, str]:
    """File, line and name of the test that ran when it ended, as far as the output tells."""
    tests = _STARTED.findall(out)
    file, test = tests[-1] if tests else ("", "")
    at = _INTERRUPTED.findall(out)
    if at:
        return place.relative(at[-1][0]), int(at[-1][1]), test
    return (place.relative(file), _line_of(test, place.folder / file), test) if file else ("", 0, "")


def _line_of(test: str, file: Path) -> int:
    name = re.escape(test.rpartition("::")[2].partition("[")[0])
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return 0
    return next((number for number, line in enumerate(lines, 1) if re.match(rf"\s*(async )?def {name}\b", line)), 0)


def _report(
    findings: Sequence[BuildFinding],
    cases: Sequence[Case],
    found: coverage.Measured | None,
    circumstances: tuple[Ended, Place, Selection],
) -> GateReport:
    ended, place, chosen = circumstances
    if not cases and not findings:
        return GateReport(GATE, "skipped", (), f"no test is marked {chosen.marker}", seconds=ended.seconds)
    failed = sum(case.finding is not None for case in cases)
    skipped = sum(case.is_skipped for case in cases)
    figures = {"tests": float(len(cases)), "failed": float(failed), "skipped": float(skipped)}
    sentence = (
        f"{failed} of {counted(len(cases), 'test')} failed" if failed else f"{counted(len(cases), 'test')} passed"
    )
    sentence = sentence if cases else findings[0].message
    sentence += f", {skipped} of them skipped" if skipped else ""
    if found is not None:
        figures["coverage"] = found.percent
        sentence += f"; coverage {coverage.shown(found.percent)}, asked for {chosen.least_coverage:g} %"
    kept = [place.output / name for name in ("junit.xml", "coverage.xml", "pytest.out")]
    files = tuple(place.kept(file) for file in kept if file.is_file())
    outcome: Literal["passed", "found"] = "found" if findings else "passed"
    return GateReport(GATE, outcome, in_order(findings), sentence, "", ended.seconds, figures, files)
