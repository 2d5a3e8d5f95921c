"""``ridgeway show``: all about one thing, its reason first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ridgeway.cli import console, options


@click.command(
    name="show",
    short_help="All about a model, a run, data, a release or a target.",
    epilog="\b\nExample\n  ridgeway show models:/diabetes@challenger\n  ridgeway show production --at 2026-11-20T14Z",
)
@click.argument("subject", metavar="HANDLE|TARGET")
@click.option("--at", default="", metavar="TIME", help="With a target: what served then, since when, who approved it.")
@options.common
def command(subject: str, *, at: str, as_json: bool, overrides: Sequence[str]) -> int:
    """All about one thing, its reason first.

    A model (models:/NAME/7, models:/NAME@challenger), a run (runs:/ID), data (data://…), a release
    (releases:/NAME/12), or what runs on a target (production).
    """
    from ridgeway.actions import show
    from ridgeway.project import open_project

    project = open_project(Path.cwd(), overrides=overrides)
    found = show.find(project, subject, at=at)
    if as_json:
        console.result("", found.record, as_json=True)
        return 0
    console.result(_text(found).rstrip("\n"))
    if found.page is not None:
        console.say(f"  page      {found.page}")
    return 0


def _text(found: Any) -> str:
    from ridgeway import report

    look: dict[str, Any] = {"width": console.width(), "color": console.colour()}
    if found.kind == "record" and report.is_build(found.record):
        return str(report.render_build(found.record, **look))
    if found.kind == "record":
        return str(report.render_terminal(found.record, **look))
    if found.span:
        return str(report.render_served(found.noun, found.approvals, found.span, **look))
    if found.kind == "release":
        return str(report.render_release(found.noun, found.evidence, found.approvals, **look))
    if found.kind == "endpoint":
        return str(report.render_endpoint(found.noun, found.release, found.approvals, **look))
    return str(report.render_noun(found.noun, **look))
