"""What a flow would do, step by step, without doing any of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ridgeway.actions import candidate as candidates
from ridgeway.actions import data, endpoints, unchanged
from ridgeway.artifacts import Deployment
from ridgeway.errors import NotFound, UsageError
from ridgeway.project import Project, load_step, read_suite
from ridgeway.registry import Glance, glance
from ridgeway.rules import rows
from ridgeway.targets import open_target


@dataclass(frozen=True)
class Line:
    """One step and what it would do."""

    step: str
    what: str


def retraining(project: Project, source: Path) -> tuple[Line, ...]:
    """The steps of a retraining from ``source``: reads data and registry, writes nothing.

    Raises:
        BadData: The rows cannot be read.
        UsageError: There is no suite, or a setting does not fit.
    """
    earlier = unchanged.find(project, unchanged.inputs(project, source))
    suite = read_suite(project)
    dataset, frame = data.read(project, load_step(project.root, "load_data"), source)
    sealed = rows.sealed(rows.identities(frame, data.key_rule(project, suite).columns), project.settings.data.holdout)
    seen = glance(project.settings.registry.uri, project.name, project.root)
    how = candidates.recipe(project)
    fits = f"1 fit and {how.folds} for out-of-fold predictions" if how.folds else "1 fit"
    steps = (
        Line("load_data", f"{source}: {dataset.rows} rows, {len(dataset.columns)} columns, {dataset.handle[:-52]}…"),
        Line("check_data", f"{len(suite.get('expectations', ()))} expectations of {project.settings.data.suite}"),
        Line("train_model", f"{int((~sealed).sum())} training rows, {int(sealed.sum())} sealed ones; {fits}"),
        Line("judge_candidate", f"against {_opponent(project, seen)}"),
        Line("register_model", f"if accepted: models:/{project.name}/{_next_number(seen)}, alias challenger"),
    )
    done = (Line("unchanged", f"the very same inputs came to: {earlier.verdict.sentence}"),) if earlier else ()
    return (*done, *steps)


def _opponent(project: Project, seen: Glance | None) -> str:
    against = project.settings.rules.against
    if against != "auto":
        return against
    found = seen and (seen.by_alias("champion") or seen.by_alias("challenger"))
    return f"models:/{project.name}/{found.number}" if found else "predicting the training mean (nothing is registered)"


def _next_number(seen: Glance | None) -> int | str:
    if seen is None:
        return "?"
    return max((version.number for version in seen.versions), default=0) + 1


def release(project: Project, subject: str, *, until: str = "", ci: bool = False) -> tuple[Line, ...]:
    """The steps of a release: looks at registry and targets, builds and changes nothing.

    Raises:
        NotFound: There is no such model or release.
        Unreachable: A target does not answer.
    """
    from ridgeway.actions import images
    from ridgeway.actions import release as releasing

    request = releasing.Request(subject, until, ci)
    version, known = releasing.subject_of(project, request)
    stages = known.stages if known else tuple(project.settings.release.stages)
    container = endpoints.needs_container(project, stages)
    image = known.image if known and known.image else images.expected(project, version, container=container)
    handle = known.handle if known else f"releases:/{project.name}/…"
    made = f"there already: {image.handle}" if image.digest else f"{image.repository}, to be made"
    lines = [Line("build_image", made)]
    for stage in stages[: stages.index(until) + 1] if until in stages else stages:
        is_last = stage == stages[-1]
        if is_last:
            lines.append(Line("ask_approval", _approval(project, stage)))
        wanted = endpoints.deployment(project, stage, image, handle)
        lines += [Line("roll_out" if is_last else "deploy_endpoint", text) for text in _planned(project, wanted)]
        lines.append(Line("probe_endpoint", f"{stage}: {_probe(project, stage)}"))
    if not until or until == stages[-1]:
        lines.append(Line("champion", f"→ {version.handle}"))
    return tuple(lines)


def _planned(project: Project, wanted: Deployment) -> list[str]:
    target = open_target(project, wanted.target)
    plan = target.plan(wanted, target.observe())
    gap = [f"a gap of at most {plan.gap_seconds:.0f} s"] if plan.gap_seconds else []
    actions = [
        f"{action.verb} {action.subject}{f': {action.detail}' if action.detail else ''}" for action in plan.actions
    ]
    return [f"{wanted.target}: {text}" for text in [*actions, *gap, *plan.notes]]


def _probe(project: Project, stage: str) -> str:
    chosen = project.settings.release.probe
    is_last = stage == project.settings.release.stages[-1]
    rows_sent = min(chosen.rows, 50) if is_last else chosen.rows
    load = f", load for {chosen.load_seconds:g} s" if stage in chosen.load_on and not is_last else ""
    return f"{rows_sent} golden rows{load}"


def _approval(project: Project, stage: str) -> str:
    chosen = project.settings.targets[stage].approval
    if not chosen.count:
        return "none is needed (approval.count = 0)"
    people = "one person" if chosen.count == 1 else f"{chosen.count} people"
    return f"{people} in the role {chosen.role}, within {chosen.expires_hours:g} h"


def manifests(project: Project, subject: str, *, until: str = "", ci: bool = False) -> str:
    """The Kubernetes manifests of a release's stages as YAML, made without asking any cluster.

    Raises:
        UsageError: No stage is a cluster.
        NotFound: There is no such model, or its image was not built yet.
    """
    import yaml

    from ridgeway.actions import images
    from ridgeway.actions import release as releasing
    from ridgeway.targets.kubernetes import manifests as objects

    version, known = releasing.subject_of(project, releasing.Request(subject, until, ci))
    stages = project.settings.release.stages
    container = endpoints.needs_container(project, stages)
    image = known.image if known and known.image else images.expected(project, version, container=container)
    chosen = [stage for stage in stages if project.settings.targets[stage].kind == "kubernetes"]
    if not chosen:
        raise UsageError(
            "there are no manifests: no stage is of kind kubernetes",
            where=f"release.stages = {list(stages)}",
            next_step="--set targets.production.kind=kubernetes",
        )
    if not image.digest:
        raise NotFound(
            f"the image of {version.handle} was not built yet, and manifests name it by digest",
            next_step=f"ridgeway run release {version.handle} --until {stages[0]}",
        )
    handle = known.handle if known else f"releases:/{project.name}/0"
    made = [one for stage in chosen for one in objects(project, endpoints.deployment(project, stage, image, handle))]
    return yaml.safe_dump_all(made, sort_keys=False).rstrip()
