"""What a handle stands for: the record of the run that made it where there is one, else the noun itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ridgeway.actions.models import open_registry, require_registry, resolve
from ridgeway.artifacts import Handle, parse_handle, to_json
from ridgeway.errors import NotFound
from ridgeway.project import Project
from ridgeway.registry import Registry
from ridgeway.run_log import RunLog

RECORD, PAGE = "report/record.json", "report/report.html"


@dataclass(frozen=True)
class Found:
    """A thing to show: a retraining's record, or a noun; and its page, where one is kept."""

    kind: str
    """``record`` or ``noun``."""
    record: dict[str, Any]
    noun: Any = None
    page: Path | None = None


def find(project: Project, text: str) -> Found:
    """What ``text`` names.

    Raises:
        UsageError: It is no handle.
        NotFound: It names nothing.
    """
    handle = parse_handle(text)
    if handle.kind == "models":
        return _model(project, handle)
    if handle.kind == "runs":
        return _run(project, handle)
    if handle.kind == "data":
        return _data(project, handle)
    raise NotFound(f"there is no {text}", next_step="ridgeway list models")


def _model(project: Project, handle: Handle) -> Found:
    require_registry(project, str(handle))
    registry = open_registry(project, handle.name)
    version = resolve(registry, str(handle))
    local = _local(project, version.tags.get("ridgeway.registered_by", version.run_id))
    return local or _remote(registry, version.run_id) or Found("noun", to_json(version), version)


def _run(project: Project, handle: Handle) -> Found:
    try:
        run_id = RunLog(project.root).find(handle.name).id
    except NotFound as here:
        try:
            require_registry(project, str(handle))
            run_id = open_registry(project).find_run(handle.name).run_id
        except NotFound:
            raise here from None
    found = _local(project, run_id) or _remote(open_registry(project), run_id)
    if found is None:
        raise NotFound(
            f"{handle} left no report",
            problem="it was ended before it could write one",
            next_step=f"ridgeway logs runs:/{run_id[:12]}",
        )
    return found


def _data(project: Project, handle: Handle) -> Found:
    for file in sorted((project.state / "data").glob("*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        if str(record.get("digest", "")).startswith(handle.which):
            from ridgeway.artifacts import from_json

            return Found("noun", record, from_json(record))
    raise NotFound(
        f"{handle} is not kept on this machine",
        where=str(project.state / "data"),
        problem=f"only the newest {project.settings.data.snapshots} deliveries are (data.snapshots)",
    )


def _local(project: Project, run_id: str) -> Found | None:
    folder = RunLog(project.root).folder / run_id
    if not run_id or not (folder / RECORD).is_file():
        return None
    return Found("record", json.loads((folder / RECORD).read_text(encoding="utf-8")), page=folder / PAGE)


def _remote(registry: Registry, run_id: str) -> Found | None:
    try:
        return Found("record", registry.read_json(run_id, RECORD))
    except NotFound:
        return None
