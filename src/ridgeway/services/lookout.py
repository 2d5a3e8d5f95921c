"""The watcher and the sender of notifications, in one process: both look around every few seconds and wait."""

from __future__ import annotations

import threading
from pathlib import Path

from ridgeway.services import watcher
from ridgeway.services.delivery import keep_delivering


def main(root: str) -> int:
    """Watches and delivers until SIGTERM.

    Args:
        root: The project's root.
    """
    stop = threading.Event()
    sender = threading.Thread(target=keep_delivering, args=(Path(root), stop), daemon=True)
    sender.start()
    try:
        return watcher.main(root)
    finally:
        stop.set()
        sender.join(timeout=2)
