"""New data start a retraining: looked at often, looked into when at rest, told once for each content."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ridgeway.rules.triggers import ABSENT, Known, Sight, change, is_due, looked_into, saw
from ridgeway.services.watcher.memory import Memory
from ridgeway.services.watcher.sources import Source, source_of
from ridgeway.services.watcher.world import World

FLOW = "retraining"
REST_FACTOR = 100
"""A look that took long, as at thousands of files, is followed by a rest of this many times as long: 1 % of a core."""
Clock = Callable[[], float]
log = logging.getLogger("ridgeway.triggers")


class DataWatch:
    """What is known of the project's data from look to look.

    Args:
        memory: What is known from start to start.
        clock: Seconds that only go forward.
    """

    def __init__(self, memory: Memory, clock: Clock) -> None:
        self._memory = memory
        self._clock = clock
        self._sight = Sight()
        self._name = ""
        self._not_before = 0.0

    def look(self, world: World) -> None:
        """One look; a run is begun if the data have changed and have come to rest.

        Raises:
            RidgewayError: The data cannot be looked at, or the run cannot be begun; the next look tries again.
        """
        if not world.project.settings.triggers.data:
            self._name = ""
            return
        began = self._clock()
        if began < self._not_before:
            return
        try:
            self._look(world, source_of(world.project))
        finally:
            self._not_before = began + REST_FACTOR * (self._clock() - began)

    def _look(self, world: World, source: Source) -> None:
        if source.name != self._name:
            self._begin(source)
        now = self._clock()
        self._sight = saw(self._sight, source.sign(), now)
        if is_due(self._sight, now, debounce_seconds=world.project.settings.triggers.debounce_seconds):
            self._look_into(world, source)

    def _begin(self, source: Source) -> None:
        """A source that was not watched before, in this process's life."""
        known = self._memory.known.get(source.name)
        self._sight = Sight(known.sign) if known else Sight(source.sign())
        self._name = source.name
        if known is None:
            self._memory.know(source.name, change(None, *_content(source))[0])
            log.info("watching %s: what it holds now is known, a change of it starts a retraining", source.name)

    def _look_into(self, world: World, source: Source) -> None:
        sign, digest = _content(source)
        if sign != self._sight.sign or digest == ABSENT:
            return  # it changed while it was read: the next look sees that
        known, is_new = change(self._memory.known.get(source.name), sign, digest)
        if is_new:
            self._start(world, source, known)
        self._memory.know(source.name, known)
        self._sight = looked_into(self._sight)

    def _start(self, world: World, source: Source, known: Known) -> None:
        # First the run, then the memory of it: whoever is killed in between asks again, with the same key.
        key = f"data:{self._memory.epoch}:{known.count}:{known.digest.removeprefix('sha256:')[:16]}"
        triggered = world.trigger(FLOW, source.parameters(), key=key)
        again = "" if triggered.is_new else " (begun before)"
        log.info("new data in %s: retraining %s%s", source.name, triggered.page, again)


def _content(source: Source) -> tuple[str, str]:
    """Sign and digest that belong together; the sign is that of before, so that a change meanwhile is seen later."""
    sign = source.sign()
    digest = source.digest() if sign != ABSENT else ABSENT
    return sign, digest
