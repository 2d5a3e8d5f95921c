"""What the scoring server's log says about why it does not answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator


def without_access(lines: Iterable[str]) -> Iterator[str]:
    """What the server says of itself: its log without the lines of its access log.

    Example:
        >>> list(without_access(['{"level":"INFO"}', '{"method":"GET","path":"/v2"}', "Traceback"]))
        ['{"level":"INFO"}', 'Traceback']
    """
    return (line for line in lines if '"method":' not in line or '"path":' not in line)


def last_error(lines: Iterable[str]) -> str:
    """The message of the last line of level ERROR; empty where there is none.

    Example:
        >>> last_error(['{"level":"ERROR","message":"no keys"}', '{"level":"INFO","message":"draining"}', "["])
        'no keys'
    """
    found = ""
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("level") == "ERROR":
            found = str(record.get("message", ""))
    return found
