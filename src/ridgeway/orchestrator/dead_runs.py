"""Runs whose process is gone: told to the run log, and to the server, which would take them for running for ever."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from ridgeway.errors import StorageError
from ridgeway.orchestrator import rest
from ridgeway.run_log import RunLog, RunRecord

_logger = logging.getLogger("ridgeway.orchestrator")

_OVER = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def mark_dead_runs(root: Path, url: str = "", *, headers: Mapping[str, str] | None = None) -> list[RunRecord]:
    """Marks the runs whose process is gone as crashed, here and on the server; the records that were found dead.

    Args:
        root: The project's root.
        url: The server's API; empty when none is up: it is told the next time.
        headers: What the server wants to see of a client.

    Raises:
        StorageError: A record cannot be written.
    """
    store = RunLog(root)
    buried = [store.bury(record) for record in store.dead()]
    if url:
        for record in store.unreported():
            if report_crash(record, url, record.sentence, headers=headers):
                store.mark_reported(record)
    return buried


def server_name(record: RunRecord) -> str:
    """The name that the run bears on the server; by it the run is found even if it died before it heard its id."""
    return record.id[:12]


def report_crash(record: RunRecord, url: str, message: str, *, headers: Mapping[str, str] | None = None) -> bool:
    """Sets the run and its open tasks to Crashed on the server, unless they have ended; False if it cannot be told."""
    try:
        _crash(record, url, _crashed(message), headers)
    except (OSError, ValueError, LookupError, TypeError) as error:
        _logger.debug("the server could not be told of the end of run %s: %s", record.id, error)
        return False
    return True


def _crash(record: RunRecord, url: str, state: object, headers: Mapping[str, str] | None) -> None:
    wanted = {"flow_runs": {"name": {"any_": [server_name(record)]}}}
    for kind in ("flow_runs", "task_runs"):
        for run in rest.call(f"{url}/{kind}/filter", wanted, headers=headers):
            if run["state_type"] not in _OVER:
                rest.call(f"{url}/{kind}/{run['id']}/set_state", state, headers=headers)


def _crashed(message: str) -> dict[str, object]:
    return {"state": {"type": "CRASHED", "name": "Crashed", "message": message}, "force": True}


def mark_quietly(root: Path, url: str) -> None:
    """``mark_dead_runs`` for whoever looks every second: a full disk now is no reason to stop looking."""
    try:
        mark_dead_runs(root, url)
    except StorageError as error:
        _logger.debug("%s", error)
