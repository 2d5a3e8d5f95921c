"""The records of releases: one MLflow run each, in the model's experiment, with JSON files that tell everything.

A number is claimed by write, then read: a new run says in the call that makes it which number it wants, and only then
looks whether any other run says the same. Of two that want one number the later one to write always sees the other,
so no two keep it, on any database or server, with no lock and no clock. Whoever sees another takes the claim back.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import logging
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ridgeway.artifacts import Approval, Release, from_json, to_json
from ridgeway.errors import BadData, Busy, NotFound, UsageError
from ridgeway.registry.records import FLOW_TAG
from ridgeway.registry.release_look import RECORD_FILE, GlancedRelease
from ridgeway.registry.store import Registry

log = logging.getLogger("ridgeway.registry")

FLOW = "release"
CLAIM_TAG = "ridgeway.release.claim"
"""The number that a run wants, or has."""
NUMBER_TAG = "ridgeway.release.number"
"""Written with the first whole record; a run without it is no release (yet)."""
OPEN_TAG = "ridgeway.release.open"
STATE_TAG = "ridgeway.release.state"
MODEL_TAG = "ridgeway.release.model"
KIND_TAG = "ridgeway.release.kind"
STAGES_TAG = "ridgeway.release.stages"

EVIDENCE_FILE = "evidence.json"
APPROVALS = "approvals"

PATIENCE_SECONDS = 60.0
"""How long to try for a number; a round takes some 0.03 s, and of several in a race at least the last one wins."""
FORSAKEN_SECONDS = 600.0
"""A run that has claimed a number for longer, and still has no record, is taken for dead."""
_LATEST = 50
"""Runs that are looked at for the highest number; the look after the claim finds what clocks that differ hide."""

_STATUS = {
    "started": "RUNNING",
    "approved": "RUNNING",
    "waiting": "SCHEDULED",
    "frozen": "SCHEDULED",
    "failed": "FAILED",
    "rolled_back": "FAILED",
    "cancelled": "KILLED",
}
"""State → MLflow's status, FINISHED where none is named. A waiting release holds no process: were it RUNNING, whoever
buries the runs of dead processes would bury it too."""
_ENDS = ("FINISHED", "FAILED", "KILLED")


@dataclass(frozen=True, slots=True)
class Served:
    """What served on a target in a span of time."""

    release: Release
    """The one that put it there. In state ``frozen``: neither its image nor the one before is proven to have served."""
    since: str
    """ISO 8601, UTC."""
    until: str
    """ISO 8601, UTC; empty while it serves."""


class Releases:
    """The releases of one model in MLflow.

    Many processes on many machines may start, read and approve at once. Only one at a time may ``save`` a release: the
    one that holds the endpoint.

    Every method raises what :class:`Registry` raises where MLflow is not there, refuses or fails.

    Args:
        registry: Of the model; the same client is used.

    Example:
        >>> from pathlib import Path
        >>> releases = Releases(Registry("sqlite:///m.db", name="diabetes", root=Path("/projects/diabetes")))
        >>> releases.name
        'diabetes'
    """

    def __init__(self, registry: Registry) -> None:
        self.name = registry.name
        self._registry = registry
        # One package, two classes: the store would be too long with this in it.
        self._call, self._find, self._files = registry._call, registry._search, registry._files  # noqa: SLF001
        self._connection = registry._connection  # noqa: SLF001

    # ---- one release -------------------------------------------------------------------------------------------------

    def start(self, release: Release, tags: Mapping[str, str] | None = None) -> Release:
        """``release`` with the next free number and the run that holds its record from now on.

        A process that is killed in here leaves a run that is no release; its number stays unused, and a later ``start``
        ends the run.

        Args:
            release: Its number and run do not count.
            tags: More that its run may be found by.

        Raises:
            Busy: Others took each number first, for a minute.
        """
        highest, forsaken = self._look()
        own = {CLAIM_TAG: str(highest + 1), "mlflow.runName": f"release {highest + 1}"}
        run_id = self._registry.start_run(FLOW, {**(tags or {}), **own})
        number = self._settle(run_id, highest + 1)
        started = dataclasses.replace(release, name=self.name, number=number, run_id=run_id)
        self.save(started)
        for entity in forsaken:
            log.info("run %s began a release and died before it was recorded", entity.info.run_id)
            self._call("cannot end the run", "set_terminated", entity.info.run_id, status="KILLED")
        log.info("%s: %s", started.handle, started.model)
        return started

    def _look(self, limit: int | None = _LATEST) -> tuple[int, list[Any]]:
        """The highest number that any run claims, and the runs of dead processes that will never use theirs."""
        entities = list(self._find(f"tags.`{FLOW_TAG}` = '{FLOW}'", limit=limit))
        highest = max((_claim(entity) for entity in entities), default=0)
        before = (time.time() - FORSAKEN_SECONDS) * 1000
        # The claim of a forsaken run stays: its process may only have slept, and would then use it.
        forsaken = [
            entity
            for entity in entities
            if NUMBER_TAG not in entity.data.tags
            and _claim(entity)
            and entity.info.status == "RUNNING"
            and entity.info.start_time < before
        ]
        return highest, forsaken

    def _settle(self, run_id: str, number: int) -> int:
        """The number that this run, and no other, has claimed; ``number`` is what it claims already."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._others_claim(run_id, number):
            self._registry.tag_run(run_id, {CLAIM_TAG: "0"})
            if time.monotonic() > deadline:
                raise Busy(
                    "cannot number the release",
                    where=self._registry.uri,
                    problem=f"other releases of {self.name} took each number first, for {PATIENCE_SECONDS:.0f} s",
                    next_step="the same command again",
                )
            time.sleep(random.uniform(0.01, 0.3))  # noqa: S311 - spreads the processes, hides nothing
            number = self._look(limit=None)[0] + 1
            self._registry.tag_run(run_id, {CLAIM_TAG: str(number), "mlflow.runName": f"release {number}"})
        return number

    def _others_claim(self, run_id: str, number: int) -> bool:
        claimants = self._find(_equal({FLOW_TAG: FLOW, CLAIM_TAG: str(number)}))
        return any(entity.info.run_id != run_id for entity in claimants)

    def save(self, release: Release) -> None:
        """Keeps the record as it is now; a reader finds the old or the new one, never a part.

        The file is the record; the tags, written after it, are what it is found by.

        Args:
            release: One that ``start`` gave, with more in it.

        Raises:
            UsageError: It has no number or no run.
        """
        if not (release.number and release.run_id):
            raise UsageError("cannot save a release that was never started", problem=release.handle)
        self._registry.write_json(release.run_id, RECORD_FILE, to_json(release))
        self._registry.tag_run(release.run_id, _tags(release))
        status = _STATUS.get(release.state, "FINISHED")
        if status in _ENDS:
            self._registry.end_run(release.run_id, status)
        else:
            self._call("cannot mark the run", "update_run", release.run_id, status=status)

    def read(self, number: int) -> Release:
        """The release with this number.

        Raises:
            NotFound: There is none.
            BadData: Its record cannot be read.
        """
        for entity in self._find(_equal({FLOW_TAG: FLOW, NUMBER_TAG: str(number)}), limit=1):
            return self.at(entity.info.run_id)
        raise NotFound(f"there is no releases:/{self.name}/{number}", next_step="ridgeway list releases")

    def at(self, run_id: str) -> Release:
        """The release whose record this run holds.

        Raises:
            NotFound: There is no such run, or it holds none.
            BadData: The record cannot be read.
        """
        release = self._noun(run_id, RECORD_FILE, Release)
        assert isinstance(release, Release)
        return release

    def latest(self, limit: int = 20) -> list[Release]:
        """The latest releases, highest number first, at most ``limit``."""
        return self._read_all({}, limit)

    def open(self) -> list[Release]:
        """The releases that a command would carry on, highest number first."""
        return [release for release in self._read_all({OPEN_TAG: "yes"}, None) if release.is_open]

    def tidy(self) -> None:
        """Ends what a process that was killed while it saved the end of a release has left looking open."""
        for release in self._read_all({OPEN_TAG: "yes"}, None):
            if not release.is_open:  # nothing follows its end, so nobody else can be saving it
                self.save(release)

    def open_for(self, model: str, stages: Sequence[str], *, kind: str = "release") -> Release | None:
        """The unfinished release that the same command carries on, the latest if there are several; None: a new one.

        Args:
            model: Handle of the model with its number.
            stages: Names of the targets, in order.
            kind: ``release`` or ``rollback``.
        """
        wanted = {OPEN_TAG: "yes", MODEL_TAG: model, STAGES_TAG: ",".join(stages), KIND_TAG: kind}
        return next((release for release in self._read_all(wanted, None) if release.is_open), None)

    def _read_all(self, wanted: Mapping[str, str], limit: int | None) -> list[Release]:
        found = list(self._numbered(wanted, limit))
        return sorted((self.at(run_id) for run_id in found), key=lambda release: release.number, reverse=True)

    def _numbered(self, wanted: Mapping[str, str], limit: int | None) -> Iterator[str]:
        # A filter for "has a number": numbers have no leading zero, and MLflow compares tags as text.
        condition = f"{_equal({FLOW_TAG: FLOW, **wanted})} and tags.`{NUMBER_TAG}` != '0'"
        for entity in self._find(condition, limit=limit):
            yield entity.info.run_id

    # ---- evidence and approvals --------------------------------------------------------------------------------------

    def write_evidence(self, release: Release, evidence: Mapping[str, Any]) -> None:
        """Keeps what an approver is shown, in place of what was kept before."""
        self._registry.write_json(release.run_id, EVIDENCE_FILE, evidence)

    def evidence(self, release: Release) -> dict[str, Any] | None:
        """What an approver is shown; None before there is any. With the key ``schema``, which ``write_json`` adds."""
        try:
            return self._registry.read_json(release.run_id, EVIDENCE_FILE)
        except NotFound:
            return None

    def approve(self, release: Release, approval: Approval) -> None:
        """Keeps one person's yes or no. Several at once do not disturb each other; the same again changes nothing."""
        record = to_json(approval)
        digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
        self._registry.write_json(release.run_id, f"{APPROVALS}/{digest}.json", record)

    def approvals(self, release: Release) -> tuple[Approval, ...]:
        """All that was said about a release, by time; whether it counts is for ``ridgeway.rules.approval`` to tell."""
        found = [self._noun(release.run_id, path, Approval) for path in self._approval_paths(release.run_id)]
        return tuple(sorted(found, key=lambda approval: (approval.at, approval.person.name)))

    def _approval_paths(self, run_id: str) -> list[str]:
        if self._connection.database is None:
            listed = self._call("cannot list the approvals", "list_artifacts", run_id, APPROVALS)
            return [item.path for item in listed if item.path.endswith(".json")]
        try:
            folder = self._files(run_id).get(APPROVALS)
        except NotFound:
            return []
        return [f"{APPROVALS}/{file.name}" for file in folder.iterdir() if file.suffix == ".json"]

    def _noun(self, run_id: str, path: str, kind: type) -> Any:
        noun = from_json(self._registry.read_json(run_id, path))
        if not isinstance(noun, kind):
            raise BadData(f"cannot read {path} of run {run_id}", expected=f"a record of kind {kind.__name__}")
        return noun

    # ---- history -----------------------------------------------------------------------------------------------------

    def served(self, target: str, at: str | datetime.datetime) -> Served | None:
        """What served on a target at a time, by the records; None before the first release there.

        Args:
            target: Its name.
            at: ISO 8601 or a datetime; see :func:`parse_moment`.
        """
        instant = parse_moment(at) if isinstance(at, str) else at.astimezone(datetime.UTC)
        return serving_at(timeline(self._read_all({}, None), target), instant)


def _claim(entity: Any) -> int:
    text = entity.data.tags.get(CLAIM_TAG, "0")
    return int(text) if text.isdecimal() else 0


def _tags(release: Release) -> dict[str, str]:
    return {
        STATE_TAG: release.state,
        OPEN_TAG: "yes" if release.is_open else "no",
        KIND_TAG: release.kind,
        MODEL_TAG: release.model,
        STAGES_TAG: ",".join(release.stages),
        "ridgeway.release.target": release.stages[-1] if release.stages else "",
        "ridgeway.release.image": release.image.handle if release.image else "",
        "ridgeway.release.sentence": release.sentence[:500],
        # Last: MLflow writes a batch of tags in one transaction, but other stores need not.
        NUMBER_TAG: str(release.number),
    }


def _equal(tags: Mapping[str, str]) -> str:
    return " and ".join("tags.`{}` = '{}'".format(tag, value.replace("'", "''")) for tag, value in tags.items())


def glanced(release: Release) -> GlancedRelease:
    """A release as a look without MLflow shows it."""
    return GlancedRelease(
        name=release.name,
        number=release.number,
        state=release.state,
        kind=release.kind,
        model=release.model,
        target=release.stages[-1] if release.stages else "",
        sentence=release.sentence,
        requested_at=release.requested_at,
        run_id=release.run_id,
    )


# ---- history, pure ---------------------------------------------------------------------------------------------------


def parse_moment(text: str) -> datetime.datetime:
    """The moment that ``text`` names, in UTC.

    Without an offset it is UTC, as is every time that Ridgeway prints; a date alone is the day's first moment.

    Raises:
        UsageError: It names none.

    Example:
        >>> parse_moment("2026-11-20T15:00+01:00") == parse_moment("2026-11-20 14:00") == parse_moment("2026-11-20T14Z")
        True
        >>> parse_moment("2026-11-20").isoformat()
        '2026-11-20T00:00:00+00:00'
    """
    try:
        moment = datetime.datetime.fromisoformat(text.strip().removesuffix(" UTC"))
        return moment.replace(tzinfo=moment.tzinfo or datetime.UTC).astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is not a time",
            expected="2026-11-20T14:00Z, 2026-11-20T15:00+01:00, 2026-11-20 14:00 (UTC) or 2026-11-20",
            next_step="ridgeway show production --at 2026-11-20T14:00Z",
        ) from None


def timeline(releases: Iterable[Release], target: str) -> tuple[Served, ...]:
    """What served on a target, span after span, by time. Pure.

    A release serves there from the end of its roll-out on. One that came back (``rolled_back``) changed nothing in the
    end. One that found its own image there, put there by an earlier one, changed nothing either. Where production is
    neither the new nor the proven previous (``frozen``), the span belongs to that release until another ends it.
    """
    takeovers = sorted(
        ((moment, release) for release in releases if (moment := _took_over(release, target))),
        key=lambda pair: (pair[0], pair[1].number),
    )
    spans: list[Served] = []
    for moment, release in takeovers:
        if spans and _adds_nothing(spans[-1].release, release):
            continue
        if spans:
            spans[-1] = dataclasses.replace(spans[-1], until=moment)
        spans.append(Served(release, moment, ""))
    return tuple(spans)


def serving_at(spans: Sequence[Served], at: datetime.datetime) -> Served | None:
    """The span of a timeline that ``at`` lies in; None before the first. A span does not hold its end."""
    begun = [span for span in spans if parse_moment(span.since) <= at]
    return begun[-1] if begun else None


def _took_over(release: Release, target: str) -> str:
    """When a release's image took its place on a target; empty if it never did, or went away again."""
    if not release.stages or target not in release.stages:
        return ""
    if target != release.stages[-1]:
        step = release.step("deploy_endpoint", target)
        return step.ended_at if step else ""
    if release.state not in ("released", "frozen"):
        return ""
    step = release.step("roll_out", target)
    return step.ended_at if step else release.ended_at


def _adds_nothing(before: Release, after: Release) -> bool:
    same = before.image is not None and after.image is not None and before.image.digest == after.image.digest
    unchanged = after.rollout is not None and after.rollout.state == "unchanged"
    return same and unchanged and before.state != "frozen"
