"""What a handle or a target's name stands for: the record behind it where there is one, else the noun itself."""

from __future__ import annotations

import dataclasses
import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ridgeway.actions import operations
from ridgeway.actions.models import open_registry, require_registry, resolve
from ridgeway.artifacts import Approval, Handle, Release, parse_handle, to_json
from ridgeway.errors import NotFound, RidgewayError, UsageError
from ridgeway.project import Project
from ridgeway.registry import Registry
from ridgeway.registry.releases import Releases
from ridgeway.run_log import RunLog

RECORD, PAGE = "report/record.json", "report/report.html"


@dataclass(frozen=True)
class Found:
    """A thing to show: a retraining's record, a release, an endpoint, or a noun; and its page, where one is kept."""

    kind: str
    """``record``, ``release``, ``endpoint`` or ``noun``."""
    record: dict[str, Any]
    noun: Any = None
    """The noun; for a release the release, for an endpoint the endpoint."""
    page: Path | None = None
    release: Release | None = None
    """Which put the endpoint there."""
    approvals: tuple[Approval, ...] = ()
    evidence: dict[str, Any] | None = None
    span: dict[str, str] = field(default_factory=dict)
    """Of what served at a time: ``target``, ``since``, ``until`` (empty while it serves)."""


def find(project: Project, text: str, *, at: str = "") -> Found:
    """What ``text`` names.

    Args:
        project: Where it is looked for.
        text: A handle, or the name of a target.
        at: With a target: a time, for what served then.

    Raises:
        UsageError: It is neither handle nor target.
        NotFound: It names nothing.
    """
    if text in project.settings.targets:
        return _served(project, text, at) if at else _endpoint(project, text)
    if at:
        raise UsageError(f"--at needs a target, and {text} is none", expected=", ".join(project.settings.targets))
    handle = parse_handle(text)
    if handle.kind == "releases":
        return _release(project, handle)
    if handle.kind == "models":
        return _model(project, handle)
    if handle.kind == "runs":
        return _run(project, handle)
    if handle.kind == "data":
        return _data(project, handle)
    raise NotFound(f"there is no {text}", next_step="ridgeway list models")


def _release(project: Project, handle: Handle) -> Found:
    require_registry(project, str(handle))
    releases = Releases(open_registry(project, handle.name))
    return _told(project, releases, releases.read(int(handle.which)))


def _told(project: Project, releases: Releases, release: Release) -> Found:
    page = project.state / "releases" / str(release.number) / "release.html"
    return Found(
        "release",
        to_json(release),
        release,
        page if page.is_file() else None,
        approvals=releases.approvals(release),
        evidence=releases.evidence(release),
    )


def _served(project: Project, target: str, at: str) -> Found:
    require_registry(project, target)
    releases = Releases(open_registry(project))
    served = releases.served(target, at)
    if served is None:
        raise NotFound(
            f"nothing served on {target} at {at}",
            problem="no release had reached it by then",
            next_step="ridgeway list releases",
        )
    found = _told(project, releases, served.release)
    times = {"target": target, "since": served.since, "until": served.until}
    return dataclasses.replace(found, record={**found.record, "served": times}, span=times)


def _endpoint(project: Project, target: str) -> Found:
    endpoint = operations.describe(project, target)
    release: Release | None = None
    approvals: tuple[Approval, ...] = ()
    if endpoint.release:
        with suppress(RidgewayError):  # the endpoint is there to be shown even where its record is not
            releases = Releases(open_registry(project))
            release = releases.read(int(parse_handle(endpoint.release).which))
            approvals = releases.approvals(release)
    return Found("endpoint", to_json(endpoint), endpoint, release=release, approvals=approvals)


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
