"""The preflight of a cluster, in the order in which things are needed; each finding comes with the next command."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ridgeway.artifacts import Finding, InstanceType, Severity
from ridgeway.errors import RidgewayError
from ridgeway.targets.kubernetes import capacity, looking
from ridgeway.targets.kubernetes.connection import Cluster, Json, path_to
from ridgeway.targets.kubernetes.diagnosis import pod_trouble
from ridgeway.targets.kubernetes.keeping import may
from ridgeway.targets.kubernetes.manifests import container_security, pod_basics
from ridgeway.targets.kubernetes.naming import Place

OLDEST = (1, 30)
"""The first version in which a container may sleep before it is stopped without a shell."""
PULL_SECONDS = 60.0
_ROLE = "let operations apply templates/kubernetes/deployer.yaml"
_READ = ("get", "list", "watch")
_WRITE = ("get", "list", "create", "patch", "delete")

RIGHTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("apps", "deployments", ("get", "list", "watch", "create", "patch", "delete")),
    ("apps", "replicasets", _READ),
    ("", "services", _WRITE),
    ("", "serviceaccounts", _WRITE),
    ("", "secrets", (*_WRITE, "update")),
    ("policy", "poddisruptionbudgets", _WRITE),
    ("networking.k8s.io", "networkpolicies", _WRITE),
    ("coordination.k8s.io", "leases", ("get", "create", "update", "patch", "delete")),
    ("", "pods", (*_READ, "create", "patch", "delete")),
    ("", "pods/log", ("get",)),
    ("", "pods/proxy", ("get",)),
    ("", "events", ("get", "list")),
    ("discovery.k8s.io", "endpointslices", ("get", "list")),
    ("", "resourcequotas", ("get", "list")),
    ("autoscaling", "horizontalpodautoscalers", ("get", "list")),
)
"""Group, resource and verbs: what a deployer needs in the namespace; the shipped Role grants exactly this."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What the preflight is for."""

    instance: InstanceType | None
    image: str = ""
    """Handle of the image that would be pulled; empty: no pull is tried."""
    access: str = "keys"


Check = Callable[[Cluster, Place, Subject], Finding]


def preflight(cluster: Cluster, place: Place, subject: Subject) -> Iterator[Finding]:
    """Every finding, in the order of need; ends after one without which nothing further can be looked at."""
    for check, needed in _CHECKS:
        finding = _timed(check, cluster, place, subject)
        yield finding
        if finding.outcome == "fail" and needed:
            return


def _timed(check: Check, cluster: Cluster, place: Place, subject: Subject) -> Finding:
    started = time.monotonic()
    name = check.__name__.strip("_").replace("_", " ").replace("api server", "API server")
    try:
        found = check(cluster, place, subject)
    except RidgewayError as error:
        sentence = f"{error.summary}: {error.problem}" if error.problem else error.summary
        found = _finding(name, "fail", sentence, error.next_step)
    return Finding(found.check, found.outcome, found.sentence, found.next_step, round(time.monotonic() - started, 3))


def _finding(name: str, outcome: Severity, sentence: str, next_step: str = "") -> Finding:
    return Finding(f"cluster: {name}", outcome, sentence, next_step)


def _api_server(cluster: Cluster, _place: Place, _subject: Subject) -> Finding:
    """The kubeconfig leads somewhere, something answers there, knows us, and is new enough."""
    answer = cluster.request("GET", "version")
    version = f"{answer.get('major')}.{answer.get('minor')}"
    digits = tuple(int("".join(filter(str.isdigit, part)) or 0) for part in version.split(".")[:2])
    if digits < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return _finding(
            "API server", "fail", f"Kubernetes {version}; needed is {oldest} or newer", "upgrade the cluster"
        )
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    review = cluster.request("POST", "apis/authentication.k8s.io/v1/selfsubjectreviews", body=body)
    who = review.get("status", {}).get("userInfo", {}).get("username", "someone")
    return _finding("API server", "pass", f"{cluster.host}, Kubernetes {version}, as {who}")


def _namespace(cluster: Cluster, place: Place, _subject: Subject) -> Finding:
    """It is there, and how strict it is."""
    path = f"api/v1/namespaces/{place.namespace}"
    make = f"sed s/NAMESPACE/{place.namespace}/ templates/kubernetes/namespace.yaml | kubectl apply -f -"
    if not cluster.is_there(path):
        return _finding("namespace", "fail", f"{place.namespace} does not exist", make)
    found = cluster.allowed("GET", path)
    if found is None:
        return _finding("namespace", "warn", f"{place.namespace} may not be read: is it there?", _ROLE)
    if found.get("status", {}).get("phase") == "Terminating":
        return _finding("namespace", "fail", f"{place.namespace} is being deleted", make)
    level = found["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce", "privileged")
    if level == "restricted":
        return _finding("namespace", "pass", f"{place.namespace} enforces Pod Security {level}")
    label = f"kubectl label namespace {place.namespace} pod-security.kubernetes.io/enforce=restricted"
    return _finding("namespace", "warn", f"{place.namespace} enforces only Pod Security {level}", label)


def _rights(cluster: Cluster, place: Place, _subject: Subject) -> Finding:
    """Every verb that the shipped Role grants, asked of the cluster one by one."""
    wishes = [(group, resource, verb) for group, resource, verbs in RIGHTS for verb in verbs]
    with ThreadPoolExecutor(8, "rights") as threads:
        answers = list(threads.map(lambda wish: may(cluster, _attributes(place, *wish)), wishes))
    missing = [f"{verb} {resource}" for (_, resource, verb), yes in zip(wishes, answers, strict=True) if not yes]
    if not missing:
        return _finding("rights", "pass", f"all {len(wishes)} that are needed in {place.namespace}")
    shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    return _finding("rights", "fail", f"missing in {place.namespace}: {shown}", _ROLE)


def _attributes(place: Place, group: str, resource: str, verb: str) -> dict[str, str]:
    resource, _, part = resource.partition("/")
    found = {"namespace": place.namespace, "group": group, "resource": resource, "verb": verb}
    return {**found, "subresource": part} if part else found


def _quota(cluster: Cluster, place: Place, subject: Subject) -> Finding:
    """One more replica fits into the namespace's quotas."""
    if subject.instance is None:
        return _finding("quota", "warn", "no instance type is named")
    quotas = cluster.find("ResourceQuota", place.namespace)
    pool = capacity.pool(subject.instance, None, quotas)
    if pool.quota_free is None:
        return _finding("quota", "pass", f"{place.namespace} has none that counts")
    sentence = f"{pool.quota_free} more {subject.instance.name} fit ({pool.quota_detail})"
    if pool.quota_free:
        return _finding("quota", "pass", sentence)
    step = f"kubectl -n {place.namespace} describe resourcequota     (a larger one, or fewer replicas)"
    return _finding("quota", "warn", sentence, step)


def _node_pool(cluster: Cluster, _place: Place, subject: Subject) -> Finding:
    """Nodes of the instance type are there, ready, and have room."""
    if subject.instance is None:
        return _finding(
            "node pool", "fail", "the target's instance type is not defined", "ridgeway settings instance_types"
        )
    nodes = looking.see_nodes(cluster, ())
    pool = capacity.pool(subject.instance, nodes)
    if pool.machines is None:
        step = "kubectl apply -f templates/kubernetes/capacity-reader.yaml     (optional)"
        return _finding("node pool", "warn", "free capacity is not known: no right to read nodes", step)
    if not pool.machines:
        step = f"kubectl get nodes --show-labels     and     ridgeway settings instance_types.{subject.instance.name}"
        return _finding("node pool", "fail", pool.detail, step)
    free = capacity.free_replicas(pool) or 0
    sentence = f"{free} more {subject.instance.name} fit ({pool.detail})"
    if free:
        return _finding("node pool", "pass", sentence)
    return _finding("node pool", "warn", sentence, "a roll-out goes in place, one replica after the other")


def _pull(cluster: Cluster, place: Place, subject: Subject) -> Finding:
    """A node of the pool really pulls the image, by digest, and starts a process in it."""
    if not subject.image or subject.instance is None:
        return _finding("pull", "pass", "no image yet that could be pulled")
    pod = _pull_pod(place, subject.image, subject.instance)
    name = pod["metadata"]["name"]
    cluster.create("Pod", place.namespace, pod)
    try:
        return _pulled(cluster, place, name, subject.image)
    finally:
        with contextlib.suppress(RidgewayError):
            cluster.delete("Pod", place.namespace, name, gracePeriodSeconds=0)


def _pull_pod(place: Place, image: str, instance: InstanceType) -> Json:
    """A pod on the instance type's nodes that ends at once; without a device, so that a full pool can be tried too."""
    small = {"cpu": "10m", "memory": "64Mi"}
    labels = {**place.labels, "app.kubernetes.io/component": "preflight"}
    container = {
        "name": "pull",
        "image": image,
        "imagePullPolicy": "Always",
        "command": ["python", "-c", ""],
        "resources": {"requests": small, "limits": {**small, "cpu": "500m"}},
        "securityContext": container_security(),
    }
    spec = {
        **pod_basics(instance),
        "restartPolicy": "Never",
        "activeDeadlineSeconds": int(PULL_SECONDS),
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
    }
    name = f"{place.object_name}-pull-{secrets.token_hex(3)}"
    metadata = {"name": name, "namespace": place.namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _pulled(cluster: Cluster, place: Place, name: str, image: str) -> Finding:
    deadline, seen_at, line = time.monotonic() + PULL_SECONDS, 0.0, ""
    while time.monotonic() < deadline:
        pod = cluster.get("Pod", place.namespace, name)
        if pod is None:
            return _finding("pull", "fail", "the pod that tried it was deleted by someone", "the same command again")
        status = pod.get("status", {})
        state = (status.get("containerStatuses") or [{}])[0].get("state", {})
        if state.get("terminated"):
            return _started(state, pod, image)
        trouble = pod_trouble(pod)
        if trouble is not None:
            seen_at, line = (seen_at, line) if line == trouble.line else (time.monotonic(), trouble.line)
            if trouble.sure or time.monotonic() - seen_at > 4:
                step = f"kubectl -n {place.namespace} get events     (image, registry, pull secret, nodes)"
                return _finding("pull", "fail", trouble.line, step)
        time.sleep(0.1)
    return _finding("pull", "fail", f"no node had pulled {image} after {PULL_SECONDS:.0f} s", "ridgeway list targets")


def _started(state: dict[str, Any], pod: Json, image: str) -> Finding:
    node = pod["spec"].get("nodeName", "")
    ended = state.get("terminated")
    if ended and ended.get("exitCode"):
        message = ended.get("message") or ended.get("reason", "")
        sentence = f"{image} was pulled by {node}, but its Python does not start: {message}"
        return _finding("pull", "fail", sentence, "build the image anew for the node's processor")
    return _finding("pull", "pass", f"{node} pulls {image.partition('@')[2][:19]}… and starts it")


def _service(cluster: Cluster, place: Place, _subject: Subject) -> Finding:
    """What the Service leads to, if the endpoint is there."""
    service = cluster.get("Service", place.namespace, place.object_name)
    if service is None:
        return _finding("service", "pass", "nothing is deployed yet")
    query = {"labelSelector": f"kubernetes.io/service-name={place.object_name}"}
    slices = cluster.request("GET", path_to("EndpointSlice", place.namespace), query=query).get("items") or ()
    ready = [one for piece in slices for one in piece.get("endpoints") or () if one.get("conditions", {}).get("ready")]
    if ready:
        return _finding("service", "pass", f"leads to {len(ready)} ready replicas")
    return _finding("service", "warn", "leads to no ready replica", f"ridgeway show {place.target}")


def _keys(cluster: Cluster, place: Place, subject: Subject) -> Finding:
    """The keys that clients send are there, where they are asked for."""
    if subject.access != "keys":
        return _finding("keys", "pass", "none are asked for")
    secret = cluster.get("Secret", place.namespace, place.keys_secret)
    if secret is None:
        return _finding("keys", "pass", "made by the first deployment")
    missing = [name for name in ("primary", "secondary") if not (secret.get("data") or {}).get(name)]
    if not missing:
        return _finding("keys", "pass", f"Secret {place.keys_secret} holds primary and secondary")
    step = f"kubectl -n {place.namespace} delete secret {place.keys_secret}     then     ridgeway keys {place.target}"
    return _finding("keys", "fail", f"Secret {place.keys_secret} lacks {' and '.join(missing)}", step)


_CHECKS: tuple[tuple[Check, bool], ...] = (
    (_api_server, True),
    (_namespace, True),
    (_rights, True),
    (_quota, False),
    (_node_pool, False),
    (_pull, False),
    (_service, False),
    (_keys, False),
)
"""Each with whether the ones after it need it."""
