"""Where a release that waits goes on: in the tree from which it was begun."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ridgeway.actions import publication
from ridgeway.artifacts import Origin, parse_handle
from ridgeway.errors import RidgewayError, UsageError
from ridgeway.orchestrator.environment import client_headers
from ridgeway.orchestrator.publication import checkout, origin_of
from ridgeway.orchestrator.publication.glance import read_published
from ridgeway.project import Project, open_project, prepare_state
from ridgeway.registry import FLOW_RUN_TAG, glance_releases

log = logging.getLogger("ridgeway.release")


def open_at(subject: str, *, overrides: Sequence[str] = ()) -> Project:
    """The project as the release ``subject`` was begun with it; the process works in its folder from then on.

    A release that a published flow has begun goes on with the code, the steps and the settings of the commit from
    which that was published, whatever the working folder has become since. Any other goes on in the working folder.

    Args:
        subject: Handle of a release; with that of a model, and in a clone already, nothing changes.
        overrides: ``KEY=VALUE`` settings over all others.

    Raises:
        UsageError: Settings are wrong, or the commit is nowhere to be found on this machine.
        Unreachable: The registry does not answer.
    """
    project = open_project(Path.cwd(), overrides=overrides)
    if not subject.startswith("releases:/") or project.home != project.root:
        return project
    origin = _origin(project, parse_handle(subject).which)
    if origin is None:
        return project
    prepare_state(project)
    root = _tree(project, origin)
    log.info("goes on as of commit %s, from which it was published", origin.commit[:12])
    os.chdir(root)
    return open_project(root, overrides=overrides)


def _tree(project: Project, origin: Origin) -> Path:
    """A clone of the commit: from the working folder's own repository, where that has it."""
    try:
        own = origin_of(project.home, origin.commit)
    except UsageError:
        own = replace(origin, home=str(project.home))
    return checkout(own)


def _origin(project: Project, number: str) -> Origin | None:
    """Where the published flow came from under which the release waits; None where it was no published one."""
    try:
        server = publication.destination(project)
    except UsageError:
        return None  # none that lasts: nothing is published there
    flow_run_id = _flow_run_id(project, int(number))
    if not flow_run_id:
        return None
    try:
        *_, published = read_published(server.url, flow_run_id, headers=client_headers(os.environ))
    except (OSError, ValueError, KeyError):
        return None  # unknown there, or deleted since: what carries it on says what it makes of it
    return published.origin if published.origin.commit else None


def _flow_run_id(project: Project, number: int) -> str:
    uri = project.settings.registry.uri
    seen = glance_releases(uri, project.name, project.root)
    if seen is not None:
        return next((one.flow_run_id for one in seen if one.number == number), "")
    from ridgeway.actions.models import open_registry
    from ridgeway.registry.releases import Releases

    registry = open_registry(project)
    try:
        return registry.run(Releases(registry).read(number).run_id).tags.get(FLOW_RUN_TAG, "")
    except RidgewayError:
        return ""
