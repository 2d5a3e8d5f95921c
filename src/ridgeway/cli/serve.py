"""``ridgeway serve``: the production server, on this machine."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from ridgeway.cli import console, options


@click.command(
    name="serve",
    short_help="The production server, on this machine.",
    epilog="\b\nExample\n  ridgeway serve models:/diabetes@challenger --port 8080",
)
@click.argument("model")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option("--image", is_flag=True, help="The very container image, on this machine's Docker engine.")
@options.plan
@options.common
def command(model: str, *, port: int, image: bool, plan: bool, as_json: bool, overrides: Sequence[str]) -> int:
    """MODEL (models:/NAME/7, models:/NAME@challenger, runs:/ID/model) behind the server that production runs.

    It listens on this machine only, without keys, until Ctrl-C. The model is compiled first, and proven to answer as
    the trained one does. Server settings are taken from RIDGEWAY_SERVER_… variables.

    With --image it is the image that docker and kubernetes targets run, as restricted as it is there; of a registered
    model only. It is taken from the registry of images, or made and stored there.
    """
    from ridgeway.project import open_project, prepare_state

    project = open_project(Path.cwd(), overrides=overrides)
    if plan:
        made = "make the image of" if image else "compile"
        what = f"{made} {model} if it is not, and serve it on http://127.0.0.1:{port}"
        console.result(what, {"schema": 1, "plan": what}, as_json=as_json)
        return 0
    prepare_state(project)
    if image:
        return _in_a_container(project, model, port)
    return _in_place_of_this(project, model, port)


def _in_place_of_this(project: Any, model: str, port: int) -> NoReturn:
    from ridgeway.actions import serve

    with console.story():
        package = serve.package(project, model)
    request = json.dumps({"data": [package.example]})
    console.say(f"{package.name} {package.version} ({package.kind}) on http://127.0.0.1:{port}; Ctrl-C stops it")
    console.say(f"  try       curl -d '{request}' localhost:{port}/score")
    sys.stderr.flush()
    arguments = ["--models", str(package.folder), "--host", "127.0.0.1", "--port", str(port), "--access", "none"]
    # The server takes this process's place: signals reach it, and nothing of ours stays in memory beside it.
    os.execv(sys.executable, [sys.executable, "-m", "ridgeway_server", *arguments])  # noqa: S606 - our own program


def _in_a_container(project: Any, model: str, port: int) -> int:
    from ridgeway import image as images
    from ridgeway.actions import images as made
    from ridgeway.actions import serve
    from ridgeway.actions.models import open_registry, require_registry, resolve

    require_registry(project, model)
    with console.story():
        version = resolve(open_registry(project), model)
        chosen = made.image_of(project, version, container=True)
        example = json.dumps({"data": [serve.package(project, model).example]})

    def ready(address: str) -> None:
        console.say(f"{chosen.handle} of {chosen.model} on {address}; Ctrl-C stops it")
        console.say(f"  try       curl -d '{example}' {address.removeprefix('http://')}/score")
        sys.stderr.flush()

    return images.serve_here(chosen, port=port, say=console.say, ready=ready)
