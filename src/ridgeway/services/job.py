"""One published run, in the process that the worker has forked for it: the commit's code, the flow, and its record."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ridgeway import orchestrator
from ridgeway.artifacts import PublishedFlow
from ridgeway.errors import Busy, RidgewayError, UsageError
from ridgeway.orchestrator import rest
from ridgeway.orchestrator.publication import checkout
from ridgeway.orchestrator.publication.glance import read_published
from ridgeway.project import Project, open_project, prepare_state
from ridgeway.run_log import Run, RunLog
from ridgeway.services.child import settle
from ridgeway.services.claims import COMMAND, Claim
from ridgeway.services.post import Place, put_back
from ridgeway.services.state import log_file
from ridgeway.settings import operations_file

log = logging.getLogger("ridgeway.worker")

BUSY_SECONDS = 10.0
"""What is under way elsewhere, such as a retraining by hand, is waited for in steps of this."""


@dataclass(frozen=True, slots=True)
class Job:
    """What was taken: the flow run, and the published flow that it is one of."""

    flow_run: Mapping[str, Any]
    published: PublishedFlow

    @property
    def parameters(self) -> dict[str, Any]:
        """The flow's arguments, as whoever triggered it gave them."""
        return dict(self.flow_run["parameters"])

    @property
    def is_of_server(self) -> bool:
        """Whether nobody has asked for it but a schedule, or the watcher because a model was registered."""
        key = str(self.flow_run.get("idempotency_key") or "")
        return bool(self.flow_run.get("auto_scheduled")) or key.startswith(f"{self.published.deployment} model:")


def carry_out(place: Place, claim: Claim) -> int:
    """The exit code of the run; its record and the server know of its end, whatever it is.

    Args:
        place: Where the worker works.
        claim: The flow run, taken.
    """
    settle(log_file(place.home, "worker"), environment=dict(os.environ), folder=place.home)
    signal.signal(signal.SIGTERM, _interrupt)
    for handler in logging.root.handlers:
        handler.setLevel(logging.WARNING)  # the run's own log has the rest
    # So the record says who carries it out, and is found by it: see ``orchestrator.dead_runs.carrier``.
    sys.argv = [COMMAND, claim.token]
    try:
        return _carry_out(place, claim)
    except RidgewayError as error:
        _tell(place, claim, error)
        return error.exit_code


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _carry_out(place: Place, claim: Claim) -> int:
    job = _read(place, claim)
    file = operations_file(place.home)
    if file is not None:  # approvers are never read from the tree that is released
        os.environ["RIDGEWAY_OPERATIONS"] = str(file.resolve())
    root = checkout(job.published.origin)
    os.chdir(root)
    project = open_project(root)
    prepare_state(project)
    if kind := str(job.published.job_variables.get("instance_type", "")):
        return _in_a_cluster(project, job, kind)
    server = orchestrator.running_server(place.home) or orchestrator.Server(place.url, place.home)
    call = orchestrator.Call(job.published.entrypoint, job.parameters, flow_run_id=claim.flow_run_id)
    with _opened(project, job) as run:
        result = orchestrator.run_claimed(call, run=run, server=server, limits=_limits(project))
        _end(run, job.published.flow, result)
    return run.record.exit_code or 0


def _in_a_cluster(project: Project, job: Job, instance_type: str) -> int:
    """The exit code of the flow, carried out in a pod; the pod sets the flow run's states from then on."""
    from ridgeway.actions import remote

    published = job.published
    call = remote.RemoteCall(
        instance_type,
        published.flow,
        job.parameters,
        flow_run_id=str(job.flow_run["id"]),
        entrypoint=published.entrypoint,
    )
    return int(remote.carry_out(project, call).get("exit_code", 0))


def _read(place: Place, claim: Claim) -> Job:
    flow_run, record, published = read_published(place.url, claim.flow_run_id, headers=place.headers)
    if not published.origin.commit:
        raise UsageError(
            f"{published.deployment} was not published by Ridgeway",
            where=f"its pull steps: {record.get('pull_steps')}",
            problem="it does not say which commit its code is from",
            next_step="ridgeway publish     or, for a deployment of your own:     prefect worker start --pool …",
        )
    return Job(flow_run, published)


@contextmanager
def _opened(project: Project, job: Job) -> Iterator[Run]:
    """The record of the run; with the flows that keep more than that, what they keep, as their commands do."""
    asked = job.parameters
    options: dict[str, Any] = {"overrides": tuple(asked.get("overrides") or ()), "ci": bool(asked.get("ci", False))}
    with ExitStack() as stack:
        if job.published.flow == "retraining":
            from ridgeway.actions import retraining

            yield stack.enter_context(retraining.start(source=asked.get("source", ""), **options)).record
        elif job.published.flow == "release":
            from ridgeway.actions import release

            asked_for = {"until": asked.get("until", ""), "by_server": job.is_of_server}
            opened = stack.enter_context(release.start(asked["model"], **asked_for, **options))
            assert opened.record is not None
            yield opened.record
        else:
            yield stack.enter_context(RunLog(project.root).start(job.published.flow))


def _end(run: Run, flow: str, result: Any) -> None:
    """The end of a record that no action ends: what the flow returned says how."""
    if flow not in ("retraining", "release"):
        said = result if isinstance(result, Mapping) else {}
        run.end("finished", exit_code=int(said.get("exit_code", 0)), sentence=str(said.get("sentence", "")))


def _limits(project: Project) -> orchestrator.StepLimits:
    chosen = project.settings.flows
    return orchestrator.StepLimits(chosen.timeout_seconds, chosen.retries, chosen.retry_delay_seconds)


# ---- what went wrong before the flow began ---------------------------------------------------------------------------


def _tell(place: Place, claim: Claim, error: RidgewayError) -> None:
    """Tells the server of an error that came before the flow began; it knows of all others from the flow itself."""
    log.warning("%s: %s", claim.name, error)
    with suppress(OSError, ValueError, LookupError):
        flow_run = rest.call(f"{place.url}/flow_runs/{claim.flow_run_id}", headers=place.headers)
        if flow_run["state_type"] != "PENDING":
            return
        if isinstance(error, Busy):
            put_back(place, claim.flow_run_id, f"waits: {_line(error)}", delay_seconds=BUSY_SECONDS)
            return
        flow = rest.call(f"{place.url}/flows/{flow_run['flow_id']}", headers=place.headers)["name"]
        message = f"Flow run encountered an exception: {type(error).__name__}: {_line(error)}"
        content = {"state": {"type": "FAILED", "name": "Failed", "message": message}, "force": True}
        rest.call(f"{place.url}/flow_runs/{claim.flow_run_id}/set_state", content, headers=place.headers)
        _record(place, claim, flow, error)


def _record(place: Place, claim: Claim, flow: str, error: RidgewayError) -> None:
    """A record of a run that never came to one of its own."""
    store = RunLog(place.home)
    if any(record.command == claim.command for record in store.records()):
        return
    run = store.start(flow)
    page = f"{place.url.removesuffix('/api')}/runs/flow-run/{claim.flow_run_id}"
    run.note(flow_run_id=claim.flow_run_id, flow_run_url=page)
    log.error("%s", error)
    run.end("failed", exit_code=error.exit_code, sentence=error.summary)


def _line(error: RidgewayError) -> str:
    return f"{error.summary}{f': {error.problem}' if error.problem else ''}"
