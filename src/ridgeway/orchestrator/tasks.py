"""Prefect tasks made of plain step functions: what is tried again, how long it may take, how results are kept."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.serializers import JSONSerializer

from ridgeway.errors import Transient
from ridgeway.orchestrator.limits import limits_in_force
from ridgeway.run_log import current_run

P = ParamSpec("P")
R = TypeVar("R")


def results_serializer() -> JSONSerializer[Any]:
    """How results are kept: as JSON, nouns in the form in which they pass between CI stages."""
    return JSONSerializer(
        object_encoder="ridgeway.orchestrator.result_json.encode",
        object_decoder="ridgeway.orchestrator.result_json.decode",
    )


def as_task(
    step: Callable[P, R], *, name: str = "", timeout_seconds: float | None = None, retries: int | None = None
) -> Task[P, R]:
    """A Prefect task that carries out ``step``, is retried where that may help, and is written into the run's log.

    Nothing is cached: what a step did before is found by the digests of what it is given, not by Prefect.

    Args:
        step: A plain function. What it returns must be JSON, or a noun of ``ridgeway.artifacts``.
        name: The step's name; by default the function's.
        timeout_seconds: After which an attempt is ended; by default as the run's limits say. Code outside of Python (a
            long fit in compiled code) ends only when it comes back to Python.
        retries: The most further attempts; by default as the run's limits say.

    Raises:
        ValueError: ``retries`` or ``timeout_seconds`` is negative.
    """
    name = name or step.__name__
    limits = limits_in_force()
    limits = replace(
        limits,
        timeout_seconds=limits.timeout_seconds if timeout_seconds is None else timeout_seconds,
        retries=limits.retries if retries is None else retries,
    )
    if limits.retries < 0 or limits.timeout_seconds < 0:
        raise ValueError("retries and timeout_seconds cannot be negative")

    @functools.wraps(step)
    def attempt(*args: P.args, **kwargs: P.kwargs) -> R:
        run = current_run()
        with run.step(name) if run else nullcontext():
            result = step(*args, **kwargs)
        if run and isinstance(handle := getattr(result, "handle", None), str):
            run.produced(handle)
        return result

    make = task(
        name=name,
        cache_policy=NO_CACHE,
        persist_result=True,
        result_serializer=results_serializer(),
        retries=limits.retries,
        retry_delay_seconds=list(limits.delays_seconds),
        retry_condition_fn=_may_help,
        timeout_seconds=limits.timeout_seconds,
    )
    return make(attempt)


def _may_help(_task: Any, _task_run: Any, state: Any) -> bool:
    """Whether another attempt may end differently."""
    return isinstance(state.result(raise_on_failure=False), Transient)
