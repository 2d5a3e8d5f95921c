"""The objects of a job, compared with literal ones, and what is read of their states."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ridgeway.artifacts import InstanceType
from ridgeway.targets.kubernetes import job_manifests, job_states
from ridgeway.targets.kubernetes.job_manifests import JobLimits, JobRequest
from ridgeway.targets.kubernetes.job_states import JobEnd, KnownJob, Obstacle, PodEnd

GPU = InstanceType(
    "gpu-small", 1.5, 1024, {"nvidia.com/gpu": 1}, {"pool": "gpu"}, ({"key": "nvidia.com/gpu", "operator": "Exists"},)
)
REQUEST = JobRequest(
    "diabetes-retraining-1",
    "prod",
    "diabetes",
    "registry.example/diabetes@sha256:1",
    GPU,
    ('{"flow": "retraining"}',),
    {"RIDGEWAY_REGISTRY__URI": "http://10.0.0.1:5050"},
    ("MLFLOW_TRACKING_PASSWORD",),
    JobLimits(deadline_seconds=600, retries=2, keep_seconds=60, disk_mib=512),
    "puller",
    '{"pid": 1}',
    "3f2a",
)
LABELS = {
    "app.kubernetes.io/name": "diabetes",
    "app.kubernetes.io/instance": "diabetes-retraining-1",
    "app.kubernetes.io/component": "job",
    "app.kubernetes.io/part-of": "diabetes",
    "app.kubernetes.io/managed-by": "ridgeway",
}
RESOURCES = {"cpu": "1500m", "memory": "1Gi", "nvidia.com/gpu": "1"}


def test_the_job() -> None:
    assert job_manifests.job(REQUEST) == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "diabetes-retraining-1",
            "namespace": "prod",
            "labels": LABELS,
            "annotations": {"ridgeway.dev/owner": '{"pid": 1}', "ridgeway.dev/run": "3f2a"},
        },
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 2,
            "activeDeadlineSeconds": 600,
            "ttlSecondsAfterFinished": 60,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": "job",
                            "operator": "NotIn",
                            "values": [75, 130, 137, 143, 255],
                        },
                    },
                ]
            },
            "template": {
                "metadata": {"labels": LABELS},
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
                    "tolerations": [
                        {"key": "nvidia.com/gpu", "operator": "Exists"},
                        {
                            "key": "node.kubernetes.io/not-ready",
                            "operator": "Exists",
                            "effect": "NoExecute",
                            "tolerationSeconds": 20,
                        },
                        {
                            "key": "node.kubernetes.io/unreachable",
                            "operator": "Exists",
                            "effect": "NoExecute",
                            "tolerationSeconds": 20,
                        },
                    ],
                    "serviceAccountName": "puller",
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": 20,
                    "containers": [
                        {
                            "name": "job",
                            "image": "registry.example/diabetes@sha256:1",
                            "imagePullPolicy": "IfNotPresent",
                            "args": ['{"flow": "retraining"}'],
                            "env": [
                                {"name": "OMP_NUM_THREADS", "value": "1"},
                                {"name": "OPENBLAS_NUM_THREADS", "value": "1"},
                                {"name": "RIDGEWAY_REGISTRY__URI", "value": "http://10.0.0.1:5050"},
                                {
                                    "name": "MLFLOW_TRACKING_PASSWORD",
                                    "valueFrom": {
                                        "secretKeyRef": {
                                            "name": "diabetes-retraining-1",
                                            "key": "MLFLOW_TRACKING_PASSWORD",
                                        }
                                    },
                                },
                            ],
                            "resources": {"requests": RESOURCES, "limits": RESOURCES},
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "volumeMounts": [
                                {"name": "tmp", "mountPath": "/tmp"},
                                {"name": "state", "mountPath": "/project/.ridgeway"},
                            ],
                        }
                    ],
                    "volumes": [
                        {"name": "tmp", "emptyDir": {"sizeLimit": "512Mi"}},
                        {"name": "state", "emptyDir": {"sizeLimit": "512Mi"}},
                    ],
                },
            },
        },
    }


def test_the_secret_belongs_to_the_job_and_is_the_only_place_of_its_values() -> None:
    assert job_manifests.secret(REQUEST, {"MLFLOW_TRACKING_PASSWORD": "quiet-river"}, "uid-1") == {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "immutable": True,
        "metadata": {
            "name": "diabetes-retraining-1",
            "namespace": "prod",
            "labels": LABELS,
            "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "Job", "name": "diabetes-retraining-1", "uid": "uid-1"}
            ],
        },
        "stringData": {"MLFLOW_TRACKING_PASSWORD": "quiet-river"},
    }


def test_a_plan_says_what_would_be_made() -> None:
    assert job_manifests.summary(REQUEST) == (
        "create Job diabetes-retraining-1 in namespace prod",
        "image registry.example/diabetes@sha256:1",
        "requests and limits cpu 1500m, memory 1Gi, nvidia.com/gpu 1; on pool=gpu; up to 512 MiB of disk",
        "at most 600 s; 2 more tries after a kill, none after an error",
        "taken away at its end; by the cluster itself 60 s later where nobody watches",
        "create Secret diabetes-retraining-1: MLFLOW_TRACKING_PASSWORD",
        "RIDGEWAY_REGISTRY__URI=http://10.0.0.1:5050",
    )


def test_a_machine_without_wishes_asks_for_none() -> None:
    plain = dataclasses.replace(REQUEST, instance=InstanceType("cpu-small", 1, 512), service_account="")
    pod = job_manifests.job(plain)["spec"]["template"]["spec"]
    assert "nodeSelector" not in pod
    assert "serviceAccountName" not in pod
    assert [one["key"] for one in pod["tolerations"]] == [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]


# ---- states ----------------------------------------------------------------------------------------------------------


def pod(phase: str = "Pending", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "gpu-1"},
        "status": {"phase": phase, **status},
    }


def ended(code: int, reason: str = "Error", message: str = "") -> list[dict[str, Any]]:
    return [{"name": "job", "state": {"terminated": {"exitCode": code, "reason": reason, "message": message}}}]


@pytest.mark.parametrize(
    ("found", "end"),
    [
        (pod("Running"), None),
        (pod("Succeeded", containerStatuses=ended(0, "Completed", "{}")), PodEnd("p", 0, "Completed", "{}")),
        (pod("Failed", containerStatuses=ended(137, "OOMKilled")), PodEnd("p", 137, "OOMKilled", "")),
        (
            pod(
                "Failed",
                containerStatuses=ended(130),
                conditions=[
                    {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "x"}
                ],
            ),
            PodEnd("p", 130, "Error", "", "EvictionByEvictionAPI: x"),
        ),
        (pod("Failed", reason="Evicted"), PodEnd("p", None, "Evicted", "")),
    ],
)
def test_how_a_pod_ended(found: dict[str, Any], end: PodEnd | None) -> None:
    assert job_states.pod_end(found) == end


@pytest.mark.parametrize(
    ("conditions", "end"),
    [
        ([], None),
        ([{"type": "FailureTarget", "status": "True"}], None),
        ([{"type": "Complete", "status": "True"}], JobEnd(True)),
        (
            [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "late"}],
            JobEnd(False, "DeadlineExceeded", "late"),
        ),
    ],
)
def test_how_a_job_ended(conditions: list[dict[str, Any]], end: JobEnd | None) -> None:
    assert job_states.job_end({"status": {"conditions": conditions}}) == end


def unscheduled(message: str) -> dict[str, Any]:
    found = pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}])
    del found["spec"]["nodeName"]
    return found


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return pod(containerStatuses=[{"name": "job", "state": {"waiting": {"reason": reason, "message": message}}}])


QUOTA = 'Error creating: pods "x" is forbidden: exceeded quota: endpoints, requested: cpu=9'
SECURITY = 'Error creating: pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged'


@pytest.mark.parametrize(
    ("found", "events", "obstacle"),
    [
        (None, [], None),
        (pod("Running", containerStatuses=[{"name": "job", "state": {"running": {}}}]), [], None),
        (waiting("ContainerCreating"), [], None),
        (
            unscheduled("0/2 nodes are available: 2 Insufficient nvidia.com/gpu."),
            [],
            Obstacle(
                "room", "Insufficient nvidia.com/gpu", "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.", 0
            ),
        ),
        (
            waiting("ImagePullBackOff", "manifest unknown: not found"),
            [],
            Obstacle("image", "ImagePullBackOff", "manifest unknown: not found", 0),
        ),
        (
            waiting("ErrImagePull", "connection refused"),
            [],
            Obstacle("image", "ErrImagePull", "connection refused", 12),
        ),
        (
            waiting("CreateContainerConfigError", 'secret "x" not found'),
            [],
            Obstacle("other", "CreateContainerConfigError", 'secret "x" not found', 15),
        ),
        (
            None,
            [{"reason": "FailedCreate", "message": QUOTA}],
            Obstacle("room", "exceeded quota", "exceeded quota: endpoints, requested: cpu=9", 0),
        ),
        (
            None,
            [{"reason": "FailedCreate", "message": SECURITY}],
            Obstacle("refused", "FailedCreate", 'violates PodSecurity "restricted:latest": privileged', 3),
        ),
    ],
)
def test_what_keeps_it_from_starting(
    found: dict[str, Any] | None, events: list[dict[str, Any]], obstacle: Obstacle | None
) -> None:
    assert job_states.obstacle(found, events) == obstacle


def test_where_a_pod_is() -> None:
    assert job_states.stage(None) == "waiting"
    assert job_states.stage(unscheduled("")) == "waiting"
    assert job_states.stage(waiting("ContainerCreating")) == "starting"
    assert job_states.stage(pod("Running", containerStatuses=[{"name": "job", "state": {"running": {}}}])) == "running"
    assert job_states.stage(pod("Failed", containerStatuses=ended(1))) == "over"


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ('Successfully pulled image "a" in 13.7s (13.7s including waiting). Image size: 1 bytes.', 13.7),
        ('Successfully pulled image "a" in 412ms (412ms including waiting)', 0.412),
        ('Successfully pulled image "a" in 1h2m3s (…)', 3723.0),
        ('Container image "a" already present on machine', None),
    ],
)
def test_how_long_an_image_was_pulled(message: str, seconds: float | None) -> None:
    assert job_states.pull_seconds([{"reason": "Pulled", "message": message}]) == seconds


@pytest.mark.parametrize(
    ("known", "swept"),
    [
        (KnownJob("a", is_over=False, owner="ours dead", run=""), True),
        (KnownJob("a", is_over=True, owner="ours dead", run=""), True),
        (KnownJob("a", is_over=False, owner="ours alive", run=""), False),
        (KnownJob("a", is_over=True, owner="theirs dead", run=""), False),
        (KnownJob("wanted", is_over=False, owner="ours dead", run=""), False),
        (KnownJob("wanted", is_over=True, owner="ours dead", run=""), True),
    ],
)
def test_only_what_nobody_watches_is_swept(known: KnownJob, swept: bool) -> None:
    found = job_states.sweepable(
        [known],
        wanted="wanted",
        is_ours=lambda owner: owner.startswith("ours"),
        is_watched=lambda owner: owner.endswith("alive"),
    )
    assert found == ((known.name,) if swept else ())
