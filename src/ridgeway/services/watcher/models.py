"""A registered model starts a release, whoever registered it, where ``release.started_by = "server"``."""

from __future__ import annotations

import logging

from ridgeway.errors import UsageError
from ridgeway.registry.newest import newest
from ridgeway.rules.triggers import first_mark, new_versions, registration_key
from ridgeway.services.watcher.memory import Memory
from ridgeway.services.watcher.sources import without_query
from ridgeway.services.watcher.world import World

FLOW = "release"
log = logging.getLogger("ridgeway.triggers")


class ModelWatch:
    """What is known of the registry.

    Args:
        memory: What is known from start to start.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def look(self, world: World) -> None:
        """One look; a release is begun for each version that was registered since the last one.

        Raises:
            RidgewayError: The registry cannot be looked at, or a release cannot be begun; the next look tries again.
        """
        chosen = world.project.settings
        if chosen.release.started_by != "server":
            return
        name, uri = world.project.name, chosen.registry.uri
        place = f"{without_query(uri)} {name}"
        mark = self._memory.marks.get(place)
        found = newest(uri, name, world.project.root, mark)
        if found is None:
            raise _only_mlflow(uri)
        if mark is None:
            mark = first_mark(found)
            self._memory.mark(place, mark)
            log.info("watching models:/%s: versions up to %d are known, a new one starts a release", name, mark.number)
            return
        new, after = new_versions(mark, found)
        for version in new:
            triggered = world.trigger(
                FLOW, {"model": f"models:/{name}/{version.number}"}, key=registration_key(name, version)
            )
            again = "" if triggered.is_new else " (begun before)"
            log.info("models:/%s/%d was registered: release %s%s", name, version.number, triggered.page, again)
        self._memory.mark(place, after)


def _only_mlflow(uri: str) -> UsageError:
    return UsageError(
        "cannot watch the registry for new versions",
        where=f"registry.uri = {without_query(uri)!r}",
        problem="its tables or answers are not those of MLflow 3, or are only to be had with MLflow's own client "
        "(MLFLOW_TRACKING_… variables for certificates or signatures)",
        expected="a SQLite file, or a tracking server that asks for user and password or a token",
        next_step='release.started_by = "person" or "ci", or a trigger by REST at each registration',
    )
