"""What the server says no with: a refused request, a package that cannot be trusted, a wrong setting."""

from __future__ import annotations


class Refusal(Exception):
    """A request that gets an error answer: status, a sentence that says what was expected, and extra header lines.

    Example:
        >>> refusal = Refusal(400, "row 1 has 9 values", "10, one for each column")
        >>> refusal.status, refusal.sentence
        (400, 'row 1 has 9 values; expected 10, one for each column')
    """

    def __init__(
        self, status: int, problem: str, expected: str = "", headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self.status = status
        self.sentence = f"{problem}; expected {expected}" if expected else problem
        self.headers = headers
        super().__init__(self.sentence)


class PackageError(Exception):
    """A model package that is not loaded: missing, altered, cut short, too new, or not true to its manifest."""


class SettingError(Exception):
    """A setting that the server does not start with; the message names it and says what would do."""
