"""Jobs in a cluster: asked for, watched with all that they say, and taken away without leaving anything behind.

A job is a batch/v1 Job and a Secret that belongs to it. Its pod's log is followed line by line; what keeps it from
starting and how it ended is told in the cluster's words. Where nobody watches any more, the cluster removes it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ridgeway.errors import Permanent, RidgewayError, Transient
from ridgeway.targets.interface import Say
from ridgeway.targets.kubernetes import diagnosis, job_manifests, job_states
from ridgeway.targets.kubernetes.connection import Cluster, Json, Refused, patiently
from ridgeway.targets.kubernetes.job_manifests import JobRequest
from ridgeway.targets.kubernetes.job_states import KnownJob

OUTAGE_SECONDS = 20.0
REMOVAL_SECONDS = job_manifests.STOP_SECONDS + 20.0
_ROLE = "let operations apply templates/kubernetes/job-runner.yaml"


@dataclass(frozen=True)
class Jobs:
    """The jobs of a project in one namespace."""

    cluster: Cluster
    namespace: str
    project: str

    def find(self) -> list[KnownJob]:
        """Those that are there."""
        query = job_manifests.query(self.project)
        found = patiently(lambda: self.cluster.find("Job", self.namespace, labelSelector=query), seconds=OUTAGE_SECONDS)
        return [_known(one) for one in found]

    def start(self, request: JobRequest, secrets: Mapping[str, str]) -> None:
        """Asks for a job; one of this name that runs already is left as it is.

        The Secret comes after the Job that owns it: whatever happens in between, nothing stays that nobody owns. The
        pod cannot start before it is there.

        Args:
            request: The job.
            secrets: Values of ``request.secrets``.

        Raises:
            Permanent: The namespace is not there, a right lacks, or an admission rule forbids it.
            Unreachable: The API server stayed away.
        """
        try:
            made = patiently(lambda: self.cluster.apply(job_manifests.job(request)), seconds=OUTAGE_SECONDS)
            if secrets:
                owned = job_manifests.secret(request, secrets, made["metadata"]["uid"])
                patiently(lambda: self.cluster.apply(owned), seconds=OUTAGE_SECONDS)
        except Refused as error:
            raise _explained(error, request) from error

    def adopt(self, request: JobRequest) -> None:
        """Notes on a job that runs who watches it from here on."""
        notes = {job_manifests.OWNER: request.owner, job_manifests.RUN: request.run}
        change = functools.partial(
            self.cluster.merge, "Job", self.namespace, request.name, {"metadata": {"annotations": notes}}
        )
        patiently(change, seconds=OUTAGE_SECONDS)

    def remove(self, name: str, *, say: Say) -> bool:
        """Takes a job away with its pods and its Secret, and waits until they are gone; False where there was none.

        A pod gets the time it needs to put away what is open. One whose node does not answer is given up.
        """
        delete = functools.partial(self.cluster.delete, "Job", self.namespace, name, propagationPolicy="Foreground")
        was_there = patiently(delete, seconds=OUTAGE_SECONDS)
        forget = functools.partial(self.cluster.delete, "Secret", self.namespace, name)
        patiently(forget, seconds=OUTAGE_SECONDS)
        deadline = time.monotonic() + REMOVAL_SECONDS
        while self._is_there(name):
            if time.monotonic() > deadline:
                self._give_up(name, say)
                return was_there
            time.sleep(0.2)
        return was_there

    def sweep(
        self, wanted: str, *, is_ours: Callable[[str], bool], is_watched: Callable[[str], bool], say: Say
    ) -> bool:
        """Takes away jobs of this folder whose command is gone; whether the wanted one runs and can be gone on with.

        Args:
            wanted: Name of the job that is about to be asked for.
            is_ours: Whether an owner was a command of this folder on this machine.
            is_watched: Whether an owner still runs.
            say: Told of each.
        """
        known = self.find()
        for name in job_states.sweepable(known, wanted=wanted, is_ours=is_ours, is_watched=is_watched):
            say(f"removing job {name}: the command that watched it is gone")
            self.remove(name, say=say)
        return any(one.name == wanted and not one.is_over for one in known)

    def _is_there(self, name: str) -> bool:
        try:
            pods = self.cluster.find("Pod", self.namespace, labelSelector=job_manifests.pod_query(name))
            return bool(pods) or self.cluster.get("Job", self.namespace, name) is not None
        except Transient:
            return True

    def _give_up(self, name: str, say: Say) -> None:
        for pod in self.cluster.find("Pod", self.namespace, labelSelector=job_manifests.pod_query(name)):
            say(f"pod {pod['metadata']['name']} does not end: its node is not waited for any longer")
            self.cluster.delete("Pod", self.namespace, pod["metadata"]["name"], gracePeriodSeconds=0)


def release_lost(cluster: Cluster, namespace: str, pod: Json) -> bool:
    """Gives up a pod that is to go and whose node is lost, so that the job may be tried elsewhere; whether it was one.

    The cluster cannot know whether such a pod still runs, and waits for its node for ever. What it might still do there
    is harmless: it can only end as the one that takes its place does.
    """
    if not diagnosis.is_going(pod) or job_states.is_over(pod):
        return False
    node = cluster.allowed("GET", f"api/v1/nodes/{pod['spec'].get('nodeName', '')}")
    lost = diagnosis.node_trouble(node) if node else _unready_by_pod(pod)
    if not lost:
        return False
    cluster.delete("Pod", namespace, pod["metadata"]["name"], gracePeriodSeconds=0)
    return True


def _unready_by_pod(pod: Json) -> str:
    """Without the right to read nodes: what the cluster writes on a pod whose node it has lost."""
    return job_states.disruption(pod) if "TaintManager" in job_states.disruption(pod) else ""


def _known(job: Json) -> KnownJob:
    notes = job["metadata"].get("annotations", {})
    is_over = job_states.job_end(job) is not None or bool(job["metadata"].get("deletionTimestamp"))
    return KnownJob(
        job["metadata"]["name"],
        is_over,
        notes.get(job_manifests.OWNER, ""),
        notes.get(job_manifests.RUN, ""),
    )


def _explained(error: Refused, request: JobRequest) -> RidgewayError:
    where = f"Job {request.name} in namespace {request.namespace}"
    if error.status == 404:
        return Permanent(
            f"kubernetes: namespace {request.namespace} does not exist",
            where=where,
            problem=error.problem,
            next_step=f"sed s/NAMESPACE/{request.namespace}/ templates/kubernetes/namespace.yaml | kubectl apply -f -",
        )
    if error.status == 403:
        quota = "exceeded quota" in error.problem
        look = f"kubectl -n {request.namespace} describe resourcequota" if quota else _ROLE
        return Permanent("kubernetes: the job is refused", where=where, problem=error.problem, next_step=look)
    return Permanent(
        "kubernetes: the job is refused", where=where, problem=error.problem, next_step="ridgeway settings jobs"
    )
