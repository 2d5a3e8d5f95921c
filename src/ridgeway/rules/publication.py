"""What has to change on a server so that it knows of a project's flows what it shall know. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ridgeway.artifacts import Change, Origin, Publication, PublishedFlow, Schedule


def plan(wanted: Publication, found: Publication) -> tuple[Change, ...]:
    """The changes, in the order in which they are to be made; none where all is as it shall be.

    What goes comes last: whoever is interrupted in between leaves every flow whole, each as of one commit.

    Args:
        wanted: What the server shall know.
        found: What it knows.

    Example:
        >>> origin = Origin("/p", "c" * 40, "", "/p")
        >>> tidy = PublishedFlow("tidy", "diabetes", "flows/tidy.py:tidy", origin)
        >>> plan(Publication("diabetes"), Publication("diabetes", (tidy,)))
        (Change(verb='remove', flow='tidy', details=('it is no longer in the tree',)),)
    """
    changes = [_change(flow, found.flow(flow.flow)) for flow in wanted.flows]
    gone = [flow.flow for flow in found.flows if wanted.flow(flow.flow) is None]
    removals = [Change("remove", name, ("it is no longer in the tree",)) for name in gone]
    return (*(change for change in changes if change is not None), *removals)


def _change(wanted: PublishedFlow, found: PublishedFlow | None) -> Change | None:
    if found is None:
        new = (f"from commit {wanted.origin.commit[:12]}", *(f"schedule {_told(one)}" for one in wanted.schedules))
        return Change("create", wanted.flow, new)
    details = tuple(_differences(wanted, found))
    return Change("change", wanted.flow, details) if details else None


def _differences(wanted: PublishedFlow, found: PublishedFlow) -> Iterator[str]:
    yield from _moved(wanted.origin, found.origin)
    for name, title in (("entrypoint", "file"), ("pool", "work pool"), ("job_variables", "job variables")):
        new, old = getattr(wanted, name), getattr(found, name)
        if new != old:
            yield f"{title} {old or 'none'} → {new or 'none'}"
    if wanted.concurrency != found.concurrency:
        yield f"runs at once {found.concurrency or 'any'} → {wanted.concurrency or 'any'}"
    if wanted.parameter_schema != found.parameter_schema:
        yield "its parameters"
    if wanted.description != found.description:
        yield "its description"
    yield from _rescheduled(wanted.schedules, found.schedules)


def _moved(wanted: Origin, found: Origin) -> Iterator[str]:
    if wanted.commit != found.commit:
        yield f"commit {found.commit[:12] or 'none'} → {wanted.commit[:12]}"
    for name in ("repository", "folder", "home"):
        new, old = getattr(wanted, name), getattr(found, name)
        if new != old:
            yield f"{name} {old or 'none'} → {new or 'none'}"


def _rescheduled(wanted: tuple[Schedule, ...], found: tuple[Schedule, ...]) -> Iterator[str]:
    now, before = ({one.name: one for one in schedules} for schedules in (wanted, found))
    for name in sorted({*now, *before}):
        new, old = now.get(name), before.get(name)
        if new == old:
            continue
        if old is None and new is not None:
            yield f"new schedule {_told(new)}"
        elif new is None:
            yield f"schedule {name} goes"
        elif old is not None:
            yield f"schedule {_told(old)} → {_rest(new)}"


def _told(schedule: Schedule) -> str:
    return f"{schedule.name}: {_rest(schedule)}"


def _rest(schedule: Schedule) -> str:
    arguments = f", {schedule.parameters}" if schedule.parameters else ""
    return f"{schedule.sentence}, overlap {schedule.overlap}, missed {schedule.missed}{arguments}"
