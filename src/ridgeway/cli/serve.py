"""``ridgeway serve``: the production server, on this machine."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from ridgeway.cli import console, options


@click.command(
    name="serve",
    short_help="The production server, on this machine.",
    epilog="\b\nExample\n  ridgeway serve models:/diabetes@challenger --port 8080",
)
@click.argument("model")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@options.plan
@options.common
def command(model: str, *, port: int, plan: bool, as_json: bool, overrides: Sequence[str]) -> None:
    """MODEL (models:/NAME/7, models:/NAME@challenger, runs:/ID/model) behind the server that production runs.

    It listens on this machine only, without keys, until Ctrl-C. The model is compiled first, and proven to answer as
    the trained one does. Server settings are taken from RIDGEWAY_SERVER_… variables.
    """
    from ridgeway.actions import serve
    from ridgeway.project import open_project, prepare_state

    project = open_project(Path.cwd(), overrides=overrides)
    if plan:
        what = f"compile {model} if it is not, and serve it on http://127.0.0.1:{port}"
        console.result(what, {"schema": 1, "plan": what}, as_json=as_json)
        return
    prepare_state(project)
    with console.story():
        package = serve.package(project, model)
    request = json.dumps({"data": [package.example]})
    console.say(f"{package.name} {package.version} ({package.kind}) on http://127.0.0.1:{port}; Ctrl-C stops it")
    console.say(f"  try       curl -d '{request}' localhost:{port}/score")
    sys.stderr.flush()
    arguments = ["--models", str(package.folder), "--host", "127.0.0.1", "--port", str(port), "--access", "none"]
    # The server takes this process's place: signals reach it, and nothing of ours stays in memory beside it.
    os.execv(sys.executable, [sys.executable, "-m", "ridgeway_server", *arguments])  # noqa: S606 - our own program
