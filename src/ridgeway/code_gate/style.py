"""``ruff``: lint rules and formatting, as the project's own configuration has them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ridgeway.artifacts import BuildFinding, GateReport
from ridgeway.code_gate.programs import Ended, Place, crash, in_order, require, run_python, told, too_late

GATE = "ruff"
NOT_OURS = ".ridgeway,.tools"
"""Folders with local state and tools: never part of the source, whatever is ignored."""


def look(place: Place) -> GateReport:
    """What ``ruff check`` and ``ruff format --check`` find; nothing is changed, whatever the configuration says.

    Raises:
        UsageError: ruff is not installed.
        TimeIsUp: It took too long.
        Permanent: It ended in the middle.
    """
    require(GATE, "ruff")
    common = ["--output-format", "json", "--cache-dir", str(place.cache / "ruff"), "--extend-exclude", NOT_OURS, "."]
    lint = _ruff("check", ["--no-fix", *common], place)
    if config := configuration_finding(lint.err, place):
        return _report((config,), [], lint.seconds, place)
    marked = _entries(lint, place)
    formatting = _ruff("format", ["--check", *common], place)
    if "output-format" in formatting.err:  # a ruff that cannot say it as JSON
        formatting = _ruff("format", ["--check", *common[2:]], place)
        unformatted = tuple(_plain(formatting.out, place))
    else:
        unformatted = tuple(_unformatted(_entries(formatting, place), place))
    findings = in_order([*(_finding(entry, place) for entry in marked), *unformatted])
    return _report(findings, marked, lint.seconds + formatting.seconds, place)


def _ruff(command: str, options: Sequence[str], place: Place) -> Ended:
    ended = run_python(f"ruff-{command}", ["-P", "-m", "ruff", command, *options], place)
    if ended.is_late:
        raise too_late(GATE, ended, place)
    return ended


def _entries(ended: Ended, place: Place) -> list[dict[str, Any]]:
    try:
        entries: list[dict[str, Any]] = json.loads(ended.out)
    except ValueError:
        raise crash(GATE, ended, place) from None
    return entries


def _finding(entry: dict[str, Any], place: Place) -> BuildFinding:
    at = entry.get("location") or {}
    return BuildFinding(
        GATE,
        place.relative(entry["filename"]),
        at.get("row", 0),
        at.get("column", 0),
        entry.get("code") or "invalid-syntax",
        " ".join(entry["message"].split()),
    )


def _unformatted(entries: Sequence[dict[str, Any]], place: Place) -> Iterator[BuildFinding]:
    """What does not even parse is left out: the lint says so already."""
    for entry in entries:
        if entry.get("code") == "unformatted":
            line = (entry.get("location") or {}).get("row", 0)
            yield BuildFinding(
                GATE, place.relative(entry["filename"]), line, 0, "format", "not as ruff format writes it"
            )


def _plain(text: str, place: Place) -> Iterator[BuildFinding]:
    for file in re.findall(r"^Would reformat: (.+)$", text, flags=re.MULTILINE):
        yield BuildFinding(GATE, place.relative(file), 0, 0, "format", "not as ruff format writes it")


def configuration_finding(text: str, place: Place) -> BuildFinding | None:
    """A configuration that ruff cannot read, with its line; None where it says nothing of the kind.

    Args:
        text: What it wrote to its standard error.
        place: Where it ran.
    """
    file = re.search(r"Failed to (?:parse|load|read) (?:configuration )?`?(\S+?\.toml)`?", text)
    if file is None:
        return None
    at = re.search(r"at line (\d+), column (\d+)", text)
    words = [line.strip() for line in text.splitlines() if line.strip() and "|" not in line]
    line, column = (int(at[1]), int(at[2])) if at else (0, 0)
    return BuildFinding(GATE, place.relative(file[1]), line, column, "configuration", words[-1].removeprefix("Cause: "))


def _report(
    findings: tuple[BuildFinding, ...], marked: Sequence[dict[str, Any]], seconds: float, place: Place
) -> GateReport:
    files = tuple(place.kept(file) for file in sorted(place.output.glob("ruff-*")))
    if not findings:
        return GateReport(GATE, "passed", (), "lint and formatting are clean", seconds=seconds, files=files)
    return GateReport(
        GATE,
        "found",
        findings,
        told(findings),
        _next_step(findings, marked),
        seconds,
        {"findings": len(findings)},
        files,
    )


def _next_step(findings: Sequence[BuildFinding], marked: Sequence[dict[str, Any]]) -> str:
    mended = ["ruff check --fix ."] if any(entry.get("fix") for entry in marked) else []
    mended += ["ruff format ."] if any(one.rule == "format" for one in findings) else []
    return "     and     ".join(mended)
