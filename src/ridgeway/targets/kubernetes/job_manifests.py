"""The objects that a job consists of, as literal dictionaries. Pure: no cluster, clock or files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ridgeway.artifacts import InstanceType
from ridgeway.targets.kubernetes.manifests import Manifest, container_security, pod_basics, resources
from ridgeway.targets.kubernetes.naming import FIELD_MANAGER, PREFIX

COMPONENT = "job"
CONTAINER = "job"
OWNER = PREFIX + "owner"
"""Annotation: which process of which machine watches it, as JSON."""
RUN = PREFIX + "run"
"""Annotation: id of the run in the owner's log."""
STOP_SECONDS = 20
"""Between SIGTERM and SIGKILL: a run puts away what is open and tells the registry of its end."""
LOST_SECONDS = 20
"""A pod on a lost node is given up after this long. The cluster waits 40 to 50 s before it calls a node lost, and its
usual 300 s more would be spent on nothing."""
TRY_AGAIN = (75, 130, 137, 143, 255)
"""Exit codes of a pod after which the job is tried again: it said so itself (75), or it was killed, whoever did it. A
pod that ran out of memory is killed too; whoever watches ends the job then, and else the number of tries does."""
STATE_FOLDER, PROJECT_FOLDER = ".ridgeway", "/project"
_NODE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


@dataclass(frozen=True, slots=True)
class JobLimits:
    """How long a job may take, and how often it is tried."""

    start_seconds: float = 300
    """Until its pod runs."""
    deadline_seconds: int = 21600
    retries: int = 2
    keep_seconds: int = 600
    disk_mib: int = 2048


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job that is wanted."""

    name: str
    """Of all its objects; at most 52 characters."""
    namespace: str
    project: str
    image: str
    """By digest."""
    instance: InstanceType
    arguments: tuple[str, ...] = ()
    """Of the image's command."""
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    """Names of variables whose values are in the job's Secret."""
    limits: JobLimits = JobLimits()
    service_account: str = ""
    owner: str = ""
    run: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """Of every object of the job."""
        return {
            "app.kubernetes.io/name": self.project,
            "app.kubernetes.io/instance": self.name,
            "app.kubernetes.io/component": COMPONENT,
            "app.kubernetes.io/part-of": self.project,
            "app.kubernetes.io/managed-by": FIELD_MANAGER,
        }


def query(project: str) -> str:
    """Finds every job of a project.

    Example:
        >>> query("diabetes")
        'app.kubernetes.io/part-of=diabetes,app.kubernetes.io/component=job,app.kubernetes.io/managed-by=ridgeway'
    """
    return (
        f"app.kubernetes.io/part-of={project},app.kubernetes.io/component={COMPONENT},"
        f"app.kubernetes.io/managed-by={FIELD_MANAGER}"
    )


def pod_query(name: str) -> str:
    """Finds the pods of a job."""
    return f"batch.kubernetes.io/job-name={name}"


def job(request: JobRequest) -> Manifest:
    """The Job. It holds no secret: those are in its Secret, which is made after it and goes with it."""
    limits = request.limits
    metadata = {
        "name": request.name,
        "namespace": request.namespace,
        "labels": request.labels,
        "annotations": {OWNER: request.owner, RUN: request.run},
    }
    spec = {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": limits.retries,
        "activeDeadlineSeconds": limits.deadline_seconds,
        "ttlSecondsAfterFinished": limits.keep_seconds,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": _rules()},
        "template": {"metadata": {"labels": request.labels}, "spec": _pod(request)},
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def secret(request: JobRequest, values: Mapping[str, str], owner: str) -> Manifest:
    """The job's Secret, which the cluster takes away with the Job.

    Args:
        request: The job.
        values: Variable → value.
        owner: The Job's ``uid``.
    """
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": request.name, "uid": owner}
    metadata = {
        "name": request.name,
        "namespace": request.namespace,
        "labels": request.labels,
        "ownerReferences": [reference],
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "immutable": True,
        "metadata": metadata,
        "stringData": dict(values),
    }


def _rules() -> list[Manifest]:
    """What becomes of the job when a pod fails; the first rule that fits counts."""
    return [
        # Evicted, preempted, drained, its node lost: tried again, as often as it happens.
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        # An error of code, data or settings would come again.
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": CONTAINER, "operator": "NotIn", "values": list(TRY_AGAIN)},
        },
    ]


def _pod(request: JobRequest) -> Manifest:
    basics = pod_basics(request.instance)
    given_up = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": LOST_SECONDS}
        for key in _NODE_TAINTS
    ]
    return {
        **basics,
        "tolerations": [*basics.get("tolerations", ()), *given_up],
        **({"serviceAccountName": request.service_account} if request.service_account else {}),
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": STOP_SECONDS,
        "containers": [_container(request)],
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": f"{request.limits.disk_mib}Mi"}},
            {"name": "state", "emptyDir": {"sizeLimit": f"{request.limits.disk_mib}Mi"}},
        ],
    }


def _container(request: JobRequest) -> Manifest:
    plain: list[Manifest] = [{"name": name, "value": value} for name, value in sorted(_environment(request).items())]
    secret: list[Manifest] = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": request.name, "key": name}}}
        for name in sorted(request.secrets)
    ]
    return {
        "name": CONTAINER,
        "image": request.image,
        "imagePullPolicy": "IfNotPresent",
        "args": list(request.arguments),
        "env": [*plain, *secret],
        "resources": {"requests": resources(request.instance), "limits": resources(request.instance)},
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a folder of the container
            {"name": "state", "mountPath": f"{PROJECT_FOLDER}/{STATE_FOLDER}"},
        ],
    }


def _environment(request: JobRequest) -> dict[str, str]:
    # Threads beyond the processor share of a container wait for it by spinning, and use it up.
    threads = str(max(1, int(request.instance.cpu)))
    return {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, **request.environment}


def summary(request: JobRequest) -> tuple[str, ...]:
    """What the objects come to, line by line, for a plan: nothing is left out that a person might object to.

    Args:
        request: The job.
    """
    instance, limits = request.instance, request.limits
    asked = ", ".join(f"{name} {amount}" for name, amount in resources(instance).items())
    where = ", ".join(f"{key}={value}" for key, value in instance.node_selector.items()) or "any node"
    lines = [
        f"create Job {request.name} in namespace {request.namespace}",
        f"image {request.image}",
        f"requests and limits {asked}; on {where}; up to {limits.disk_mib} MiB of disk",
        f"at most {limits.deadline_seconds} s; {limits.retries} more tries after a kill, none after an error",
        f"taken away at its end; by the cluster itself {limits.keep_seconds} s later where nobody watches",
    ]
    if request.secrets:
        lines.append(f"create Secret {request.name}: {', '.join(sorted(request.secrets))}")
    lines += [f"{name}={value}" for name, value in sorted(request.environment.items())]
    return tuple(lines)
