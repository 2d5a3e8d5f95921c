"""``contracts``: which part of the code may import which, by import-linter and the contracts of the project."""

from __future__ import annotations

import configparser
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from ridgeway.artifacts import BuildFinding, GateReport
from ridgeway.code_gate.programs import Place, counted, crash, in_order, require, run_python, told, too_late
from ridgeway.errors import UsageError

GATE = "contracts"
PROGRAM = "from importlinter.cli import lint_imports_command; lint_imports_command()"
"""import-linter cannot be started by ``-m``."""
_LINK = re.compile(r"([\w.]+) -> ([\w.]+) \((l\.[\d, l.]+)\)")
_SYNTAX = re.compile(r"^Syntax error in (.+), line (\d+): (.*)$", re.MULTILINE)
_KEPT = re.compile(r"Contracts: (\d+) kept, (\d+) broken")


def look(place: Place) -> GateReport:
    """What import-linter finds.

    Raises:
        UsageError: import-linter is not installed, or the project has no contracts.
        TimeIsUp: It took too long.
        Permanent: It ended in the middle.
    """
    require(GATE, "importlinter")
    _require_contracts(place.folder)
    options = ["--no-logo", "--cache-dir", str(place.cache / "import-linter")]
    # The folder's own packages, not those of the same name that are installed; and no line folded at 80 columns.
    paths = [str(place.folder / "src"), str(place.folder), os.environ.get("PYTHONPATH", "")]
    environment = {"COLUMNS": "1000", "PYTHONPATH": ":".join(filter(None, paths))}
    ended = run_python("contracts", ["-c", PROGRAM, *options], place, environment=environment)
    if ended.is_late:
        raise too_late(GATE, ended, place)
    files = (place.kept(place.output / "contracts.out"),)
    kept = _KEPT.search(ended.out)
    if ended.code == 0 and kept:
        sentence = f"{counted(int(kept[1]), 'contract')} kept"
        figures = {"contracts": float(kept[1])}
        return GateReport(GATE, "passed", (), sentence, "", ended.seconds, figures, files)
    findings = in_order([*findings_in(ended.out, place), *_unread(ended.out, place)])
    if not findings:
        raise crash(GATE, ended, place)
    figures = {"findings": float(len(findings))}
    return GateReport(GATE, "found", findings, told(findings), "", ended.seconds, figures, files)


def findings_in(text: str, place: Place) -> Iterator[BuildFinding]:
    """One finding for each import that breaks a contract, and one for a broken contract that names no import.

    Args:
        text: The output of ``lint-imports``.
        place: Where it ran.
    """
    broken = re.findall(r"^(.+) BROKEN\b", text, flags=re.MULTILINE)
    details = text.partition("Broken contracts")[2]
    for index, name in enumerate(broken):
        begin = details.find(f"\n{name}\n")
        ends = [at for other in broken[index + 1 :] if (at := details.find(f"\n{other}\n")) > begin]
        part = details[begin : min(ends, default=len(details))] if begin >= 0 else ""
        links = list(_links(part, name, place))
        words = [line for line in part.splitlines()[3:] if line.strip()]
        yield from links or [BuildFinding(GATE, "", 0, 0, "contract", f"{name}: {' '.join(words)}".rstrip(": "))]


def _links(text: str, contract: str, place: Place) -> Iterator[BuildFinding]:
    for importer, imported, lines in _LINK.findall(text):
        for line in re.findall(r"\d+", lines):
            file = _file(importer, place.folder)
            yield BuildFinding(GATE, file, int(line), 0, "contract", f"imports {imported}: {contract}")


def _unread(text: str, place: Place) -> Iterator[BuildFinding]:
    for file, line, words in _SYNTAX.findall(text):
        yield BuildFinding(GATE, place.relative(file), int(line), 0, "syntax", f"cannot be read: {words}")


def _file(module: str, folder: Path) -> str:
    """Where a module stands, relative to the folder; its name where it is nowhere there."""
    inner = module.replace(".", "/")
    for path in (f"src/{inner}.py", f"{inner}.py", f"src/{inner}/__init__.py", f"{inner}/__init__.py"):
        if (folder / path).is_file():
            return path
    return module


def _require_contracts(folder: Path) -> None:
    for name in ("setup.cfg", ".importlinter"):
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        try:
            parser.read(folder / name, encoding="utf-8")
        except configparser.Error:
            return
        if parser.has_section("importlinter"):
            return
    try:
        if "importlinter" in tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("tool", {}):
            return
    except (OSError, ValueError):
        pass
    raise UsageError(
        "contracts: the project has none",
        where=str(folder / "pyproject.toml"),
        problem="it has no [tool.importlinter]",
        expected="contracts, if build.checks asks for them",
        next_step="write them, or take contracts out of build.checks",
    )
