"""JUnit XML as pytest writes it: each test, and for one that failed the line of the project that it failed in."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ridgeway.artifacts import BuildFinding
from ridgeway.code_gate.programs import Place

_PLACES = re.compile(r'^(?:(\S.*?\.py):(\d+): in |E?\s+File "(.+?)", line (\d+))', re.MULTILINE)
_SAID = re.compile(r"^E +(.*)$", re.MULTILINE)
_KIND = re.compile(r'^(?:failed on (?:setup|teardown) with ")?([A-Za-z_][\w.]*?)(?::|$)')
_LONGEST = 300
"""Characters of a message; the rest is in junit.xml."""


@dataclass(frozen=True, slots=True)
class Case:
    """One test."""

    name: str
    is_skipped: bool
    finding: BuildFinding | None
    """Why and where it failed; None for one that did not."""


def read_cases(file: Path, place: Place) -> list[Case]:
    """The tests that the file tells of; none where there is no such file, or only half of it.

    Args:
        file: As ``pytest --junitxml`` writes it with ``junit_family=xunit1``.
        place: Where the tests ran.
    """
    try:
        root = ET.parse(file).getroot()  # noqa: S314 - pytest wrote it just now
    except (OSError, ET.ParseError):
        return []
    return [_case(element, place) for element in root.iter("testcase") if element.get("name")]


def _case(element: ET.Element, place: Place) -> Case:
    name = element.get("name", "")
    failed = [child for child in element if child.tag in ("failure", "error")]
    finding = _finding(element, failed[0], place) if failed else None
    return Case(name, element.find("skipped") is not None, finding)


def _finding(case: ET.Element, failure: ET.Element, place: Place) -> BuildFinding:
    text, words = failure.text or "", failure.get("message") or ""
    if words == "collection failure":
        said = _SAID.findall(text)
        words = said[-1] if said else (text.strip().splitlines() or [words])[-1]
    places = list(_own_places(text, place))
    # The line is counted from 0 there.
    file, line = places[-1] if places else (case.get("file", ""), int(case.get("line", -1)) + 1)
    kind = _KIND.match(words)
    rule = "AssertionError" if words.startswith("assert ") else kind[1].rpartition(".")[2] if kind else "failed"
    first = words.strip().partition("\n")[0]
    first = first.removeprefix(f"{kind[1]}: ") if kind else first
    name = case.get("name", "")
    message = f"{name}: {first}" if case.get("classname") else first
    return BuildFinding("tests", place.relative(file) if file else "", line, 0, rule, message[:_LONGEST])


def _own_places(text: str, place: Place) -> Iterator[tuple[str, int]]:
    """The lines of the project that the error came through, the innermost last."""
    for short, number, long, other in _PLACES.findall(text):
        file = place.relative(short or long)
        if not Path(file).is_absolute() and "site-packages" not in file:
            yield file, int(number or other)
