"""``ridgeway keys``: how clients get in, and new keys without an outage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ridgeway.cli import console, options


@click.command(
    name="keys",
    short_help="A target's keys, and how to use them.",
    epilog="\b\nExample\n  ridgeway keys production\n  ridgeway keys production --rotate primary",
)
@click.argument("target")
@click.option("--rotate", type=click.Choice(["primary", "secondary"]), help="Put a new key in this place.")
@options.plan
@options.common
def command(target: str, *, rotate: str | None, plan: bool, as_json: bool, overrides: Sequence[str]) -> int:
    """The primary and secondary key of TARGET, and a request that uses one.

    Either key is good. To change one without a refused request: let clients use the other one, rotate, let them use
    the new one.
    """
    from ridgeway.actions import endpoints, operations
    from ridgeway.project import open_project

    project = open_project(Path.cwd(), overrides=overrides)
    if plan:
        endpoints.require_target(project, target)
        what = f"put a new {rotate} key in place on {target}" if rotate else f"show the keys of {target}"
        console.result(what, {"schema": 1, "plan": what}, as_json=as_json)
        return 0
    with console.story():
        held = operations.keys(project, target, rotate=rotate or "")
    lines = [f"primary    {held.keys.primary}", f"secondary  {held.keys.secondary}", "", held.example]
    record = {
        "schema": 1,
        "target": target,
        "address": held.address,
        "primary": held.keys.primary,
        "secondary": held.keys.secondary,
        "example": held.example,
    }
    console.result("\n".join(lines), record, as_json=as_json)
    return 0
