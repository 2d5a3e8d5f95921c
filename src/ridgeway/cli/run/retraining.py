"""``ridgeway run retraining``: load, check, train, judge, register."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ridgeway.cli import console, options
from ridgeway.cli.run.request import Request, limits, shown
from ridgeway.errors import RidgewayError


def run(request: Request, *, as_json: bool) -> int:
    """The exit code of a retraining, carried out here and now."""
    from ridgeway.actions import unchanged
    from ridgeway.project import open_project, prepare_state

    project = open_project(Path.cwd(), overrides=request.overrides)
    source = _source(project, request)
    if request.ci:
        options.refuse_local_registry(project)
    prepare_state(project)
    key = unchanged.inputs(project, source)
    earlier = unchanged.find(project, key)
    if earlier is not None:
        return _say_unchanged(project.name, earlier, as_json=as_json)
    console.say(f"retraining {project.name}: starting")
    summary = _flow(project, request, source)
    if summary["exit_code"] in (0, 3, 4) and _inputs_now(request) == key:
        _remember(project, key, summary)
    return _say(project, summary, ci=request.ci, as_json=as_json)


def _source(project: Any, request: Request) -> Path:
    found: Path = (Path.cwd() / request.source).resolve() if request.source else project.source
    return found


def _inputs_now(request: Request) -> str:
    """The key of what lies there now; empty where it cannot be read any more.

    Whoever edits a file during a run gets the outcome of one version of it: that must not be taken for the other's.
    """
    from ridgeway.actions import unchanged
    from ridgeway.project import open_project

    try:
        project = open_project(Path.cwd(), overrides=request.overrides)
        return unchanged.inputs(project, _source(project, request))
    except (RidgewayError, OSError):
        return ""


def _flow(project: Any, request: Request, source: Path) -> dict[str, Any]:
    from ridgeway import orchestrator

    servers = project.settings.servers
    # The server starts while MLflow is imported and the registry opened.
    server = orchestrator.ensure_server(
        project.root, setting=servers.prefect, idle_minutes=servers.idle_minutes, say=console.say, wait=False
    )
    from ridgeway.actions import gate

    with gate.prepared():
        return _carry_out(project, request, source, server)


def _carry_out(project: Any, request: Request, source: Path, server: Any) -> dict[str, Any]:
    from ridgeway import orchestrator
    from ridgeway.actions import retraining

    parameters: dict[str, Any] = {
        "source": str(source) if request.source else "",
        "overrides": list(request.overrides),
        "ci": request.ci,
    }
    with retraining.start(source=parameters["source"], overrides=request.overrides, ci=request.ci) as job:
        result: dict[str, Any] = orchestrator.run_flow(
            "flows/retraining.py:retraining", parameters, run=job.record, server=server, limits=limits(project)
        )
    return result


def _remember(project: Any, key: str, summary: dict[str, Any]) -> None:
    from ridgeway.actions import unchanged
    from ridgeway.artifacts import from_json, parse_handle

    record = _record(project, summary)
    version = record.get("model_version")
    number = int(parse_handle(summary["handle"]).which) if version else None
    unchanged.remember(project, key, unchanged.Earlier(from_json(record["verdict"]), summary["run"], number))


def _record(project: Any, summary: dict[str, Any]) -> dict[str, Any]:
    folder = project.state / "runs" / summary["run"].removeprefix("runs:/") / "report"
    record: dict[str, Any] = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    return record


def _say(project: Any, summary: dict[str, Any], *, ci: bool, as_json: bool) -> int:
    folder = project.state / "runs" / summary["run"].removeprefix("runs:/") / "report"
    console.say()
    console.say(summary["sentence"])
    if summary["next_step"]:
        console.say(f"  next      {summary['next_step']}")
    console.say(f"  more      ridgeway show {summary['handle']}     {shown(folder / 'report.html')}")
    console.result(summary["handle"], summary, as_json=as_json)
    return console.soften(summary["exit_code"], ci=ci)


def _say_unchanged(name: str, earlier: Any, *, as_json: bool) -> int:
    verdict = earlier.verdict
    registered = f"models:/{name}/{earlier.version}" if earlier.version is not None else ""
    handle = registered or verdict.candidate
    what = f"{registered} is this very model" if registered else "this very model was judged before"
    sentence = f"unchanged: {what} ({verdict.sentence})"
    console.say(sentence)
    console.say(f"  more      ridgeway show {handle}")
    record = {
        "schema": 1,
        "run": earlier.run,
        "outcome": "unchanged",
        "sentence": sentence,
        "handle": handle,
        "exit_code": 0,
        "next_step": "",
    }
    console.result(handle, record, as_json=as_json)
    return 0


def plan(request: Request, *, as_json: bool) -> int:
    """Prints what a retraining would do."""
    from ridgeway.actions import plan as plans
    from ridgeway.project import open_project

    project = open_project(Path.cwd(), overrides=request.overrides)
    if request.ci:
        options.refuse_local_registry(project)
    lines = plans.retraining(project, _source(project, request))
    text = "\n".join(f"{line.step:<16} {line.what}" for line in lines)
    console.result(
        text, {"schema": 1, "plan": [{"step": line.step, "what": line.what} for line in lines]}, as_json=as_json
    )
    return 0
