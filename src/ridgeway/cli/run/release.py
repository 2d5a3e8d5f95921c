"""``ridgeway run release``: image, trial, approval, production."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ridgeway.cli import console
from ridgeway.cli.run.request import Request, limits


def run(request: Request, *, as_json: bool) -> int:
    """The exit code of a release, carried out here and now as far as it comes."""
    summary = carry_out(request)
    console.say()
    say(summary, as_json=as_json)
    return console.soften(summary["exit_code"], ci=request.ci)


def carry_out(request: Request) -> dict[str, Any]:
    """What the flow returns."""
    from ridgeway import orchestrator
    from ridgeway.actions import carried_on
    from ridgeway.project import prepare_state

    project = carried_on.open_at(request.subject, overrides=request.overrides)
    prepare_state(project)
    done = _done_before(project, request)
    if done is not None:
        return done
    console.say(f"release {request.subject}: starting")
    # The server starts while MLflow is imported and the registry opened.
    server = _server(project)
    from ridgeway.actions import release

    parameters = {
        "model": request.subject,
        "until": request.until,
        "overrides": list(request.overrides),
        "ci": request.ci,
    }
    with release.start(request.subject, until=request.until, overrides=request.overrides, ci=request.ci) as job:
        assert job.record is not None
        if job.unchanged:
            return release.summary(job)
        call = orchestrator.Call("flows/release.py:release", parameters, flow_run_id=job.flow_run_id)
        result: dict[str, Any] = orchestrator.run_suspendable(
            call, run=job.record, server=server, limits=limits(project)
        )
    return result


def _server(project: Any) -> Any:
    from ridgeway import orchestrator

    chosen = project.settings.servers
    return orchestrator.ensure_server(
        project.root, setting=chosen.prefect, idle_minutes=chosen.idle_minutes, say=console.say, wait=False
    )


def _done_before(project: Any, request: Request) -> dict[str, Any] | None:
    """What the flow would return where nothing is left to do, found without MLflow; None to go the long way."""
    from ridgeway.actions import settled

    owner = "ci" if request.ci else "person"
    if request.until or request.ci or project.settings.release.started_by != owner:
        return None
    known = settled.find(project, request.subject)
    return settled.summary(known) if known is not None else None


def say(summary: dict[str, Any], *, as_json: bool) -> None:
    """Prints how it ended: the sentence and what comes next to stderr, the handle to stdout."""
    console.say(summary["sentence"])
    if summary["next_step"]:
        console.say(f"  next      {summary['next_step']}")
    console.say(f"  more      ridgeway show {summary['handle']}")
    console.result(summary["handle"], summary, as_json=as_json)


def plan(request: Request, *, as_json: bool) -> int:
    """Prints what a release would do on each stage."""
    from ridgeway.actions import plan as plans
    from ridgeway.project import open_project

    project = open_project(Path.cwd(), overrides=request.overrides)
    if request.manifests:
        text = plans.manifests(project, request.subject, until=request.until, ci=request.ci)
        console.result(text, {"schema": 1, "manifests": text}, as_json=as_json)
        return 0
    lines = plans.release(project, request.subject, until=request.until, ci=request.ci)
    text = "\n".join(f"{line.step:<16} {line.what}" for line in lines)
    record = {"schema": 1, "plan": [{"step": line.step, "what": line.what} for line in lines]}
    console.result(text, record, as_json=as_json)
    return 0
