"""``ridgeway list``: what there is, one line each."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ridgeway.cli import console, options
from ridgeway.errors import UsageError

NOUNS = ("models", "runs", "releases", "targets", "flows")
WAITS = ("waiting", "approved", "started", "frozen")
"""States of a release in which somebody has to do something."""
EMPTY = {
    "models": "no model is registered",
    "runs": "nothing has run yet",
    "releases": "nothing was ever released",
    "targets": "there are no targets",
}


@click.command(
    name="list",
    short_help="Models, runs, releases, targets, flows; without a noun what runs or waits.",
    epilog="\b\nExample\n  ridgeway list models\n  ridgeway list targets --json",
)
@click.argument("noun", metavar="[models|runs|releases|targets|flows]", required=False)
@options.common
def command(noun: str | None, *, as_json: bool, overrides: Sequence[str]) -> int:
    """Models, runs, releases, targets or flows, newest first; without a noun what runs now and what waits."""
    from ridgeway.project import open_project

    if noun and noun not in NOUNS:
        close = difflib.get_close_matches(noun, NOUNS, n=1)
        raise UsageError(
            f"cannot list {noun!r}", problem=f"did you mean {close[0]}?" if close else "", expected=", ".join(NOUNS)
        )
    project = open_project(Path.cwd(), overrides=overrides)
    ways = {"models": _models, "runs": _runs, "releases": _releases, "targets": _targets, "flows": _flows}
    rows = ways.get(noun or "", _running)(project)
    empty = EMPTY.get(noun or "", "nothing is running, and nothing waits")
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

    running = [_run(record) for record in RunLog(project.root).active()]
    waiting = [_waiting(release) for release in _glanced(project) if release.state in WAITS]
    return running + waiting


def _waiting(release: Any) -> dict[str, Any]:
    return {
        "run": f"releases:/{release.name}/{release.number}",
        "flow": release.kind,
        "state": release.state,
        "started": release.requested_at[:16].replace("T", " "),
        "what came of it": release.sentence,
    }


def _releases(project: Any) -> list[dict[str, Any]]:
    return [
        {
            "release": f"releases:/{release.name}/{release.number}",
            "state": release.state,
            "model": release.model,
            "target": release.target,
            "requested": release.requested_at[:16].replace("T", " "),
            "what came of it": release.sentence,
        }
        for release in _glanced(project)
    ]


def _glanced(project: Any) -> Sequence[Any]:
    """The releases, without MLflow where that is possible."""
    from ridgeway.registry import glance_releases

    seen = glance_releases(project.settings.registry.uri, project.name, project.root)
    if seen is not None:
        return seen
    from ridgeway.actions.models import open_registry
    from ridgeway.registry.releases import Releases, glanced

    return [glanced(release) for release in Releases(open_registry(project)).latest(200)]


def _targets(project: Any) -> list[dict[str, Any]]:
    from ridgeway.actions import operations

    return [_target(project, place) for place in operations.places(project)]


def _target(project: Any, place: Any) -> dict[str, Any]:
    chosen = project.settings.targets[place.name]
    endpoint = place.endpoint
    room = next((room for room in place.rooms if room.instance_type == chosen.instance_type), None)
    free = "?" if room is None or room.free is None else str(room.free)
    memory = "-"
    if endpoint is not None and endpoint.memory_mib is not None:
        limit = f"/{endpoint.memory_limit_mib:.0f}" if endpoint.memory_limit_mib else ""
        memory = f"{endpoint.memory_mib:.0f}{limit} MiB"
    return {
        "target": place.name,
        "kind": place.kind,
        "state": endpoint.state if endpoint else "unreachable",
        "model": (endpoint.model if endpoint else "") or "-",
        "ready": f"{endpoint.ready}/{endpoint.replicas}" if endpoint and endpoint.replicas else "-",
        "memory": memory,
        "instance type": chosen.instance_type,
        "room for": free,
        "address": (endpoint.address if endpoint else "") or chosen.address or "-",
        "remark": place.problem or (endpoint.frozen or endpoint.reason if endpoint else "") or "",
    }


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
