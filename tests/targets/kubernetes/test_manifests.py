"""The objects as literal dictionaries; what changes pods and what does not; the plan without any cluster."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from ridgeway.artifacts import Deployment, Image, InstanceType
from ridgeway.errors import UsageError
from ridgeway.targets import Observed
from ridgeway.targets.kubernetes import KubernetesTarget, checks, manifests
from ridgeway.targets.kubernetes.connection import Cluster
from ridgeway.targets.kubernetes.manifests import manifests as at
from ridgeway.targets.kubernetes.naming import Place
from ridgeway.targets.remembered import as_text
from tests.targets.kubernetes.conftest import GPU_SMALL, ROOT, SETTINGS, Bed, Lab, project_in

IMAGE = Image("registry/toy", "sha256:" + "9c41" * 16, "models:/toy/1", "sha256:1", "", "")
PLACE = Place("prod", "toy", "production")
LABELS = {
    "app.kubernetes.io/name": "toy",
    "app.kubernetes.io/instance": "toy-production",
    "app.kubernetes.io/component": "scoring",
    "app.kubernetes.io/part-of": "toy",
    "app.kubernetes.io/managed-by": "ridgeway",
}
SELECTOR = {key: LABELS[key] for key in list(LABELS)[:3]}
WANTED = Deployment(
    "production", "kubernetes", "toy", IMAGE, "releases:/toy/1", GPU_SMALL, replicas=2, expose="NodePort"
)


def of(kind: str, deployment: Deployment = WANTED) -> dict[str, Any]:
    return next(one for one in at(deployment, PLACE) if one["kind"] == kind)


def test_the_deployment_as_a_whole() -> None:
    health = {"port": "health", "scheme": "HTTP"}
    resources = {"cpu": "250m", "memory": "256Mi", "nvidia.com/gpu": "1"}
    labels = {**LABELS, "app.kubernetes.io/version": "9c419c419c41"}
    spread = {
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": SELECTOR},
        "matchLabelKeys": ["pod-template-hash"],
    }
    environment = {
        "ACCESS": "keys",
        "DRAIN_LIMIT_SECONDS": "30.0",
        "DRAIN_SECONDS": "3.0",
        "HEALTH_PORT": "8081",
        "HOST": "0.0.0.0",
        "IMAGE": IMAGE.digest,
        "KEYS_DIR": "/etc/ridgeway/keys",
        "PORT": "8080",
    }
    assert of("Deployment") == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "toy-production",
            "namespace": "prod",
            "labels": labels,
            "annotations": {
                "ridgeway.dev/deployment": as_text(WANTED),
                "ridgeway.dev/gap-seconds": "0",
                "ridgeway.dev/model": "models:/toy/1",
                "ridgeway.dev/release": "releases:/toy/1",
            },
        },
        "spec": {
            "replicas": 2,
            "revisionHistoryLimit": 5,
            "progressDeadlineSeconds": 300,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "selector": {"matchLabels": SELECTOR},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "fsGroup": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "nodeSelector": {"pool": "gpu"},
                    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
                    "serviceAccountName": "toy-production",
                    "terminationGracePeriodSeconds": 40,
                    "topologySpreadConstraints": [
                        {**spread, "topologyKey": "topology.kubernetes.io/zone"},
                        {**spread, "topologyKey": "kubernetes.io/hostname"},
                    ],
                    "containers": [
                        {
                            "name": "server",
                            "image": IMAGE.handle,
                            "imagePullPolicy": "IfNotPresent",
                            "env": [
                                {"name": f"RIDGEWAY_SERVER_{name}", "value": value}
                                for name, value in environment.items()
                            ],
                            "ports": [
                                {"name": "serving", "containerPort": 8080, "protocol": "TCP"},
                                {"name": "health", "containerPort": 8081, "protocol": "TCP"},
                            ],
                            "resources": {"requests": resources, "limits": resources},
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "startupProbe": {
                                "httpGet": {"path": "/v2/health/ready", **health},
                                "periodSeconds": 1,
                                "timeoutSeconds": 2,
                                "failureThreshold": 300,
                            },
                            "readinessProbe": {
                                "httpGet": {"path": "/v2/health/ready", **health},
                                "periodSeconds": 1,
                                "timeoutSeconds": 2,
                                "failureThreshold": 2,
                            },
                            "livenessProbe": {
                                "httpGet": {"path": "/v2/health/live", **health},
                                "periodSeconds": 10,
                                "timeoutSeconds": 2,
                                "failureThreshold": 3,
                            },
                            "lifecycle": {"preStop": {"sleep": {"seconds": 2}}},
                            "volumeMounts": [
                                {"name": "tmp", "mountPath": "/tmp"},
                                {"name": "keys", "mountPath": "/etc/ridgeway/keys", "readOnly": True},
                            ],
                        }
                    ],
                    "volumes": [
                        {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
                        {"name": "keys", "secret": {"secretName": "toy-production-keys", "defaultMode": 0o440}},
                    ],
                },
            },
        },
    }


def test_the_objects_around_it() -> None:
    metadata = {"name": "toy-production", "namespace": "prod", "labels": LABELS}
    pods = {"matchLabels": SELECTOR}
    assert [one for one in at(WANTED, PLACE) if one["kind"] != "Deployment"] == [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata,
            "automountServiceAccountToken": False,
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": metadata,
            "spec": {
                "podSelector": pods,
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [
                    {"ports": [{"port": 8080, "protocol": "TCP"}]},
                    {"ports": [{"port": 8081, "protocol": "TCP"}], "from": [{"namespaceSelector": {}}]},
                ],
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "type": "NodePort",
                "selector": SELECTOR,
                "ports": [
                    {"name": "http", "port": 80, "targetPort": "serving", "protocol": "TCP", "appProtocol": "http"}
                ],
            },
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata,
            "spec": {"maxUnavailable": 1, "selector": pods, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
        },
    ]


@pytest.mark.parametrize(
    ("change", "restarts"),
    [
        ({"release": "releases:/toy/2"}, False),
        ({"deadline_seconds": 10}, False),
        ({"when_full": "refuse"}, False),
        ({"replicas": 3}, False),
        ({"expose": "ClusterIP"}, False),
        ({"address": "https://toy.example"}, False),
        ({"image": dataclasses.replace(IMAGE, digest="sha256:0")}, True),
        ({"server": {"workers": 2}}, True),
        ({"access": "none"}, True),
        ({"instance": InstanceType("cpu-small", 1, 512)}, True),
    ],
)
def test_pods_are_restarted_only_by_what_runs(change: dict[str, Any], restarts: bool) -> None:
    before, after = of("Deployment"), of("Deployment", dataclasses.replace(WANTED, **change))
    assert (before["spec"]["template"] != after["spec"]["template"]) is restarts


def test_tls_and_a_declared_port() -> None:
    secure = dataclasses.replace(
        WANTED, certificate="tls.crt", certificate_key="tls.key", address="https://127.0.0.1:30443"
    )
    port = of("Service", secure)["spec"]["ports"][0]
    assert (port["name"], port["port"], port["nodePort"]) == ("https", 443, 30443)
    assert {"name": "tls", "secret": {"secretName": "toy-production-tls", "defaultMode": 0o440}} in of(
        "Deployment", secure
    )["spec"]["template"]["spec"]["volumes"]


def test_a_server_setting_that_there_is_not() -> None:
    with pytest.raises(UsageError, match=r"targets\.production\.server\.worker"):
        at(dataclasses.replace(WANTED, server={"worker": 2}), PLACE)


def test_names_fit_into_labels() -> None:
    long = Place("prod", "a" * 63, "production")
    assert len(long.object_name) <= 52
    assert long.object_name != Place("prod", "a" * 63, "qa").object_name


# ---- without a cluster -----------------------------------------------------------------------------------------------


class Nowhere(Cluster):
    """Nothing may be asked."""

    def _connected(self) -> Any:
        raise AssertionError("the cluster was asked")


def test_manifests_and_plan_need_no_cluster(tmp_path: Path) -> None:
    project = project_in(tmp_path, "prod", SETTINGS)
    objects = manifests(project, WANTED)
    assert list(yaml.safe_load_all(yaml.safe_dump_all(objects))) == objects
    target = KubernetesTarget(project, PLACE, Nowhere())
    from ridgeway.artifacts import Endpoint

    plan = target.plan(WANTED, Observed(Endpoint("production", "kubernetes", "toy", "absent"), None))
    assert [action.verb for action in plan.actions] == ["create"] * 6
    assert plan.strategy == "first"
    assert plan.notes == ("gpu-small: free capacity is not known (no right to read nodes)",)


@pytest.mark.kubernetes
def test_the_cluster_takes_them_as_they_are_printed(bed: Bed, tmp_path: Path, lab: Lab) -> None:
    """And without a warning of Pod Security."""
    printed = yaml.safe_dump_all(manifests(project_in(tmp_path, bed.namespace), WANTED))
    said = lab.kubectl("apply", "--dry-run=server", "-f", "-", stdin=printed, fails=True)
    assert len(said.splitlines()) == 5, said
    assert all("created (server dry run)" in line for line in said.splitlines())


def test_the_shipped_role_grants_what_the_preflight_asks_for() -> None:
    """Neither more nor less, but for measured memory and the namespace itself."""
    role = next(
        one
        for one in yaml.safe_load_all((ROOT / "templates/kubernetes/deployer.yaml").read_text())
        if one["kind"] == "Role"
    )
    granted = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    beside = {("metrics.k8s.io", "pods", "get"), ("metrics.k8s.io", "pods", "list"), ("", "namespaces", "get")}
    asked = {(group, resource, verb) for group, resource, verbs in checks.RIGHTS for verb in verbs}
    assert granted - beside == asked
