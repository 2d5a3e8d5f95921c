"""Who waits for whom: names are unique and known, and nobody waits for himself."""

from __future__ import annotations

from collections.abc import Mapping as Map
from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

from ridgeway.ci.azure.pipeline import Job, Stage
from ridgeway.ci.azure.problems import did_you_mean, refuse


def check_stages(stages: Sequence[Stage]) -> None:
    """Checks the names and dependencies of stages.

    Raises:
        PipelineError: A name comes twice, a dependency is unknown, or they form a circle.
    """
    _check(stages, "stage")


def check_jobs(jobs: Sequence[Job]) -> None:
    """Checks the names and dependencies of a stage's jobs, and the names of their steps.

    Raises:
        PipelineError: A name comes twice, a dependency is unknown, or they form a circle.
    """
    _check(jobs, "job")
    families: dict[str, Job] = {}
    for job in jobs:
        twin = families.setdefault(job.written.lower(), job)
        if twin.place != job.place:
            raise refuse(
                job.place, f"two jobs are called {job.written}", problem=f"there is already one at {twin.place}"
            )
        _check_steps(job)


def _check_steps(job: Job) -> None:
    seen: dict[str, str] = {}
    for step in job.steps:
        if not step.name:
            continue
        first = seen.setdefault(step.name.lower(), str(step.place))
        if first != str(step.place):
            problem = f"there is already one at {first}"
            raise refuse(step.place, f"two steps of {job.name} are called {step.name}", problem=problem)


def _check(parts: Sequence[Stage] | Sequence[Job], word: str) -> None:
    known: dict[str, Stage | Job] = {}
    for part in parts:
        twin = known.setdefault(part.name.lower(), part)
        if twin is not part:
            problem = f"there is already one at {twin.place}"
            raise refuse(part.place, f"two {word}s are called {part.name}", problem=problem)
    for part in parts:
        for name in part.depends_on:
            if name.lower() not in known:
                names = [other.name for other in parts if other is not part]
                raise refuse(
                    part.place,
                    f"{word} {part.name} depends on {name}, which is not there",
                    problem=f"dependsOn: {name}",
                    expected=did_you_mean(name, names) or f"no other {word} exists",
                )
    circle = _circle({part.name.lower(): [name.lower() for name in part.depends_on] for part in parts})
    if circle:
        drawn = " → ".join(known[name].name for name in circle)
        raise refuse(known[circle[0]].place, f"{word}s wait for each other in a circle", problem=drawn)


def _circle(edges: Map[str, Sequence[str]]) -> list[str]:
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        found = list(reversed(error.args[1]))
        start = found[:-1].index(min(found[:-1]))
        turned = found[start:-1] + found[:start]
        return [*turned, turned[0]]
    return []


def ancestors(name: str, edges: Map[str, Sequence[str]]) -> list[str]:
    """All that a part waits for, directly and through others, in the order of the file.

    Example:
        >>> ancestors("c", {"a": [], "b": ["a"], "c": ["b"]})
        ['a', 'b']
    """
    found: set[str] = set()
    waiting = list(edges.get(name, ()))
    while waiting:
        next_one = waiting.pop()
        if next_one not in found:
            found.add(next_one)
            waiting += edges.get(next_one, ())
    return [known for known in edges if known in found]


def ordered(edges: Map[str, Sequence[str]]) -> list[str]:
    """The parts so that each comes after those that it waits for; else in the order of the file."""
    sorter = TopologicalSorter(edges)
    sorter.prepare()
    made: list[str] = []
    order = {name: place for place, name in enumerate(edges)}
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=order.__getitem__)
        made += ready
        sorter.done(*ready)
    return made
