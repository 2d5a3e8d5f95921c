"""The listening socket: one of our own, or one that another process holds and hands down.

An inherited socket outlives the server: while one server drains, the next accepts on the same socket, and the
connections that wait on it belong to neither. So a version follows another without a connection refused or reset.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from ridgeway_server.errors import SettingError

_BACKLOG = 1024
_FIRST_ANNOUNCED = 3
"""The first descriptor that is handed down, by the convention of sd_listen_fds(3)."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def announced(environment: Mapping[str, str]) -> int:
    """The descriptor that LISTEN_FDS and LISTEN_PID announce to this process, or -1.

    LISTEN_PID may be missing or 0: whoever starts a process seldom knows its number beforehand.

    Raises:
        SettingError: More than one is announced.

    Example:
        >>> announced({"LISTEN_FDS": "1"}), announced({}), announced({"LISTEN_FDS": "1", "LISTEN_PID": "1"})
        (3, -1, -1)
    """
    count, pid = environment.get("LISTEN_FDS", ""), environment.get("LISTEN_PID", "")
    if count in ("", "0") or pid not in ("", "0", str(os.getpid())):
        return -1
    if count != "1":
        raise SettingError(f"LISTEN_FDS = {count!r}: expected 1, for one listening socket")
    return _FIRST_ANNOUNCED


def address(descriptor: int) -> tuple[str, int]:
    """Where an inherited socket listens: host and port.

    Raises:
        SettingError: The descriptor is no listening TCP socket.
    """
    place = f"listen_fd = {descriptor}"
    try:
        with socket.socket(fileno=os.dup(descriptor)) as one:
            sound = one.family in (socket.AF_INET, socket.AF_INET6) and one.type == socket.SOCK_STREAM
            if not sound or not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise SettingError(f"{place} is not a TCP socket that listens")
            host, port = one.getsockname()[:2]
    except OSError as error:
        raise SettingError(f"{place}: no socket was handed down there ({error.strerror})") from None
    return str(host), int(port)


def inherited(descriptor: int) -> socket.socket:
    """The listening socket that was handed down as ``descriptor``, ready for an event loop."""
    listener = socket.socket(fileno=descriptor)
    listener.set_inheritable(False)
    listener.setblocking(False)
    return listener
