"""What a retraining would do, step by step, without doing any of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ridgeway.actions import candidate as candidates
from ridgeway.actions import data, unchanged
from ridgeway.project import Project, load_step, read_suite
from ridgeway.registry import Glance, glance
from ridgeway.rules import rows


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
