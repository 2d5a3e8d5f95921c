"""Why a replica is not ready, in the cluster's own words, and whether that can still heal. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

_PULL = ("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_CREATE = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with one pod."""

    reason: str
    """A code, such as ``ImagePullBackOff``."""
    sentence: str
    pod: str = ""
    sure: bool = False
    """Whether it is known not to heal by itself."""
    restarts: int = 0
    patience_seconds: float = 0.0
    """How long it must last before it counts as sure."""

    @property
    def line(self) -> str:
        """In one line."""
        return f"{self.reason}: {self.sentence}" if self.sentence else self.reason


def pod_trouble(pod: Mapping[str, Any]) -> Trouble | None:
    """What keeps a pod from being ready; None where it is ready, or on its way without a sign of trouble."""
    name = pod["metadata"]["name"]
    status = pod.get("status", {})
    if status.get("reason") in ("Evicted", "NodeLost", "UnexpectedAdmissionError", "OutOfcpu", "NodeAffinity"):
        return Trouble(status["reason"], status.get("message", ""), name, patience_seconds=10)
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        trouble = _container_trouble(container)
        if trouble is not None:
            return replace(trouble, pod=name)
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return unschedulable(scheduled.get("message", ""), name)
    return None


def _container_trouble(container: Mapping[str, Any]) -> Trouble | None:
    waiting = container.get("state", {}).get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    restarts = int(container.get("restartCount", 0))
    if reason in _PULL:
        return _pull_trouble(reason, message, container)
    if reason in _CREATE:
        return Trouble(reason, message, sure=reason == "CreateContainerConfigError", patience_seconds=5)
    ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated")
    if container.get("ready") or not ended or (reason != "CrashLoopBackOff" and restarts == 0 and not waiting):
        if not container.get("ready") and container.get("state", {}).get("terminated"):
            return Trouble("Error", _ended(container["state"]["terminated"]), restarts=restarts)
        return None
    # One restart may be bad luck (a node under memory pressure); a second end, or the cluster's own word, is a loop.
    sure = reason == "CrashLoopBackOff" or restarts >= 2
    return Trouble("CrashLoopBackOff" if sure else "Error", _ended(ended), sure=sure, restarts=restarts)


def _pull_trouble(reason: str, message: str, container: Mapping[str, Any]) -> Trouble:
    # The cluster's first word may be a registry that is away for a moment; what the registry itself says is sure.
    final = reason == "InvalidImageName" or re.search(
        r"not found|manifest unknown|unauthorized|forbidden|denied|does not exist|invalid reference", message
    )
    sentence = message or f"cannot pull {container.get('image', '')}"
    return Trouble(reason, sentence, sure=bool(final), patience_seconds=12)


def _ended(ended: Mapping[str, Any]) -> str:
    why = ended.get("reason", "Error")
    code = f"exit code {ended.get('exitCode')}"
    return f"OOMKilled: it took more memory than its limit ({code})" if why == "OOMKilled" else f"ended with {code}"


def unschedulable(message: str, pod: str = "") -> Trouble:
    """What the scheduler's message says: which resource lacks, or which taints are not tolerated.

    Example:
        >>> unschedulable("0/2 nodes are available: 1 Insufficient cpu, 1 Insufficient nvidia.com/gpu.").reason
        'Insufficient nvidia.com/gpu'
        >>> unschedulable("0/1 nodes are available: 1 node(s) had untolerated taint {a: b}.").reason
        'Unschedulable'
    """
    lacking = re.findall(r"Insufficient ([\w./-]*\w)", message)
    # What a device plug-in advertises is the scarcest; processor and memory follow from it.
    lacking.sort(key=lambda name: name in ("cpu", "memory", "pods"))
    text = message.partition(" preemption:")[0]
    if lacking:
        # As long as pods of others, which the plan counts as gone, may take to go.
        return Trouble(f"Insufficient {lacking[0]}", text, pod, patience_seconds=10)
    lost = "node.kubernetes.io/" in message
    return Trouble("NodeNotReady" if lost else "Unschedulable", text, pod, patience_seconds=10 if lost else 5)


def _condition(pod: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    for one in pod.get("status", {}).get("conditions", ()):
        if one["type"] == kind:
            return dict(one)
    return {}


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod serves and is not on its way out."""
    return _condition(pod, "Ready").get("status") == "True" and not pod["metadata"].get("deletionTimestamp")


def is_going(pod: Mapping[str, Any]) -> bool:
    """Whether a pod is on its way out."""
    return bool(pod["metadata"].get("deletionTimestamp"))


_REVISION, _HASH = "deployment.kubernetes.io/revision", "pod-template-hash"


def newest(
    live: Mapping[str, Any], replica_sets: Sequence[Mapping[str, Any]], pods: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The pods of a Deployment's newest template that are to stay; none before its controller has seen the template."""
    if live.get("status", {}).get("observedGeneration", 0) < live["metadata"].get("generation", 0):
        return []
    revision = live["metadata"].get("annotations", {}).get(_REVISION)
    hashes = {
        one["metadata"].get("labels", {}).get(_HASH)
        for one in replica_sets
        if revision and one["metadata"].get("annotations", {}).get(_REVISION) == revision
    }
    return [pod for pod in pods if pod["metadata"].get("labels", {}).get(_HASH) in hashes and not is_going(pod)]


def quota_trouble(live: Mapping[str, Any], replica_sets: Sequence[Mapping[str, Any]] = ()) -> Trouble | None:
    """Why the cluster cannot even make pods: a quota, an admission rule."""
    for one in (live, *replica_sets):
        for condition in one.get("status", {}).get("conditions", ()):
            if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
                message = condition.get("message", "")
                return Trouble(condition.get("reason", "FailedCreate"), message, sure=False, patience_seconds=3)
    return None


def lost_nodes(pods: Iterable[Mapping[str, Any]], events: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Nodes that the cluster has lost, by name, with its words; told from the events of the pods that were there."""
    by_pod = {pod["metadata"]["name"]: pod for pod in pods}
    found = {}
    for event in events:
        pod = by_pod.get(event.get("involvedObject", {}).get("name", ""))
        if event.get("reason") == "NodeNotReady" and pod is not None and not is_ready(pod):
            found[str(pod["spec"].get("nodeName", ""))] = str(event.get("message", "Node is not ready"))
    return found


def node_trouble(node: Mapping[str, Any]) -> str:
    """Why a node is not ready; empty if it is."""
    for one in node.get("status", {}).get("conditions", ()):
        if one["type"] == "Ready" and one["status"] != "True":
            return str(one.get("message") or one.get("reason") or "not ready")
    return ""


def probe_failure(pod: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> str:
    """The newest failed probe of a pod, as its events tell it; empty where there is none."""
    name = pod["metadata"]["name"]
    found = [
        event
        for event in events
        if event.get("reason") == "Unhealthy" and event.get("involvedObject", {}).get("name") == name
    ]
    found.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
    return str(found[-1].get("message", "")) if found else ""
