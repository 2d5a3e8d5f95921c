"""Calls of ``ridgeway`` in scripts of CI files. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Final

PLACEHOLDER: Final = "$X"
"""What stands for an expression whose value only the CI system knows."""
_EXPRESSIONS: Final = re.compile(r"\$\{\{.*?\}\}|\$\[.*?\]|\$\([A-Za-z_][\w.]*\)")
_CALL: Final = re.compile(r"(?:^|[\s;&|({])(?:\S*/)?ridgeway\s+(?=[a-z-])(.*)", re.DOTALL)
_NOT_A_CALL: Final = re.compile(r"^\s*(#|//|echo\b|printf\b|docker\b|.*\bpip3? install\b|.*\bimport\b)")
_ENDS: Final = re.compile(r"^(?:[;&|<>)}]+|\d?>.*)$")


def calls(script: str) -> Iterator[tuple[str, ...]]:
    r"""The words behind ``ridgeway`` for each call in a shell script.

    Example:
        >>> list(calls("set -e\n.venv/bin/ridgeway run release \"$MODEL\" \\\n  --ci && echo ridgeway runs"))
        [('run', 'release', '$MODEL', '--ci')]
        >>> list(calls("ridgeway approve ${{ needs.qa.outputs.release }} --ci 2>&1 | tee log"))
        [('approve', '$X', '--ci')]
    """
    joined = re.sub(r"\\\n\s*", " ", script)
    for line in joined.splitlines():
        if _NOT_A_CALL.match(line):
            continue
        found = _CALL.search(_EXPRESSIONS.sub(PLACEHOLDER, line))
        if found:
            yield _words(found[1])


def _words(rest: str) -> tuple[str, ...]:
    reader = shlex.shlex(rest, posix=True, punctuation_chars=";&|()<>")
    reader.whitespace_split = True
    reader.commenters = "#"
    made: list[str] = []
    try:
        for word in reader:
            if _ENDS.match(word):
                break
            made.append(word)
    except ValueError:  # a quotation that goes on in the next line
        made = rest.split()
    if made and made[-1].isdecimal() and re.search(rf"\s{made[-1]}>", rest):
        made.pop()  # 2>&1
    return tuple(made)
