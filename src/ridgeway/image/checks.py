"""What has to be right before an image can be made, looked at in the order in which it is needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ridgeway.artifacts import Finding
from ridgeway.errors import RidgewayError
from ridgeway.image import needs, wheels
from ridgeway.image.base_image import resolve_base
from ridgeway.image.local_run import engine_version
from ridgeway.image.reference import parse_repository
from ridgeway.image.registry_client import Registry


def check(repository: str, base: str, *, root: Path, engine_needed: bool = False) -> Iterator[Finding]:
    """Findings on packaging tools, registry, the right to store, base image and Docker engine.

    Args:
        repository: The setting ``image.repository``.
        base: The setting ``image.base``.
        root: The project's root.
        engine_needed: Whether a missing Docker engine is a failure: images are made without one, but targets of kind
            docker and ``serve --image`` run them in it.
    """
    yield _looked("packaging tools", lambda: f"wheels are fetched by {' '.join(wheels.installer(root)[-2:])}")
    yield _dependencies(root)
    reachable = _looked("image registry", lambda: _ping(repository))
    yield reachable
    if reachable.outcome == "pass":
        yield _looked("image repository", lambda: _may_store(repository))
    yield _looked("base image", lambda: f"{base} is {resolve_base(base).reference.handle}")
    engine = _looked("Docker engine", lambda: f"Docker engine {engine_version()} answers")
    if engine.outcome == "pass" or engine_needed:
        yield engine
    else:
        sentence = "no Docker engine answers: images are made without one, but cannot be run here"
        yield Finding(engine.check, "warn", sentence, engine.next_step, engine.seconds)


def _dependencies(root: Path) -> Finding:
    start = time.monotonic()
    possible = [*(name for names in needs.KINDS.values() for name in names), "pandas"]
    installed = [name for name in possible if needs.is_installed(name)]
    found = needs.drift([*needs.SERVER, *installed], needs.locks_of(root))
    seconds = round(time.monotonic() - start, 3)
    if not found:
        return Finding("locked dependencies", "pass", "what goes into images is as the lock has it", "", seconds)
    sentence = f"in no lock as installed here: {', '.join(found)}; an image would take what the package index has"
    return Finding("locked dependencies", "warn", sentence, "make setup     or     make lock", seconds)


def _looked(name: str, look: Callable[[], str]) -> Finding:
    start = time.monotonic()
    try:
        sentence, outcome, next_step = look(), "pass", ""
    except RidgewayError as error:
        sentence = f"{error.summary}: {error.problem}" if error.problem else error.summary
        outcome, next_step = "fail", error.next_step
    seconds = round(time.monotonic() - start, 3)
    return Finding(name, "pass" if outcome == "pass" else "fail", sentence, next_step, seconds)


def _ping(repository: str) -> str:
    target = parse_repository(repository)
    with Registry(target, timeout_seconds=10) as registry:
        registry.ping()
    return f"{target.host} answers"


def _may_store(repository: str) -> str:
    with Registry(parse_repository(repository), timeout_seconds=10) as registry:
        registry.try_writing()
    return f"{repository} takes images from us"
