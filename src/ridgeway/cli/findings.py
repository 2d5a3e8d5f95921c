"""Findings as a terminal shows them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ridgeway.artifacts import Finding

MARKS = {"pass": "ok", "warn": "warn", "fail": "FAIL"}


def table(findings: Iterable[Finding], width: int) -> str:
    """One finding a line, wrapped to the width; under one that is not well its next command.

    Example:
        >>> from ridgeway.artifacts import Finding
        >>> print(table([Finding("disk", "fail", "1 MiB is free", "make room")], 80))
        FAIL  disk  1 MiB is free
                    next: make room
    """
    rows = list(findings)
    left = max((len(finding.check) for finding in rows), default=0)
    lines = []
    for finding in rows:
        head = f"{MARKS[finding.outcome]:<4}  {finding.check:<{left}}  "
        texts = [finding.sentence] + (
            [f"next: {finding.next_step}"] if finding.next_step and finding.outcome != "pass" else []
        )
        body = [line for text in texts for part in text.split("\n") for line in _wrapped(part, width - len(head))]
        lines += [(head if index == 0 else " " * len(head)) + line for index, line in enumerate(body or [""])]
    return "\n".join(line.rstrip() for line in lines)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 20), break_long_words=False, break_on_hyphens=False) or [""]
