"""What a run that waits for an approval leaves behind, so that it can be carried on in another process, days later."""

from __future__ import annotations

import json
from collections.abc import Collection
from collections.abc import Mapping as Map
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from ridgeway.ci.azure import Plan, Run
from ridgeway.ci.azure.contexts import key
from ridgeway.ci.azure.masking import masked
from ridgeway.ci.azure.values import Members
from ridgeway.ci.execution.folders import FOLDER, RunFolder, writing
from ridgeway.ci.execution.telling import NOT_STARTED, WAITING, Ended
from ridgeway.errors import UsageError
from ridgeway.places import state_of

_FILE: Final = "waiting.json"


@dataclass(frozen=True)
class Kept:
    """The stages of a run that have ended.

    Attributes:
        ends: Of the stages, their jobs and steps.
        outputs: By ``Stage/Job``: what later stages can ask for.
        number: ``Build.BuildNumber`` as it was last.
        obstacle: Why it cannot be carried on, if so.
    """

    ends: tuple[Ended, ...] = ()
    outputs: Map[str, Map[str, str]] = field(default_factory=dict)
    number: str = ""
    obstacle: str = ""

    @property
    def stages(self) -> dict[str, str]:
        """Results of the stages."""
        return {end.path: end.result for end in self.ends if "/" not in end.path}


def state(run: Run, ends: Map[str, Ended], secrets: Collection[str], *, counted: bool) -> Kept:
    """What is to be kept of a run. Pure.

    Args:
        run: The state machine.
        ends: By path.
        secrets: Values that are written nowhere.
        counted: Whether a counter has gone on, which would go on again.
    """
    done = {end.path for end in ends.values() if "/" not in end.path and end.result not in {WAITING, NOT_STARTED}}
    outputs = {
        f"{stage.name}/{job.name}": dict(run.world.outputs.get(key(stage, job), {}))
        for stage in run.pipeline.stages
        for job in stage.jobs
        if stage.name in done
    }
    values = [str(value) for made in outputs.values() for value in made.values()]
    obstacle = "one of its variables is a counter" if counted else ""
    if any(masked(value, [*secrets]) != value for value in values):
        obstacle, outputs = "one of its output variables holds a secret, which is kept nowhere", {}
    return Kept(
        tuple(end for end in ends.values() if end.path.split("/")[0] in done),
        outputs,
        str(run.base["Build.BuildNumber"]),
        obstacle,
    )


def keep(folder: RunFolder, kept: Kept) -> None:
    """Writes it into the run's folder.

    Raises:
        StorageError: The disk is full or cannot be written.
    """
    place = folder.path / _FILE
    with writing("cannot keep what waits", place):
        partial = place.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(kept), indent=2), encoding="utf-8")
        partial.replace(place)


def waits(folder: RunFolder) -> bool:
    """Whether a run can be carried on."""
    found = _read(folder)
    return found is not None and not found.obstacle


def reopened(root: Path, number: int) -> RunFolder:
    """The folder of a run that waits, in the state of the repository at ``root``.

    Raises:
        UsageError: There is no such run, it does not wait, or cannot be carried on.
    """
    folder = RunFolder(state_of(root) / FOLDER / str(number), number)
    found = _read(folder)
    if found is None:
        raise UsageError(
            f"run {number} waits for nothing",
            problem="" if folder.path.is_dir() else "there is no such run",
            expected=f"one of {', '.join(waiting)}" if (waiting := _waiting(root)) else "a run that has ended with 5",
        )
    if found.obstacle:
        raise UsageError(
            f"run {number} cannot be carried on",
            problem=found.obstacle,
            next_step="the same command without --continue",
        )
    return folder


def take(folder: RunFolder, plan: Plan) -> Kept:
    """What was kept in a run's folder, once: two processes cannot carry the same run on. Nothing of a new run.

    Raises:
        UsageError: The plan has no such stages: the file has changed.
    """
    found = _read(folder)
    if found is None:
        return Kept()
    gone = [end.path for end in found.ends if end.path not in plan.decisions]
    if gone:
        raise UsageError(f"run {folder.number} cannot be carried on", problem=f"there is no {gone[0]} any more")
    try:
        (folder.path / _FILE).unlink()
    except FileNotFoundError:
        raise UsageError(f"run {folder.number} is being carried on by another process") from None
    return found


def bring_back(run: Run, kept: Kept) -> None:
    """Puts the state machine where it was when the ended stages had ended."""
    if kept.number:
        run.base["Build.BuildNumber"] = kept.number
    results = {end.path: end.result for end in kept.ends}
    for stage in run.pipeline.stages:
        if stage.name not in kept.stages:
            continue
        run.world.stages[stage.name.lower()] = results[stage.name]
        for job in stage.jobs:
            path = f"{stage.name}/{job.name}"
            run.world.jobs[key(stage, job)] = results[path]
            run.world.outputs[key(stage, job)] = Members(kept.outputs.get(path, {}))


def _read(folder: RunFolder) -> Kept | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        made: dict[str, Any] = json.loads((folder.path / _FILE).read_text(encoding="utf-8"))
        ends = tuple(Ended(**{**end, "notes": tuple(end["notes"])}) for end in made["ends"])
        return Kept(ends, made["outputs"], made["number"], made["obstacle"])
    return None


def _waiting(root: Path) -> list[str]:
    found = (state_of(root) / FOLDER).glob(f"*/{_FILE}")
    return [str(number) for number in sorted(int(one.parent.name) for one in found)]
