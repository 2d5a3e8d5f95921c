"""A flow carried out in this process: found by its path, shown on the server, ended cleanly however it ends."""

from __future__ import annotations

import base64
import contextlib
import importlib
import importlib.util
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from ridgeway.credentials import for_url
from ridgeway.errors import Permanent, RidgewayError, Unreachable, UsageError
from ridgeway.orchestrator.dead_runs import mark_dead_runs, report_crash, server_name
from ridgeway.orchestrator.environment import environment, local_client, without_proxy
from ridgeway.orchestrator.heartbeat import heartbeats
from ridgeway.orchestrator.limits import StepLimits
from ridgeway.orchestrator.server import Server
from ridgeway.run_log import Run

_USUAL = StepLimits()
Work = Callable[[Any], Any]
"""What is done with a flow that was found: gives what it returns."""


def run_flow(
    entrypoint: str, parameters: Mapping[str, Any], *, run: Run, server: Server, limits: StepLimits = _USUAL
) -> Any:
    """What the flow returns, carried out here and now, and shown on the server.

    The flow's file is imported while the server may still be starting. The project's root is the working directory and
    first on ``sys.path`` meanwhile. The run's record gets the flow run's id and address; its end is for the caller to
    write, best by using ``run`` as a context manager.

    Args:
        entrypoint: File and function, such as ``flows/retraining.py:retraining``, relative to the project's root.
        parameters: The flow's arguments by name, as JSON knows them.
        run: The record of this run, in state ``running``.
        server: The server that shows it.
        limits: For each of its steps.

    Raises:
        UsageError: The file does not import, has no such flow, or the flow takes other parameters.
        Unreachable: The server does not answer, or did not any more.
        RidgewayError: As the step raised it; a step that took too long is a ``Permanent`` one.
        KeyboardInterrupt: On Ctrl-C and on SIGTERM, after the server was told.
    """

    def work(flow: Any) -> Any:
        arguments = arguments_of(flow, parameters)
        return conduct(flow, create(flow, arguments, run, server), arguments)

    return carry_out(entrypoint, work, run=run, server=server, limits=limits)


def carry_out(entrypoint: str, work: Work, *, run: Run, server: Server, limits: StepLimits) -> Any:
    """What the work gives, done with the flow at ``entrypoint`` while all is prepared for a flow of this project.

    Raises:
        UsageError: The file does not import, or has no such flow.
        Unreachable: The server does not answer, or did not any more.
        KeyboardInterrupt: On Ctrl-C and on SIGTERM, after the server was told.
    """
    root = run.store.root.resolve()
    is_first = _configure(root, server)
    with _termination_as_interrupt(), _inside(root), limits.in_force():
        flow = load_flow(root, entrypoint)
        server.wait()
        with _settings(is_first=is_first), _left_nothing_unsent(), _heard_by(server):
            mark_dead_runs(root, server.url, headers=_headers())
            return _guarded(work, flow, run, server)


# ---- Prefect's settings ----------------------------------------------------------------------------------------------


def _configure(root: Path, server: Server) -> bool:
    """Sets Prefect's environment and keeps it off the terminal; whether this was its first import, which reads it."""
    if server.is_local:
        for name in ("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_CLIENT_CUSTOM_HEADERS"):
            os.environ.pop(name, None)
        os.environ.update(without_proxy(os.environ))
        os.environ.update(local_client(root, server.url))
    else:
        os.environ.update({**environment(root), "PREFECT_API_URL": server.url})
    if (known := for_url(server.url)) and not os.environ.get("PREFECT_API_KEY"):
        os.environ["PREFECT_API_AUTH_STRING"] = known.text
    is_first = "prefect.main" not in sys.modules
    import prefect.main  # noqa: F401 - configures logging, which the package itself puts off

    # It logs each error with its stack trace; the terminal gets our one message instead. Without any handler Python
    # would print it all the same.
    theirs = logging.getLogger("prefect")
    theirs.propagate = False
    if not theirs.handlers:
        theirs.addHandler(logging.NullHandler())
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return is_first


@contextlib.contextmanager
def _settings(*, is_first: bool) -> Iterator[None]:
    """The settings as the environment has them now, also where Prefect was imported long before."""
    from prefect.context import SettingsContext, get_settings_context
    from prefect.settings import Settings, get_current_settings

    # Reading them takes a quarter of a second.
    settings = get_current_settings() if is_first else Settings()
    # Prefect's thread that sends heartbeats makes each flow end up to a second later; ours does not.
    flows = settings.flows.model_copy(update={"heartbeat_frequency": None})
    settings = settings.model_copy(update={"flows": flows})
    with SettingsContext(profile=get_settings_context().profile, settings=settings):
        yield


def _headers() -> dict[str, str]:
    """What the server wants to see of a client, as Prefect's own settings have it."""
    from prefect.settings import get_current_settings

    api = get_current_settings().api
    if api.key is not None:
        return {"Authorization": f"Bearer {api.key.get_secret_value()}"}
    if api.auth_string is not None:
        token = base64.b64encode(api.auth_string.get_secret_value().encode()).decode("ascii")
        return {"Authorization": f"Basic {token}"}
    return {}


@contextlib.contextmanager
def _left_nothing_unsent() -> Iterator[None]:
    """Events and log lines have left when this ends, or five seconds have passed."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    # What cannot be sent because the server is gone is written to the terminal by Prefect, line by line, unless logging
    # is told to keep its own errors to itself.
    before, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    finally:
        for worker in (EventsWorker, APILogWorker):
            worker.drain_all(timeout=5)
        logging.raiseExceptions = before


# ---- finding the flow ------------------------------------------------------------------------------------------------


def load_flow(root: Path, entrypoint: str) -> Any:
    """The Prefect flow at ``entrypoint``; the file is imported as ``flows.NAME`` of this project, afresh.

    Raises:
        UsageError: There is no such file, it does not import, or it has no such flow.
    """
    from prefect import Flow

    path, _, name = entrypoint.partition(":")
    module = import_file(root, root / path)
    flow = getattr(module, name, None)
    if isinstance(flow, Flow):
        return flow
    flows = [key for key, value in vars(module).items() if isinstance(value, Flow)]
    raise UsageError(
        f"cannot run {entrypoint}",
        where=str(root / path),
        problem=f"it has no flow {name!r}" if flow is None else f"{name} is not a flow",
        expected=f"one of {', '.join(flows)}" if flows else f"@flow above def {name}(…)",
    )


def import_file(root: Path, path: Path) -> ModuleType:
    """The module of a file with flows, as ``flows.NAME``, afresh.

    Raises:
        UsageError: There is no such file, or it does not import; names the innermost line of the project's own.
    """
    if not path.is_file():
        raise UsageError(
            f"cannot run {path.name}", where=str(path), problem="there is no such file", next_step="ridgeway list flows"
        )
    name = ".".join(path.relative_to(root).with_suffix("").parts)
    sys.modules.pop(name, None)
    try:
        return importlib.import_module(name)
    except RidgewayError:
        raise
    except Exception as error:
        raise UsageError(
            f"cannot run {path.relative_to(root)}",
            where=_place(error, root, path),
            problem=f"{type(error).__name__}: {error}",
            expected="a file that Python can import",
        ) from error


def _place(error: Exception, root: Path, path: Path) -> str:
    """The innermost line of the project's own files that the error came through."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    place, traceback = str(path), error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if Path(file).is_relative_to(root) and "site-packages" not in file:
            place = f"{file}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


@contextlib.contextmanager
def _inside(root: Path) -> Iterator[None]:
    """The project is working directory and first on the path; its code is imported as it is now."""
    before = Path.cwd()
    os.chdir(root)
    sys.path.insert(0, str(root))
    _forget_code(root)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(root))
        # The folder of the call may be gone by now.
        with contextlib.suppress(OSError):
            os.chdir(before)


def _forget_code(root: Path) -> None:
    """Removes ``flows…`` and ``steps…`` of any project, and modules of this one: a file may be another one by now."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("flows", "steps") or _is_of_project(root, name, module):
            del sys.modules[name]


def _is_of_project(root: Path, name: str, module: Any) -> bool:
    """Whether it lies where Python looks for it in a project's root, as ``features.py`` does; tests are no part."""
    file = getattr(module, "__file__", None)
    inside = root.joinpath(*name.split("."))
    own = name.partition(".")[0] not in ("tests", "conftest", "__main__")
    return own and file in (f"{inside}.py", str(inside / "__init__.py"))


# ---- carrying it out -------------------------------------------------------------------------------------------------


def conduct(flow: Any, flow_run: Any, arguments: Mapping[str, Any]) -> Any:
    """What the flow returns, carried out under a flow run that the server knows."""
    import prefect.flow_engine

    from ridgeway.orchestrator.tasks import results_serializer

    flow = flow.with_options(persist_result=True, result_serializer=results_serializer())
    with _signs_of_life(flow_run):
        return prefect.flow_engine.run_flow(flow, flow_run=flow_run, parameters=dict(arguments))


_LISTENER: ContextVar[Server | None] = ContextVar("ridgeway_listener", default=None)


@contextlib.contextmanager
def _heard_by(server: Server) -> Iterator[None]:
    """What runs meanwhile gives its signs of life to this server."""
    token = _LISTENER.set(server)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def _signs_of_life(flow_run: Any) -> contextlib.AbstractContextManager[None]:
    """For a server that cannot see this process; who runs the local one looks at processes."""
    server = _LISTENER.get()
    if server is None or server.is_local:
        return contextlib.nullcontext()
    return heartbeats(str(flow_run.id), server.url, headers=_headers())


def _guarded(work: Work, flow: Any, run: Run, server: Server) -> Any:
    """What the work gives; interrupts and the loss of the server end it in one way."""
    import httpx
    from prefect.exceptions import TerminationSignal

    try:
        return work(flow)
    except (KeyboardInterrupt, TerminationSignal):
        # Prefect tells the server, unless it was interrupted between two of its own lines.
        report_crash(run.record, server.url, "interrupted", headers=_headers())
        raise KeyboardInterrupt from None
    except (TimeoutError, httpx.HTTPError) as error:
        explained = _explained(error, run, server)
        if explained is None:
            raise
        raise explained from error


def create(flow: Any, arguments: Mapping[str, Any], run: Run, server: Server) -> Any:
    """The flow run, known to the server and noted in the run's record; it bears the run's name, to be found by it."""
    from prefect.client.orchestration import get_client
    from prefect.states import Pending

    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run(
            flow, parameters=flow.serialize_parameters(arguments), name=server_name(run.record), state=Pending()
        )
    note_flow_run(flow_run.id, run, server)
    return flow_run


def note_flow_run(flow_run_id: object, run: Run, server: Server) -> None:
    """Writes into the run's record under which flow run, and on which page, it is shown."""
    run.note(flow_run_id=str(flow_run_id), flow_run_url=f"{server.page}/runs/flow-run/{flow_run_id}")


def arguments_of(flow: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """All of the flow's parameters, those not given with their defaults.

    Raises:
        UsageError: One is missing, or unknown.
    """
    from prefect.utilities.callables import get_call_parameters

    try:
        arguments: dict[str, Any] = get_call_parameters(flow.fn, (), dict(parameters))
    except Exception as error:
        raise UsageError(f"flow {flow.name} cannot be called so", problem=str(error)) from error
    return arguments


def _explained(error: Exception, run: Run, server: Server) -> RidgewayError | None:
    """What a person is told of an error of Prefect's; None when it is a step's own."""
    from prefect.task_engine import TaskRunTimeoutError

    failed = [step.name for step in run.record.steps if step.state == "failed"]
    if isinstance(error, TaskRunTimeoutError):
        return Permanent(
            f"{failed[-1] if failed else 'a step'} took too long and was ended",
            where="flows.timeout_seconds",
            problem=str(error),
            next_step=f"ridgeway logs runs:/{run.id[:12]}     or     a larger --set flows.timeout_seconds=…",
        )
    if failed or isinstance(error, TimeoutError):
        return None
    if getattr(getattr(error, "response", None), "status_code", 0) in (401, 403):
        return Permanent(
            "the Prefect server wants to know who asks",
            where=server.url,
            problem=str(error).partition("\n")[0],
            next_step="set RIDGEWAY_SERVERS__PASSWORD for a server of `ridgeway up`;\n"
            "for another one PREFECT_API_AUTH_STRING (user:password) or PREFECT_API_KEY",
        )
    return Unreachable(
        "the Prefect server was lost while the flow ran",
        where=server.url,
        problem=f"{type(error).__name__}: {error}",
        next_step="the same command again; what was done is not done twice",
    )


@contextlib.contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt meanwhile, where Prefect does not take it itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
