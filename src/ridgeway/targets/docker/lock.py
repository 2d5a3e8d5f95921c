"""One at a time, whichever machine asks: a container of a fixed name that is never started.

The engine gives a name only once, and removes a container by its id only once: so two who find an expired lock cannot
both take it over. All times are the engine's own: clocks of different machines do not matter.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import docker
from docker.errors import APIError, NotFound

from ridgeway.errors import Busy
from ridgeway.targets.docker.keeper import create_unstarted, tar, untar
from ridgeway.targets.docker.planning import PREFIX, Names

log = logging.getLogger("ridgeway.targets")
_UNTIL = "until"


@contextlib.contextmanager
def held(connect: Callable[[], docker.DockerClient], names: Names, holder: str, seconds: float) -> Iterator[None]:
    """Holds the lock meanwhile, renewing it.

    Raises:
        Busy: Someone holds it.
    """
    client = connect()
    lock = _take(client, names, holder, seconds)
    stop = threading.Event()
    # A client of its own: one connection is not for two threads.
    renewer = threading.Thread(target=_renew, args=(connect, lock.id, seconds, stop), name="lock", daemon=True)
    renewer.start()
    try:
        yield
    finally:
        stop.set()
        renewer.join()
        with contextlib.suppress(NotFound):
            lock.remove(force=True)
        client.close()


def _take(client: docker.DockerClient, names: Names, holder: str, seconds: float) -> Any:
    while True:
        until = (_now(client) + timedelta(seconds=seconds)).isoformat()
        labels = {
            f"{PREFIX}endpoint": names.endpoint,
            f"{PREFIX}target": names.target,
            f"{PREFIX}holder": holder,
            f"{PREFIX}where": f"process {os.getpid()} on {socket.gethostname()}",
            f"{PREFIX}until": until,
        }
        try:
            return create_unstarted(client, names.lock, labels)
        except APIError as error:
            if error.status_code != 409:
                raise
        try:
            other = client.containers.get(names.lock)
            if _until(other) > _now(client):
                raise _busy(names, other)
            log.warning("the lock of %s, held by %s, has expired", names.main, other.labels.get(f"{PREFIX}holder"))
            other.remove(force=True)
        except NotFound:
            continue


def _renew(connect: Callable[[], docker.DockerClient], container: str, seconds: float, stop: threading.Event) -> None:
    with contextlib.closing(connect()) as client:
        while not stop.wait(seconds / 3):
            try:
                until = (_now(client) + timedelta(seconds=seconds)).isoformat()
                client.api.put_archive(container, "/", tar({_UNTIL: until.encode()}, user=0))
            except NotFound:
                log.warning("the lock was taken over by someone else")
                return
            except (APIError, OSError) as error:
                log.warning("the lock could not be renewed: %s", error)


def _until(container: Any) -> datetime:
    """When it ends if nobody renews it: as it was made, or as it was renewed last."""
    text = container.labels.get(f"{PREFIX}until", "")
    try:
        blocks, _ = container.get_archive(f"/{_UNTIL}")
        text = untar(b"".join(blocks))[_UNTIL].decode()
    except (NotFound, KeyError):
        pass
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


def _now(client: docker.DockerClient) -> datetime:
    # Nanoseconds are more than Python before 3.11 and some builds of it read.
    text = client.info()["SystemTime"]
    return datetime.fromisoformat(text[:26].rstrip("Z")).replace(tzinfo=UTC) if text.endswith("Z") else _local(text)


def _local(text: str) -> datetime:
    return datetime.fromisoformat(text[:26] + text[-6:]).astimezone(UTC)


def _busy(names: Names, other: Any) -> Busy:
    labels = other.labels
    return Busy(
        f"container {names.main} is being changed",
        problem=f"held by {labels.get(f'{PREFIX}holder')}, {labels.get(f'{PREFIX}where')}, since "
        f"{other.attrs.get('Created', '')[:19]}Z, until {_until(other).isoformat(timespec='seconds')} unless renewed",
        expected="one at a time",
        next_step="wait for it to end, then the same command again",
    )
