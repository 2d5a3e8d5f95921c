"""Coverage XML: how much of the measured code the tests run, and which lines they do not."""

from __future__ import annotations

import configparser
import math
import re
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ridgeway.artifacts import BuildFinding
from ridgeway.code_gate.programs import Place

USUAL = ("steps", "flows")
"""Measured where the configuration names nothing."""
_SAYS_IT = ("source", "source_pkgs", "source_dirs", "include")


@dataclass(frozen=True, slots=True)
class FileMeasured:
    """One file: its lines and branches together, as coverage counts them."""

    file: str
    valid: int
    covered: int
    missing: tuple[int, ...]
    """Lines that no test runs."""

    @property
    def percent(self) -> float:
        """Of its lines and branches."""
        return 100 * self.covered / self.valid if self.valid else 100.0


@dataclass(frozen=True, slots=True)
class Measured:
    """All that was measured."""

    files: tuple[FileMeasured, ...]

    @property
    def valid(self) -> int:
        """Lines and branches that there are."""
        return sum(file.valid for file in self.files)

    @property
    def percent(self) -> float:
        """Of all lines and branches; 0 where nothing was measured."""
        return 100 * sum(file.covered for file in self.files) / self.valid if self.valid else 0.0

    def findings(self, least: float) -> list[BuildFinding]:
        """The files that stand in the way, where all together are below what is asked for.

        Args:
            least: Percent.

        Example:
            >>> whole = Measured((FileMeasured("steps/a.py", 10, 10, ()), FileMeasured("steps/b.py", 10, 4, (7, 8, 9))))
            >>> [(one.place, one.message) for one in whole.findings(80)]
            [('steps/b.py:7', 'tests run 40.0 % of it, not lines 7-9 (all: 70.0 %, build.coverage: 80 %)')]
            >>> whole.findings(70)
            []
        """
        if not self.valid:
            words = "nothing was measured: no line of code is where coverage looks for it"
            return [BuildFinding("tests", "", 0, 0, "coverage", words)]
        if self.percent >= least - 1e-9:
            return []
        all_of_it = f"(all: {shown(self.percent)}, build.coverage: {least:g} %)"
        low = [file for file in self.files if file.percent < least]
        return [
            BuildFinding(
                "tests",
                one.file,
                one.missing[0] if one.missing else 0,
                0,
                "coverage",
                f"tests run {shown(one.percent)} of it{_not_run(one.missing)} {all_of_it}",
            )
            for one in low
        ]


def shown(percent: float) -> str:
    """A percentage that is never shown as more than it is.

    Example:
        >>> shown(79.96), shown(100.0)
        ('79.9 %', '100.0 %')
    """
    return f"{math.floor(percent * 10 + 1e-6) / 10:.1f} %"


def read(file: Path, place: Place) -> Measured | None:
    """What the file tells; None where there is none.

    Args:
        file: As ``coverage xml`` writes it.
        place: Where the tests ran.
    """
    try:
        root = ET.parse(file).getroot()  # noqa: S314 - coverage wrote it just now
    except (OSError, ET.ParseError):
        return None
    sources = [Path(element.text or "") for element in root.iter("source")]
    return Measured(tuple(_file(element, sources, place) for element in root.iter("class")))


def subjects(folder: Path) -> list[str]:
    """What pytest is told to measure: what coverage's own configuration names, else ``steps`` and ``flows``."""
    if _is_said(folder):
        return ["--cov"]
    return [f"--cov={name}" for name in USUAL if (folder / name).is_dir()] or ["--cov"]


def _is_said(folder: Path) -> bool:
    for name, section in ((".coveragerc", "run"), ("setup.cfg", "coverage:run"), ("tox.ini", "coverage:run")):
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        try:
            parser.read(folder / name, encoding="utf-8")
        except configparser.Error:
            return True  # coverage will say what is wrong with it
        if parser.has_section(section):
            return any(parser.has_option(section, key) for key in _SAYS_IT)
    try:
        tools = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("tool", {})
    except (OSError, ValueError):
        return False
    return any(key in tools.get("coverage", {}).get("run", {}) for key in _SAYS_IT)


def _file(element: ET.Element, sources: Iterable[Path], place: Place) -> FileMeasured:
    name = element.get("filename", "")
    path = next((file for source in sources if (file := place.folder / source / name).is_file()), Path(name))
    valid = covered = 0
    missing = []
    for line in element.iter("line"):
        is_run = line.get("hits") != "0"
        there, run = _branches(line.get("condition-coverage", ""))
        valid, covered = valid + 1 + there, covered + is_run + run
        missing += [] if is_run else [int(line.get("number", 0))]
    return FileMeasured(place.relative(path), valid, covered, tuple(missing))


def _branches(text: str) -> tuple[int, int]:
    """Branches that a line has, and those that were taken, from ``50% (1/2)``."""
    match = re.search(r"\((\d+)/(\d+)\)", text)
    return (int(match[2]), int(match[1])) if match else (0, 0)


def _not_run(lines: tuple[int, ...]) -> str:
    if not lines:
        return ""
    spans = list(_spans(lines))
    more = f" and {len(spans) - 8} more" if len(spans) > 8 else ""
    return f", not line{'s' * (len(lines) > 1)} {', '.join(spans[:8])}{more}"


def _spans(lines: tuple[int, ...]) -> Iterator[str]:
    begin = end = lines[0]
    for line in (*lines[1:], -1):
        if line != end + 1:
            yield f"{begin}-{end}" if end > begin else str(begin)
            begin = line
        end = line
