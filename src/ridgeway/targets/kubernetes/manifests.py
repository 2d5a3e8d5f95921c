"""The objects that an endpoint consists of, as literal dictionaries. Pure: no cluster, clock or files.

The pod template holds only what runs: a new release of the same image and machine leaves it, and so the pods, alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ridgeway.artifacts import Deployment, InstanceType
from ridgeway.targets.kubernetes.naming import (
    DEPLOYMENT,
    GAP_SECONDS,
    MODEL,
    RELEASE,
    Place,
)
from ridgeway.targets.kubernetes.quantities import cpu_quantity, memory_quantity
from ridgeway.targets.remembered import as_text
from ridgeway.targets.server_settings import server_settings

Manifest = dict[str, Any]

PORT, HEALTH_PORT = 8080, 8081
USER = 65532
"""Numeric, as Pod Security `restricted` wants to see it proven; the one that our images are made for."""
KEYS_FOLDER, TLS_FOLDER = "/etc/ridgeway/keys", "/etc/ridgeway/tls"
PRE_STOP_SECONDS = 2
"""Between being taken off the endpoints and SIGTERM: every node's proxy has heard of it by then, or is covered by the
server's own drain, which goes on answering."""
DRAIN_SECONDS, DRAIN_LIMIT_SECONDS = 3.0, 30.0
START_SECONDS = 300
"""A server that has not started by then is restarted: large models on a small share of a processor take minutes."""
_NODE_PORTS = range(30000, 32768)


@dataclass(frozen=True, slots=True)
class Shape:
    """What of the manifests depends on how the cluster was found, and not on the deployment alone."""

    max_surge: int | str = "25%"
    max_unavailable: int | str = 0
    gap_seconds: float = 0.0
    replicas: int | None = None
    """Left to the deployment where None."""
    autoscaled: bool = False
    """An autoscaler owns the number of replicas: it is left out, or repeated as it is where we still own the field."""


def manifests(deployment: Deployment, place: Place, shape: Shape = Shape()) -> list[Manifest]:
    """Every object of the endpoint but its Secrets, in the order in which they are applied.

    Args:
        deployment: What the endpoint shall be.
        place: Namespace and names.
        shape: How the roll-out goes, and whether an autoscaler owns the number of replicas.

    Returns:
        ServiceAccount, NetworkPolicy, Service, PodDisruptionBudget, Deployment; the keys' and the certificate's Secret
        are named in them and never in here.
    """
    return [
        _service_account(place),
        _network_policy(place),
        _service(deployment, place),
        _disruption_budget(place),
        _deployment(deployment, place, shape),
    ]


def _object(place: Place, api: str, kind: str, **parts: Any) -> Manifest:
    metadata = {"name": place.object_name, "namespace": place.namespace, "labels": place.labels}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **parts}


def _service_account(place: Place) -> Manifest:
    return _object(place, "v1", "ServiceAccount", automountServiceAccountToken=False)


def _network_policy(place: Place) -> Manifest:
    """Clients may reach the serving port, the inside of the cluster the metrics; the server itself calls nobody."""
    ingress = [
        {"ports": [{"port": PORT, "protocol": "TCP"}]},
        {"ports": [{"port": HEALTH_PORT, "protocol": "TCP"}], "from": [{"namespaceSelector": {}}]},
    ]
    spec = {"podSelector": {"matchLabels": place.selector}, "policyTypes": ["Ingress", "Egress"], "ingress": ingress}
    return _object(place, "networking.k8s.io/v1", "NetworkPolicy", spec=spec)


def _service(deployment: Deployment, place: Place) -> Manifest:
    scheme = "https" if deployment.certificate else "http"
    port: dict[str, Any] = {
        "name": scheme,
        "port": 443 if deployment.certificate else 80,
        "targetPort": "serving",
        "protocol": "TCP",
        "appProtocol": scheme,
    }
    declared = urlsplit(deployment.address).port if deployment.address else None
    if deployment.expose == "NodePort" and declared in _NODE_PORTS:
        port["nodePort"] = declared
    spec = {"type": deployment.expose, "selector": place.selector, "ports": [port]}
    return _object(place, "v1", "Service", spec=spec)


def _disruption_budget(place: Place) -> Manifest:
    # One at a time, and never a pod that does not serve anyway: a node must be drainable with a single replica too.
    spec = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": place.selector},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return _object(place, "policy/v1", "PodDisruptionBudget", spec=spec)


def _deployment(deployment: Deployment, place: Place, shape: Shape) -> Manifest:
    replicas = shape.replicas if shape.autoscaled else deployment.replicas
    spec: dict[str, Any] = {
        **({} if replicas is None else {"replicas": replicas}),
        "revisionHistoryLimit": 5,
        "progressDeadlineSeconds": max(2, int(deployment.deadline_seconds)),
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": shape.max_surge, "maxUnavailable": shape.max_unavailable},
        },
        "selector": {"matchLabels": place.selector},
        "template": _template(deployment, place),
    }
    found = _object(place, "apps/v1", "Deployment", spec=spec)
    found["metadata"]["labels"] = {**place.labels, "app.kubernetes.io/version": _version(deployment)}
    found["metadata"]["annotations"] = {
        DEPLOYMENT: as_text(deployment),
        GAP_SECONDS: f"{shape.gap_seconds:g}",
        MODEL: deployment.image.model,
        RELEASE: deployment.release,
    }
    return found


def _version(deployment: Deployment) -> str:
    return deployment.image.digest.removeprefix("sha256:")[:12]


def _template(deployment: Deployment, place: Place) -> Manifest:
    return {
        "metadata": {"labels": {**place.labels, "app.kubernetes.io/version": _version(deployment)}},
        "spec": {
            **pod_basics(deployment.instance),
            "serviceAccountName": place.object_name,
            "terminationGracePeriodSeconds": stop_seconds(deployment),
            "topologySpreadConstraints": [_spread(place, key) for key in _SPREAD_KEYS],
            "containers": [_container(deployment)],
            "volumes": _volumes(deployment, place),
        },
    }


_SPREAD_KEYS = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")


def pod_basics(instance: InstanceType) -> Manifest:
    """The part of a pod that says where it may run, as whom, and that it holds no token."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"nodeSelector": dict(instance.node_selector)} if instance.node_selector else {}),
        **({"tolerations": [dict(one) for one in instance.tolerations]} if instance.tolerations else {}),
    }


def container_security() -> Manifest:
    """What a container may not do: everything that Pod Security `restricted` forbids, and writing its own disk."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _spread(place: Place, key: str) -> Manifest:
    # Replicas of one generation: during a roll-out the old ones must not push the new ones together.
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": place.selector},
        "matchLabelKeys": ["pod-template-hash"],
    }


def resources(instance: InstanceType) -> dict[str, str]:
    """What one replica requests, and may take at most."""
    return {
        "cpu": cpu_quantity(instance.cpu),
        "memory": memory_quantity(instance.memory_mib),
        **{name: str(count) for name, count in sorted(instance.gpus.items()) if count},
    }


def _container(deployment: Deployment) -> Manifest:
    mounts = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - a folder of the container
    if deployment.access == "keys":
        mounts.append({"name": "keys", "mountPath": KEYS_FOLDER, "readOnly": True})  # type: ignore[dict-item]
    if deployment.certificate:
        mounts.append({"name": "tls", "mountPath": TLS_FOLDER, "readOnly": True})  # type: ignore[dict-item]
    return {
        "name": COMPONENT_NAME,
        "image": deployment.image.handle,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": name, "value": value} for name, value in sorted(_environment(deployment).items())],
        "ports": [
            {"name": "serving", "containerPort": PORT, "protocol": "TCP"},
            {"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"},
        ],
        "resources": {"requests": resources(deployment.instance), "limits": resources(deployment.instance)},
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "startupProbe": _asked("/v2/health/ready", period=1, failures=START_SECONDS),
        "readinessProbe": _asked("/v2/health/ready", period=1, failures=2),
        "livenessProbe": _asked("/v2/health/live", period=10, failures=3),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        "volumeMounts": mounts,
    }


COMPONENT_NAME = "server"


def _asked(path: str, *, period: int, failures: int) -> Manifest:
    # All three ask the supervisor's port: it answers whatever the workers parse, and knows whether they serve.
    return {
        "httpGet": {"path": path, "port": "health", "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }


def _environment(deployment: Deployment) -> dict[str, str]:
    """The server's settings; where the models are is the image's own business.

    Raises:
        UsageError: One was asked for that the server does not have, or that the target decides.
    """
    values: dict[str, Any] = {
        "drain_seconds": DRAIN_SECONDS,
        "drain_limit_seconds": DRAIN_LIMIT_SECONDS,
        **server_settings(deployment),
        "host": "0.0.0.0",  # noqa: S104 - inside a pod
        "port": PORT,
        "health_port": HEALTH_PORT,
        "image": deployment.image.digest,
        "access": deployment.access,
    }
    if deployment.access == "keys":
        values["keys_dir"] = KEYS_FOLDER
    if deployment.certificate:
        values |= {"tls_certificate": f"{TLS_FOLDER}/tls.crt", "tls_key": f"{TLS_FOLDER}/tls.key"}
    return {f"RIDGEWAY_SERVER_{name.upper()}": _text(value) for name, value in values.items()}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _volumes(deployment: Deployment, place: Place) -> list[Manifest]:
    found: list[Manifest] = [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}]
    if deployment.access == "keys":
        found.append({"name": "keys", "secret": {"secretName": place.keys_secret, "defaultMode": 0o440}})
    if deployment.certificate:
        found.append({"name": "tls", "secret": {"secretName": place.tls_secret, "defaultMode": 0o440}})
    return found


def stop_seconds(deployment: Deployment) -> int:
    """The most that a replica takes to go: off the endpoints, drained, its open requests finished.

    The cluster ends it by force after this.
    """
    drain = float(deployment.server.get("drain_seconds", DRAIN_SECONDS))
    limit = float(deployment.server.get("drain_limit_seconds", DRAIN_LIMIT_SECONDS))
    return int(PRE_STOP_SECONDS + drain + limit + 5)
