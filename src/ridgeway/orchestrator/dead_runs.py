"""Runs whose process is gone: told to the run log, and to the server, which would take them for running for ever."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ridgeway.errors import StorageError
from ridgeway.orchestrator import rest
from ridgeway.run_log import RunLog, RunRecord

_logger = logging.getLogger("ridgeway.orchestrator")

_OVER = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_CANCELLED = {"state": {"type": "CANCELLED", "name": "Cancelled", "message": "cancelled"}, "force": True}


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


def carrier(record: RunRecord) -> str:
    """What the server is told when this run takes a flow run over that others may carry out too.

    A worker takes a flow run before it has a record; what it has told stands in the record's command.
    """
    return f"carried out by {record.command if is_workers(record) else f'run {server_name(record)}'}"


def is_workers(record: RunRecord) -> bool:
    """Whether the worker of `ridgeway up` has carried it out, and not a command."""
    return record.command.startswith("worker ")


def _crash(record: RunRecord, url: str, state: object, headers: Mapping[str, str] | None) -> None:
    mine = [flow_run for flow_run in _flow_runs(record, url, headers) if _is_of(record, flow_run, url, headers)]
    _set("flow_runs", mine, url, state, headers)
    if mine:
        wanted = {"flow_runs": {"id": {"any_": [flow_run["id"] for flow_run in mine]}}}
        _set("task_runs", rest.call(f"{url}/task_runs/filter", wanted, headers=headers), url, state, headers)


def _set(kind: str, runs: list[dict[str, Any]], url: str, state: object, headers: Mapping[str, str] | None) -> None:
    for run in runs:
        if not is_over({"type": run["state_type"]}):
            # Where somebody wanted its end, that is what it came to.
            ended = _CANCELLED if run["state_type"] == "CANCELLING" else state
            rest.call(f"{url}/{kind}/{run['id']}/set_state", ended, headers=headers)


def _flow_runs(record: RunRecord, url: str, headers: Mapping[str, str] | None) -> list[dict[str, Any]]:
    """Those that bear the run's name, and the one that it has carried on, which bears an earlier run's."""
    wanted: dict[str, Any] = {"operator": "or_", "name": {"any_": [server_name(record)]}}
    if record.flow_run_id:
        wanted["id"] = {"any_": [record.flow_run_id]}
    found: list[dict[str, Any]] = rest.call(f"{url}/flow_runs/filter", {"flow_runs": wanted}, headers=headers)
    return found


def _is_of(record: RunRecord, flow_run: dict[str, Any], url: str, headers: Mapping[str, str] | None) -> bool:
    """Whether the process of this run was the one to carry it out.

    What belongs to a deployment may rest without any process, or have been taken over by another run or a worker since.
    """
    if flow_run["deployment_id"] is None:
        return True
    if is_resting(flow_run["state"]):
        return False
    states = rest.call(f"{url}/flow_run_states/?flow_run_id={flow_run['id']}", headers=headers)
    taken = [state for state in states if state["type"] == "PENDING"]
    return bool(taken) and max(taken, key=lambda state: state["timestamp"])["message"] == carrier(record)


def is_over(state: Mapping[str, Any]) -> bool:
    """Whether a flow run or task run in this state has come to its end."""
    return state["type"] in _OVER


def is_resting(state: Mapping[str, Any]) -> bool:
    """Whether a flow run in this state needs no process: it is suspended, or resumed and not yet taken by anyone."""
    details = state.get("state_details") or {}
    return state["type"] == "SCHEDULED" or (state["type"] == "PAUSED" and bool(details.get("pause_reschedule")))


def _crashed(message: str) -> dict[str, object]:
    return {"state": {"type": "CRASHED", "name": "Crashed", "message": message}, "force": True}


def mark_quietly(root: Path, url: str) -> None:
    """``mark_dead_runs`` for whoever looks every second: a full disk now is no reason to stop looking."""
    try:
        mark_dead_runs(root, url)
    except StorageError as error:
        _logger.debug("%s", error)
