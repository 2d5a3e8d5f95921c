"""How long a step may take and how often it is tried: one rule for all steps of a run, from the settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepLimits:
    """The settings ``flows.timeout_seconds``, ``flows.retries`` and ``flows.retry_delay_seconds``.

    Only ``Transient`` errors are tried again.
    """

    timeout_seconds: float = 7200
    """An attempt that takes longer is ended."""
    retries: int = 2
    """The most further attempts."""
    retry_delay_seconds: float = 5
    """Before the first further attempt; doubled before each next one."""

    @property
    def delays_seconds(self) -> tuple[float, ...]:
        """How long to wait before each further attempt.

        Example:
            >>> StepLimits(retries=3, retry_delay_seconds=5).delays_seconds
            (5, 10, 20)
        """
        return tuple(self.retry_delay_seconds * 2**attempt for attempt in range(self.retries))

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Tasks that are made meanwhile take these limits."""
        token = _IN_FORCE.set(self)
        try:
            yield
        finally:
            _IN_FORCE.reset(token)


_IN_FORCE: ContextVar[StepLimits | None] = ContextVar("ridgeway_step_limits", default=None)


def limits_in_force() -> StepLimits:
    """The limits of the run that this code is part of; the usual ones outside of a run."""
    return _IN_FORCE.get() or StepLimits()
