"""What a job's objects say about it: where it is, how its pods ended, what keeps it from starting. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ridgeway.targets.kubernetes.diagnosis import Trouble, is_going, pod_trouble
from ridgeway.targets.kubernetes.job_manifests import CONTAINER

Json = Mapping[str, Any]
_OVER = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class PodEnd:
    """How a pod ended."""

    pod: str
    exit_code: int | None
    """None where it never ran, or its node is gone."""
    reason: str
    """The container's, such as ``OOMKilled`` or ``Error``."""
    message: str
    """Its last word."""
    disruption: str = ""
    """Why the cluster took it away, in its words; empty where it ended by itself."""


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended."""

    complete: bool
    reason: str = ""
    """Such as ``DeadlineExceeded``, ``BackoffLimitExceeded`` or ``PodFailurePolicy``."""
    message: str = ""


def job_end(job: Json) -> JobEnd | None:
    """How it ended; None while it has not.

    Example:
        >>> job_end({"status": {"conditions": [{"type": "Complete", "status": "True"}]}})
        JobEnd(complete=True, reason='', message='')
    """
    for one in job.get("status", {}).get("conditions", ()):
        if one["type"] in ("Complete", "Failed") and one["status"] == "True":
            return JobEnd(one["type"] == "Complete", one.get("reason", ""), one.get("message", ""))
    return None


def newest(pods: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The pod that counts: the one that was made last."""
    return max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default=None)


def has_run(pod: Json) -> bool:
    """Whether its container runs or has run."""
    return bool(_state(pod).keys() & {"running", "terminated"})


def is_over(pod: Json) -> bool:
    """Whether nothing of it will run any more."""
    return pod.get("status", {}).get("phase") in _OVER


def pod_end(pod: Json) -> PodEnd | None:
    """How it ended; None while it has not."""
    if not is_over(pod):
        return None
    ended = _state(pod).get("terminated", {})
    status = pod.get("status", {})
    return PodEnd(
        pod["metadata"]["name"],
        ended.get("exitCode"),
        ended.get("reason") or status.get("reason", ""),
        ended.get("message", "") or "",
        disruption(pod),
    )


def disruption(pod: Json) -> str:
    """Why the cluster takes it away; empty where it does not."""
    for one in pod.get("status", {}).get("conditions", ()):
        if one["type"] == "DisruptionTarget" and one["status"] == "True":
            return f"{one.get('reason', '')}: {one.get('message', '')}".strip(": ")
    return ""


def _state(pod: Json) -> Json:
    for one in pod.get("status", {}).get("containerStatuses", ()):
        if one.get("name") == CONTAINER:
            return dict(one.get("state", {}))
    return {}


Stage = Literal["waiting", "starting", "running", "over"]


def stage(pod: Json | None) -> Stage:
    """Where a pod is: for a machine waiting, on one but not running, running, over."""
    if pod is None or not pod["spec"].get("nodeName"):
        return "waiting"
    if is_over(pod):
        return "over"
    return "running" if has_run(pod) else "starting"


# ---- what keeps it from starting -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What keeps a job from starting."""

    kind: Literal["room", "image", "refused", "other"]
    """``room``: it may become free; ``image``: it cannot be pulled; ``refused``: the cluster makes no such pod."""
    reason: str
    sentence: str
    patience_seconds: float
    """How long it must last before it counts; a job that waits for room waits as long as it may."""


def obstacle(pod: Json | None, events: Iterable[Json]) -> Obstacle | None:
    """What keeps it from starting, if anything does.

    Args:
        pod: The newest; None where there is none yet.
        events: Warnings of the Job, which say why no pod can be made.
    """
    if pod is None:
        return _no_pod(events)
    found = pod_trouble(pod)
    if found is None or has_run(pod) or is_going(pod):
        return None
    return _of_pod(found)


def _no_pod(events: Iterable[Json]) -> Obstacle | None:
    failed = [one for one in events if one.get("reason") == "FailedCreate"]
    if not failed:
        return None
    newest_event = max(failed, key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""))
    text = re.sub(r'^Error creating: pods "[^"]*" is forbidden: ', "", str(newest_event.get("message", "")))
    if "exceeded quota" in text:
        return Obstacle("room", "exceeded quota", text, 0)
    return Obstacle("refused", "FailedCreate", text, 3)


def _of_pod(found: Trouble) -> Obstacle:
    if found.reason.startswith("Insufficient") or found.reason in ("Unschedulable", "NodeNotReady"):
        return Obstacle("room", found.reason, found.sentence, 0)
    if "Pull" in found.reason or found.reason in ("InvalidImageName", "RegistryUnavailable"):
        return Obstacle("image", found.reason, found.sentence, 0 if found.sure else found.patience_seconds)
    # A job's Secret is made a moment after the Job, by which time a quick node may have missed it.
    return Obstacle("other", found.reason, found.sentence, 15)


def pull_seconds(events: Iterable[Json]) -> float | None:
    """How long the image was pulled, as the node tells it; None where it was there, or is not known.

    Example:
        >>> pull_seconds([{"reason": "Pulled", "message": 'Successfully pulled image "x" in 1m2.5s (1m2.5s with …)'}])
        62.5
    """
    for one in events:
        match = re.search(r"pulled image .* in ([\d.hms]+)", str(one.get("message", "")))
        if one.get("reason") == "Pulled" and match:
            return _seconds(match[1])
    return None


def _seconds(text: str) -> float:
    """A duration as Go writes it."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    return round(sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)(ms|h|m|s)", text)), 3)


# ---- whose it is -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KnownJob:
    """A job of the project that is there already."""

    name: str
    is_over: bool
    owner: str
    """As annotated."""
    run: str


def sweepable(jobs: Iterable[KnownJob], *, wanted: str, is_ours: Any, is_watched: Any) -> tuple[str, ...]:
    """Names of jobs that nobody watches any more, and that are to be taken away.

    Args:
        jobs: All of the project.
        wanted: Name of the one that is about to be asked for: it is gone on with while it runs.
        is_ours: Tells of an owner whether it was a process of this project's folder on this machine.
        is_watched: Tells of an owner whether it still runs.

    Example:
        >>> job = KnownJob("a", False, "me", "")
        >>> sweepable([job], wanted="b", is_ours=lambda owner: True, is_watched=lambda owner: False)
        ('a',)
        >>> sweepable([job], wanted="a", is_ours=lambda owner: True, is_watched=lambda owner: False)
        ()
    """
    return tuple(
        one.name
        for one in jobs
        if is_ours(one.owner) and not is_watched(one.owner) and (one.is_over or one.name != wanted)
    )
