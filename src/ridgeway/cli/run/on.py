"""``ridgeway run retraining --on TYPE``: the same flow, as a job in a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ridgeway.cli import console
from ridgeway.cli.run.request import Request, shown


def run(request: Request, *, as_json: bool) -> int:
    """The exit code of a retraining, carried out in the cluster while this command watches."""
    from ridgeway.actions import remote

    project = _project(request)
    console.say(f"retraining {project.name} on {request.on}: starting")
    found = remote.carry_out(project, _call(request))
    page = project.state / "runs" / found["record"].removeprefix("runs:/") / "report" / "report.html"
    console.say()
    console.say(found["sentence"])
    if found.get("next_step"):
        console.say(f"  next      {found['next_step']}")
    console.say(f"  more      ridgeway show {found['handle']}{f'     {shown(page)}' if page.is_file() else ''}")
    console.result(found["handle"], found, as_json=as_json)
    return console.soften(int(found["exit_code"]), ci=request.ci)


def plan(request: Request, *, as_json: bool) -> int:
    """Prints the image and the objects that would be made."""
    from ridgeway.actions import remote

    lines = remote.plan(_project(request), _call(request))
    text = "\n".join(f"{step:<16} {what}" for step, what in lines)
    console.result(text, {"schema": 1, "plan": [{"step": step, "what": what} for step, what in lines]}, as_json=as_json)
    return 0


def _project(request: Request) -> Any:
    from ridgeway.project import open_project

    return open_project(Path.cwd(), overrides=request.overrides)


def _call(request: Request) -> Any:
    from ridgeway.actions.remote_request import RemoteCall

    parameters = {"source": request.source, "overrides": [], "ci": True}
    return RemoteCall(request.on, parameters=parameters, allow_dirty=request.allow_dirty)
