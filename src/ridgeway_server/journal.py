"""The access log: a line of JSON per answered request. A slow reader delays no answer: then a thread does the writing.

What the log takes at once is written at once: waking a thread costs more than the write, and on a busy core it holds up
answers for milliseconds.
"""

from __future__ import annotations

import os
import queue
import select
import threading

_LARGEST_BACKLOG_BYTES = 8 * 2**20
_NEVER = 2**62


class Journal:
    """Lines that are collected during a turn and handed to the writer by ``flush``.

    Where the reader of the log does not keep up, lines beyond 8 MiB are dropped and counted in ``dropped``.
    """

    def __init__(self, descriptor: int, sample: float) -> None:
        self.lines: list[bytes] = []
        self.dropped = 0
        # One good answer in `every` is logged. A count costs less than a random number and is as fair here.
        self.every = _NEVER if sample <= 0 else round(1 / sample)
        self._descriptor = descriptor
        self._backlog = 0
        self._ready = select.poll()
        self._ready.register(descriptor, select.POLLOUT)
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    def flush(self) -> None:
        """Hand the collected lines to the writer."""
        if not self.lines:
            return
        count, block = len(self.lines), b"".join(self.lines)
        self.lines.clear()
        if not self._backlog:
            block = self._write_what_fits(block)
        if self._backlog + len(block) > _LARGEST_BACKLOG_BYTES:
            self.dropped += count
        elif block:
            self._backlog += len(block)
            self._queue.put(block)

    def _write_what_fits(self, block: bytes) -> bytes:
        """Writes as much as the log takes without waiting; the rest."""
        rest = memoryview(block)
        try:
            while rest and self._is_ready():
                rest = rest[os.write(self._descriptor, rest[: select.PIPE_BUF]) :]
        except OSError:
            self.dropped += bytes(rest).count(b"\n")
            return b""
        return bytes(rest)

    def _is_ready(self) -> bool:
        """Whether the log takes PIPE_BUF bytes whole: so much a pipe that is ready always does."""
        return any(event & select.POLLOUT for _, event in self._ready.poll(0))

    def close(self, timeout_seconds: float = 2.0) -> None:
        """Write what is left, for at most ``timeout_seconds``."""
        self.flush()
        self._queue.put(None)
        self._thread.join(timeout_seconds)

    def _write(self) -> None:
        while (block := self._queue.get()) is not None:
            rest = memoryview(block)
            try:
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError:
                self.dropped += block.count(b"\n")
            self._backlog -= len(block)
