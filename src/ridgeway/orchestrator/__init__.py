"""The door to Prefect: its local server, tasks made of plain steps, flows carried out in this process.

Only what is used is imported: the server's side (start, stop, dead runs) needs no Prefect, the flow's side does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ridgeway.orchestrator.dead_runs import mark_dead_runs
    from ridgeway.orchestrator.environment import environment
    from ridgeway.orchestrator.execution import run_flow
    from ridgeway.orchestrator.limits import StepLimits
    from ridgeway.orchestrator.notices import emit, show_markdown
    from ridgeway.orchestrator.server import Server, ensure_server, running_server, stop_server
    from ridgeway.orchestrator.suspension import Call, current_flow_run, run_claimed, run_suspendable, suspend
    from ridgeway.orchestrator.tasks import as_task

__all__ = [
    "Call",
    "Server",
    "StepLimits",
    "as_task",
    "current_flow_run",
    "emit",
    "ensure_server",
    "environment",
    "mark_dead_runs",
    "run_claimed",
    "run_flow",
    "run_suspendable",
    "running_server",
    "show_markdown",
    "stop_server",
    "suspend",
]

_HOMES = {
    "Call": "suspension",
    "Server": "server",
    "StepLimits": "limits",
    "as_task": "tasks",
    "current_flow_run": "suspension",
    "emit": "notices",
    "ensure_server": "server",
    "environment": "environment",
    "mark_dead_runs": "dead_runs",
    "run_claimed": "suspension",
    "run_flow": "execution",
    "run_suspendable": "suspension",
    "running_server": "server",
    "show_markdown": "notices",
    "stop_server": "server",
    "suspend": "suspension",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
