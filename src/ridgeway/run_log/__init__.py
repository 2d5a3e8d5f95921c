"""What ran on this machine: a record and the logs of every run, readable when no server is. Standard library only."""

from __future__ import annotations

from ridgeway.run_log.capture import current_step, spoken_by
from ridgeway.run_log.lock import exclusive
from ridgeway.run_log.process import Process, is_alive
from ridgeway.run_log.record import RunRecord, State, StepRecord
from ridgeway.run_log.store import Run, RunLog, current_run, new_run_id

__all__ = [
    "Process",
    "Run",
    "RunLog",
    "RunRecord",
    "State",
    "StepRecord",
    "current_run",
    "current_step",
    "exclusive",
    "is_alive",
    "new_run_id",
    "spoken_by",
]
