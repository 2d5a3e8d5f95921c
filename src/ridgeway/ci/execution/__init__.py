"""A planned pipeline carried out on this machine: clean clones, processes, artifacts, approvals, logs.

What happens when is decided by the state machine ``ridgeway.ci.azure.Run``; here are its hands. ``execute`` runs a plan
and reports to a ``Watcher``; ``prepare`` makes the folder that a run keeps its logs and artifacts in, and ``reopened``
finds that of one which waits for an approval, to be carried on.
"""

from ridgeway.ci.execution.folders import RunFolder, prepare
from ridgeway.ci.execution.run import Machine, execute
from ridgeway.ci.execution.telling import NOT_EXECUTED, Approval, Ended, Outcome, Watcher
from ridgeway.ci.execution.waiting import reopened

__all__ = [
    "NOT_EXECUTED", "Approval", "Ended", "Machine", "Outcome", "RunFolder", "Watcher", "execute", "prepare", "reopened",
]  # fmt: skip
