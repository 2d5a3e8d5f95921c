"""The log of a job's pod, read in short turns: what the node has of it comes once, and in order.

It is asked for anew each time, from the last line's moment on, rather than followed by one long request: a connection
that is cut or stalls then needs no care.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from http import HTTPStatus

from ridgeway.errors import Transient
from ridgeway.targets.kubernetes.connection import Cluster, Refused, path_to

LATE_SECONDS = 10.0
"""How long a node may be late with the last lines, or the API server be away then."""
_PAUSE_SECONDS = 0.2
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


@dataclass
class PodLog:
    """The lines of one pod."""

    cluster: Cluster
    namespace: str
    pod: str
    _last: str = ""
    """Time of the last line that was given."""
    _newest: str = ""
    """The newest line with its time, which may have been read while it was written."""
    _is_gone: bool = False
    """Whether there is no such pod any more."""

    def read(self, *, whole: bool = False) -> list[str]:
        """What has been written since the last call.

        The newest line is given once two looks have found it the same, or something after it.

        Args:
            whole: Nothing more will be written: the newest line is as it stays, and what the node is late with is
                waited for.
        """
        return self._rest() if whole else self._settled(self._ask() or [])

    def _settled(self, found: list[str]) -> list[str]:
        if found:
            is_settled = found[-1] == self._newest
            self._newest = found[-1]
            found = found if is_settled else found[:-1]
        return self._given(found)

    def _rest(self) -> list[str]:
        """All that is left: asked for until two answers have brought nothing new."""
        lines: list[str] = []
        deadline, quiet = time.monotonic() + LATE_SECONDS, 0
        while quiet < 2 and time.monotonic() < deadline and not self._is_gone:
            found = self._ask()
            new = self._given(found or [])
            lines += new
            quiet = quiet + 1 if found is not None and not new else 0
            if quiet < 2:
                time.sleep(_PAUSE_SECONDS)
        return lines

    def _given(self, found: list[str]) -> list[str]:
        if found:
            self._last = found[-1].partition(" ")[0]
        return [raw.partition(" ")[2] for raw in found]

    def _ask(self) -> list[str] | None:
        """New lines with their times; None where nobody can say: not begun, just gone, or no answer."""
        since = {"sinceTime": f"{self._last[:19]}Z"} if self._last else {}
        path = f"{path_to('Pod', self.namespace, self.pod)}/log"
        try:
            text = self.cluster.text(path, {"timestamps": "true", **since})
        except Refused as error:
            self._is_gone = error.status == HTTPStatus.NOT_FOUND
            return None
        except Transient:
            return None
        self._is_gone = False
        # What a node says of a log that it has not got bears no time. Times are of one length, and so in order.
        found = [raw for raw in text.splitlines() if _MOMENT.match(raw)]
        if text and not found:
            return None
        return [raw for raw in found if raw.partition(" ")[0] > self._last]
