"""One at a time: a lock in the project's folder that says who holds it and is free the moment that process is gone."""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ridgeway.errors import Busy, StorageError


@contextmanager
def exclusive(root: Path, name: str, *, wait_seconds: float = 0) -> Iterator[None]:
    """Holds the lock ``name`` of the project meanwhile; no other process can.

    The kernel gives the lock back when the process ends, however it ends: there is no stale lock to remove by hand.

    Args:
        root: The project's root.
        name: What must not run twice, such as ``retraining diabetes``.
        wait_seconds: How long to wait for whoever holds it.

    Raises:
        Busy: Someone else holds it; the message says who (exit code 75).
        StorageError: The folder cannot be written.
    """
    descriptor = _open(root / ".ridgeway" / "locks" / f"{re.sub(r'[^A-Za-z0-9._-]', '-', name)}.lock")
    try:
        _acquire(descriptor, name, wait_seconds)
        _sign(descriptor)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(
            "cannot take a lock",
            where=str(path),
            problem=error.strerror or str(error),
            expected="a folder that can be written",
            next_step="make room, or give yourself the right to write there",
        ) from error


def _acquire(descriptor: int, name: str, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise _busy(descriptor, name) from None
            time.sleep(0.05)
        else:
            return


def _sign(descriptor: int) -> None:
    """Leaves word of who holds the lock; nobody relies on it, so a full disk does not matter."""
    holder = {
        "schema": 1,
        "pid": os.getpid(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
    except OSError:
        return


def _busy(descriptor: int, name: str) -> Busy:
    try:
        holder = json.loads(os.pread(descriptor, 65536, 0))
        who = f"process {holder['pid']} ({holder['command']}) since {holder['since']}"
    except (OSError, ValueError, KeyError):
        who = "another process"
    return Busy(
        f"{name} is already under way",
        problem=f"held by {who}",
        expected="one at a time",
        next_step="wait for it to end, then the same command again",
    )
