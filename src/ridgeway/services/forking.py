"""The supervisor's end of the zygote: starts it, asks it for processes, and hears what became of that."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ridgeway.run_log import Process
from ridgeway.services import wire


@dataclass(frozen=True, slots=True)
class Wanted:
    """A process to be forked."""

    name: str
    stage: str
    """What has to be imported before; one of ``zygote.STAGES``."""
    call: str
    """``module:function``."""
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    folder: Path
    descriptors: Mapping[str, int] = field(default_factory=dict)
    """Open files by name; the process gets copies."""


class Zygote:
    """One zygote, from its start to its end."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        ours, theirs = socket.socketpair()
        self.channel = ours
        with theirs, log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter with our own module
                # -P: nothing in the working directory can take the place of a module.
                [sys.executable, "-P", "-m", "ridgeway.services.zygote", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=log.parent,
                env=dict(environment),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self.process = Process.of(self._process.pid)

    @property
    def is_alive(self) -> bool:
        """Whether it is still there."""
        return self._process.poll() is None

    def ask(self, wanted: Wanted) -> bool:
        """Asks for a process; False if the zygote is gone. The answer comes by ``hear``."""
        request = {
            "name": wanted.name,
            "stage": wanted.stage,
            "call": wanted.call,
            "arguments": list(wanted.arguments),
            "environment": dict(wanted.environment),
            "log": str(wanted.log),
            "folder": str(wanted.folder),
            "descriptors": list(wanted.descriptors),
        }
        try:
            wire.send(self.channel, request, [*wanted.descriptors.values()])
        except OSError:
            return False
        return True

    def hear(self) -> tuple[str, Process] | None:
        """The name of a service and its new process; None for all else that it says, and when it is gone.

        To be called when the channel can be read.
        """
        received = wire.receive(self.channel)
        if received is None or "pid" not in received[0]:
            return None
        return received[0]["name"], Process.of(received[0]["pid"])

    def end(self) -> None:
        """Ends the zygote; what it has forked stays."""
        self.channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def lifeline() -> tuple[int, int]:
    """Both ends of a pipe: who holds the first learns that this process has gone; nothing is ever sent."""
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, False)
    return read_end, write_end
