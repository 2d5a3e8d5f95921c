"""The log of a job's pod, read in short turns: what the node has of it comes once, and in order.

It is asked for anew each time, from the last line's moment on, rather than followed by one long request: a connection
that is cut or stalls then needs no care.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from ridgeway.errors import Transient
from ridgeway.targets.kubernetes.connection import Cluster, Refused, path_to, patiently

OUTAGE_SECONDS = 10.0
"""How long an API server may be away when the last lines are read."""
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

    def read(self, *, whole: bool = False) -> list[str]:
        """What has been written since the last call.

        The newest line is given once two looks have found it the same, or something after it.

        Args:
            whole: Nothing more will be written: the newest line is as it stays.
        """
        since = {"sinceTime": f"{self._last[:19]}Z"} if self._last else {}
        path = f"{path_to('Pod', self.namespace, self.pod)}/log"
        ask = functools.partial(self.cluster.text, path, {"timestamps": "true", **since})
        try:
            text = patiently(ask, seconds=OUTAGE_SECONDS if whole else 0)
        except (Refused, Transient):  # not begun, just gone, or nobody answers: asked again
            return []
        # What a node says of a log that it has not got bears no time. Times are of one length, and so in order.
        found = [raw for raw in text.splitlines() if _MOMENT.match(raw) and raw.partition(" ")[0] > self._last]
        if found and not whole:
            is_settled = found[-1] == self._newest
            self._newest = found[-1]
            found = found if is_settled else found[:-1]
        if found:
            self._last = found[-1].partition(" ")[0]
        return [raw.partition(" ")[2] for raw in found]
