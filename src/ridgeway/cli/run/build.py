"""``ridgeway run build``: gates of code, tests and data side by side, then publication."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ridgeway.cli import console
from ridgeway.cli.run.request import Request, limits, shown
from ridgeway.errors import RidgewayError


def run(request: Request, *, as_json: bool) -> int:
    """The exit code of a build, carried out here and now; 7 where a gate has found something."""
    from ridgeway import orchestrator, report
    from ridgeway.actions import build
    from ridgeway.project import open_project, prepare_state

    project = open_project(Path.cwd(), overrides=request.overrides)
    asked = _asked(request)
    build.check_request(project, asked)
    prepare_state(project)
    console.say(f"build {project.name}: starting")
    servers = project.settings.servers
    server = orchestrator.ensure_server(
        project.root, setting=servers.prefect, idle_minutes=servers.idle_minutes, say=console.say, wait=False
    )
    job, caught = None, None
    try:
        with build.start(asked) as job:
            orchestrator.run_flow(
                "flows/build.py:build", _parameters(request), run=job.record, server=server, limits=limits(project)
            )
    except RidgewayError as error:
        if job is None:  # it never began, and has nothing to show but the error
            raise
        caught = error
    assert job is not None
    summary = build.summary(job, caught)
    look: dict[str, Any] = {"width": console.width(), "color": console.colour()}
    console.say()
    console.result(report.render_build(build.record_of(job, caught), **look), summary, as_json=as_json)
    console.say(f"  more      {shown(build.run_folder(job) / 'report' / 'report.html')}")
    return console.soften(summary["exit_code"], ci=request.ci)


def _parameters(request: Request) -> dict[str, Any]:
    """The flow's arguments, as the server shows them."""
    return {
        "commit": request.commit,
        "repository": request.repository,
        "only": request.only,
        "tests": request.tests,
        "overrides": list(request.overrides),
    }


def _asked(request: Request) -> Any:
    from ridgeway.actions import build

    return build.Request(
        commit=request.commit,
        repository=request.repository,
        only=request.only,
        tests=request.tests,
        overrides=request.overrides,
        ci=request.ci,
    )


def plan(request: Request, *, as_json: bool) -> int:
    """Prints what a build would look at and publish."""
    from ridgeway.actions import build
    from ridgeway.project import open_project

    project = open_project(Path.cwd(), overrides=request.overrides)
    lines = build.plan(project, _asked(request))
    text = "\n".join(f"{step:<16} {what}" for step, what in lines)
    record = {"schema": 1, "plan": [{"step": step, "what": what} for step, what in lines]}
    console.result(text, record, as_json=as_json)
    return 0
