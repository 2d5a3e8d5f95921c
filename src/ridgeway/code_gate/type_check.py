"""``types``: mypy, as the project's own configuration has it."""

from __future__ import annotations

import configparser
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ridgeway.artifacts import BuildFinding, GateReport
from ridgeway.code_gate.programs import Place, crash, in_order, require, run_python, told, too_late
from ridgeway.errors import UsageError

GATE = "types"
USUAL = ("src", "flows", "steps")
"""Looked at where the configuration names nothing."""


def look(place: Place) -> GateReport:
    """What mypy finds in what its configuration names, else in ``src``, ``flows`` and ``steps``.

    Raises:
        UsageError: mypy is not installed, or there is nothing to look at.
        TimeIsUp: It took too long.
        Permanent: It ended in the middle.
    """
    require(GATE, "mypy")
    options = ["--output", "json", "--cache-dir", str(place.cache / "mypy"), "--no-error-summary"]
    ended = run_python("mypy", ["-P", "-m", "mypy", *options, *_subjects(place.folder)], place)
    if ended.is_late:
        raise too_late(GATE, ended, place)
    findings = in_order(list(findings_in(ended.out, place)))
    files = (place.kept(place.output / "mypy.out"),)
    if ended.code == 0:
        return GateReport(GATE, "passed", (), "the types agree", seconds=ended.seconds, files=files)
    if not findings:
        raise crash(GATE, ended, place)
    figures = {"findings": float(len(findings))}
    return GateReport(GATE, "found", findings, told(findings), "", ended.seconds, figures, files)


def findings_in(text: str, place: Place) -> Iterator[BuildFinding]:
    """One finding for each error in mypy's output, which has one JSON object in a line.

    Args:
        text: The output.
        place: Where it ran.
    """
    for line in text.splitlines():
        entry = _entry(line)
        if entry.get("severity") == "error":
            column = int(entry.get("column", -1)) + 1  # counted from 0 there
            yield BuildFinding(
                GATE,
                place.relative(entry["file"]),
                max(int(entry.get("line", 0)), 0),
                max(column, 0),
                entry.get("code") or "",
                " ".join(entry["message"].split()),
            )


def _entry(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _subjects(folder: Path) -> list[str]:
    """What is looked at, as arguments; none where the configuration says it."""
    if _is_said(folder):
        return []
    found = [name for name in USUAL if (folder / name).is_dir()]
    if not found:
        raise UsageError(
            "types: there is nothing to look at",
            where=str(folder),
            expected=f"a folder {', '.join(USUAL)}, or files = […] under [tool.mypy] in pyproject.toml",
        )
    return found


def _is_said(folder: Path) -> bool:
    for name in ("mypy.ini", ".mypy.ini", "setup.cfg"):
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        try:
            parser.read(folder / name, encoding="utf-8")
        except configparser.Error:
            return True  # mypy will say what is wrong with it
        if parser.has_section("mypy"):
            return any(parser.has_option("mypy", key) for key in ("files", "modules", "packages"))
    try:
        tools = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("tool", {})
    except (OSError, ValueError):
        return False
    return any(key in tools.get("mypy", {}) for key in ("files", "modules", "packages"))
