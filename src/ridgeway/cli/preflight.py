"""``ridgeway preflight``: would a release get through? Asked before anything is changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import click

from ridgeway.cli import console, options
from ridgeway.cli.findings import table


@click.command(
    name="preflight",
    short_help="Whether a release would get through.",
    epilog="\b\nExample\n  ridgeway preflight\n  ridgeway preflight production --json",
)
@click.argument("target", required=False)
@options.common
def command(target: str | None, *, as_json: bool, overrides: Sequence[str]) -> int:
    """What a release to TARGET (all stages by default) will need, looked at in the order in which it is needed.

    This machine, image registry, cluster, rights, quota, node pool, a pull by digest, the address, keys and
    certificates. All findings are shown, each with the next command; it ends with 7 if one of them stands in the way.
    """
    from ridgeway.actions import preflight
    from ridgeway.project import open_project

    project = open_project(Path.cwd(), overrides=overrides)
    with console.story():
        findings = tuple(preflight.look(project, target or ""))
    record = {"schema": 1, "findings": [dataclasses.asdict(finding) for finding in findings]}
    console.result(table(findings, console.width()), record, as_json=as_json)
    return 7 if any(finding.outcome == "fail" for finding in findings) else 0
