"""The watcher's loop: one look after the other, none of which ends it."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from ridgeway.errors import Busy, RidgewayError
from ridgeway.orchestrator.environment import client_headers
from ridgeway.run_log import exclusive
from ridgeway.services.state import ready_file
from ridgeway.services.watcher import schedules
from ridgeway.services.watcher.data import DataWatch
from ridgeway.services.watcher.memory import Memory
from ridgeway.services.watcher.models import ModelWatch
from ridgeway.services.watcher.runs import Clock, RunWatch
from ridgeway.services.watcher.world import Settings, Voice, World, api_of

LOCK = "watcher"
"""Held for as long as somebody watches."""
log = logging.getLogger("ridgeway.triggers")


class Watcher:
    """Everything that is watched for one project. Whoever makes one holds the lock ``LOCK``.

    Args:
        root: The project's working folder.
        clock: Seconds that only go forward and that nobody sets.
    """

    def __init__(self, root: Path, *, clock: Clock = time.monotonic) -> None:
        self._memory = Memory(root)
        self._settings = Settings(root)
        self._voice = Voice()
        self._data = DataWatch(self._memory, clock)
        self._models = ModelWatch(self._memory)
        self._runs = RunWatch(root, clock)

    @property
    def pause_seconds(self) -> float:
        """Until the next look."""
        project = self._settings.before()
        return project.settings.triggers.poll_seconds if project else 5.0

    def look(self) -> None:
        """One look at everything. What goes wrong is said once, and looked at again the next time."""
        world = self._world()
        if world is None:
            return
        now = self._ask_the_server(world)
        if now is not None:
            self._guarded("runs", lambda: self._runs.look(world, now))
            self._guarded("schedules", lambda: self._settle(world, now))
        self._guarded("data", lambda: self._data.look(world))
        self._guarded("models", lambda: self._models.look(world))
        self._guarded("memory", self._memory.save)

    def _world(self) -> World | None:
        project = None
        try:
            project = self._settings.project()
            self._voice.well("settings")
        except RidgewayError as error:
            self._voice.trouble("settings", error)
            project = self._settings.before()
        return World(project, api_of(project, client_headers(os.environ))) if project else None

    def _ask_the_server(self, world: World) -> datetime | None:
        """The server's clock; None where it does not answer."""
        if world.api is None:
            self._runs.lost_the_server()
            return None
        try:
            now = world.api.now()
        except (OSError, ValueError) as error:
            self._runs.lost_the_server()
            self._voice.trouble("Prefect server", error)
            return None
        self._voice.well("Prefect server")
        return now

    def _settle(self, world: World, now: datetime) -> None:
        assert world.api is not None
        schedules.settle(world.api, world.project.name, now)

    def _guarded(self, about: str, look: Callable[[], None]) -> None:
        try:
            look()
        except (RidgewayError, OSError, ValueError, LookupError, TypeError) as error:
            self._voice.trouble(about, error)
        else:
            self._voice.well(about)


def run(root: Path, stop: threading.Event) -> None:
    """Watches until ``stop`` is set; waits while somebody else watches.

    Args:
        root: The project's working folder.
        stop: Ends it, at the latest after the look that is under way: some seconds where a server does not answer.
    """
    voice = Voice()
    while not stop.is_set():
        try:
            with exclusive(root, LOCK):
                _watch(root, stop)
        except Busy as error:
            voice.trouble("watcher", error)
            stop.wait(1)
        except RidgewayError as error:
            voice.trouble("watcher", error)
            stop.wait(5)


def _watch(root: Path, stop: threading.Event) -> None:
    watcher = Watcher(root)
    while not stop.is_set():
        watcher.look()
        stop.wait(watcher.pause_seconds)


def main(root: str) -> int:
    """The watcher as a process of its own: ready at once, ended by SIGTERM.

    Args:
        root: The project's working folder.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", level=logging.WARNING)
    logging.getLogger("ridgeway").setLevel(logging.INFO)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ready = ready_file(Path(root), "watcher")
    ready.parent.mkdir(parents=True, exist_ok=True)
    ready.write_text(str(os.getpid()), encoding="ascii")
    try:
        run(Path(root), stop)
    finally:
        ready.unlink(missing_ok=True)
    return 0
