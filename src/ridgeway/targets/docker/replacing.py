"""One container takes another's place; whoever is killed in the middle leaves what the next command can finish.

1. ``…-trial`` runs the new image without the port, until it says that it is ready. Nothing has happened so far.
2. ``…-new`` is made with the port, not started. The old one is stopped, the new one started: the gap is between these.
3. The old one becomes ``…-previous``, the new one takes its name, and the rest is removed.
"""

from __future__ import annotations

import time
from typing import Any

import docker
from docker.errors import APIError

from ridgeway.artifacts import Deployment
from ridgeway.errors import Permanent
from ridgeway.targets.addresses import listening_address
from ridgeway.targets.docker.containers import Look, Stack, Trouble, deployment_of
from ridgeway.targets.docker.keeper import Keeper
from ridgeway.targets.docker.planning import (
    MODEL_LIMIT_BYTES,
    START_SECONDS,
    Names,
    container_options,
    drain_limit,
)
from ridgeway.targets.interface import Say

_LOOK_SECONDS = 0.1
_SURE = 4


def start_first(client: docker.DockerClient, names: Names, deployment: Deployment) -> None:
    """A container where none runs; one that has stopped is removed."""
    old = Stack.of(client, names).main
    if old is not None:
        old.remove(force=True)
    container = _create(client, names, deployment, names.main)
    try:
        container.start()
    except APIError as error:
        container.remove(force=True)
        raise _cannot_start(deployment, error) from error


def replace(client: docker.DockerClient, names: Names, deployment: Deployment, say: Say) -> None:
    """The new image on trial, and if it is ready, in its place. A trial that fails is kept, stopped, and remembered."""
    trial = _create(client, names, deployment, names.trial)
    try:
        trial.start()
    except APIError as error:
        trial.remove(force=True)
        raise _cannot_start(deployment, error) from error
    say(f"container {names.trial} is on trial")
    trouble = _await_ready(client, trial, deployment.deadline_seconds)
    if trouble is not None:
        _give_up(client, names, deployment, trouble)
        return
    _create(client, names, deployment, names.new)
    _switch(client, names, deployment, say)


def tidy(client: docker.DockerClient, names: Names, say: Say) -> None:
    """Finishes or takes back what a command left that was killed in the middle."""
    stack = Stack.of(client, names)
    interrupted = stack.new is not None or stack.previous is not None
    if stack.main is None and stack.previous is not None:
        (stack.new or stack.previous).rename(names.main)
        stack = Stack.of(client, names)
    if stack.new is not None:
        if stack.new.status == "running" and _await_ready(client, stack.new, START_SECONDS) is None:
            say(f"container {names.new} was about to take its place, and takes it")
            _take_place(client, names)
        else:
            stack.new.remove(force=True)
        stack = Stack.of(client, names)
    for one in stack.leftovers:
        one.remove(force=True)
    if interrupted and stack.main is not None and stack.main.status == "exited":
        say(f"container {names.main} had been stopped to be replaced, and is started again")
        stack.main.start()


def _switch(client: docker.DockerClient, names: Names, deployment: Deployment, say: Say) -> None:
    stack = Stack.of(client, names)
    before = deployment_of(stack.main)
    started = time.monotonic()
    stack.main.stop(timeout=int(drain_limit(before or deployment)))
    try:
        stack.new.start()
        trouble = _await_ready(client, stack.new, START_SECONDS)
    except APIError as error:
        trouble = Trouble("CannotStart", str(error.explanation or error), ())
    if trouble is not None:
        stack.new.remove(force=True)
        stack.main.start()
        _give_up(client, names, deployment, trouble)
        return
    say(f"no answers for {time.monotonic() - started:.1f} s")
    _take_place(client, names)


def _take_place(client: docker.DockerClient, names: Names) -> None:
    stack = Stack.of(client, names)
    if stack.main is not None:
        stack.main.rename(names.previous)
    stack.new.rename(names.main)
    for one in (stack.main, stack.trial):
        if one is not None:
            one.remove(force=True)


def _give_up(client: docker.DockerClient, names: Names, deployment: Deployment, trouble: Trouble) -> None:
    trial = Stack.of(client, names).trial
    if trial is not None:
        trial.stop(timeout=1)
    failure = {
        "deployment": deployment.digest,
        "reason": trouble.reason,
        "sentence": trouble.sentence,
        "log": list(trouble.log),
    }
    Keeper(client, names).keep(failure=failure)


def _await_ready(client: docker.DockerClient, container: Any, seconds: float) -> Trouble | None:
    """None once it is ready; why not, as soon as that is sure."""
    deadline, looks = time.monotonic() + seconds, 0
    while True:
        container.reload()
        look = Look(client, container)
        if look.asks_ready():
            return None
        trouble = look.trouble(patient=looks < _SURE)
        looks += 1
        if trouble is not None:
            return trouble
        if time.monotonic() >= deadline:
            return Trouble("deadline", f"{container.name} was not ready within {seconds:g} s", look.log())
        time.sleep(_LOOK_SECONDS)


def _create(client: docker.DockerClient, names: Names, deployment: Deployment, name: str) -> Any:
    image = client.images.get(deployment.image.handle)
    size = next((layer["Size"] for layer in image.history()), 0)
    if size >= MODEL_LIMIT_BYTES:
        raise Permanent(
            f"{deployment.image.handle} is not run",
            problem=f"its model takes {size / 1e9:.1f} GB",
            expected="below 1 GB",
            next_step="train a smaller model",
        )
    python = image.attrs["Config"]["Entrypoint"][0]
    options = container_options(deployment, names, python, publish=name != names.trial)
    gpus = sum(deployment.instance.gpus.values())
    if gpus:
        options["device_requests"] = [docker.types.DeviceRequest(count=gpus, capabilities=[["gpu"]])]
    return client.containers.create(deployment.image.handle, name=name, **options)


def _cannot_start(deployment: Deployment, error: APIError) -> Permanent:
    address = listening_address(deployment)
    text = str(error.explanation or error)
    taken = "already allocated" in text or "address already in use" in text
    return Permanent(
        f"the Docker engine cannot start {deployment.image.handle}",
        where=f"targets.{deployment.target}.address = {deployment.address!r}" if taken else "",
        problem=text,
        expected=f"that nothing else listens on {address.place}" if taken else "",
        next_step=f"docker ps --filter publish={address.port}" if taken else "docker info     or     docker ps -a",
    )
