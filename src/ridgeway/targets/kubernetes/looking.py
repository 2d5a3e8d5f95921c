"""How an endpoint is found in its cluster: a few requests at the same time, and the nouns that come of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ridgeway.artifacts import Deployment, Endpoint, Health
from ridgeway.errors import RidgewayError
from ridgeway.targets.kubernetes.capacity import Node, read_nodes
from ridgeway.targets.kubernetes.connection import Cluster, Json, path_to
from ridgeway.targets.kubernetes.diagnosis import Trouble, is_going, is_ready, newest, pod_trouble
from ridgeway.targets.kubernetes.manifests import HEALTH_PORT
from ridgeway.targets.kubernetes.naming import DEPLOYMENT, FROZEN, MODEL, RELEASE, SINCE, Place
from ridgeway.targets.kubernetes.quantities import number
from ridgeway.targets.remembered import from_text

KINDS = ("Deployment", "Service", "PodDisruptionBudget", "ServiceAccount", "NetworkPolicy")
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


@dataclass
class Sight:
    """What was seen, as the API server gave it."""

    namespace: bool = True
    objects: dict[str, Json] = field(default_factory=dict)
    """By ``Kind/name``; of Secrets only the metadata."""
    pods: list[Json] = field(default_factory=list)
    replica_sets: list[Json] = field(default_factory=list)
    lease: Json | None = None
    autoscalers: list[Json] = field(default_factory=list)
    quotas: list[Json] = field(default_factory=list)
    metrics: list[Json] = field(default_factory=list)
    model_mib: float | None = None
    """Measured by the server, of its loaded models."""

    def deployment(self, place: Place) -> Json | None:
        """The live Deployment."""
        return self.objects.get(f"Deployment/{place.object_name}")


def see(cluster: Cluster, place: Place) -> Sight:
    """The endpoint's objects as they are; about as long as one request takes."""
    sight = Sight()
    query = {"labelSelector": place.query}

    def of(kind: str) -> None:
        for one in cluster.find(kind, place.namespace, **query):
            sight.objects[f"{kind}/{one['metadata']['name']}"] = {**one, "kind": kind}

    def secrets() -> None:
        path = path_to("Secret", place.namespace)
        found = cluster.request("GET", path, query=query, headers={"Accept": _METADATA_ONLY})
        for one in found.get("items") or ():
            sight.objects[f"Secret/{one['metadata']['name']}"] = {"kind": "Secret", "metadata": one["metadata"]}

    def rest() -> None:
        sight.pods = cluster.find("Pod", place.namespace, labelSelector=place.pod_query)
        sight.replica_sets = cluster.find("ReplicaSet", place.namespace, **query)
        sight.model_mib = _model_memory(cluster, place, sight.pods)
        sight.lease = cluster.get("Lease", place.namespace, place.object_name)

    def optional() -> None:
        for kind, rows in (("HorizontalPodAutoscaler", sight.autoscalers), ("ResourceQuota", sight.quotas)):
            found = cluster.allowed("GET", path_to(kind, place.namespace))
            rows.extend((found or {}).get("items") or ())
        found = _metrics(cluster, place)
        sight.metrics.extend((found or {}).get("items") or ())

    def namespace() -> None:
        # Without the right to read it the namespace is taken to be there: what follows will tell.
        path = f"api/v1/namespaces/{place.namespace}"
        sight.namespace = cluster.is_there(path)

    with ThreadPoolExecutor(5, "look") as threads:
        jobs = [threads.submit(of, kind) for kind in KINDS]
        jobs += [threads.submit(job) for job in (secrets, rest, optional, namespace)]
    for job in jobs:
        job.result()
    return sight


def _metrics(cluster: Cluster, place: Place) -> Json | None:
    """Measured use; None where the cluster measures nothing, or its metrics server is away."""
    try:
        path = path_to("PodMetrics", place.namespace)
        return cluster.allowed("GET", path, query={"labelSelector": place.pod_query})
    except RidgewayError:
        return None


def _model_memory(cluster: Cluster, place: Place, pods: Sequence[Mapping[str, Any]]) -> float | None:
    """What a replica says of its loaded models; None where none is ready or can be asked."""
    name = next((pod["metadata"]["name"] for pod in pods if is_ready(pod)), None)
    if name is None:
        return None
    try:
        text = cluster.text(f"{path_to('Pod', place.namespace)}/{name}:{HEALTH_PORT}/proxy/metrics", {})
    except RidgewayError:
        return None
    found = re.search(r"^ridgeway_models_memory_bytes ([0-9.e+]+)$", text, re.MULTILINE)
    return float(found[1]) / 2**20 if found else None


def see_nodes(cluster: Cluster, own: Sequence[Mapping[str, Any]]) -> tuple[Node, ...] | None:
    """Every node with what runs on it; None without the right to read nodes and the pods of all namespaces.

    Args:
        cluster: Where to look.
        own: The endpoint's pods.
    """
    nodes = cluster.allowed("GET", "api/v1/nodes")
    if nodes is None:
        return None
    query = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}
    pods = cluster.allowed("GET", "api/v1/pods", query=query)
    if pods is None:
        return None
    # What is on its way out counts as gone: its room is free in a moment, and until then the scheduler waits.
    staying = [pod for pod in pods.get("items") or () if not is_going(pod)]
    return read_nodes(nodes.get("items") or (), staying, {pod["metadata"]["uid"] for pod in own})


# ---- from what was seen to the nouns. Pure. --------------------------------------------------------------------------


def asked_for(live: Mapping[str, Any] | None) -> Deployment | None:
    """What was last asked for, as the Deployment's annotation remembers it."""
    text = (live or {}).get("metadata", {}).get("annotations", {}).get(DEPLOYMENT, "")
    return from_text(text) if text else None


def endpoint(place: Place, sight: Sight, address: str) -> Endpoint:
    """The endpoint as it was seen."""
    live = sight.deployment(place)
    frozen = (sight.lease or {}).get("metadata", {}).get("annotations", {}).get(FROZEN, "")
    if live is None:
        return Endpoint(place.target, "kubernetes", place.name, "absent", frozen=frozen)
    annotations = live["metadata"].get("annotations", {})
    image = live["spec"]["template"]["spec"]["containers"][0]["image"]
    replicas = int(live["spec"].get("replicas", 1))
    trouble = current_trouble(live, sight)
    asked = asked_for(live)
    return Endpoint(
        target=place.target,
        kind="kubernetes",
        name=place.name,
        state=health(live, trouble),
        address=address,
        image=image,
        model=annotations.get(MODEL, ""),
        release=annotations.get(RELEASE, ""),
        since=annotations.get(SINCE, live["metadata"].get("creationTimestamp", "")),
        ready=int(live.get("status", {}).get("readyReplicas") or 0),
        replicas=replicas,
        reason=trouble.line if trouble else "",
        frozen=frozen,
        memory_mib=largest_memory(sight.metrics),
        memory_limit_mib=float(asked.instance.memory_mib) if asked else None,
    )


def health(live: Mapping[str, Any], trouble: Trouble | None) -> Health:
    """``healthy`` only if every replica is the newest and available."""
    replicas = int(live["spec"].get("replicas", 1))
    status = live.get("status", {})
    if replicas == 0:
        return "stopped"
    settled = status.get("observedGeneration", 0) >= live["metadata"].get("generation", 0)
    counts = [int(status.get(key) or 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
    if settled and counts == [replicas] * 3:
        return "healthy"
    return "unhealthy" if trouble else "starting"


def current_trouble(live: Json, sight: Sight) -> Trouble | None:
    """What is wrong with the pods of the newest template, if anything is."""
    troubles = (pod_trouble(pod) for pod in newest(live, sight.replica_sets, sight.pods))
    return next((trouble for trouble in troubles if trouble), None)


def largest_memory(metrics: Sequence[Mapping[str, Any]]) -> float | None:
    """Measured memory of the largest replica, MiB; None where nothing is measured."""
    sums = [sum(number(one["usage"]["memory"]) for one in pod.get("containers", ())) for pod in metrics]
    return float(max(sums) / 2**20) if sums else None


def autoscaler(sight: Sight, place: Place) -> str:
    """Name of the autoscaler that owns the Deployment's replicas."""
    for one in sight.autoscalers:
        target = one["spec"]["scaleTargetRef"]
        if (target.get("kind"), target.get("name")) == ("Deployment", place.object_name):
            return str(one["metadata"]["name"])
    return ""


def templates(sight: Sight) -> dict[str, Json]:
    """Pod templates of the endpoint's generations by the hash that their pods are labelled with."""
    return {
        one["metadata"].get("labels", {}).get("pod-template-hash", ""): one["spec"]["template"]
        for one in sight.replica_sets
    }


def own_pods(sight: Sight) -> list[Json]:
    """Pods of the endpoint that hold room: done ones do not."""
    return [pod for pod in sight.pods if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")]
