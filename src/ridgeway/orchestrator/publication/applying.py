"""What a server knows of a project's flows: read, and changed one flow at a time."""

from __future__ import annotations

import logging
import re
import urllib.error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from ridgeway.artifacts import Change, Publication, PublishedFlow
from ridgeway.errors import UsageError
from ridgeway.orchestrator import rest
from ridgeway.orchestrator.publication.records import TAG, from_record, to_record

_logger = logging.getLogger("ridgeway.publish")

OWN_POOLS = {"ridgeway": "process", "ridgeway-kubernetes": "kubernetes"}
"""Work pools that are made when they are missing, and their type; any other must be there."""
_PAGE = 200
"""Most of what Prefect gives in one answer."""


@dataclass(frozen=True)
class Door:
    """A Prefect server, by REST: one that answers, with errors of ours."""

    url: str
    """Its API; ends in ``/api``."""
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = 30

    def ask(self, doing: str, path: str, content: Any = None) -> Any:
        """What it answers to a request that changes nothing."""
        return self.send(doing, "GET" if content is None else "POST", path, content).content

    def send(self, doing: str, method: str, path: str, content: Any = None) -> rest.Answer:
        """What it answers.

        Raises:
            RidgewayError: It does not answer, or not well; ``doing`` says what came to nothing.
        """
        try:
            return rest.send(
                method, f"{self.url}{path}", content, headers=self.headers, timeout_seconds=self.timeout_seconds
            )
        except (OSError, ValueError) as error:
            raise rest.explained(error, doing, self.url) from error


def check_version(door: Door) -> None:
    """Nothing, if the server speaks as the installed Prefect does: of the same major version, and not older.

    Raises:
        UsageError: It is another one.
        Unreachable: It does not answer.
    """
    theirs, ours = str(door.ask("cannot publish", "/admin/version")), version("prefect")
    if _numbers(theirs)[0] != _numbers(ours)[0] or _numbers(theirs) < _numbers(ours):
        raise UsageError(
            "cannot publish: the Prefect server is of another version",
            where=door.url,
            problem=f"it is {theirs}, and this project's Prefect is {ours}",
            expected=f"a server of version {ours} or a later {_numbers(ours)[0]}",
            next_step=f"upgrade the server: pip install 'prefect>={ours}'",
        )


def _numbers(text: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


# ---- read ------------------------------------------------------------------------------------------------------------


def read(door: Door, project: str) -> Publication:
    """What the server knows of the project; takes two requests, none of which changes anything.

    Raises:
        Unreachable: It does not answer.
    """
    doing = f"cannot read what is published of {project}"
    wanted = {"deployments": {"name": {"any_": [project]}, "tags": {"all_": [TAG]}}, "limit": _PAGE}
    found = door.ask(doing, "/deployments/filter", wanted)
    if not found:
        return Publication(project)
    ids = sorted({one["flow_id"] for one in found})
    flows = door.ask(doing, "/flows/filter", {"flows": {"id": {"any_": ids}}, "limit": _PAGE})
    names = {one["id"]: str(one["name"]) for one in flows}
    known = (from_record(one, names[one["flow_id"]]) for one in found if one["flow_id"] in names)
    return Publication(project, tuple(sorted(known, key=lambda flow: flow.flow)))


# ---- change ----------------------------------------------------------------------------------------------------------


def check_pools(door: Door, wanted: Publication) -> tuple[str, ...]:
    """The work pools of our own that are missing on the server, and have to be made first.

    Raises:
        UsageError: A pool that is not ours is missing.
    """
    names = sorted({flow.pool for flow in wanted.flows})
    missing = tuple(name for name in names if not _has_pool(door, name))
    for name in missing:
        if name not in OWN_POOLS:
            known = door.ask("cannot publish", "/work_pools/filter", {"limit": _PAGE})
            raise UsageError(
                f"there is no work pool {name!r} on the Prefect server",
                where=door.url,
                expected=", ".join(sorted({*(str(one["name"]) for one in known), *OWN_POOLS})),
                next_step=f"prefect work-pool create {name}     or another name in flows.pools",
            )
    return missing


def _has_pool(door: Door, name: str) -> bool:
    try:
        door.ask("cannot publish", f"/work_pools/{quote(name)}")
    except UsageError as error:
        if isinstance(error.__cause__, urllib.error.HTTPError) and error.__cause__.code == 404:
            return False
        raise
    return True


def apply(door: Door, wanted: Publication, found: Publication, changes: Sequence[Change]) -> None:
    """Makes the changes, each by one request that the server takes as a whole or not at all.

    Interrupted in between it leaves flows of two commits, each of them whole; the same again makes the rest.

    Raises:
        RidgewayError: A change was refused; those before it are made, and those after it are not.
    """
    for name in check_pools(door, wanted):
        _make_pool(door, name)
    for change in changes:
        flow, known = wanted.flow(change.flow), found.flow(change.flow)
        if flow is not None:
            _put(door, flow)
        elif known is not None:
            _remove(door, known)
        _logger.info("%s", change.sentence)


def _make_pool(door: Door, name: str) -> None:
    """Somebody else may make it at the same moment."""
    try:
        door.send("cannot make a work pool", "POST", "/work_pools/", {"name": name, "type": OWN_POOLS[name]})
    except UsageError:
        if not _has_pool(door, name):
            raise


def _put(door: Door, flow: PublishedFlow) -> None:
    doing = f"cannot publish {flow.deployment}"
    flow_id = door.send(doing, "POST", "/flows/", {"name": flow.flow}).content["id"]
    door.send(doing, "POST", "/deployments/", {**to_record(flow), "flow_id": flow_id})


def _remove(door: Door, flow: PublishedFlow) -> None:
    try:
        door.send(f"cannot remove {flow.deployment}", "DELETE", f"/deployments/{flow.id}")
    except UsageError as error:
        if not (isinstance(error.__cause__, urllib.error.HTTPError) and error.__cause__.code == 404):
            raise
