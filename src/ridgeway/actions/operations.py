"""What is done to an endpoint by hand: looked at, asked, taken away, given other keys."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, cast

from ridgeway.actions.endpoints import require_target
from ridgeway.artifacts import Deployment, Endpoint, ProbeReport
from ridgeway.errors import NotFound, RidgewayError, UsageError
from ridgeway.project import Project
from ridgeway.targets import Keys, Room, Target, open_target

log = logging.getLogger("ridgeway.targets")


@dataclass(frozen=True)
class Place:
    """A target as it is now; where it cannot be looked at, why."""

    name: str
    kind: str
    endpoint: Endpoint | None
    rooms: tuple[Room, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Access:
    """An endpoint's keys and how to use them."""

    keys: Keys
    address: str
    example: str


def places(project: Project) -> Iterator[Place]:
    """All targets of the settings as they are now; one that cannot be reached does not hide the others."""
    for name, chosen in project.settings.targets.items():
        target = _target(project, name)
        try:
            endpoint = target.observe().endpoint
        except RidgewayError as error:
            yield Place(name, chosen.kind, None, problem=error.summary)
            continue
        rooms: tuple[Room, ...] = ()
        with suppress(RidgewayError):
            rooms = target.rooms()
        yield Place(name, chosen.kind, endpoint, rooms)


def describe(project: Project, name: str) -> Endpoint:
    """The endpoint on a target, as it is now."""
    return _target(project, name).observe().endpoint


def logs(project: Project, name: str, *, follow: bool = False) -> Iterator[str]:
    """The log lines of the endpoint on a target.

    Raises:
        NotFound: Nothing runs there.
    """
    target = _target(project, name)
    _running(target)
    return target.logs(follow=follow)


def probe(project: Project, name: str) -> ProbeReport:
    """What the endpoint on a target answers now.

    Raises:
        NotFound: Nothing runs there.
    """
    from ridgeway.actions import golden, probing
    from ridgeway.actions.models import open_registry

    target = _target(project, name)
    deployment = _running(target)  # before a registry is opened: looking must not make an empty one
    question = golden.question(project, open_registry(project), deployment.image.model)
    return probing.ask(project, question, deployment, target)


def probe_plan(project: Project, name: str) -> tuple[str, ...]:
    """What a probe would send."""
    deployment = _running(_target(project, name))
    chosen = project.settings.release.probe
    rows = min(chosen.rows, 50) if name == project.settings.release.stages[-1] else chosen.rows
    load = f"load for {chosen.load_seconds:g} s" if name in chosen.load_on else "no load"
    return (f"ask {deployment.image.model} on {name}: {rows} golden rows, bad input, wrong keys; {load}",)


def remove(project: Project, name: str, *, confirmed: bool, only_plan: bool) -> tuple[str, ...]:
    """Takes the endpoint on a target away; what was (or would be) removed.

    Raises:
        UsageError: It is production, and nobody said that it is meant.
        Busy: A release works on it.
    """
    target = _target(project, name)
    observed = target.observe()
    if only_plan:
        return (observed.endpoint.handle,) if observed.endpoint.state != "absent" else ()
    if name == project.settings.release.stages[-1] and not confirmed and observed.endpoint.state != "absent":
        raise UsageError(
            f"{name} is the last stage: clients would lose their answers",
            problem=f"{observed.endpoint.model} answers there",
            next_step=f"ridgeway remove {name} --yes     or     ridgeway rollback {name}",
        )
    with target.hold(f"ridgeway remove {name}"):
        return target.remove()


def keys(project: Project, name: str, *, rotate: str = "") -> Access:
    """The keys of the endpoint on a target, with a new one in the place that ``rotate`` names.

    Raises:
        NotFound: There are none: nothing was deployed there yet, or it lets anyone in.
    """
    target = _target(project, name)
    deployment = _running(target)
    if deployment.access != "keys":
        raise NotFound(
            f"{name} has no keys",
            where=f"targets.{name}.access.mode = {deployment.access!r}",
            problem="it lets anyone in who reaches it",
            next_step=f"ridgeway show {name}",
        )
    found = target.rotate(cast('Literal["primary", "secondary"]', rotate), say=log.info) if rotate else target.keys()
    if found is None:
        raise NotFound(f"{name} has no keys", next_step=f"ridgeway show {name}")
    address = target.address(deployment)
    return Access(found, address, _example(project, deployment, address, found))


def _example(project: Project, deployment: Deployment, address: str, held: Keys) -> str:
    """A request that a person can paste: made-up values, never a row of the data."""
    from ridgeway.actions import serve
    from ridgeway.actions.models import require_registry

    row: list[Any] = ["…"]
    with suppress(RidgewayError):
        require_registry(project, deployment.image.model)
        row = serve.package(project, deployment.image.model).example
    body = json.dumps({"data": [row]}, ensure_ascii=False)
    return f"curl -H 'Authorization: Bearer {held.primary}' -d '{body}' {address}/score"


def stop_processes(project: Project, *, only_plan: bool = False) -> tuple[str, ...]:
    """Stops every endpoint that is a process of this machine, also of targets that the settings no longer name.

    Returns:
        What was, or would be stopped.
    """
    from ridgeway.targets import process

    if not only_plan:
        return process.stop_all(project)
    endpoints = [place.endpoint for place in places(project) if place.kind == "process" and place.endpoint is not None]
    return tuple(endpoint.handle for endpoint in endpoints if endpoint.state not in ("absent", "stopped"))


def _target(project: Project, name: str) -> Target:
    require_target(project, name)
    return open_target(project, name)


def _running(target: Target) -> Deployment:
    deployment = target.observe().deployment
    if deployment is None:
        raise NotFound(
            f"nothing runs on {target.name}",
            problem="nothing was ever released there, or it was removed",
            next_step="ridgeway run release MODEL",
        )
    return deployment
