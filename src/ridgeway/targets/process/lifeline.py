"""Runs the scoring server so that it ends when its daemon does. Started by path: it must not import ridgeway (0.3 s).

``python lifeline.py DAEMON_PID ARGUMENTS…``. Where the kernel cannot promise it (macOS), the next command finds and
ends what was left behind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(daemon_pid: int, arguments: list[str]) -> int:
    """The server's exit code."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != daemon_pid:
        return 1  # It died before the line above.
    from ridgeway_server.command import main as serve

    return serve(arguments)


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]), sys.argv[2:]))
