"""``ridgeway remove``: an endpoint taken away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ridgeway.cli import console, options


@click.command(
    name="remove",
    short_help="Takes a target's endpoint away.",
    epilog="\b\nExample\n  ridgeway remove qa\n  ridgeway remove production --yes",
)
@click.argument("target")
@click.option("--yes", is_flag=True, help="Needed for the last stage: clients lose their answers and their keys.")
@options.plan
@options.common
def command(target: str, *, yes: bool, plan: bool, as_json: bool, overrides: Sequence[str]) -> int:
    """Takes away what runs on TARGET and all that was made for it: keys too. Images and records stay."""
    from ridgeway.actions import operations
    from ridgeway.project import open_project

    project = open_project(Path.cwd(), overrides=overrides)
    with console.story():
        removed = operations.remove(project, target, confirmed=yes, only_plan=plan)
    lines = [f"would remove {line}" for line in removed] if plan else [f"removed {line}" for line in removed]
    console.result(
        "\n".join(lines) or f"nothing runs on {target}",
        {"schema": 1, "target": target, "would_remove" if plan else "removed": list(removed)},
        as_json=as_json,
    )
    return 0
