"""The processes of a job: started in groups of their own, read while they run, ended with all that they have left.

Each carries a mark in its environment, the name that agents of Azure Pipelines use for the same purpose. On Linux
whatever carries it is found, also what has left its group; elsewhere the groups are ended.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from collections.abc import Mapping as Map
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

MARK: Final = "VSTS_PROCESS_LOOKUP_ID"
GRACE_SECONDS: Final = 5.0
"""How long processes that are asked to end have for it."""
_PIECE: Final = 65536
_LOOK_SECONDS: Final = 0.05


class TimeUp(Exception):
    """A limit was reached; what ran has been ended."""


class Stopped(Exception):
    """The run is being stopped; what ran has been ended."""


@dataclass(frozen=True)
class Program:
    """What is to run.

    Attributes:
        arguments: The program and its arguments.
        folder: Its working folder.
        environment: All that it finds in its environment, but for the mark.
    """

    arguments: tuple[str, ...]
    folder: Path
    environment: Map[str, str]


class Processes:
    """The processes of one job.

    Args:
        mark: A text that no other job has.
        stopping: Set when all is to end.
        grace_seconds: How long they have when they are asked to end.
    """

    def __init__(self, mark: str, stopping: threading.Event, grace_seconds: float = GRACE_SECONDS) -> None:
        self.mark = mark
        self.stopping = stopping
        self.grace_seconds = grace_seconds
        self._groups: set[int] = set()

    def run(
        self,
        program: Program,
        out: Callable[[bytes], None],
        *,
        errors: Callable[[bytes], None] | None = None,
        deadline: float | None = None,
    ) -> int:
        """The exit code of a program; children that it leaves go on until ``end``.

        Args:
            program: What runs.
            out: Gets what it prints, from another thread, also what its children print later.
            errors: Gets what it prints to stderr; without it that goes to ``out``.
            deadline: When it is ended, on the clock of ``time.monotonic``.

        Raises:
            TimeUp: It did not end in time.
            Stopped: The run is being stopped.
            OSError: It cannot be started.
        """
        process = subprocess.Popen(  # noqa: S603 - what the pipeline says
            program.arguments,
            cwd=program.folder,
            env={**program.environment, MARK: self.mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if errors is None else subprocess.PIPE,
            start_new_session=True,
        )
        self._groups.add(process.pid)
        readers = [_Reader(process.stdout, out)] if process.stdout else []
        if errors is not None and process.stderr:
            readers.append(_Reader(process.stderr, errors))
        try:
            self._await(process, deadline)
        except (TimeUp, Stopped):
            self.end()
            process.wait()
            raise
        finally:
            for reader in readers:
                reader.ended.set()
                reader.drained.wait(self.grace_seconds)
        return process.returncode

    def _await(self, process: subprocess.Popen[bytes], deadline: float | None) -> None:
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                return
            if self.stopping.is_set():
                raise Stopped
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeUp

    def end(self) -> tuple[str, ...]:
        """Ends all that still runs: asked first, then without asking.

        Returns:
            What was still running, by its command.
        """
        found = self._alive()
        names = tuple(dict.fromkeys(found.values()))
        self._signal(found, signal.SIGTERM)
        until = time.monotonic() + self.grace_seconds
        while (found := self._alive()) and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
        while found := self._alive():
            self._signal(found, signal.SIGKILL)
            time.sleep(_LOOK_SECONDS)
        return names

    def _alive(self) -> dict[int, str]:
        """The processes, or where there is no ``/proc`` the groups, that are there; each with its command."""
        if Path("/proc/self/environ").exists():
            return dict(_marked(f"{MARK}={self.mark}".encode(), self._groups))
        self._groups = {group for group in self._groups if _signalled(os.killpg, group, 0)}
        return {group: f"process group {group}" for group in self._groups}

    def _signal(self, found: Iterable[int], number: int) -> None:
        send = os.kill if Path("/proc/self/environ").exists() else os.killpg
        for one in found:
            _signalled(send, one, number)


def _signalled(send: Callable[[int, int], None], one: int, number: int) -> bool:
    try:
        send(one, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group whose last process is only to be reaped
        return False
    return True


def _marked(mark: bytes, sessions: set[int]) -> Iterable[tuple[int, str]]:
    """Living processes with the mark in their environment, or in one of the sessions."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with suppress(OSError, ValueError, IndexError):
            # The name, in brackets, may hold anything.
            name, _, rest = (folder / "stat").read_text(errors="replace").rpartition(")")
            state, _, _, session = rest.split()[:4]
            if state in "ZX":
                continue
            if int(session) in sessions or mark in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name), name.partition("(")[2]


class _Reader(threading.Thread):
    """Reads a pipe to its end, and knows when all that the program itself has printed is read.

    Children that the program leaves may hold the pipe open: what the program has written is in the pipe by the time
    that it has ended, so the first empty look after that means that nothing of it is missing.
    """

    def __init__(self, pipe: IO[bytes], out: Callable[[bytes], None]) -> None:
        super().__init__(daemon=True)
        self.pipe = pipe
        self.out = out
        self.ended = threading.Event()
        self.drained = threading.Event()
        self.start()

    def run(self) -> None:
        """Reads until nobody holds the pipe any more."""
        try:
            with self.pipe, selectors.DefaultSelector() as selector:
                selector.register(self.pipe, selectors.EVENT_READ)
                while True:
                    over = self.ended.is_set()
                    if selector.select(_LOOK_SECONDS):
                        piece = os.read(self.pipe.fileno(), _PIECE)
                        if not piece:
                            return
                        self.out(piece)
                    elif over:
                        self.drained.set()
        finally:
            self.drained.set()
