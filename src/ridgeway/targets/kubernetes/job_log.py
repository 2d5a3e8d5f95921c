"""The log of a job's pod, line by line while it is written: no line is lost, and none comes twice.

Each line carries the time at which the node took it. A connection that was cut is opened again from the last line's
time on, and what was there already is left out.
"""

from __future__ import annotations

import contextlib
import queue
import re
import threading
from dataclasses import dataclass, field

from ridgeway.errors import RidgewayError
from ridgeway.targets.kubernetes.connection import Cluster, path_to

_AGAIN_SECONDS = 1.0
_CATCH_UP_SECONDS = 3.0


@dataclass
class PodLog:
    """The lines of one pod."""

    cluster: Cluster
    namespace: str
    pod: str
    lines: queue.Queue[str] = field(default_factory=queue.Queue)
    _last: str = ""
    """Time of the last line."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def follow(self) -> None:
        """Begins to read, beside whoever asks."""
        self._thread = threading.Thread(target=self._read, name=f"log of {self.pod}", daemon=True)
        self._thread.start()

    def arrived(self, seconds: float) -> list[str]:
        """What has come since the last call; waits for so long if nothing has."""
        found: list[str] = []
        with contextlib.suppress(queue.Empty):
            found.append(self.lines.get(timeout=seconds))
            while True:
                found.append(self.lines.get_nowait())
        return found

    def rest(self) -> list[str]:
        """What is still to come of a pod that has ended."""
        if self._thread is not None:
            self._thread.join(_CATCH_UP_SECONDS)
        self._stop.set()
        found = self.arrived(0)
        with contextlib.suppress(RidgewayError):
            text = self.cluster.text(self._path, self._query(follow=False))
            found += [line for raw in text.splitlines() if (line := self._new(raw)) is not None]
        return found

    def close(self) -> None:
        """Reads no further."""
        self._stop.set()

    @property
    def _path(self) -> str:
        return f"{path_to('Pod', self.namespace, self.pod)}/log"

    def _query(self, *, follow: bool) -> dict[str, str]:
        since = {"sinceTime": f"{self._last[:19]}Z"} if self._last else {}
        return {"timestamps": "true", **({"follow": "true"} if follow else {}), **since}

    def _read(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(RidgewayError):
                self._stream()
                return  # the container has ended, or its log was cut off there: `rest` reads what may lack
            self._stop.wait(_AGAIN_SECONDS)

    def _stream(self) -> None:
        rest = b""
        with self.cluster.stream(self._path, self._query(follow=True)) as pieces:
            for piece in pieces:
                if self._stop.is_set():
                    return
                *whole, rest = (rest + piece).split(b"\n")
                for raw in whole:
                    line = self._new(raw.decode(errors="replace"))
                    if line is not None:
                        self.lines.put(line)

    def _new(self, raw: str) -> str | None:
        """The line without its time; None for one that was there already, or that is none of the pod's."""
        moment, _, line = raw.partition(" ")
        # What a node says of a log that it has not got bears no time.
        if moment <= self._last or not re.match(r"\d{4}-\d\d-\d\dT", moment):
            return None
        self._last = moment
        return line
