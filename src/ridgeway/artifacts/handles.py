"""Handles: what a person prints, pastes and parses."""

from __future__ import annotations

import re
import typing
from dataclasses import dataclass
from typing import Literal

from ridgeway.errors import NotFound, UsageError


@dataclass(frozen=True, slots=True)
class Handle:
    """A parsed handle: what kind of thing, its name, and which one of them.

    ``which`` is a version number or ``@alias`` for a model, a digest for data, a number for a release, a path in a run.
    """

    kind: Literal["models", "runs", "data", "releases"]
    name: str
    which: str

    def __str__(self) -> str:
        if self.kind == "data":
            return f"data://{self.name}@{self.which}"
        joint = "" if self.which.startswith("@") or not self.which else "/"
        return f"{self.kind}:/{self.name}{joint}{self.which}"


_HANDLES: dict[str, str] = {
    "models": r"models:/(?P<name>[^/@]+)(?:/(?P<which>[1-9]\d*)|(?P<alias>@[A-Za-z][\w-]*))?",
    "runs": r"runs:/(?P<name>[0-9a-f]{4,32})(?:/(?P<which>[\w./-]+))?",
    "data": r"data://(?P<name>[^@]+)@(?P<which>sha256:[0-9a-f]{8,64})",
    "releases": r"releases:/(?P<name>[^/@]+)/(?P<which>[1-9]\d*)",
}
_MOST_DIGITS = 9
"""Of a number in a handle: registries count in 32 bits and refuse more in words of their own."""


def parse_handle(text: str) -> Handle:
    """The handle that ``text`` spells.

    Raises:
        UsageError: It spells none.
        NotFound: Its number is larger than any registry counts.

    Example:
        >>> parse_handle("models:/diabetes@champion")
        Handle(kind='models', name='diabetes', which='@champion')
    """
    for kind, pattern in _HANDLES.items():
        if match := re.fullmatch(pattern, text):
            groups = match.groupdict()
            if kind in ("models", "releases") and len(groups["which"] or "") > _MOST_DIGITS:
                raise NotFound(
                    f"there is no {text}",
                    problem=f"a number of more than {_MOST_DIGITS} digits",
                    next_step="ridgeway list models",
                )
            return Handle(typing.cast(typing.Any, kind), groups["name"], groups.get("alias") or groups["which"] or "")
    raise UsageError(
        f"{text!r} is not a handle",
        expected="models:/NAME/7, models:/NAME@champion, runs:/ID, data://NAME@sha256:…, releases:/NAME/12",
        next_step="ridgeway list models",
    )
