"""What the scoring server's log says about why it does not answer."""

from __future__ import annotations

import json
from collections.abc import Iterable


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
