"""Keys and certificate of an endpoint, in Secrets: made, changed, and taken up by every replica."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import time
from pathlib import Path
from typing import Any, Literal

from ridgeway.artifacts import Deployment
from ridgeway.errors import Permanent, Transient, UsageError
from ridgeway.targets.access_keys import new_key
from ridgeway.targets.interface import Keys, Say
from ridgeway.targets.kubernetes import diagnosis
from ridgeway.targets.kubernetes.connection import Cluster, Json, Refused, path_to, patiently
from ridgeway.targets.kubernetes.manifests import PORT
from ridgeway.targets.kubernetes.naming import CERTIFICATE, TOUCHED, Place

ROTATION_SECONDS = 150.0
"""A kubelet that does not heed the nudge looks at Secrets by itself within about a minute and a half."""
_NUDGE_SECONDS = 3.0
_PROVEN = 3
"""Answers in a row that a replica must give: its workers hear of a key within milliseconds of each other."""


def read_keys(cluster: Cluster, place: Place) -> Keys | None:
    """The keys, or None where there are none."""
    return _keys(cluster.get("Secret", place.namespace, place.keys_secret))


def ensure_keys(cluster: Cluster, place: Place) -> Keys:
    """The keys, made if there are none; of two that make them at the same time, both get the first one's."""
    for _ in range(3):
        found = read_keys(cluster, place)
        if found is not None:
            return found
        with contextlib.suppress(Refused):
            cluster.create("Secret", place.namespace, _keys_secret(place))
            continue
        if read_keys(cluster, place) is None:
            # Refused for another reason than being there already: let that be told.
            cluster.create("Secret", place.namespace, _keys_secret(place))
    raise Permanent(
        f"keys of {place.object_name}: the Secret holds no keys",
        where=f"Secret {place.keys_secret} in namespace {place.namespace}",
        expected="entries primary and secondary",
        next_step=f"kubectl -n {place.namespace} delete secret {place.keys_secret}     then the same command",
    )


def _keys_secret(place: Place) -> Json:
    metadata = {"name": place.keys_secret, "namespace": place.namespace, "labels": place.labels}
    data = {"primary": _encoded(new_key()), "secondary": _encoded(new_key())}
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": data}


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _keys(secret: Json | None) -> Keys | None:
    data = (secret or {}).get("data") or {}
    if not {"primary", "secondary"} <= set(data):
        return None
    return Keys(*(base64.b64decode(data[name]).decode().strip() for name in ("primary", "secondary")))


def rotate(cluster: Cluster, place: Place, which: Literal["primary", "secondary"], *, tls: bool, say: Say) -> Keys:
    """The keys with a new one in that place, once every replica takes it; the other one is valid all the time.

    Raises:
        UsageError: There are no keys.
        Transient: Not every replica has taken it up in time; it will, and the key is the new one.
    """
    secret = cluster.get("Secret", place.namespace, place.keys_secret)
    if secret is None or _keys(secret) is None:
        raise UsageError(f"{place.object_name} has no keys", next_step="ridgeway run release MODEL")
    _require_proxy(cluster, place)
    secret["data"][which] = _encoded(new_key())
    cluster.replace("Secret", secret)  # With its resourceVersion: two rotations at once would lose one key.
    say(f"the {which} key is new; waiting until every replica takes it")
    keys = _keys(secret)
    assert keys is not None
    _until_taken(cluster, place, getattr(keys, which), tls=tls, say=say)
    return keys


def _require_proxy(cluster: Cluster, place: Place) -> None:
    """Asked before anything is changed: without it nobody could tell when the replicas have taken the key."""
    attributes = {"namespace": place.namespace, "verb": "get", "resource": "pods", "subresource": "proxy"}
    if not may(cluster, attributes):
        raise Permanent(
            "rotate: no right to ask the replicas",
            where=f"namespace {place.namespace}, get pods/proxy",
            expected="to be able to ask each replica whether it takes the new key",
            next_step="let operations apply templates/kubernetes/deployer.yaml",
        )


def may(cluster: Cluster, attributes: dict[str, str]) -> bool:
    """Whether we have a right, as the cluster itself says."""
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = cluster.request("POST", "apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=body)
    return bool(answer.get("status", {}).get("allowed"))


def _until_taken(cluster: Cluster, place: Place, key: str, *, tls: bool, say: Say) -> None:
    deadline, nudged, taken = time.monotonic() + ROTATION_SECONDS, 0.0, set[str]()
    while time.monotonic() < deadline:
        pods = patiently(
            lambda: cluster.find("Pod", place.namespace, labelSelector=place.pod_query), seconds=ROTATION_SECONDS
        )
        serving = [pod for pod in pods if diagnosis.is_ready(pod)]
        waiting = [pod for pod in serving if pod["metadata"]["name"] not in taken]
        for pod in waiting:
            if _takes(cluster, place, pod, key, tls=tls):
                taken.add(pod["metadata"]["name"])
                say(f"{pod['metadata']['name']} takes it")
        if all(pod["metadata"]["name"] in taken for pod in serving):
            return
        if time.monotonic() - nudged > _NUDGE_SECONDS:
            nudge(cluster, place, [pod for pod in waiting if pod["metadata"]["name"] not in taken])
            nudged = time.monotonic()
        time.sleep(0.1)
    raise Transient(
        f"{place.object_name}: not every replica has taken the new key yet",
        problem=f"{ROTATION_SECONDS:.0f} s have passed",
        next_step=f"kubectl -n {place.namespace} get pods     (the key is in the Secret; they will take it)",
    )


def nudge(cluster: Cluster, place: Place, pods: list[Json]) -> None:
    """Has the kubelet look at the Secrets of these pods now; a changed annotation makes it synchronize the pod."""
    patch = {"metadata": {"annotations": {TOUCHED: f"{time.time():.3f}"}}}
    for pod in pods:
        with contextlib.suppress(Refused, Transient):
            cluster.merge("Pod", place.namespace, pod["metadata"]["name"], patch)


def _takes(cluster: Cluster, place: Place, pod: Json, key: str, *, tls: bool) -> bool:
    scheme = "https:" if tls else ""
    path = f"{path_to('Pod', place.namespace)}/{scheme}{pod['metadata']['name']}:{PORT}/proxy/v2"
    try:
        # The API server keeps the Authorization header to itself; the server takes a key by this one as well.
        return all(cluster.request("GET", path, headers={"X-Api-Key": key}) for _ in range(_PROVEN))
    except (Permanent, Transient):
        return False


# ---- the certificate -------------------------------------------------------------------------------------------------


def certificate_digest(certificate: Path) -> str:
    """``sha256:…`` of the certificate's file; empty where it cannot be read."""
    try:
        return f"sha256:{hashlib.sha256(certificate.read_bytes()).hexdigest()}"
    except OSError:
        return ""


def certificate_manifest(deployment: Deployment, place: Place, root: Path) -> Json:
    """The Secret with certificate and private key, read from their files.

    Raises:
        UsageError: A file cannot be read.
    """
    data: dict[str, Any] = {}
    for entry, name in (("tls.crt", deployment.certificate), ("tls.key", deployment.certificate_key)):
        try:
            data[entry] = base64.b64encode((root / name).read_bytes()).decode()
        except OSError as error:
            raise UsageError(
                "the certificate cannot be read",
                where=f"targets.{place.target}.tls, {name}",
                problem=str(error.strerror),
                expected="PEM files with the certificate's chain and its private key",
            ) from error
    metadata = {
        "name": place.tls_secret,
        "namespace": place.namespace,
        "labels": place.labels,
        "annotations": {CERTIFICATE: certificate_digest(root / deployment.certificate)},
    }
    return {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": data}
