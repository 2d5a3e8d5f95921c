"""Secrets in what scripts print: every form that they are likely to appear in becomes ``***``. Pure.

Text comes in pieces and a secret may be cut by their borders or run over several lines, so the end of a piece is held
back as long as it could be the beginning of a secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

MASK: Final = "***"


def forms(secret: str) -> set[str]:
    """The texts that a secret may appear as: itself, its lines, as JSON has it, as an address has it.

    Example:
        >>> sorted(forms("p w"))
        ['p w', 'p%20w']
    """
    found = {secret, secret.strip(), *(line.strip() for line in secret.splitlines())}
    found |= {json.dumps(text)[1:-1] for text in (secret, secret.strip())}
    found |= {quote(text, safe="") for text in (secret, secret.strip())}
    return {text for text in found if text}


class Masker:
    r"""Masks a stream of text.

    Args:
        secrets: What must not be shown; more can be added while the stream goes on.

    Example:
        >>> masker = Masker(["s3cret"])
        >>> masker.feed("a s3c"), masker.feed("ret b\n"), masker.end()
        ('a ', '*** b\n', '')
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._texts: list[str] = []
        self._beginnings: set[str] = set()
        self._longest = 0
        self._held = ""
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """One more secret."""
        known = {*self._texts, *forms(secret)}
        self._texts = sorted(known, key=lambda text: (-len(text), text))
        self._beginnings = {text[:length] for text in self._texts for length in range(1, len(text))}
        self._longest = max((len(text) for text in self._texts), default=0)

    def feed(self, text: str) -> str:
        """What can be shown by now: all but an end that may be the beginning of a secret."""
        buffer = self._held + text
        open_from = len(buffer) - self._open(buffer)
        hidden = self._hidden(buffer)
        end = next((start for start, stop in hidden if start < open_from < stop), open_from)
        self._held = buffer[end:]
        return _masked(buffer[:end], [span for span in hidden if span[1] <= end])

    def end(self) -> str:
        """What was held back, when nothing more comes."""
        rest, self._held = self._held, ""
        return _masked(rest, self._hidden(rest))

    def _open(self, buffer: str) -> int:
        """How many characters at the end may begin a secret."""
        most = min(self._longest - 1, len(buffer))
        return next((length for length in range(most, 0, -1) if buffer[-length:] in self._beginnings), 0)

    def _hidden(self, buffer: str) -> list[tuple[int, int]]:
        """The spans that secrets cover, those that overlap taken together."""
        spans = []
        for text in self._texts:
            start = buffer.find(text)
            while start >= 0:
                spans.append((start, start + len(text)))
                start = buffer.find(text, start + 1)
        merged: list[tuple[int, int]] = []
        for start, stop in sorted(spans):
            if merged and start < merged[-1][1]:
                merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
            else:
                merged.append((start, stop))
        return merged


def _masked(text: str, spans: Iterable[tuple[int, int]]) -> str:
    parts, end = [], 0
    for start, stop in spans:
        parts += [text[end:start], MASK]
        end = stop
    return "".join([*parts, text[end:]])


def masked(text: str, secrets: Iterable[str]) -> str:
    r"""A whole text without its secrets, longest first.

    Example:
        >>> masked("key=abcdef abc", ["abc", "abcdef"])
        'key=*** ***'
    """
    masker = Masker(secrets)
    return masker.feed(text) + masker.end()
