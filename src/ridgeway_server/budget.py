"""The bytes of all request bodies in flight, over all workers: one slot each in shared memory."""

from __future__ import annotations

import mmap


class Budget:
    """A number of bytes that requests take and give back.

    Each worker writes only its own slot and then adds up all of them, so of two that take the last bytes at the same
    moment at least one sees the other: both may be refused, never are both let through.

    Example:
        >>> budget = Budget(100, workers=2)
        >>> budget.take(80), budget.seen_by(1).take(30), budget.used
        (True, False, 80)
    """

    def __init__(self, limit_bytes: int, workers: int = 1) -> None:
        self.limit_bytes = limit_bytes
        self._slots = memoryview(mmap.mmap(-1, 8 * workers)).cast("q")
        self._own = 0

    def seen_by(self, worker: int) -> Budget:
        """The same budget for another worker; what a previous one of that number held is given back."""
        other = object.__new__(Budget)
        other.limit_bytes, other._slots, other._own = self.limit_bytes, self._slots, worker
        other._slots[worker] = 0
        return other

    @property
    def used(self) -> int:
        """Bytes taken by all workers."""
        return sum(self._slots)

    @property
    def own(self) -> int:
        """Bytes taken by this worker."""
        return self._slots[self._own]

    def take(self, count: int) -> bool:
        """Take ``count`` bytes if they are there."""
        self._slots[self._own] += count
        if self.used > self.limit_bytes:
            self._slots[self._own] -= count
            return False
        return True

    def give(self, count: int) -> None:
        """Give bytes back."""
        self._slots[self._own] -= count
