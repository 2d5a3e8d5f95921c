"""Endpoints as the settings want them: from a target's name to what shall run there."""

from __future__ import annotations

from collections.abc import Sequence

from ridgeway.artifacts import Deployment, Image, InstanceType
from ridgeway.errors import UsageError
from ridgeway.project import Project


def deployment(project: Project, target: str, image: Image, release: str) -> Deployment:
    """What an endpoint shall be, as the settings have it; nothing is contacted.

    Args:
        project: Whose settings count.
        target: A name of ``[targets]``.
        image: What shall run there.
        release: Handle of the release that asks for it.

    Raises:
        UsageError: There is no such target.
    """
    require_target(project, target)
    chosen = project.settings.targets[target]
    machine = project.settings.instance_types[chosen.instance_type]
    return Deployment(
        target=target,
        kind=chosen.kind,
        name=project.name,
        image=image,
        release=release,
        instance=InstanceType(chosen.instance_type, **machine.model_dump()),
        replicas=chosen.replicas,
        address=chosen.address,
        access=chosen.access.mode,
        certificate=chosen.tls.certificate,
        certificate_key=chosen.tls.key,
        expose=chosen.expose,
        server=dict(chosen.server),
        deadline_seconds=chosen.rollout.deadline_seconds,
        when_full=chosen.rollout.when_full,
    )


def require_target(project: Project, name: str) -> None:
    """Nothing, if the settings know this target.

    Raises:
        UsageError: They do not; with a suggestion.
    """
    known = list(project.settings.targets)
    if name not in known:
        import difflib

        close = difflib.get_close_matches(name, known, n=1)
        raise UsageError(
            f"there is no target {name!r}",
            problem=f"did you mean {close[0]}?" if close else "",
            expected=f"one of {', '.join(known)}",
            next_step="ridgeway list targets",
        )


def trial_stages(stages: Sequence[str]) -> tuple[str, ...]:
    """The stages before production: where a release is tried.

    Example:
        >>> trial_stages(["qa", "production"])
        ('qa',)
    """
    return tuple(stages[:-1])


def needs_container(project: Project, stages: Sequence[str]) -> bool:
    """Whether any of these stages runs container images; else a folder of this machine is image enough."""
    return any(project.settings.targets[stage].kind in ("docker", "kubernetes") for stage in stages)
