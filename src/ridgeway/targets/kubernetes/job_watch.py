"""A job watched to its end: where it is, what keeps it from starting, what its pods say, and how they ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ridgeway.errors import Permanent, RidgewayError, Transient
from ridgeway.targets.interface import Say
from ridgeway.targets.kubernetes import job_states
from ridgeway.targets.kubernetes.connection import Cluster, Json
from ridgeway.targets.kubernetes.job import release_lost
from ridgeway.targets.kubernetes.job_log import PodLog
from ridgeway.targets.kubernetes.job_manifests import JobRequest, pod_query
from ridgeway.targets.kubernetes.job_states import JobEnd, Obstacle, PodEnd

LOOK_SECONDS = 0.5
_SLOW_LOOK_SECONDS = 2.0
_SLOW_AFTER_SECONDS = 60.0
BLIND_SECONDS = 300.0
"""An API server that is away for longer ends the watching, and not the job."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What became of a job."""

    end: JobEnd
    pod: PodEnd | None
    """How its last pod ended, where it had one that did."""


@dataclass
class Watch:
    """One job being watched."""

    cluster: Cluster
    request: JobRequest
    hear: Callable[[str], None]
    """Gets each line that the job's pods write."""
    say: Say
    _log: PodLog | None = None
    _ended: dict[str, PodEnd] = field(default_factory=dict)
    _said: str = ""
    _since: dict[str, float] = field(default_factory=dict)
    _blind_since: float = 0.0
    _waits_since: float = field(default_factory=time.monotonic)

    def to_the_end(self) -> Watched:
        """Returns when the job has ended, with all that it wrote handed on.

        Raises:
            Permanent: Its image cannot be pulled, the cluster makes no such pod, it ran out of memory or time, or
                someone has removed it.
            Transient: No machine became free in time, or the API server stayed away; the job may still run then.
        """
        started = time.monotonic()
        while True:
            found = self._turn()
            if found is not None:
                return found
            slow = time.monotonic() - started > _SLOW_AFTER_SECONDS
            time.sleep(_SLOW_LOOK_SECONDS if slow else LOOK_SECONDS)

    def _turn(self) -> Watched | None:
        try:
            job = self.cluster.get("Job", self.request.namespace, self.request.name)
            pods = self.cluster.find("Pod", self.request.namespace, labelSelector=pod_query(self.request.name))
            self._blind_since = 0.0
        except Transient as error:
            self._say_blind(error)
            return None
        if job is None:
            return self._after_its_time()
        for pod in sorted(pods, key=lambda one: str(one["metadata"].get("creationTimestamp", ""))):
            self._look_at(pod)
        end = job_states.job_end(job)
        if end is not None:
            return self._finished(end)
        self._miss({pod["metadata"]["name"] for pod in pods})
        current = job_states.newest(pods)
        if current is None or job_states.stage(current) in ("waiting", "starting"):
            self._check_start(current)
        else:
            self._waits_since = time.monotonic()
        return None

    # ---- pods --------------------------------------------------------------------------------------------------------

    def _look_at(self, pod: Json) -> None:
        """Follows a pod's log from its start, hears it out at its end, and gives it up if its node is lost."""
        name = pod["metadata"]["name"]
        if name in self._ended:
            return
        if job_states.has_run(pod) and (self._log is None or self._log.pod != name):
            self._begin(pod)
        end = job_states.pod_end(pod)
        if end is not None:
            self._hear_out(end)
            return
        if self._log is not None and self._log.pod == name:
            self._listen()
        if release_lost(self.cluster, self.request.namespace, pod):
            self.say(f"pod {name}: its node {pod['spec'].get('nodeName')} is lost; the job is tried again elsewhere")

    def _miss(self, there: set[str]) -> None:
        """Hears out a pod that went away between two looks."""
        name = self._log.pod if self._log is not None else ""
        if name and name not in there and name not in self._ended:
            self._hear_out(PodEnd(name, None, "", "", disruption="it is not there any more"))

    def _begin(self, pod: Json) -> None:
        name, node = pod["metadata"]["name"], pod["spec"].get("nodeName", "")
        seconds = job_states.pull_seconds(self._events(name, "Pod"))
        pulled = f", image pulled in {seconds:.1f} s" if seconds is not None else ""
        self.say(f"pod {name} runs on {node}{pulled}")
        self._log = PodLog(self.cluster, self.request.namespace, name)

    def _listen(self, *, whole: bool = False) -> None:
        for line in self._log.read(whole=whole) if self._log is not None else ():
            self.hear(line)

    def _hear_out(self, end: PodEnd) -> None:
        self._ended[end.pod] = end
        if self._log is not None and self._log.pod == end.pod:
            self._listen(whole=True)
        if end.reason == "OOMKilled":
            raise self._out_of_memory(end)
        if end.disruption:
            self.say(f"pod {end.pod} was taken away by the cluster ({end.disruption}); the job is tried again")
        elif end.exit_code in (130, 137, 143, 255):
            self.say(f"pod {end.pod} was killed (exit code {end.exit_code})")

    @property
    def _last(self) -> PodEnd | None:
        return list(self._ended.values())[-1] if self._ended else None

    def _after_its_time(self) -> Watched:
        """A job that is not there: over and taken away by the cluster between two looks, or removed by someone."""
        last = self._last
        if last is None or last.exit_code != 0:
            raise self._gone()
        return Watched(JobEnd(complete=True), last)

    def _finished(self, end: JobEnd) -> Watched:
        last = self._last
        if end.reason == "DeadlineExceeded":
            raise Permanent(
                f"the job took longer than {self.request.limits.deadline_seconds} s and was ended",
                where="jobs.deadline_seconds",
                problem=end.message,
                next_step="a larger jobs.deadline_seconds, or a larger instance type",
            )
        return Watched(end, last)

    # ---- before it runs ----------------------------------------------------------------------------------------------

    def _check_start(self, pod: Json | None) -> None:
        now = time.monotonic()
        events = self._events(self.request.name, "Job") if pod is None and now - self._waits_since > 1.0 else []
        found = job_states.obstacle(pod, events)
        if found is None:
            self._since.clear()
            if pod is not None and job_states.stage(pod) == "starting":
                self._tell(f"on {pod['spec']['nodeName']}: the image is being pulled, or the pod started")
            return
        self._tell(f"waiting: {found.sentence}" if found.kind == "room" else f"{found.reason}: {found.sentence}")
        since = self._since.setdefault(f"{found.kind} {found.reason}", now)
        patience = self.request.limits.start_seconds if found.kind == "room" else found.patience_seconds
        waited = now - (self._waits_since if found.kind == "room" else since)
        if waited >= patience:
            raise self._cannot_start(found)

    def _tell(self, line: str) -> None:
        if line != self._said:
            self.say(line)
            self._said = line

    def _events(self, name: str, kind: str) -> list[Json]:
        try:
            query = f"involvedObject.kind={kind},involvedObject.name={name}"
            return self.cluster.find("Event", self.request.namespace, fieldSelector=query)
        except RidgewayError:  # without the right to read them, less is told
            return []

    def _say_blind(self, error: RidgewayError) -> None:
        now = time.monotonic()
        if not self._blind_since:
            self._blind_since = now
            self.say(f"{error.summary}; the job goes on, and is asked for again")
        if now - self._blind_since > BLIND_SECONDS:
            raise error

    # ---- errors ------------------------------------------------------------------------------------------------------

    def _cannot_start(self, found: Obstacle) -> RidgewayError:
        request = self.request
        where = f"Job {request.name} in namespace {request.namespace}, instance type {request.instance.name}"
        problem = f"{found.reason}: {found.sentence}" if found.reason not in found.sentence else found.sentence
        if found.kind == "room":
            return Transient(
                f"no machine of {request.instance.name} became free within {request.limits.start_seconds:g} s",
                where=where,
                problem=problem,
                expected="a node that has the labels, lets the job in, and has room for it; and a quota that does",
                next_step="the same command later     or     another --on, a larger jobs.start_seconds",
            )
        if found.kind == "image":
            return Permanent(
                "the job's image cannot be pulled",
                where=f"{request.image}; {where}",
                problem=problem,
                expected="nodes that reach the registry and may read it (jobs.service_account)",
                next_step=f"kubectl -n {request.namespace} get events",
            )
        return Permanent(
            "the job cannot start",
            where=where,
            problem=problem,
            next_step=f"kubectl -n {request.namespace} get events     or     ridgeway settings jobs",
        )

    def _out_of_memory(self, end: PodEnd) -> RidgewayError:
        instance = self.request.instance
        return Permanent(
            "the job ran out of memory",
            where=f"instance_types.{instance.name}.memory_mib = {instance.memory_mib}",
            problem=f"pod {end.pod}: OOMKilled (exit code {end.exit_code})",
            expected="more memory than data, model and their copies take",
            next_step="--on with a larger instance type, or a larger memory_mib",
        )

    def _gone(self) -> RidgewayError:
        return Permanent(
            "someone has removed the job",
            where=f"Job {self.request.name} in namespace {self.request.namespace}",
            problem="it is not there any more; its run has no end",
            next_step="the same command again",
        )
