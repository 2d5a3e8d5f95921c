"""Messages with file descriptors between the supervisor and the zygote: JSON with its length before it."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any

_LENGTH = struct.Struct("!I")
_MOST_DESCRIPTORS = 8


def send(channel: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Sends a message, and copies of file descriptors with it.

    Raises:
        OSError: The other end is gone.
    """
    content = json.dumps(message).encode()
    socket.send_fds(channel, [_LENGTH.pack(len(content))], [*descriptors])
    channel.sendall(content)


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next message and its descriptors; None when the other end is gone.

    Example:
        >>> here, there = socket.socketpair()
        >>> send(here, {"name": "prefect"}); receive(there)
        ({'name': 'prefect'}, [])
        >>> here.close(); receive(there)
        >>> there.close()
    """
    try:
        head, descriptors, _, _ = socket.recv_fds(channel, _LENGTH.size, _MOST_DESCRIPTORS)
        if not head:
            return None
        head += _exactly(channel, _LENGTH.size - len(head))
        message: dict[str, Any] = json.loads(_exactly(channel, *_LENGTH.unpack(head)))
    except (ConnectionError, EOFError):
        return None
    return message, list(descriptors)


def _exactly(channel: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = channel.recv(size - len(content))
        if not part:
            raise EOFError
        content += part
    return content
