"""The log lines of all replicas, each with its pod's name in front."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from ridgeway.errors import RidgewayError, Transient
from ridgeway.targets.kubernetes import diagnosis
from ridgeway.targets.kubernetes.connection import Cluster, Json, Refused, path_to
from ridgeway.targets.kubernetes.naming import Place

_LOOK_SECONDS = 2.0


def read_logs(cluster: Cluster, place: Place, *, lines: int) -> Iterator[str]:
    """The last lines of each replica."""
    for pod in _pods(cluster, place):
        name = pod["metadata"]["name"]
        for line in _last(cluster, place, name, lines).splitlines():
            yield f"{name}  {line}"


def _pods(cluster: Cluster, place: Place) -> list[Json]:
    pods = cluster.find("Pod", place.namespace, labelSelector=place.pod_query)
    staying = [pod for pod in pods if not diagnosis.is_going(pod)] or pods
    return sorted(staying, key=lambda pod: str(pod["metadata"]["name"]))


def _last(cluster: Cluster, place: Place, pod: str, lines: int) -> str:
    try:
        return cluster.text(f"{path_to('Pod', place.namespace, pod)}/log", {"tailLines": str(lines)})
    except Refused as error:
        if error.status in (400, 404):  # It has not started yet, or has just gone.
            return ""
        raise


@dataclass
class _Stream:
    """Where the threads that read one pod each put their lines."""

    cluster: Cluster
    place: Place
    lines: queue.Queue[str] = field(default_factory=lambda: queue.Queue(maxsize=10_000))
    stop: threading.Event = field(default_factory=threading.Event)
    threads: dict[str, threading.Thread] = field(default_factory=dict)

    def look(self, lines: int) -> None:
        """Starts a thread for each pod that has none."""
        for pod in _pods(self.cluster, self.place):
            name = pod["metadata"]["name"]
            if name in self.threads and self.threads[name].is_alive():
                continue
            if _has_started(pod) and not diagnosis.is_going(pod):
                # A thread that ended (a container was restarted, a connection cut) starts anew without the past.
                last = 0 if name in self.threads else lines
                self.threads[name] = threading.Thread(target=self._follow, args=(name, last), daemon=True)
                self.threads[name].start()

    def _follow(self, pod: str, lines: int) -> None:
        path, rest = f"{path_to('Pod', self.place.namespace, pod)}/log", b""
        with (
            contextlib.suppress(RidgewayError),
            self.cluster.stream(path, {"follow": "true", "tailLines": str(lines)}) as pieces,
        ):
            for piece in pieces:
                if self.stop.is_set():
                    return
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    self.lines.put(f"{pod}  {line.decode(errors='replace')}")

    def arrived(self) -> Iterator[str]:
        """What has come; waits for a while if nothing has."""
        try:
            yield self.lines.get(timeout=_LOOK_SECONDS)
            while True:
                yield self.lines.get_nowait()
        except queue.Empty:
            return


def follow_logs(cluster: Cluster, place: Place, *, lines: int) -> Iterator[str]:
    """The last lines of each replica, and what comes after, of replicas that come later too; ends with its reader."""
    stream = _Stream(cluster, place)
    try:
        while True:
            with contextlib.suppress(Transient):
                stream.look(lines)
            yield from stream.arrived()
    finally:
        stream.stop.set()


def _has_started(pod: Json) -> bool:
    return any(one.get("state", {}).get("running") for one in pod.get("status", {}).get("containerStatuses", ()))
