"""The end of what is under way or waits, because a person wants it."""

from __future__ import annotations

import dataclasses
import os
import signal

from ridgeway.actions import release as releasing
from ridgeway.actions import remote, rollout, telling
from ridgeway.actions.identity import acting
from ridgeway.actions.models import open_registry, require_registry
from ridgeway.artifacts import Handle, parse_handle
from ridgeway.errors import NotAccepted, UsageError
from ridgeway.project import Project
from ridgeway.registry.releases import Releases
from ridgeway.run_log import RunLog, exclusive, is_alive
from ridgeway.targets import open_target


def cancel(project: Project, text: str, *, reason: str = "", only_plan: bool = False) -> str:
    """Ends a run of this machine, or a release that waits; a sentence that says what became of it.

    Raises:
        NotFound: There is no such run or release.
        UsageError: It is the handle of something else.
        NotAccepted: It has ended already, and left no job in a cluster.
        Busy: The release is under way just now: its run can be cancelled.
        Permanent: It was under way, and has changed production: that is to be ended, or taken back.
    """
    handle = parse_handle(text)
    if handle.kind == "runs":
        return _run(project, text, only_plan=only_plan)
    if handle.kind == "releases":
        return _release(project, handle, reason, only_plan=only_plan)
    raise UsageError(f"{text} cannot be cancelled", expected="runs:/ID or releases:/NAME/NUMBER")


def _run(project: Project, text: str, *, only_plan: bool) -> str:
    record = RunLog(project.root).find(text)
    name = f"runs:/{record.id[:12]}"
    if record.state != "running" or not is_alive(record.process):
        if record.state != "finished" and not only_plan and remote.take_away(project, record):
            return f"{name} ({record.flow}) has ended; the job that it left in the cluster is taken away"
        raise NotAccepted(f"{name} has ended: {record.state}", next_step=f"ridgeway show {name}")
    if only_plan:
        return f"{name} ({record.flow}) would be interrupted"
    RunLog(project.root).cancel(record)
    # As Ctrl-C does: what is open is put away, what is finished is kept.
    os.kill(record.process.pid, signal.SIGTERM)
    return f"{name} ({record.flow}) is told to end; what was finished is kept"


def _release(project: Project, handle: Handle, reason: str, *, only_plan: bool) -> str:
    require_registry(project, str(handle))
    releases = Releases(open_registry(project, handle.name))
    release = releasing.find(releases, str(handle))
    if not release.is_open:
        raise NotAccepted(f"{release.handle} has ended: {release.state}", next_step=f"ridgeway show {release.handle}")
    if only_plan:
        return f"{release.handle} of {release.model}, now {release.state}, would end as cancelled"
    who = acting(project).name
    with exclusive(project.root, f"release-{project.name}"):
        release = releases.read(release.number)
        rollout.refuse_under_way(release, open_target(project, release.stages[-1]))
        sentence = f"cancelled by {who}{f': {reason}' if reason else ''}"
        ended = dataclasses.replace(
            release, state="cancelled", sentence=sentence, ended_at=releasing.now(), next_step=""
        )
        telling.tell(project, telling.of_release(ended))
        releases.save(ended)
    telling.send(project)
    return f"{release.handle} is {sentence}"
