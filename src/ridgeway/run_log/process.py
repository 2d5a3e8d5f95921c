"""Which process is meant: a number alone is not enough, because the system gives it out again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """A process, known for certain: its number, when it started, and on which machine."""

    pid: int
    started: str
    """Opaque text that no other process of this number shares: boot and start time."""
    host: str

    @classmethod
    def current(cls) -> Process:
        """The process that asks.

        Example:
            >>> is_alive(Process.current())
            True
        """
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process that has this number now; ``started`` is empty when there is none."""
        return cls(pid, _started(pid), socket.gethostname())


def is_alive(process: Process) -> bool:
    """Whether this very process still runs.

    A zombie counts as gone. A process of another machine cannot be looked at and counts as alive: a project on a shared
    disk must not lose its runs to a neighbour.

    Example:
        >>> is_alive(Process(1, "another boot", socket.gethostname()))
        False
    """
    if process.host != socket.gethostname():
        return True
    return bool(process.started) and _started(process.pid) == process.started


def _started(pid: int) -> str:
    """Boot and start time of the process with this number; empty when there is none."""
    if sys.platform == "linux":
        return _started_linux(pid)
    return _started_posix(pid)


def _started_linux(pid: int) -> str:
    try:
        # The command, in parentheses, may itself hold spaces and parentheses: the fields are counted from the last one.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    state, start_ticks = fields[0], fields[19]
    return "" if state in "ZX" else f"{_boot()}:{start_ticks}"


@lru_cache(maxsize=1)
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _started_posix(pid: int) -> str:
    """As ``ps`` tells it, for systems without /proc; to the second."""
    done = subprocess.run(  # noqa: S603 - ps with a number
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],  # noqa: S607 - ps is where the system has it
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    state, _, started = done.stdout.strip().partition(" ")
    return "" if not started or state.startswith("Z") else " ".join(started.split())
