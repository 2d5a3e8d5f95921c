"""``ridgeway list``: what there is, one line each."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ridgeway.cli import console, options
from ridgeway.errors import UsageError

NOUNS = ("models", "runs", "flows")


@click.command(
    name="list",
    short_help="Models, runs, flows; without a noun what is running.",
    epilog="\b\nExample\n  ridgeway list models\n  ridgeway list runs --json",
)
@click.argument("noun", metavar="[models|runs|flows]", required=False)
@options.common
def command(noun: str | None, *, as_json: bool, overrides: Sequence[str]) -> int:
    """Models, runs or flows, newest first; without a noun what is running now."""
    from ridgeway.project import open_project

    if noun and noun not in NOUNS:
        close = difflib.get_close_matches(noun, NOUNS, n=1)
        raise UsageError(
            f"cannot list {noun!r}", problem=f"did you mean {close[0]}?" if close else "", expected=", ".join(NOUNS)
        )
    project = open_project(Path.cwd(), overrides=overrides)
    rows = {"models": _models, "runs": _runs, "flows": _flows}.get(noun or "", _running)(project)
    empty = {"models": "no model is registered", "runs": "nothing has run yet"}.get(noun or "", "nothing is running")
    console.result(
        table(rows, console.width()) if rows else empty, {"schema": 1, noun or "running": rows}, as_json=as_json
    )
    return 0


def table(rows: Sequence[dict[str, Any]], width: int) -> str:
    """Rows as aligned columns under their keys; the last column is cut to the width, never wrapped."""
    keys = list(rows[0])
    texts = [[str(row[key]) for key in keys] for row in rows]
    widths = [max(len(key), *(len(line[index]) for line in texts)) for index, key in enumerate(keys)]
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(line, widths, strict=True)) for line in [keys, *texts]]
    return "\n".join(line.rstrip() if len(line.rstrip()) <= width else f"{line[: width - 1]}…" for line in lines)


def _models(project: Any) -> list[dict[str, Any]]:
    from ridgeway.registry import glance

    seen = glance(project.settings.registry.uri, project.name, project.root)
    if seen is None:
        from ridgeway.actions.models import open_registry

        versions: Sequence[Any] = open_registry(project).versions()
    else:
        versions = [version for version in seen.versions if version.complete or not version.digest]
    return [
        {
            "model": f"models:/{project.name}/{version.number}",
            "aliases": " ".join(version.aliases) or "-",
            "verdict": version.tags.get("ridgeway.verdict.reason", "-"),
            "run": f"runs:/{version.run_id[:12]}",
            "digest": version.digest[:19] or "-",
        }
        for version in sorted(versions, key=lambda version: -version.number)
    ]


def _runs(project: Any) -> list[dict[str, Any]]:
    from ridgeway.run_log import RunLog

    return [_run(record) for record in RunLog(project.root).records()]


def _running(project: Any) -> list[dict[str, Any]]:
    from ridgeway.run_log import RunLog

    return [_run(record) for record in RunLog(project.root).active()]


def _run(record: Any) -> dict[str, Any]:
    return {
        "run": f"runs:/{record.id[:12]}",
        "flow": record.flow,
        "state": record.state,
        "started": record.started_at[:16].replace("T", " "),
        "what came of it": record.sentence,
    }


def _flows(project: Any) -> list[dict[str, Any]]:
    files = sorted((project.root / "flows").glob("[!_]*.py"))
    return [{"flow": file.stem, "file": str(file.relative_to(project.root)), "about": _about(file)} for file in files]


def _about(file: Path) -> str:
    import ast

    try:
        return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        return f"cannot be read: {error}"
