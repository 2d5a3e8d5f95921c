"""The preflight of an engine, in the order in which things are needed, and the room that it has."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

import docker

from ridgeway.artifacts import Deployment, Finding, InstanceType
from ridgeway.errors import RidgewayError
from ridgeway.targets.addresses import listening_address
from ridgeway.targets.docker.containers import Stack
from ridgeway.targets.docker.engine import pull, told
from ridgeway.targets.docker.keeper import Keeper
from ridgeway.targets.docker.planning import Names
from ridgeway.targets.interface import Room


def findings(
    connect: Callable[[], docker.DockerClient],
    names: Names,
    types: Sequence[InstanceType],
    deployment: Deployment | None,
) -> Iterator[Finding]:
    """All of them, each timed; the first failure that makes the others impossible ends them."""
    started = time.monotonic()
    try:
        client = connect()
    except RidgewayError as error:
        yield Finding("Docker engine", "fail", _sentence(error), error.next_step, time.monotonic() - started)
        return
    with contextlib.closing(client):
        version = client.version()
        sentence = f"version {version['Version']} answers"
        yield Finding("Docker engine", "pass", sentence, "", round(time.monotonic() - started, 4))
        checks: list[tuple[str, Callable[[], Finding]]] = [("room", lambda: _room(client, types, deployment))]
        if deployment is not None:
            checks += [
                ("image", lambda: _image(client, deployment)),
                ("port", lambda: _port(client, names, deployment)),
                ("keys", lambda: _keys(client, names)),
            ]
        if deployment is not None and deployment.instance.gpus:
            checks.append(("devices", lambda: _devices(client, deployment)))
        for name, check in checks:
            yield _timed(name, check)


def _timed(name: str, check: Callable[[], Finding]) -> Finding:
    started = time.monotonic()
    try:
        with told(f"checking the {name}"):
            found = check()
    except RidgewayError as error:
        found = Finding(name, "fail", _sentence(error), error.next_step)
    return Finding(found.check, found.outcome, found.sentence, found.next_step, round(time.monotonic() - started, 4))


def _sentence(error: RidgewayError) -> str:
    return f"{error.summary}: {error.problem}" if error.problem else error.summary


def _room(client: docker.DockerClient, types: Sequence[InstanceType], deployment: Deployment | None) -> Finding:
    wanted = (deployment.instance,) if deployment else tuple(types)
    free = {room.instance_type: room for room in rooms(client, wanted)}
    full = [room for room in free.values() if not room.free]
    if full:
        text = "; ".join(f"{room.instance_type}: {room.detail}" for room in full)
        return Finding("room", "warn", text, "choose a smaller instance type, or end other containers")
    return Finding("room", "pass", "; ".join(f"{room.instance_type}: {room.detail}" for room in free.values()))


def _image(client: docker.DockerClient, deployment: Deployment) -> Finding:
    pull(client, deployment.image)
    return Finding("image", "pass", f"{deployment.image.handle} is on the engine")


def _port(client: docker.DockerClient, names: Names, deployment: Deployment) -> Finding:
    address = listening_address(deployment)
    for one in client.containers.list():
        published = [place for places in (one.ports or {}).values() for place in places or ()]
        if any(int(place["HostPort"]) == address.port for place in published):
            if one.name in (names.main, names.new):
                return Finding("port", "pass", f"{address.place} is this endpoint's own")
            command = f"docker stop {one.name}     or     set targets.{deployment.target}.address"
            return Finding("port", "fail", f"container {one.name} publishes {address.port}", command)
    return Finding("port", "pass", f"no container publishes {address.port}")


def _keys(client: docker.DockerClient, names: Names) -> Finding:
    if Keeper(client, names).keys() is None:
        running = Stack.of(client, names).main is not None
        return Finding("keys", "warn" if running else "pass", "made at the first deployment")
    return Finding("keys", "pass", "only the server's user may read them")


def _devices(client: docker.DockerClient, deployment: Deployment) -> Finding:
    asked = ", ".join(f"{count} {name}" for name, count in deployment.instance.gpus.items())
    if "nvidia" in client.info().get("Runtimes", {}):
        return Finding("devices", "pass", f"the engine can hand down {asked}")
    return Finding("devices", "fail", f"{asked}: the engine has no runtime for devices", "nvidia-ctk runtime configure")


def rooms(client: docker.DockerClient, types: Sequence[InstanceType]) -> tuple[Room, ...]:
    """What the engine's machine has, less the limits of all containers that run."""
    info = client.info()
    limits = [one.attrs["HostConfig"] for one in client.containers.list()]
    cores = info["NCPU"] - sum(limit.get("NanoCpus") or 0 for limit in limits) / 1e9
    memory = (info["MemTotal"] - sum(limit.get("Memory") or 0 for limit in limits)) // 2**20
    detail = f"{cores:g} of {info['NCPU']} cores, {memory} of {info['MemTotal'] // 2**20} MiB not promised"
    found = []
    for one in types:
        fit = max(0, min(int(cores // one.cpu), memory // one.memory_mib))
        found.append(Room(one.name, fit, f"{detail}; {one.cpu:g} and {one.memory_mib} each"))
    return tuple(found)
