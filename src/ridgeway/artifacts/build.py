"""The nouns of a build: what its gates found, where, and what each of them came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

GateOutcome = Literal["passed", "found", "broken", "skipped"]
"""``broken``: the gate itself could not look, because a tool is missing or ended in the middle."""


@dataclass(frozen=True, slots=True)
class BuildFinding:
    """One thing that a gate objects to, and where it is."""

    gate: str
    """``ruff``, ``types``, ``contracts``, ``tests`` or ``data``."""
    file: str
    """Relative to the project's folder, with ``/`` between the parts; empty where it is about no single file."""
    line: int = 0
    """From 1; 0 where it is about the whole file."""
    column: int = 0
    """From 1; 0 where it is about the whole line."""
    rule: str = ""
    """What it breaks, in the tool's own word, such as ``F401``."""
    message: str = ""
    """In a line or two."""

    @property
    def place(self) -> str:
        """``FILE:LINE:COLUMN``, as terminals and editors understand it.

        Example:
            >>> BuildFinding("ruff", "steps/make_model.py", 3, 8).place, BuildFinding("tests", "").place
            ('steps/make_model.py:3:8', '')
        """
        numbers = [str(number) for number in (self.line, self.column if self.line else 0) if number]
        return ":".join([self.file, *numbers]) if self.file else ""


@dataclass(frozen=True, slots=True)
class GateReport:
    """What one gate of a build came to."""

    gate: str
    outcome: GateOutcome
    findings: tuple[BuildFinding, ...] = ()
    sentence: str = ""
    """What came of it, in a line."""
    next_step: str = ""
    """What to do about it; empty where there is nothing to do."""
    seconds: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)
    """What was counted, such as ``tests`` and ``coverage`` (percent)."""
    files: tuple[str, ...] = ()
    """What it left in the run's folder, such as ``tests/junit.xml``."""
    exit_code: int = 0
    """That of the error for which it is ``broken``."""

    @property
    def ok(self) -> bool:
        """Whether nothing stands against publication here."""
        return self.outcome in ("passed", "skipped")
