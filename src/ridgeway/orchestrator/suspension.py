"""Flow runs that wait for a person without keeping a process, and that another command or a worker carries on.

On a server that stays such a flow run is *suspended*, and goes on under its own id. On the local server that stops
by itself it ends well, and what carries it on is a new flow run. In both cases the flow starts from the top: what was
finished is found by the flow's own record, never by Prefect.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from ridgeway.errors import Busy, Transient
from ridgeway.orchestrator import deployments
from ridgeway.orchestrator.dead_runs import carrier
from ridgeway.orchestrator.execution import arguments_of, carry_out, conduct, create, note_flow_run
from ridgeway.orchestrator.limits import StepLimits
from ridgeway.orchestrator.server import Server
from ridgeway.run_log import Run

WAITING_EXIT_CODE = 5
_USUAL = StepLimits()
_logger = logging.getLogger("ridgeway.orchestrator")


@dataclass(frozen=True, slots=True)
class Call:
    """What is to be carried out."""

    entrypoint: str
    """File and function, such as ``flows/release.py:release``, relative to the project's root."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The flow's arguments by name, as JSON knows them."""
    flow_run_id: str = ""
    """The flow run under which it waited; empty for a new one."""


@dataclass(slots=True)
class _Outcome:
    """What ``suspend`` was called with; kept here because the flow's own return value does not survive a suspension."""

    result: Any = None
    message: str = ""


_OUTCOME: ContextVar[_Outcome | None] = ContextVar("ridgeway_suspension", default=None)


# ---- in the flow -----------------------------------------------------------------------------------------------------


def suspend(result: Any, *, message: str, timeout_seconds: float, name: str = "Waiting for approval") -> Any:
    """The flow run ends here and waits for a person; a flow says ``return suspend`` of this, as its last line.

    A flow run of a deployment is suspended, and the call does not return (what raises is a ``BaseException`` of
    Prefect's: close before what an interrupt would spoil). Any other ends Completed, with a state called ``name``.
    Either way ``run_suspendable`` gives ``result``. Resuming is no answer to the question: the flow starts from the top
    and has to find the answer itself, or comes here again.

    Args:
        result: What the flow returns, as JSON knows it.
        message: What it waits for and how to go on, in one line; shown on the server and kept in the run's record.
        timeout_seconds: After which the server ends a flow run that is still suspended as failed.
        name: Of the state where nothing can be suspended.

    Raises:
        Transient: The server does not let it wait: somebody has cancelled or ended the flow run meanwhile.

    Example:
        >>> suspend({"exit_code": 5}, message="waiting for a yes", timeout_seconds=60)  # outside of a flow
        {'exit_code': 5}
    """
    from prefect.context import FlowRunContext
    from prefect.states import Completed

    outcome = _OUTCOME.get()
    if outcome is not None:
        outcome.result, outcome.message = result, message
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return result
    if context.flow_run.deployment_id is None:
        return Completed(name=name, message=message, data=result)
    return _leave(context.flow_run.id, message, timeout_seconds)


def _leave(flow_run_id: UUID, message: str, timeout_seconds: float) -> Any:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import Abort, Pause
    from prefect.states import Suspended
    from prefect.utilities.engine import propose_state_sync

    # With a key that was used before, Prefect would take the wait for over and let the flow go on.
    wanted: Any = Suspended(timeout_seconds=math.ceil(timeout_seconds), pause_key=uuid4().hex, message=message)
    try:
        with get_client(sync_client=True) as client:
            state = propose_state_sync(client, wanted, flow_run_id=flow_run_id)
    except Abort as refusal:
        raise _not_suspended(str(refusal)) from refusal
    if not state.is_paused():
        raise _not_suspended(f"the flow run is {state.name} there")
    raise Pause(state=state)


def _not_suspended(problem: str) -> Transient:
    return Transient(
        "the flow run cannot wait on the Prefect server",
        problem=problem,
        expected="a flow run that runs",
        next_step="the same command again: a new flow run goes on from what is finished",
    )


def current_flow_run() -> str:
    """The id of the flow run that this code is part of, for ``Call.flow_run_id`` later; empty outside of one."""
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    return str(context.flow_run.id) if context and context.flow_run else ""


# ---- around the flow -------------------------------------------------------------------------------------------------


def run_suspendable(call: Call, *, run: Run, server: Server, limits: StepLimits = _USUAL) -> Any:
    """What the flow returns, or was left waiting with by ``suspend``; then the run's record ends with exit code 5.

    On a server that stays, the flow run belongs to a minimal deployment that is published when it is missing, and
    ``call.flow_run_id`` is resumed and carried on under its own id, here and now. Where that flow run is over (it has
    waited too long, was cancelled, crashed), is unknown there, or the server does not stay, a new one is made.

    Args:
        call: The flow, its arguments, and the flow run that waited.
        run: The record of this run, in state ``running``.
        server: The server that shows it.
        limits: For each of its steps.

    Raises:
        Busy: Someone else carries that flow run out: a worker, or another command.
        Transient: Somebody suspended or ended the flow run on the server while it ran.
        UsageError: The file does not import, has no such flow, or the flow takes other parameters.
        Unreachable: The server does not answer, or did not any more.
        RidgewayError: As the step raised it.
        KeyboardInterrupt: On Ctrl-C and on SIGTERM, after the server was told.
    """
    return _carry_out(call, _flow_run, run=run, server=server, limits=limits)


def run_claimed(call: Call, *, run: Run, server: Server, limits: StepLimits = _USUAL) -> Any:
    """What the flow returns, or was left waiting with by ``suspend``, under a flow run that was taken for it already.

    For a worker: it has proposed Pending, and the server has let it and nobody else.

    Args:
        call: The flow, its arguments, and the flow run.
        run: The record of this run, in state ``running``.
        server: The server that knows the flow run.
        limits: For each of its steps.

    Raises:
        Transient: Somebody suspended or ended the flow run on the server while it ran.
        UsageError: The file does not import, has no such flow, or the flow takes other parameters.
        Unreachable: The server does not answer, or did not any more.
        RidgewayError: As the step raised it.
        KeyboardInterrupt: On SIGTERM, after the server was told.
    """
    return _carry_out(call, _claimed, run=run, server=server, limits=limits)


_Find = Callable[[Any, Call, dict[str, Any], Run, Server], Any]
"""Gives the flow run under which the flow is carried out."""


def _carry_out(call: Call, find: _Find, *, run: Run, server: Server, limits: StepLimits) -> Any:
    outcome = _Outcome()

    def work(flow: Any) -> Any:
        arguments = arguments_of(flow, call.parameters)
        return _conduct(flow, find(flow, call, arguments, run, server), arguments, outcome)

    token = _OUTCOME.set(outcome)
    try:
        result = carry_out(call.entrypoint, work, run=run, server=server, limits=limits)
    finally:
        _OUTCOME.reset(token)
    if outcome.message:
        run.end("finished", exit_code=WAITING_EXIT_CODE, sentence=outcome.message)
    return result


def _claimed(_flow: Any, call: Call, _arguments: dict[str, Any], run: Run, server: Server) -> Any:
    from prefect.client.orchestration import get_client

    note_flow_run(call.flow_run_id, run, server)
    with get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(call.flow_run_id))


def _conduct(flow: Any, flow_run: Any, arguments: Mapping[str, Any], outcome: _Outcome) -> Any:
    from prefect.exceptions import Pause

    try:
        return conduct(flow, flow_run, arguments)
    except Pause as pause:
        if outcome.message:
            return outcome.result
        raise Transient(
            "the flow run was suspended on the Prefect server while it ran",
            problem="somebody did so on its page or by its API, between two steps",
            next_step="the same command again; what was done is not done twice",
        ) from pause


def _flow_run(flow: Any, call: Call, arguments: dict[str, Any], run: Run, server: Server) -> Any:
    """The flow run to carry out: the one that waited, or a new one."""
    from prefect.client.orchestration import get_client

    if not server.is_lasting:
        return create(flow, arguments, run, server)
    with get_client(sync_client=True) as client:
        flow_run = _take_over(client, call.flow_run_id, run, server)
        if flow_run is None:
            root = run.store.root.resolve()
            deployment_id = deployments.ensure_deployment(client, flow, call.entrypoint, root)
            flow_run = deployments.create_flow_run(client, flow, deployment_id, arguments, run.record)
            note_flow_run(flow_run.id, run, server)
    return flow_run


# ---- taking over -----------------------------------------------------------------------------------------------------


def _take_over(client: Any, flow_run_id: str, run: Run, server: Server) -> Any:
    """The flow run, from here on carried out by this run and nobody else; None where it cannot go on.

    Raises:
        Busy: Someone else carries it out.
    """
    flow_run = _read(client, flow_run_id)
    if flow_run is None:
        return None
    # Noted first: whoever finds this process dead looks for the flow run that it had begun to take.
    note_flow_run(flow_run.id, run, server)
    if _is_orphan(client, flow_run):
        _end(client, flow_run.id)
    elif _is_suspended(flow_run.state):
        # Refused where someone else was quicker, or where it has waited too long: its state then tells.
        client.resume_flow_run(flow_run.id)
    flow_run = _read(client, flow_run_id)
    if flow_run is None or flow_run.state.is_final():
        _tell_over(flow_run)
        return None
    if not flow_run.state.is_scheduled() or not _claim(client, flow_run.id, run):
        raise _taken(flow_run, server)
    return _read(client, flow_run_id)


def _read(client: Any, flow_run_id: str) -> Any:
    """The flow run; None where the server has none of this id, or none that can be suspended."""
    from prefect.exceptions import ObjectNotFound

    if not flow_run_id:
        return None
    try:
        flow_run = client.read_flow_run(UUID(flow_run_id))
    except (ObjectNotFound, ValueError):
        _logger.info("the Prefect server knows no flow run %s; a new one goes on from what is finished", flow_run_id)
        return None
    return flow_run if flow_run.deployment_id is not None and flow_run.state is not None else None


def _is_suspended(state: Any) -> bool:
    return bool(state.is_paused() and state.state_details.pause_reschedule)


def _is_orphan(client: Any, flow_run: Any) -> bool:
    """Whether it rests and its deployment was deleted: Prefect lets nobody take it any more."""
    from prefect.exceptions import ObjectNotFound

    if not (_is_suspended(flow_run.state) or flow_run.state.is_scheduled()):
        return False
    try:
        client.read_deployment(flow_run.deployment_id)
    except ObjectNotFound:
        return True
    return False


def _end(client: Any, flow_run_id: UUID) -> None:
    from prefect.states import Cancelled

    client.set_flow_run_state(flow_run_id, Cancelled(message="its deployment was deleted"), force=True)


def _claim(client: Any, flow_run_id: UUID, run: Run) -> bool:
    """Whether the flow run is now this run's: the server lets exactly one take what is scheduled, command or worker."""
    from prefect.client.schemas.responses import SetStateStatus
    from prefect.states import Pending

    answer = client.set_flow_run_state(flow_run_id, Pending(message=carrier(run.record)))
    return bool(answer.status == SetStateStatus.ACCEPT)


def _tell_over(flow_run: Any) -> None:
    if flow_run is not None:
        state = flow_run.state
        reason = f": {state.message}" if state.message else ""
        _logger.info(
            "flow run %s is over (%s%s); a new one goes on from what is finished", flow_run.name, state.name, reason
        )


def _taken(flow_run: Any, server: Server) -> Busy:
    state = flow_run.state
    return Busy(
        f"flow run {flow_run.name} is being carried out by someone else",
        where=f"{server.page}/runs/flow-run/{flow_run.id}",
        problem=f"it is {state.name}{f', {state.message}' if state.message else ''}",
        expected="a flow run that waits; a worker or another command has taken this one",
        next_step="wait for its end; if it waits again then, the same command once more",
    )
