"""One family of errors, two branches: a retry may help (``Transient``) or a person must act (``Permanent``).

Every error says what was being done, where, what was found, what was expected, and the next command; ``str(error)`` is
the whole message as the terminal shows it. The exit codes are part of the interface (``ridgeway help`` lists them).
"""

from __future__ import annotations

from typing import ClassVar


class RidgewayError(Exception):
    """An error with a message a person can act on, and the exit code that the command line ends with.

    Args:
        summary: What was being done and what came of it, one line without a full stop.
        where: The place: a file with line or row, a setting with its full path and origin, a URL.
        problem: What was found there.
        expected: What would have been right.
        next_step: The command (or edit) that leads on.

    Example:
        >>> print(BadData("check_data: data/d.csv is refused", problem="no rows", next_step="ridgeway show data/d.csv"))
        check_data: data/d.csv is refused
          problem   no rows
          next      ridgeway show data/d.csv
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self, summary: str, *, where: str = "", problem: str = "", expected: str = "", next_step: str = ""
    ) -> None:
        self.summary = summary
        self.where = where
        self.problem = problem
        self.expected = expected
        self.next_step = next_step
        super().__init__(self._message())

    def _message(self) -> str:
        rows = {"where": self.where, "problem": self.problem, "expected": self.expected, "next": self.next_step}
        indent = "\n" + " " * 12
        return "\n".join(
            [self.summary, *(f"  {key:<9} {text.replace(chr(10), indent)}" for key, text in rows.items() if text)]
        )

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and process pools pickle what they raise.
        names = ("where", "problem", "expected", "next_step")
        return (_rebuild, (type(self), self.summary, {name: getattr(self, name) for name in names}))


def _rebuild(kind: type[RidgewayError], summary: str, rows: dict[str, str]) -> RidgewayError:
    return kind(summary, **rows)


class Transient(RidgewayError):
    """Something outside is not there just now: the same command may work later. The only branch that is retried."""

    exit_code = 75


class Permanent(RidgewayError):
    """The same command will end the same way until a person changes something."""


class UsageError(Permanent, ValueError):
    """A wrong argument, setting or handle."""

    exit_code = 2


class BadData(Permanent, ValueError):
    """Data that nothing may be trained on."""

    exit_code = 65


class ModelError(Permanent, ValueError):
    """The user's model cannot be built, trained, stored or trusted."""


class EvidenceError(Permanent, ValueError):
    """The evidence is not sound: a model has seen a row it would be judged on, or numbers are not finite."""


class NotFound(UsageError, LookupError):
    """A handle that is well formed but names nothing."""


class StorageError(Permanent, OSError):
    """A disk that is full, or a file or database that cannot be written."""


class Unreachable(Transient, ConnectionError):
    """A server that does not answer. Never to be confused with a server that answers "nothing there"."""


class Busy(Transient):
    """Someone else holds the lock: another run of the same model, or a database that is locked."""


class NotAccepted(Permanent):
    """A model that no verdict lets in, or a release that a person refused: nothing was done."""

    exit_code = 3


class NotProven(NotAccepted):
    """A model on which there is not enough evidence for a verdict: nothing was done."""

    exit_code = 4


class GateFound(Permanent):
    """A gate looked and found something: a build check, a preflight, a probe."""

    exit_code = 7


class RolledBack(Permanent):
    """The new image did not hold; the previous one is back in its place and proven."""

    exit_code = 6


class Stuck(Permanent):
    """An endpoint runs neither the new nor the proven previous image. A person must act."""

    exit_code = 8
