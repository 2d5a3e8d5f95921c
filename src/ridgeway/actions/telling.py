"""Telling whoever is not looking: what a run, a release or a crash comes to, written down and sent.

Nothing in here fails or holds up what it tells of: an error becomes a line of the log, and sending has two seconds at
the end of a run. What could not be sent by then is sent later, by the next run or by the services of `ridgeway up`.
Messages hold the sentence of an outcome, never data, nor the words of an error that nobody foresaw.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from ridgeway import notifications, people, settings
from ridgeway.artifacts import Approval, Release
from ridgeway.artifacts import Person as Known
from ridgeway.errors import BadData, Busy, NotAccepted, RidgewayError, UsageError
from ridgeway.notifications import Outbox, Person, Receiver, Told
from ridgeway.project import Project
from ridgeway.rules.notifications import LIFETIME_SECONDS, event_of_release, event_of_verdict
from ridgeway.run_log import RunLog, RunRecord

log = logging.getLogger("ridgeway.notifications")


def tell(project: Project, told: Told | None) -> bool:
    """Keeps a message to be sent, if such are wanted; whether it is kept now and was not before. Never raises.

    Args:
        project: Whose receiver is told.
        told: What happened; None where that is nothing to tell.
    """
    with _harmless():
        outbox = Outbox(project.root)
        wanted = told is not None and told.event in project.settings.notifications.events
        if told is not None and wanted and (_is_configured() or outbox.is_used):
            made = notifications.message(project.name, told, created_at=_now())
            return outbox.add(made)
    return False


def send(project: Project) -> None:
    """Sends what waits, for two seconds at most. Never raises."""
    with _harmless():
        receiver = _receiver()
        if receiver is not None:
            notifications.deliver_quickly(project.root, receiver)


def of_release(release: Release, run: RunRecord | None = None, approvals: Iterable[Approval] = ()) -> Told | None:
    """What is told of a release in the state that it is in; None on its way.

    Args:
        release: As it is about to be saved.
        run: The run that has brought it there.
        approvals: What was said about it.
    """
    event = event_of_release(release.state, release.kind)
    if event is None:
        return None
    # Asked again on other evidence is another question, and mended and stuck again another failure.
    again = {"waiting": release.evidence}.get(release.state, run.id if run and release.is_open else "")
    return Told(
        event=event,
        flow=release.kind,
        handle=release.handle,
        outcome=release.state,
        sentence=release.sentence,
        at=release.ended_at or _now(),
        exit_code=release.exit_code,
        next_step=release.next_step,
        link=release.build_url or (run.flow_run_url if run else ""),
        model=release.model,
        target=release.stages[-1],
        run=f"runs:/{run.id}" if run else "",
        requested_by=_person(release.requested_by),
        approved_by=tuple(_person(word.person) for word in approvals if word.decision == "yes"),
        occasion=again,
    )


def of_judgement(run: RunRecord, outcome: str, sentence: str, **more: str | int) -> Told | None:
    """What is told of a retraining that came to its end; None for one that found nothing new.

    Args:
        run: Its record.
        outcome: ``accept``, ``reject``, ``hold``, or ``unchanged``.
        sentence: The verdict's.
        more: ``handle``, ``next_step`` and ``exit_code``.
    """
    if outcome not in ("accept", "reject", "hold"):
        return None
    handle = str(more.get("handle", ""))
    return Told(
        event=event_of_verdict(outcome),
        flow=run.flow,
        handle=handle,
        outcome=outcome,
        sentence=sentence,
        at=_now(),
        exit_code=int(more.get("exit_code", 0)),
        next_step=str(more.get("next_step", "")),
        link=_link(run),
        model=handle if handle.startswith("models:") else "",
        run=f"runs:/{run.id}",
        requested_by=_person(people.acting()),
    )


def of_error(run: RunRecord, error: BaseException, *, handle: str = "") -> Told | None:
    """What is told of a run that an error has ended; None where a person has interrupted it.

    Args:
        run: Its record.
        error: As it was raised. Of one that is none of ours the words are left out: they may hold rows of the data.
        handle: What it was about; the run itself where that is not known.
    """
    if not isinstance(error, Exception):
        return None
    told = _of_failure(run.flow, error, [step.name for step in run.steps if step.state == "failed"])
    own = f"runs:/{run.id[:12]}"
    return dataclasses.replace(
        told,
        handle=handle or own,
        run=f"runs:/{run.id}",
        link=_link(run),
        occasion=run.id,
        next_step=told.next_step or f"ridgeway logs {own}",
    )


def of_crash(run: RunRecord) -> Told:
    """What is told of a run whose process is gone."""
    own = f"runs:/{run.id[:12]}"
    return Told(
        event="failed",
        flow=run.flow,
        handle=own,
        outcome="crashed",
        sentence=f"{run.flow} {own}: {run.sentence}",
        at=run.ended_at,
        next_step=f"ridgeway logs {own}; then the same command again",
        link=_link(run),
        run=f"runs:/{run.id}",
    )


def of_build(run: RunRecord, *, exit_code: int, sentence: str, next_step: str = "", commit: str = "") -> Told:
    """What is told of a build that came to its end: ``published``, or ``failed`` where a gate found something.

    Args:
        run: Its record.
        exit_code: 0, or what the command ends with.
        sentence: What came of it, without anything of the data.
        next_step: What to do about it.
        commit: That was built.
    """
    own = f"runs:/{run.id[:12]}"
    return Told(
        event="failed" if exit_code else "published",
        flow=run.flow,
        handle=own,
        outcome="found" if exit_code == 7 else "failed" if exit_code else "published",
        sentence=sentence + (f" (commit {commit[:12]})" if commit and commit[:7] not in sentence else ""),
        at=_now(),
        exit_code=exit_code,
        next_step=next_step or (f"ridgeway show {own}" if exit_code else ""),
        link=_link(run),
        run=f"runs:/{run.id}",
        requested_by=_person(people.acting()),
    )


@contextmanager
def failures(project: Project, flow: str) -> Iterator[None]:
    """An error in here is told and goes on: for what comes before a run has a record.

    Not told are mistakes in a command, what waits its turn, and what was not let in: whoever asked sees that at once.
    """
    try:
        yield
    except (UsageError, Busy, NotAccepted):
        raise
    except Exception as error:
        told = _of_failure(flow, error, [])
        if tell(project, dataclasses.replace(told, occasion=told.at)):
            send(project)
        raise


def crashes(project: Project) -> int:
    """Tells of the runs of this machine that were found dead within the last day; how many are told now.

    Whoever found them, and whether anything of ours ran just then: the records say it. Asking again tells nothing new.
    """
    found = [record for record in _ended_lately(RunLog(project.root)) if record.state == "crashed"]
    return sum(tell(project, of_crash(record)) for record in found)


# ---- what they stand on ----------------------------------------------------------------------------------------------


def _of_failure(flow: str, error: Exception, steps: list[str]) -> Told:
    where = f" in {steps[-1]}" if steps else ""
    known = error if isinstance(error, RidgewayError) else None
    return Told(
        event="failed",
        flow=flow,
        handle=f"flows:/{flow}",
        outcome="bad_data" if isinstance(error, BadData) else "failed",
        sentence=known.summary if known else f"{flow}: {type(error).__name__}{where}",
        at=_now(),
        exit_code=known.exit_code if known else 1,
        next_step=known.next_step if known else "",
        requested_by=_person(people.acting()),
    )


def _link(run: RunRecord) -> str:
    return settings.ci_build().get("url", "") or run.flow_run_url


def _person(known: Known) -> Person:
    return Person(known.name, known.source)


def _ended_lately(runs: RunLog) -> Iterator[RunRecord]:
    """Runs whose record was last written within a day: looking at times takes a thousandth of reading thousands."""
    since = time.time() - LIFETIME_SECONDS
    for folder in _folders(runs.folder):
        with suppress(OSError):
            if (folder / "run.json").stat().st_mtime >= since:
                record = runs.read(folder.name)
                if record is not None:
                    yield record


def _folders(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return []


def _is_configured() -> bool:
    try:
        return notifications.configured() is not None
    except UsageError:  # one is meant, and will be mended
        return True


def _receiver() -> Receiver | None:
    try:
        return notifications.configured()
    except UsageError as error:
        log.warning("%s (%s)", error.summary, error.where)
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@contextmanager
def _harmless() -> Iterator[None]:
    """Whatever goes wrong in here is a line of the log: what is told of is worth more than that it is told."""
    try:
        yield
    except RidgewayError as error:
        log.warning("cannot notify: %s: %s", error.summary, error.problem)
    except Exception:
        log.exception("cannot notify")
