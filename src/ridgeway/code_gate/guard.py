"""Runs a program so that it ends when whoever wanted it does. Started by path, alone: it imports nothing of ours.

``python -I -S guard.py PROGRAM ARGUMENTS…`` with a pipe as standard input. When the pipe ends, however its other end
died, the program and all that it started end too. SIGINT is handed on to the program. The guard ends as the program
does: with its code, or by the signal that killed it.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
from contextlib import suppress


def main(arguments: list[str]) -> int:
    """The program's exit code."""
    silence = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    # A group of its own, so that its children can be ended with it.
    child = os.posix_spawn(arguments[0], arguments, os.environ, file_actions=silence, setpgroup=0)
    signal.signal(signal.SIGINT, lambda *_: os.kill(child, signal.SIGINT))
    _thread.start_new_thread(_end_with_pipe, (child,))
    _, status = os.waitpid(child, 0)
    _end(child)  # what it left behind
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    return code


def _end_with_pipe(child: int) -> None:
    while os.read(0, 1):
        pass
    _end(child)


def _end(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
