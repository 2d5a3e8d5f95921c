"""A project's flows on the server that lasts: as of one commit, checked before anything is sent."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from ridgeway import orchestrator
from ridgeway.artifacts import Change, Origin, Publication, PublishedFlow, Schedule
from ridgeway.errors import UsageError
from ridgeway.orchestrator.environment import client_headers
from ridgeway.orchestrator.publication import applying, checkout, origin_of, prune, shared, unsaved
from ridgeway.orchestrator.publication.applying import Door
from ridgeway.orchestrator.publication.flows import Flow, look
from ridgeway.places import PUBLISHED
from ridgeway.project import Project, environment_digest, open_project, prepare_state, write_atomically
from ridgeway.rules.publication import plan
from ridgeway.run_log import exclusive

log = logging.getLogger("ridgeway.publish")

LOCK = "publish"
POOL = "ridgeway"
CLUSTER_POOL = "ridgeway-kubernetes"
ONE_AT_A_TIME = ("retraining",)
"""Flows whose runs wait for each other on the server, as they would for the lock on this machine."""


@dataclass(frozen=True)
class Published:
    """What came of it."""

    publication: Publication
    """As the server shall know it."""
    changes: tuple[Change, ...]
    """What was changed, or would be."""
    left_out: tuple[str, ...]
    """Files of the working tree that are not as in the commit: they are not published."""
    page: str
    """Where a browser sees it."""

    @property
    def sentence(self) -> str:
        """What a person reads."""
        commit = self.publication.commit[:12]
        if not self.changes:
            return f"unchanged: the flows of {self.publication.project} are published from commit {commit}"
        names = ", ".join(flow.flow for flow in self.publication.flows)
        return f"{self.publication.project} is published from commit {commit}: {names}"


def destination(project: Project) -> orchestrator.Server:
    """The server that lasts: the one that the settings name, or that of `ridgeway up`.

    Raises:
        UsageError: There is none: the one that commands start for themselves forgets no run, but carries out none.
        Unreachable: The one that the settings name does not answer.
    """
    chosen = project.settings.servers
    if chosen.prefect != "auto":
        return orchestrator.ensure_server(project.home, setting=chosen.prefect)
    server = orchestrator.running_server(project.home)
    if server is None or not server.is_lasting:
        raise UsageError(
            "no server is up that lasts",
            where=f"servers.prefect = {chosen.prefect!r}   (from {project.loaded.origin('servers.prefect')})",
            problem="schedules, triggers and workers need one that stays when the command has ended",
            expected="`ridgeway up` on this machine, or the address of a server of the team in servers.prefect",
            next_step="ridgeway up --detach",
        )
    return server


def door(server: orchestrator.Server) -> Door:
    """The server by REST, as this process may speak to it."""
    return Door(server.url, client_headers(os.environ))


def publish(
    project: Project,
    *,
    commit: str | Origin = "HEAD",
    allow_dirty: bool = False,
    only_plan: bool = False,
    ci: bool = False,
) -> Published:
    """Makes the server know the flows of one commit, and their schedules; the same again changes nothing.

    The flows are imported in a process of their own, from a clone of the commit, before anything is sent: a broken one
    leaves the previous publication as it is.

    Args:
        project: The project, as it lies in its working folder.
        commit: Anything that git understands as one; or where it comes from, if not from the project's own repository.
        allow_dirty: Publish although files of the working tree differ from HEAD; they are left out all the same.
        only_plan: Send nothing that changes anything.
        ci: Publish for workers on other machines, which get the commit from the repository's remote.

    Raises:
        UsageError: No repository or commit, a dirty tree, a flow that does not import, two of one name, a schedule that
            does not fit, an unknown work pool, a server of another version, or none that lasts.
        Unreachable: The server does not answer.
        Busy: Another command publishes this project.
    """
    server = destination(project)
    origin = commit if isinstance(commit, Origin) else origin_of(project.home, commit)
    left_out = _left_out(project, commit, allow_dirty=allow_dirty)
    prepare_state(project)
    with exclusive(project.home, LOCK, wait_seconds=0 if only_plan else 60):
        there = door(server)
        applying.check_version(there)
        wanted = _wanted(project, origin, shared(origin) if ci else origin)
        found = applying.read(there, wanted.project)
        applying.check_pools(there, wanted)
        changes = plan(wanted, found)
        if not only_plan:
            if changes:
                applying.apply(there, wanted, found, changes)
            prune(project.home, {origin.commit})
    return Published(wanted, changes, left_out, f"{server.page}/deployments")


def ensure_published(project: Project) -> Published | None:
    """What HEAD was published as, if nothing of the project was yet; None where something was, or there is no commit.

    Raises:
        UsageError: As for ``publish``; a dirty tree is no reason.
        Unreachable: The server does not answer.
    """
    server = destination(project)
    if applying.read(door(server), project.name).flows:
        return None
    try:
        origin_of(project.home)
    except UsageError as error:
        log.info("nothing is published: %s", error.summary)
        return None
    return publish(project, allow_dirty=True)


def _left_out(project: Project, commit: str | Origin, *, allow_dirty: bool) -> tuple[str, ...]:
    """Files that differ from HEAD; they matter to whoever takes HEAD for what they see."""
    files = unsaved(project.home, living=(project.settings.data.source,)) if commit == "HEAD" else ()
    if files and not allow_dirty:
        raise UsageError(
            "the working tree is not as in the commit",
            where=str(project.home),
            problem="\n".join([*files[:10], *([f"and {len(files) - 10} more"] if len(files) > 10 else [])]),
            expected="all of it committed: what is published is a commit, and these would be left out",
            next_step="git commit -a     or     ridgeway publish --allow-dirty",
        )
    return files


# ---- what the server shall know --------------------------------------------------------------------------------------


def _wanted(home: Project, origin: Origin, told: Origin) -> Publication:
    """The flows and schedules of the commit, as its own settings have them; workers get it from ``told``.

    Which flow goes to a cluster is operations' word, as it stands in ``home`` today.
    """
    project = open_project(checkout(origin))
    pools = home.settings.flows.pools
    flows = _looked(project, origin, _questions(project))
    return Publication(project.name, tuple(_flow(project, told, one, pools) for one in flows))


def _questions(project: Project) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "flow": (chosen.flow or name).replace("-", "_"),
            "cron": chosen.cron,
            "timezone": chosen.timezone,
            "parameters": chosen.parameters,
        }
        for name, chosen in project.settings.schedules.items()
    ]


def _looked(project: Project, origin: Origin, questions: list[dict[str, Any]]) -> tuple[Flow, ...]:
    """The flows of the clone; looked at once for a commit, its schedules and an environment."""
    key = {"environment": environment_digest(), "folder": origin.folder, "schedules": questions}
    place = project.state / PUBLISHED / f"{origin.commit}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(place.read_text(encoding="utf-8"))
        if kept["key"] == key:
            return tuple(Flow(**one) for one in kept["flows"])
    log.info("importing the flows of commit %s", origin.commit[:12])
    flows = look(project.root, questions)
    write_atomically(place, json.dumps({"key": key, "flows": [asdict(one) for one in flows]}).encode())
    return flows


def _flow(project: Project, origin: Origin, flow: Flow, pools: Mapping[str, str]) -> PublishedFlow:
    stem = flow.entrypoint.rpartition(":")[2]
    kind = pools.get(stem, "")
    return PublishedFlow(
        flow=flow.flow,
        project=project.name,
        entrypoint=flow.entrypoint,
        origin=origin,
        parameter_schema=flow.parameter_schema,
        description=flow.description,
        pool=CLUSTER_POOL if kind else POOL,
        job_variables={"instance_type": kind} if kind else {},
        concurrency=1 if flow.flow in ONE_AT_A_TIME else 0,
        schedules=_schedules(project, stem),
    )


def _schedules(project: Project, flow: str) -> tuple[Schedule, ...]:
    found = [
        Schedule(
            name, one.cron, one.timezone, one.overlap, one.missed, parameters=dict(one.parameters), active=one.active
        )
        for name, one in sorted(project.settings.schedules.items())
        if (one.flow or name).replace("-", "_") == flow
    ]
    return tuple(found)
