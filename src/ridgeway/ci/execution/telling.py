"""What an execution tells while it goes on, and what has come of it."""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

NOT_EXECUTED: Final = "not executed"
"""How a note begins where something of the pipeline cannot be done here."""
WAITING: Final = "Waiting"
"""The result of a stage that waits for an approval, beside those of ``ridgeway.ci.azure.contexts``."""
NOT_STARTED: Final = "NotStarted"
"""The result of what stands behind a stage that waits, or behind an interruption."""


@dataclass(frozen=True)
class Ended:
    """The end of a stage, job or step.

    Attributes:
        path: ``Stage``, ``Stage/Job`` or ``Stage/Job/step``.
        result: ``Succeeded``, ``SucceededWithIssues``, ``Failed``, ``Canceled``, ``Skipped``, ``Waiting`` or
            ``NotStarted``.
        seconds: How long it took, from 0 up.
        notes: What a reader should know: exit codes, limits, what was done in a task's place, what was not executed.
        log: Its log, relative to the run's folder; empty for what has none.
    """

    path: str
    result: str
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    log: str = ""


@dataclass(frozen=True)
class Approval:
    """A question for a person.

    Attributes:
        stage: The stage that would begin.
        environment: The environment that it deploys to.
        so_far: Results of the stages that have ended.
    """

    stage: str
    environment: str
    so_far: Map[str, str]


class Watcher(Protocol):
    """Who is told what happens. Calls come from several threads, one at a time."""

    def begins(self, path: str, what: str) -> None:
        """A stage, job or step begins."""

    def says(self, path: str, line: str) -> None:
        """A step prints a line; secrets are masked already."""

    def ends(self, end: Ended) -> None:
        """A stage, job or step has ended, or will not begin."""

    def approves(self, approval: Approval) -> bool | None:
        """Yes, no, or nothing where nobody can be asked."""


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes:
        number: The run's.
        folder: Where its logs and artifacts are.
        state: ``succeeded``, ``failed``, ``refused``, ``waiting`` or ``interrupted``.
        ends: By path, in the order of the file.
        artifacts: Names of what was published.
        warnings: What the run complains of.
        waits_for: Environments whose approval is due.
    """

    number: int
    folder: str
    state: str
    ends: Map[str, Ended]
    artifacts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = field(default=())

    @property
    def not_executed(self) -> tuple[str, ...]:
        """Paths of the steps that could not be done here."""
        return tuple(
            path for path, end in self.ends.items() if any(note.startswith(NOT_EXECUTED) for note in end.notes)
        )

    def record(self) -> dict[str, Any]:
        """The same as JSON-like values."""
        made = asdict(self) | {"schema": 1, "ends": [asdict(end) for end in self.ends.values()]}
        return made | {"not_executed": list(self.not_executed)}
