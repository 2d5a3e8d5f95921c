"""The way back by hand: an image that served on a target before, in place of the present one."""

from __future__ import annotations

import logging
from contextlib import suppress

from ridgeway.actions import endpoints, release
from ridgeway.actions.identity import acting
from ridgeway.actions.models import open_registry, require_registry, resolve
from ridgeway.artifacts import Image, Release
from ridgeway.errors import NotFound, RidgewayError
from ridgeway.project import Project, commit
from ridgeway.registry import Registry
from ridgeway.registry.releases import Releases
from ridgeway.run_log import RunLog, exclusive
from ridgeway.targets import open_target

log = logging.getLogger("ridgeway.rollback")
FLOW = "rollback"
_LOOK_BACK = 200


def roll_back(project: Project, target: str, model: str = "", *, reason: str = "") -> Release:
    """The finished record of a rollback; the image of ``model`` (by default the previous one) serves on the target.

    Raises:
        NotFound: Nothing else ever served there.
        RolledBack: The earlier image does not hold any more; what ran is back.
        Stuck: Neither is proven.
        Busy: A release works on the endpoint.
    """
    require_registry(project, f"release on {target}")
    registry = open_registry(project)
    releases = Releases(registry)
    with exclusive(project.root, f"release-{project.name}"):
        releases.tidy()
        opened = _unfinished(registry, target, model)
        back_to = opened.image if opened and opened.image else earlier_image(project, registry, target, model)
        record = opened or releases.start(_new(project, registry, back_to, target, reason))
        job = release.Releasing(project, registry, record, resolve(registry, back_to.model))
        job.by_hand = True
        with release.recorded(job, RunLog(project.root).start(FLOW)):
            job.roll_out(back_to)
        return job.release


def plan(project: Project, target: str, model: str = "") -> list[str]:
    """What ``roll_back`` would do, line by line."""
    require_registry(project, f"release on {target}")
    image = earlier_image(project, open_registry(project), target, model)
    wanted = endpoints.deployment(project, target, image, f"releases:/{project.name}/0")
    place = open_target(project, target)
    planned = place.plan(wanted, place.observe())
    lines = [
        f"{action.verb} {action.subject}{f': {action.detail}' if action.detail else ''}" for action in planned.actions
    ]
    champion = [f"champion → {image.model}"] if target == project.settings.release.stages[-1] else []
    return [f"{target}: back to {image.model}, {image.handle}", *lines, *planned.notes, *champion]


def earlier_image(project: Project, registry: Registry, target: str, model: str = "") -> Image:
    """The image of ``model``, or the one that was proven on the target before the present one.

    Raises:
        NotFound: There is none in the records.
    """
    endpoints.require_target(project, target)
    present = open_target(project, target).observe().endpoint
    wanted = resolve(registry, model).handle if model else ""
    for known in Releases(registry).latest(_LOOK_BACK):
        proven = known.state == "released" and known.stages[-1] == target
        if not proven or known.image is None:
            continue
        if known.image.model == wanted if wanted else known.image.handle != present.image or present.frozen:
            return known.image
    raise NotFound(
        f"there is nothing to go back to on {target}",
        problem=f"{wanted} was never released there" if wanted else "no other image was ever proven there",
        next_step=f"ridgeway list releases     or     ridgeway run release {wanted or 'MODEL'}",
    )


def _unfinished(registry: Registry, target: str, model: str) -> Release | None:
    """The rollback that a killed process left: the same command carries it on."""
    found = [known for known in Releases(registry).open() if known.kind == "rollback" and known.stages == (target,)]
    if model:
        with suppress(RidgewayError):
            handle = resolve(registry, model).handle
            found = [known for known in found if known.model == handle]
    return found[0] if found else None


def _new(project: Project, registry: Registry, image: Image, target: str, reason: str) -> Release:
    version = resolve(registry, image.model)
    return Release(
        name=project.name,
        number=0,
        run_id="",
        kind="rollback",
        model=version.handle,
        model_digest=version.digest,
        stages=(target,),
        state="started",
        requested_by=acting(project),
        requested_at=release.now(),
        reason=reason,
        image=image,
        commit=commit(project.root).id,
    )
