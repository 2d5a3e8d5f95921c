"""The process that everything is forked from: what all share is imported here, once, and shared by the system's memory.

It never imports a project's code, opens no file of a project and starts no thread: a fork copies the thread that asked
for it and no other. It imports in stages; a fork is made as soon as the stage that it needs is there.

    python -m ridgeway.services.zygote DESCRIPTOR
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from ridgeway.services import wire
from ridgeway.services.child import become

STAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "web",
        ("fastapi", "uvicorn", "sqlalchemy", "prefect.main", "prefect.flow_engine", "ridgeway.orchestrator.serving"),
    ),
    ("registry", ("mlflow", "mlflow.entities", "ridgeway.registry.store", "ridgeway.registry.serving")),
    (
        "flows",
        (
            "ridgeway.orchestrator.suspension",
            "ridgeway.orchestrator.tasks",
            "ridgeway.actions.retraining",
            "ridgeway.actions.release",
            "ridgeway.data_gate.evaluation",
            "ridgeway.services.worker",
            "ridgeway.services.job",
            # What a flow would import at its first use of it, a second and more of each run.
            "anyio._backends._asyncio",
            "mlflow.store.model_registry.sqlalchemy_workspace_store",
            "mlflow.store.tracking.sqlalchemy_workspace_store",
            "prefect.artifacts",
            "prefect.concurrency.services",
            "prefect.task_engine",
            "pyarrow.dataset",
            "pyarrow.pandas_compat",
            "pyarrow.parquet",
            "ridgeway.orchestrator.notices",
            "ridgeway.orchestrator.result_json",
            "ridgeway.registry.model_folder",
            "ridgeway.report.page",
            "skops.io",
            "sklearn.compose",
            "sklearn.ensemble",
            "sklearn.linear_model",
            "sklearn.pipeline",
            "sklearn.preprocessing",
        ),
    ),
)
"""What is imported, in order: the server that takes longest to start needs the first stage only."""
STAGE_NAMES = tuple(name for name, _ in STAGES)


def main(descriptor: int) -> None:
    """Imports, and forks whenever it is asked to, until the other end of the channel is closed.

    Args:
        descriptor: Of a stream socket; requests are those of ``ridgeway.services.forking``.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Nobody waits for what it forks: the supervisor sees by number and start time whether a process is there.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.disable()  # a collection writes into every object, and each written page is a page no longer shared
    with socket.socket(fileno=descriptor) as channel:
        waiting: list[tuple[dict[str, Any], list[int]]] = []
        for number, (name, modules) in enumerate(STAGES):
            _import(modules)
            gc.collect()
            gc.freeze()
            wire.send(channel, {"stage": name, "threads": threading.active_count()})
            while _is_asked(channel, 0):
                waiting.append(_next(channel))
            waiting = [one for one in waiting if not _serve(channel, *one, stage=number)]
        while True:
            _is_asked(channel, None)
            _serve(channel, *_next(channel), stage=len(STAGES))


def _import(modules: Sequence[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in modules:
            importlib.import_module(module)


def _is_asked(channel: socket.socket, timeout_seconds: float | None) -> bool:
    return bool(select.select([channel], [], [], timeout_seconds)[0])


def _next(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next request.

    Raises:
        SystemExit: Nobody is left to ask.
    """
    received = wire.receive(channel)
    if received is None:
        raise SystemExit(0)
    return received


def _serve(channel: socket.socket, request: dict[str, Any], descriptors: list[int], *, stage: int) -> bool:
    """Whether the request could be met with what is imported so far."""
    if stage < STAGE_NAMES.index(request["stage"]):
        return False
    pid = os.fork()
    if pid == 0:
        _become(channel, request, descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    wire.send(channel, {"name": request["name"], "pid": pid})
    return True


def _become(channel: socket.socket, request: dict[str, Any], descriptors: list[int]) -> NoReturn:
    channel.close()
    become(request, descriptors)


if __name__ == "__main__":
    main(int(sys.argv[1]))
