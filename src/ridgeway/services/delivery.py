"""Notifications that could not be sent at once, sent later; and runs that were found dead, told of.

What ``ridgeway up`` runs for as long as it is up: :func:`keep_delivering` in a thread of any of its processes, or
:func:`deliver` once every few seconds. Imports nothing heavier than the settings. The receiver's address and key are
read anew each time, so that a file with another key takes effect without a restart.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from ridgeway import notifications
from ridgeway.actions import telling
from ridgeway.errors import RidgewayError
from ridgeway.notifications import Outbox, Round
from ridgeway.project import open_project

log = logging.getLogger("ridgeway.notifications")

POLL_SECONDS = 5.0
"""Between two looks into the outbox; one that finds nothing lists a folder."""
_CRASHES_EVERY = 2
"""Looks for runs that were found dead, in rounds: it asks for the time of each run's record."""


def keep_delivering(root: Path, stop: threading.Event) -> None:
    """Sends what waits, until ``stop`` is set; then ends within an attempt's ten seconds, most often at once.

    Nothing ends it: an error is a line of the log, written once for as long as it stays the same.

    Args:
        root: The project's root.
        stop: Set by whoever has started it.
    """
    said, number = "", 0
    while not stop.is_set():
        try:
            problem = deliver(root, look_for_crashes=number % _CRASHES_EVERY == 0).problem
        except RidgewayError as error:
            problem = f"{error.summary} ({error.where})" if error.where else error.summary
        except Exception:
            problem = "unexpected"
            log.exception("notifications")
        if problem and problem != said:
            log.warning("notifications: %s", problem)
        said, number = problem, number + 1
        stop.wait(POLL_SECONDS)


def deliver(root: Path, *, look_for_crashes: bool = True) -> Round:
    """One round: tells of dead runs, and sends what waits and is due.

    Args:
        root: The project's root.
        look_for_crashes: Whether to look for runs that were found dead, too.

    Returns:
        What came of it; nothing where no receiver is set.

    Raises:
        UsageError: The settings, the receiver's address or its key cannot be used.
        StorageError: The outbox cannot be written.
    """
    receiver = notifications.configured()
    if receiver is None:
        return Round()
    # From here on other processes of this project keep their messages too, even if they do not know the receiver.
    Outbox(root).prepare()
    if look_for_crashes:
        telling.crashes(open_project(root))
    return notifications.deliver_pending(root, receiver)
