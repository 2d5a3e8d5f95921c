"""Runs that are found dead, here and on other machines, and what is tried once more."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from ridgeway.orchestrator import flow_runs
from ridgeway.orchestrator.dead_runs import mark_dead_runs
from ridgeway.orchestrator.flow_runs import Api, FlowRun
from ridgeway.rules.triggers import (
    RETRY_WITHIN_SECONDS,
    SILENCE_SECONDS,
    SILENT,
    Ended,
    Pulse,
    feel,
    retry_delay_seconds,
    should_retry,
    silent,
)
from ridgeway.run_log import RunLog
from ridgeway.services.watcher.world import World

LOOK_EVERY_SECONDS = 5.0
"""At most: a death is then found within 75 s, and an idle server hardly notices."""
Clock = Callable[[], float]
log = logging.getLogger("ridgeway.triggers")


class RunWatch:
    """What is known of the runs under way.

    Args:
        root: The project's root.
        clock: Seconds that only go forward.
    """

    def __init__(self, root: Path, clock: Clock) -> None:
        self._records = RunLog(root)
        self._root = root
        self._clock = clock
        self._pulses: dict[str, Pulse] = {}
        self._listening_since: float | None = None
        self._looked_at = -LOOK_EVERY_SECONDS

    def lost_the_server(self) -> None:
        """The server does not answer: nobody can give a sign of life just now."""
        self._listening_since = None

    def look(self, world: World, now: datetime) -> None:
        """One look: the dead are marked, and what was not at fault is tried again.

        Raises:
            OSError: The server does not answer, or refuses.
            ValueError: It answers in a way that nobody foresaw.
            StorageError: A record cannot be written.
        """
        assert world.api is not None
        moment = self._clock()
        if self._listening_since is None:
            self._listening_since = moment
        if moment - self._looked_at < LOOK_EVERY_SECONDS:
            return
        self._looked_at = moment
        for record in mark_dead_runs(self._root, world.api.url, headers=world.api.headers):
            log.warning("run %s (%s): %s", record.id[:12], record.flow, record.sentence)
        self._find_silent(world.api, world.project.name, now)
        self._try_again(world.api, world, now)

    def _find_silent(self, api: Api, project: str, now: datetime) -> None:
        found = {run.id: run for run in flow_runs.under_way(api, project)}
        here = {record.flow_run_id for record in self._records.active()}
        signs = flow_runs.signs_of_life(api, (run for run in found if run not in here), now)
        moment = self._clock()
        self._pulses = feel(self._pulses, signs, moment)
        for run_id in silent(self._pulses, moment, listening_since=self._listening_since or moment):
            run = found[run_id]
            message = f"{SILENT} for {SILENCE_SECONDS:.0f} s: its machine is gone, or the way to it"
            if flow_runs.crash(api, run, message):
                log.warning("run %s: %s", run.name, message)

    def _try_again(self, api: Api, world: World, now: datetime) -> None:
        chosen = world.project.settings.flows
        for run in flow_runs.ended_badly(api, world.project.name, now - timedelta(seconds=RETRY_WITHIN_SECONDS)):
            ended = Ended(run.state, run.message, run.attempts, (now - run.since).total_seconds())
            if not run.pool or not should_retry(ended, retries=chosen.retries):
                continue
            delay = retry_delay_seconds(run.attempts, first_seconds=chosen.retry_delay_seconds)
            message = f"attempt {run.attempts + 1} of {chosen.retries + 1}; the one before: {_line(run)}"
            if flow_runs.try_again(api, run, at=now + timedelta(seconds=delay), message=message):
                log.info("run %s is tried again in %.0f s: %s", run.name, delay, message)


def _line(run: FlowRun) -> str:
    return run.message.partition("\n")[0][:200]
