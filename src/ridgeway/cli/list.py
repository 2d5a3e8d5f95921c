"""``ridgeway list``: what there is, one line each."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ridgeway.cli import console, options
from ridgeway.errors import UsageError

NOUNS = ("models", "runs", "releases", "targets", "flows", "notifications")
WAITS = ("waiting", "approved", "started", "frozen")
"""States of a release in which somebody has to do something."""
SENTENCE = "what came of it"
"""The column that may be cut."""
LEAST_SENTENCE = 24
"""Characters of a sentence that must be seen; with less room it stands under its row, whole."""
PLAIN = (SENTENCE, "address", "remark")
"""Columns that need no name before them when they stand under a row."""
EMPTY = {
    "models": "no model is registered",
    "runs": "nothing has run yet",
    "releases": "nothing was ever released",
    "targets": "there are no targets",
    "notifications": "nobody was told anything",
}


@click.command(
    name="list",
    short_help="Models, runs, releases, targets; or what runs and waits.",
    epilog="\b\nExample\n  ridgeway list models\n  ridgeway list targets --json",
)
@click.argument("noun", metavar="[NOUN]", required=False)
@options.common
def command(noun: str | None, *, as_json: bool, overrides: Sequence[str]) -> int:
    """Without NOUN what runs now, what is yet to run, and what waits for somebody.

    NOUN is models, runs, releases, targets, flows or notifications; the newest come first.
    """
    from ridgeway.project import open_project

    if noun and noun not in NOUNS:
        close = difflib.get_close_matches(noun, NOUNS, n=1)
        raise UsageError(
            f"cannot list {noun!r}", problem=f"did you mean {close[0]}?" if close else "", expected=", ".join(NOUNS)
        )
    project = open_project(Path.cwd(), overrides=overrides)
    ways = {
        "models": _models,
        "runs": _runs,
        "releases": _releases,
        "targets": _targets,
        "flows": _flows,
        "notifications": _notifications,
    }
    rows = ways.get(noun or "", _running)(project)
    empty = EMPTY.get(noun or "", "nothing is running, and nothing waits")
    console.result(
        table(rows, console.width()) if rows else empty, {"schema": 1, noun or "running": rows}, as_json=as_json
    )
    return 0


def table(rows: Sequence[dict[str, Any]], width: int) -> str:
    """Rows as aligned columns under their keys, and columns for which no room is left under each row.

    A last column of sentences is cut where enough of it can be seen; what is empty in every row is left out.

    Example:
        >>> print(table([{"target": "qa", "state": "healthy", "address": "http://127.0.0.1:8081"}], 30))
        target  state
        qa      healthy
            http://127.0.0.1:8081
    """
    keys = [key for key in rows[0] if any(str(row[key]) for row in rows)]
    sizes = {key: max(len(key), *(len(str(row[key])) for row in rows)) for key in keys}
    beside = _beside(keys, sizes, width)
    lines = [_line({key: key for key in beside}, sizes, width)]
    for row in rows:
        lines.append(_line({key: str(row[key]) for key in beside}, sizes, width))
        rest = {key: str(row[key]) for key in keys if key not in beside and str(row[key]) not in ("", "-")}
        lines += _below([text if key in PLAIN else f"{key} {text}" for key, text in rest.items()], width)
    return "\n".join(lines)


def _beside(keys: Sequence[str], sizes: Mapping[str, int], width: int) -> list[str]:
    """The columns that stand beside each other: as many as fit, and sentences if much of them does."""
    beside: list[str] = []
    taken = 0
    for key in keys:
        if taken + (min(sizes[key], LEAST_SENTENCE) if key == SENTENCE else sizes[key]) > width and beside:
            break
        beside.append(key)
        taken += sizes[key] + 2
    return beside


def _below(texts: Sequence[str], width: int) -> list[str]:
    """Texts one after the other in indented lines; one that does not fit begins a line of its own."""
    packed: list[str] = []
    for text in texts:
        if packed and len(packed[-1]) + len(text) + len("     · ") <= width:
            packed[-1] += f" · {text}"
        else:
            packed.append(text)
    wrap = textwrap.TextWrapper(width - 4, break_long_words=False, break_on_hyphens=False)
    return [f"    {line}" for text in packed for line in wrap.wrap(text)]


def _line(cells: Mapping[str, str], sizes: Mapping[str, int], width: int) -> str:
    line = "  ".join(text.ljust(sizes[key]) for key, text in cells.items()).rstrip()
    return line if len(line) <= width else f"{line[: width - 1]}…"


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
    return running + waiting + _coming(project) + _untold(project)


def _untold(project: Any) -> list[dict[str, Any]]:
    """One row where messages were given up: whoever relies on being told must see that they were not."""
    # Only where there are any is it worth importing what reads them.
    if not any((project.state / "notifications" / "undelivered").glob("*.json")):
        return []
    from ridgeway.notifications import Outbox

    kept = [one.message for one in Outbox(project.root).kept() if one.place == "undelivered"]
    if not kept:
        return []
    count = Outbox(project.root).count("undelivered")
    return [
        {
            "run": "notifications",
            "flow": "-",
            "state": "undelivered",
            "started": kept[0].created_at[:16].replace("T", " "),
            SENTENCE: f"{count} given up: {kept[0].problem}; ridgeway list notifications",
        }
    ]


def _notifications(project: Any) -> list[dict[str, Any]]:
    from ridgeway.notifications import Outbox

    return [
        {
            "event": kept.message.event,
            "about": kept.message.handle,
            "state": kept.place,
            "written": kept.message.created_at[:16].replace("T", " "),
            "attempts": kept.message.attempts,
            SENTENCE: kept.message.problem,
        }
        for kept in Outbox(project.root).kept()
    ]


def _coming(project: Any) -> list[dict[str, Any]]:
    """Of each schedule the next run, and what was asked for and is not under way yet."""
    outlook = _outlook(project)
    crons = {one.name: one.sentence for flow in outlook.publication.flows for one in flow.schedules}
    rows, seen = [], set()
    for run in outlook.runs:
        if run.schedule and (run.flow, run.schedule) in seen:
            continue
        seen.add((run.flow, run.schedule))
        what = f"schedule {run.schedule}: {crons.get(run.schedule, '')}" if run.schedule else "waits for a worker"
        rows.append(
            {
                "run": f"{run.flow}/{project.name}",
                "flow": run.flow,
                "state": _state(run),
                "started": f"{run.at[:16].replace('T', ' ')}",
                SENTENCE: what,
            }
        )
    return rows


def _state(run: Any) -> str:
    """A word for a flow run that has not begun."""
    if run.state == "Late":
        return "late"
    return "scheduled" if run.schedule and run.state == "Scheduled" else "queued"


def _outlook(project: Any) -> Any:
    from ridgeway.actions import coming

    outlook = coming.outlook(project)
    if outlook.problem:
        console.say(f"what is published cannot be told: {outlook.problem}")
    return outlook


def _waiting(release: Any) -> dict[str, Any]:
    return {
        "run": f"releases:/{release.name}/{release.number}",
        "flow": release.kind,
        "state": release.state,
        "started": release.requested_at[:16].replace("T", " "),
        SENTENCE: release.sentence.removeprefix(f"releases:/{release.name}/{release.number} "),
    }


def _releases(project: Any) -> list[dict[str, Any]]:
    return [
        {
            "release": f"releases:/{release.name}/{release.number}",
            "state": release.state,
            "model": release.model,
            "target": release.target,
            "requested": release.requested_at[:16].replace("T", " "),
            SENTENCE: release.sentence.removeprefix(f"releases:/{release.name}/{release.number} "),
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
        SENTENCE: record.sentence,
    }


def _flows(project: Any) -> list[dict[str, Any]]:
    files = {file.stem: file for file in sorted((project.root / "flows").glob("[!_]*.py"))}
    outlook = _outlook(project)
    published = {flow.flow.replace("-", "_"): flow for flow in outlook.publication.flows}
    next_runs: dict[str, str] = {}
    for run in outlook.runs:
        if run.schedule:
            next_runs.setdefault(run.flow.replace("-", "_"), run.at[:16].replace("T", " "))
    return [
        {
            "flow": name,
            "file": str(files[name].relative_to(project.root)) if name in files else "-",
            "published": published[name].origin.commit[:12] if name in published else "",
            "next run": next_runs.get(name, ""),
            "schedule": ", ".join(one.sentence for one in published[name].schedules) if name in published else "",
            "about": _about(files[name]) if name in files else "published, and no longer in the tree",
        }
        for name in sorted({*files, *published})
    ]


def _about(file: Path) -> str:
    import ast

    try:
        return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        return f"cannot be read: {error}"
