"""What this machine says: cores and memory, what a process takes, and whose port it is."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_LISTENS = "0A"


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory_mib() -> int | None:
    """Memory that could be had without swapping; None where the system does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (_PROC / "meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) // 1024
    return None


def memory_mib(pid: int) -> float | None:
    """What a process and its children take, shared pages counted once; None where it cannot be measured."""
    pids = [pid, *_children(pid)]
    sizes = [size for size in map(_proportional_kib, pids) if size is not None]
    return round(sum(sizes) / 1024, 1) if sizes else None


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError):
        for number in (_PROC / str(pid) / "task" / str(pid) / "children").read_text(encoding="ascii").split():
            found += [int(number), *_children(int(number))]
    return found


def _proportional_kib(pid: int) -> int | None:
    for name, key in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in (_PROC / str(pid) / name).read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith(key):
                    return int(line.split()[1])
    return None


@dataclass(frozen=True, slots=True)
class Listener:
    """Who listens on a port."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command[:80]})"


def who_listens(port: int) -> Listener | None:
    """The process that listens on a port of this machine; None where it cannot be known."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for folder in _PROC.glob("[0-9]*") if sockets else ():
        with contextlib.suppress(OSError):
            if any(str(link.readlink()) in sockets for link in (folder / "fd").iterdir()):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
                return Listener(int(folder.name), command)
    return None


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in (_PROC / "net" / name).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(fields[9])
    return inodes


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that children inherit.

    Raises:
        OSError: The port is taken, or the host is not this machine.
    """
    family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    one = socket.socket(family, kind, number)
    try:
        # Without it a port stays taken for a minute after the connections of whoever had it before.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(address)
        one.listen(1024)
        one.setblocking(False)
    except OSError:
        one.close()
        raise
    return one


def free_port() -> int:
    """A port of the loopback that was free a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
