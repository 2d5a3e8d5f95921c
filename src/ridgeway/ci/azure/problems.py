"""What can be wrong with a pipeline file: always a place, the words found there, and what would have been right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NamedTuple

from ridgeway.errors import UsageError


class Place(NamedTuple):
    """A place in a file; lines and columns count from 1.

    Example:
        >>> str(Place("release.yml", 12, 5))
        'release.yml:12:5'
    """

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class PipelineError(UsageError):
    """A pipeline file that the runner refuses: it is not valid, or cannot be understood."""


class Unsupported(PipelineError):
    """Something that Azure Pipelines knows and this runner does not: named, never guessed at."""


class Warned(NamedTuple):
    """Something that runs, but probably not as meant.

    Attributes:
        place: Where it stands.
        text: What was found, and what Azure Pipelines does with it.
    """

    place: Place
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


def refuse(
    place: Place, summary: str, *, problem: str = "", expected: str = "", next_step: str = "correct the file"
) -> PipelineError:
    """An error at a place, ready to be raised."""
    return PipelineError(summary, where=str(place), problem=problem, expected=expected, next_step=next_step)


def unsupported(place: Place, feature: str, *, instead: str = "", known: bool = True) -> Unsupported:
    """The error for a feature outside the grammar.

    Args:
        place: Where it is used.
        feature: Its name, as the documentation of Azure Pipelines has it.
        instead: What this runner knows in its place.
        known: Whether Azure Pipelines itself knows it.
    """
    there = (
        "is known to Azure Pipelines, but cannot be tried here" if known else "is not read by Azure Pipelines either"
    )
    return Unsupported(
        f"{feature} is not in the runner's grammar",
        where=str(place),
        problem=f"{feature} {there}",
        expected=instead or "the grammar in docs/ci-runner.md",
        next_step="write it another way" + (", or try this file on Azure Pipelines itself" if known else ""),
    )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``did you mean condition?``, or the known words where none is close.

    Example:
        >>> did_you_mean("dependson", ["dependsOn", "condition"])
        'did you mean dependsOn?'
        >>> did_you_mean("x", ["a", "b"])
        'one of a, b'
    """
    names = list(known)
    folded = {name.lower(): name for name in names}
    # A long common beginning says more than many common letters: retryCountOnError is not meant to be continueOnError.
    begun = max(names, key=lambda name: _shared(name, word), default="")
    if _shared(begun, word) * 5 >= len(word) * 3 > 9:
        return f"did you mean {begun}?"
    close = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    if close:
        return f"did you mean {folded[close[0]]}?"
    return "one of " + ", ".join(names) if names else ""


def _shared(one: str, other: str) -> int:
    """How many characters two words begin with together, letter case aside."""
    both = zip(one.lower(), other.lower(), strict=False)
    return next((place for place, (left, right) in enumerate(both) if left != right), min(len(one), len(other)))
