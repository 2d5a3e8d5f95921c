"""Whether a release would change nothing: found from the registry's tables and the endpoint, without MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ridgeway import __version__
from ridgeway.actions import endpoints
from ridgeway.artifacts import Release, parse_handle
from ridgeway.errors import RidgewayError
from ridgeway.project import Project, digest_of
from ridgeway.registry import GlancedRelease, GlancedVersion, glance, glance_releases, read_glanced
from ridgeway.targets import open_target

LOOK_BACK = 50
"""Releases among which an unchanged one is looked for."""
_OPEN = ("started", "waiting", "approved", "failed", "frozen")
"""As ``Release.is_open`` has it."""


def find(project: Project, subject: str) -> Release | None:
    """The finished release of this very model, if production is still just as it left it and would be left again.

    None also where a quick look cannot tell; the release itself then looks with MLflow.

    Args:
        project: Whose settings count.
        subject: Handle of the model.
    """
    uri = project.settings.registry.uri
    try:
        version = _version(project, subject)
        known = glance_releases(uri, project.name, project.root) if version else None
        if version is None or not known or _is_under_way(known, f"models:/{project.name}/{version.number}"):
            return None
        return _released(project, version, known)
    except RidgewayError:
        return None


def summary(known: Release) -> dict[str, Any]:
    """What the flow would return for a release that changes nothing; plain JSON."""
    return {
        "schema": 1,
        "run": "",
        "outcome": "unchanged",
        "sentence": f"unchanged: {known.sentence}",
        "next_step": known.next_step,
        "handle": known.handle,
        "model": known.model,
        "image": known.image.handle if known.image else "",
        "exit_code": 0,
    }


def image_inputs(project: Project, digest: str, stages: Sequence[str]) -> dict[str, Any]:
    """What decides which image a release makes: the model's digest, and for containers how they are made."""
    container = endpoints.needs_container(project, stages)
    chosen = project.settings.image.model_dump(mode="json") if container else {}
    return {"model": digest, "image": chosen, "container": container, "version": __version__}


def holds(project: Project, known: Release, digest: str) -> bool:
    """Whether production is as this finished release left it, and a release of the same model would leave it again."""
    stages = tuple(project.settings.release.stages)
    built = known.step("build_image")
    if known.kind != "release" or known.stages != stages or known.image is None or built is None:
        return False
    if built.inputs != digest_of(image_inputs(project, digest, stages)):
        return False
    wanted = endpoints.deployment(project, stages[-1], known.image, known.handle)
    observed = open_target(project, stages[-1]).observe()
    is_so = observed.deployment is not None and observed.deployment.digest == wanted.digest
    return is_so and observed.endpoint.state == "healthy" and not observed.endpoint.frozen


def _version(project: Project, subject: str) -> GlancedVersion | None:
    handle = parse_handle(subject)
    seen = glance(project.settings.registry.uri, project.name, project.root)
    if seen is None or handle.kind != "models" or handle.name != project.name:
        return None
    if handle.which.startswith("@"):
        return seen.by_alias(handle.which[1:])
    if not handle.which:
        return max(seen.versions, key=lambda version: version.number, default=None)
    return next((version for version in seen.versions if version.number == int(handle.which)), None)


def _is_under_way(known: Sequence[GlancedRelease], model: str) -> bool:
    return any(one.model == model and one.state in _OPEN for one in known)


def _released(project: Project, version: GlancedVersion, known: Sequence[GlancedRelease]) -> Release | None:
    model = f"models:/{project.name}/{version.number}"
    stages = tuple(project.settings.release.stages)
    same = [one for one in known[:LOOK_BACK] if one.model == model and one.state == "released"]
    for one in same:
        record = read_glanced(project.settings.registry.uri, project.root, one)
        if record is None:
            return None
        if record.stages == stages and record.kind == "release":
            return record if holds(project, record, version.digest) else None
    return None
