"""A roll-out watched until it is healthy, cannot become so, or is too late.

Looked at in short turns rather than by open watches: a turn survives an API server that restarts, a proxy that cuts
connections, and sleeping laptops, and costs three small requests.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ridgeway.artifacts import Deployment
from ridgeway.errors import RidgewayError, Transient
from ridgeway.targets.interface import Outcome, Say
from ridgeway.targets.kubernetes import diagnosis
from ridgeway.targets.kubernetes.connection import Cluster, Json, Refused, path_to
from ridgeway.targets.kubernetes.diagnosis import Trouble
from ridgeway.targets.kubernetes.naming import GAP_SECONDS, Place

_TURNS = ((30.0, 0.25), (120.0, 1.0), (float("inf"), 2.0))
"""Until this many seconds, a look every so many seconds."""
_EVENTS_AFTER_SECONDS = 1.5
_MOST_NODES = 3
"""Of those that pods wait on, so many are looked at."""


@dataclass
class View:
    """One look at a roll-out."""

    live: Json
    pods: list[Json]
    replica_sets: list[Json] = field(default_factory=list)
    events: list[Json] = field(default_factory=list)
    slices: list[Json] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    """Nodes that are not ready, with the cluster's words."""

    @property
    def new_pods(self) -> list[Json]:
        """Pods of the newest template that are to stay."""
        return diagnosis.newest(self.live, self.replica_sets, self.pods)


@dataclass
class Progress:
    """What a wait remembers between its looks."""

    said: str = ""
    since: dict[str, float] = field(default_factory=dict)
    """When a trouble was first seen, by its line."""
    gap_since: float | None = None
    blind: bool = False


def wait_until_healthy(cluster: Cluster, place: Place, deployment: Deployment, *, seconds: float, say: Say) -> Outcome:
    """Whether every replica runs the deployment's image, is ready, and is all that the endpoint sends requests to.

    Raises:
        Permanent: The credentials are not accepted any more, or rights lack.
    """
    started, progress = time.monotonic(), Progress()
    while True:
        passed = time.monotonic() - started
        outcome = None
        try:
            view = _look(cluster, place, with_events=passed > _EVENTS_AFTER_SECONDS)
        except Transient as error:
            view = None
            _say_blind(progress, error, say)
        else:
            progress.blind = False
            outcome = _judge(view, deployment, progress, say)
        if outcome is not None:
            return _with_log(cluster, place, outcome, view)
        if passed >= seconds:
            return _with_log(cluster, place, _too_late(view, seconds, progress), view)
        time.sleep(min(next(pause for until, pause in _TURNS if passed < until), max(0.05, seconds - passed)))


def _say_blind(progress: Progress, error: RidgewayError, say: Say) -> None:
    if not progress.blind:
        say(f"{error.summary}; asking again until the deadline")
    progress.blind = True


def _look(cluster: Cluster, place: Place, *, with_events: bool) -> View | None:
    live = cluster.get("Deployment", place.namespace, place.object_name)
    if live is None:
        return None
    view = View(live, cluster.find("Pod", place.namespace, labelSelector=place.pod_query))
    view.replica_sets = cluster.find("ReplicaSet", place.namespace, labelSelector=place.query)
    if _counts_fit(live):
        query = f"kubernetes.io/service-name={place.object_name}"
        view.slices = cluster.find("EndpointSlice", place.namespace, labelSelector=query)
    elif with_events:
        names = {pod["metadata"]["name"] for pod in view.pods}
        found = cluster.find("Event", place.namespace, fieldSelector="involvedObject.kind=Pod,type=Warning")
        view.events = [one for one in found if one["involvedObject"]["name"] in names]
        view.lost = diagnosis.lost_nodes(view.pods, view.events) | _unready_nodes(cluster, view.pods)
    return view


def _unready_nodes(cluster: Cluster, pods: Sequence[Json]) -> dict[str, str]:
    """Nodes of pods that do not get ready, if they themselves are not; none without the right to read nodes."""
    names = {pod["spec"].get("nodeName", "") for pod in pods if not diagnosis.is_ready(pod)} - {""}
    found = {}
    for name in sorted(names)[:_MOST_NODES]:
        node = cluster.allowed("GET", f"api/v1/nodes/{name}")
        reason = diagnosis.node_trouble(node) if node else ""
        if reason:
            found[name] = reason
    return found


# ---- decisions. Pure but for what a Progress remembers. --------------------------------------------------------------


def _judge(view: View | None, deployment: Deployment, progress: Progress, say: Say) -> Outcome | None:
    if view is None:
        return Outcome(False, "NotAsked", f"there is no Deployment of {deployment.name}")
    image = deployment.image.handle
    if _image(view.live["spec"]["template"]) != image:
        other = _image(view.live["spec"]["template"])
        return Outcome(False, "NotAsked", f"{other} is what was asked for last")
    _say_progress(view, progress, say)
    if _counts_fit(view.live) and _only_new_answer(view):
        return Outcome(True)
    gap = _gap(view, progress, time.monotonic())
    return gap or _hopeless(view, progress, time.monotonic())


def _image(one: Mapping[str, Any]) -> str:
    return str(one["spec"]["containers"][0]["image"])


def _counts_fit(live: Mapping[str, Any]) -> bool:
    """Whether the Deployment's controller has seen the newest template, and all replicas are of it and available."""
    status, replicas = live.get("status", {}), int(live["spec"].get("replicas", 1))
    if status.get("observedGeneration", 0) < live["metadata"].get("generation", 0):
        return False
    return all(int(status.get(key) or 0) == replicas for key in ("replicas", "updatedReplicas", "availableReplicas"))


def _only_new_answer(view: View) -> bool:
    """Whether requests are sent to every new pod and to no other."""
    new = {pod["metadata"]["name"] for pod in view.new_pods if diagnosis.is_ready(pod)}
    sent = {
        one.get("targetRef", {}).get("name")
        for piece in view.slices
        for one in piece.get("endpoints") or ()
        if one.get("conditions", {}).get("ready")
    }
    return len(new) == int(view.live["spec"].get("replicas", 1)) and sent == new


def _say_progress(view: View, progress: Progress, say: Say) -> None:
    new = view.new_pods
    ready = sum(1 for pod in new if diagnosis.is_ready(pod))
    old = len(view.pods) - len(new)
    line = f"{ready} of {view.live['spec'].get('replicas', 1)} replicas ready"
    line += f", {old} old still there" if old else ""
    troubles = [trouble for pod in new if (trouble := diagnosis.pod_trouble(pod))]
    line += f" ({troubles[0].reason} on {troubles[0].pod})" if troubles else ""
    if line != progress.said:
        say(line)
        progress.said = line


def _gap(view: View, progress: Progress, now: float) -> Outcome | None:
    """The roll-out has failed once nothing has answered for as long as was announced."""
    announced = float(view.live["metadata"].get("annotations", {}).get(GAP_SECONDS) or 0)
    if not announced or any(diagnosis.is_ready(pod) for pod in view.pods):
        progress.gap_since = None
        return None
    progress.gap_since = progress.gap_since or now
    if now - progress.gap_since < announced:
        return None
    return Outcome(False, "gap", f"nothing has answered for the {announced:.0f} s that were announced at most")


def _hopeless(view: View, progress: Progress, now: float) -> Outcome | None:
    """The first trouble that cannot heal, or has lasted longer than such a trouble does when it heals."""
    found = [*_troubles(view)]
    lines = {trouble.line for trouble in found}
    progress.since = {line: progress.since.get(line, now) for line in lines}
    for trouble in found:
        lasted = now - progress.since[trouble.line]
        if trouble.sure or (trouble.patience_seconds and lasted >= trouble.patience_seconds):
            return Outcome(False, trouble.reason, _where(trouble))
    return None


def _where(trouble: Trouble) -> str:
    return f"{trouble.pod}: {trouble.sentence}" if trouble.pod else trouble.sentence


def _troubles(view: View) -> list[Trouble]:
    found = [
        Trouble("NodeNotReady", f"node {name} is lost: {message}", patience_seconds=10)
        for name, message in view.lost.items()
    ]
    if view.live["spec"].get("paused"):
        found.append(Trouble("Paused", "someone has paused the Deployment: kubectl rollout resume", sure=True))
    may_be = [diagnosis.quota_trouble(view.live, view.replica_sets)]
    may_be += [diagnosis.pod_trouble(pod) for pod in view.new_pods]
    return found + [trouble for trouble in may_be if trouble is not None and not _frees_itself(trouble, view)]


def _frees_itself(trouble: Trouble, view: View) -> bool:
    """Whether what lacks will become free by the roll-out itself, as old replicas go."""
    if not trouble.reason.startswith("Insufficient") and "exceeded quota" not in trouble.sentence:
        return False
    if any(diagnosis.is_going(pod) for pod in view.pods):
        return True
    rolling = view.live["spec"].get("strategy", {}).get("rollingUpdate", {})
    old = len(view.pods) - len(view.new_pods)
    return old > 0 and str(rolling.get("maxUnavailable", "0")) not in ("0", "0%")


def _too_late(view: View | None, seconds: float, progress: Progress) -> Outcome:
    if view is None:
        return Outcome(False, "deadline", f"the API server did not answer until {seconds:.0f} s had passed")
    troubles = _troubles(view)
    if troubles:
        return Outcome(False, troubles[0].reason, f"{_where(troubles[0])} (after {seconds:.0f} s)")
    for pod in view.new_pods:
        if not diagnosis.is_ready(pod) and (probe := diagnosis.probe_failure(pod, view.events)):
            return Outcome(False, "Unhealthy", f"{pod['metadata']['name']}: {probe} (after {seconds:.0f} s)")
    return Outcome(False, "deadline", f"{progress.said or 'not healthy'} after {seconds:.0f} s")


# ---- the log of what failed ------------------------------------------------------------------------------------------


def _with_log(cluster: Cluster, place: Place, outcome: Outcome, view: View | None) -> Outcome:
    if outcome.healthy or view is None:
        return outcome
    for pod in _worst_first(view.new_pods):
        lines = last_lines(cluster, place, pod)
        if lines:
            return Outcome(False, outcome.reason, outcome.sentence, lines)
    return outcome


def _worst_first(pods: Sequence[Json]) -> list[Json]:
    def restarts(pod: Json) -> int:
        return sum(int(one.get("restartCount", 0)) for one in pod.get("status", {}).get("containerStatuses", ()))

    return sorted((pod for pod in pods if not diagnosis.is_ready(pod)), key=restarts, reverse=True)[:2]


def last_lines(cluster: Cluster, place: Place, pod: Json, count: int = 20) -> tuple[str, ...]:
    """The last lines that a pod's container wrote: of the one that ended last, if it ended, else of the running one."""
    statuses = pod.get("status", {}).get("containerStatuses", ())
    if not any(one.get("state", {}).keys() & {"running", "terminated"} or one.get("lastState") for one in statuses):
        return ()
    ended = any(one.get("lastState", {}).get("terminated") for one in statuses)
    path = f"{path_to('Pod', place.namespace, pod['metadata']['name'])}/log"
    for previous in ("true", "false") if ended else ("false",):
        try:
            text = cluster.text(path, {"tailLines": str(count), "previous": previous})
        except (Refused, Transient):
            continue
        if text.strip():
            return tuple(text.splitlines())
    return ()
