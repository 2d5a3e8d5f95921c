"""The target itself: the interface's words, each carried out by the module that knows how."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ridgeway.artifacts import Deployment, Finding, InstanceType, Person
from ridgeway.errors import RidgewayError
from ridgeway.project import Project
from ridgeway.targets.interface import Keys, Observed, Outcome, Plan, Room, Say
from ridgeway.targets.kubernetes import (
    applying,
    asking,
    capacity,
    checks,
    keeping,
    lease,
    looking,
    planning,
    reading,
    waiting,
)
from ridgeway.targets.kubernetes.connection import Cluster, Json, Refused, is_loopback, patiently
from ridgeway.targets.kubernetes.diagnosis import is_going
from ridgeway.targets.kubernetes.naming import Place

_NODES_SECONDS = 1.0
"""A look at all nodes counts for this long: an endpoint that is watched is observed twice a second."""
_GONE_SECONDS = 60.0


class KubernetesTarget:
    """An endpoint in a namespace of a cluster."""

    kind: Literal["kubernetes"] = "kubernetes"

    def __init__(self, project: Project, place: Place, cluster: Cluster) -> None:
        self.name = place.target
        self.place = place
        self.cluster = cluster
        self._project = project
        self._nodes: tuple[float, tuple[capacity.Node, ...] | None] = (float("-inf"), None)

    # ---- plan, apply, describe, remove -------------------------------------------------------------------------------

    def observe(self) -> Observed:
        """How it is now; one look at its objects, all requests at the same time."""
        sight = looking.see(self.cluster, self.place)
        live = sight.deployment(self.place)
        asked = looking.asked_for(live)
        endpoint = looking.endpoint(self.place, sight, self._address(asked, sight) if live else "")
        pods = looking.own_pods(sight)
        found = planning.Found(
            namespace=sight.namespace,
            objects=sight.objects,
            pods=tuple(pod for pod in pods if not is_going(pod)),
            templates=looking.templates(sight),
            going=tuple(pod for pod in pods if is_going(pod)),
            nodes=self._seen_nodes(pods),
            quotas=tuple(sight.quotas),
            autoscaler=looking.autoscaler(sight, self.place),
            certificate=self._certificate_digest(),
            memory_mib=endpoint.memory_mib,
            model_mib=sight.model_mib,
        )
        return Observed(endpoint, asked, {"found": found})

    def plan(self, deployment: Deployment, observed: Observed) -> Plan:
        """What would be done. Without facts (no cluster was asked) everything is new and capacity is not known."""
        found = observed.facts.get("found") or planning.Found()
        return planning.make_plan(deployment, self.place, found)

    def apply(self, plan: Plan, *, package: Path | None, say: Say) -> None:  # noqa: ARG002 - for kinds that run folders
        """Keys first, then the certificate, then the objects; all of it may be done twice."""
        if not plan.changes:
            return
        deployment = plan.deployment
        if deployment.access == "keys":
            patiently(self._made_keys, seconds=applying.OUTAGE_SECONDS)
        if deployment.certificate:
            self._apply_certificate(plan, say)
        applying.apply_objects(self.cluster, plan, self.place, now=_now(), say=say)

    def _apply_certificate(self, plan: Plan, say: Say) -> None:
        subject = f"Secret {self.place.tls_secret}"
        verb = next(action.verb for action in plan.actions if action.subject == subject)
        if verb == "keep":
            return
        manifest = keeping.certificate_manifest(plan.deployment, self.place, self._project.home)
        patiently(lambda: self.cluster.apply(manifest), seconds=applying.OUTAGE_SECONDS)
        say(f"{verb}d {subject}")
        if verb == "change":
            keeping.nudge(self.cluster, self.place, self._pods())

    def wait(self, deployment: Deployment, *, seconds: float, say: Say) -> Outcome:
        """Healthy once every replica is of the image, ready, and all that the Service and the address lead to."""
        outcome = waiting.wait_until_healthy(self.cluster, self.place, deployment, seconds=seconds, say=say)
        if outcome.healthy:
            # What the cluster says is proven by then; that the address follows within seconds is only waited for.
            with contextlib.suppress(RidgewayError):
                self._settle(deployment)
        return outcome

    def _settle(self, deployment: Deployment) -> None:
        keys = keeping.read_keys(self.cluster, self.place) if deployment.access == "keys" else None
        chain = self._project.home / deployment.certificate if deployment.certificate else None
        caller = asking.Caller(self.address(deployment), keys.primary if keys else "", chain)
        asking.settled(caller, deployment)

    def address(self, deployment: Deployment) -> str:
        """The declared address; else a node's port, a load balancer's address, or the name inside the cluster."""
        if deployment.address:
            return deployment.address
        sight = looking.Sight()
        service = self.cluster.get("Service", self.place.namespace, self.place.object_name)
        if service is not None:
            sight.objects[f"Service/{self.place.object_name}"] = service
        if deployment.expose == "NodePort":
            sight.pods = self._pods()
        return self._address(deployment, sight)

    def remove(self) -> tuple[str, ...]:
        """Takes away all that was made for the endpoint; returns once no pod stays (some may still drain)."""
        found = looking.see(self.cluster, self.place)
        removed = []
        for subject in sorted(found.objects, key=lambda key: (not key.startswith("Deployment"), key)):
            kind, _, name = subject.partition("/")
            if self.cluster.delete(kind, self.place.namespace, name):
                removed.append(f"{kind} {name}")
        if found.lease is not None:
            self._remove_lease(found.lease)
        deadline = time.monotonic() + _GONE_SECONDS
        while removed and time.monotonic() < deadline:
            if all(is_going(pod) for pod in self._pods()):
                break
            time.sleep(0.1)
        return tuple(removed)

    def _remove_lease(self, found: Json) -> None:
        """The mark goes with the endpoint; a Lease that someone holds is theirs to give back."""
        if found.get("spec", {}).get("holderIdentity"):
            lease.freeze(self.cluster, self.place, "")
        else:
            self.cluster.delete("Lease", self.place.namespace, self.place.object_name)

    # ---- the rest of the interface -----------------------------------------------------------------------------------

    def logs(self, *, follow: bool = False, lines: int = 200) -> Iterator[str]:
        """Log lines of all replicas, each with its pod's name in front."""
        read = reading.follow_logs if follow else reading.read_logs
        return read(self.cluster, self.place, lines=lines)

    def hold(self, holder: str, *, seconds: float = 30) -> AbstractContextManager[None]:
        """A Lease with the endpoint's name."""
        return lease.held(self.cluster, self.place, holder, seconds=seconds)

    def freeze(self, reason: str) -> None:
        """An annotation of the Lease."""
        lease.freeze(self.cluster, self.place, reason)

    def keys(self, *, create: bool = False) -> Keys | None:
        """From the endpoint's Secret."""
        return self._made_keys() if create else keeping.read_keys(self.cluster, self.place)

    def rotate(self, which: Literal["primary", "secondary"], *, say: Say) -> Keys:
        """A new key in that place, once every replica answers to it."""
        asked = looking.asked_for(self.cluster.get("Deployment", self.place.namespace, self.place.object_name))
        tls = bool(asked and asked.certificate)
        return keeping.rotate(self.cluster, self.place, which, tls=tls, say=say)

    def rooms(self) -> tuple[Room, ...]:
        """For each instance type, how many more replicas fit on the nodes and into the quota."""
        nodes = looking.see_nodes(self.cluster, ())
        quotas = (self.cluster.allowed("GET", self._quota_path) or {}).get("items") or ()
        found = []
        for name, section in self._project.settings.instance_types.items():
            pool = capacity.pool(InstanceType(name, **section.model_dump()), nodes, quotas)
            found.append(
                Room(name, capacity.free_replicas(pool), "; ".join(filter(None, (pool.detail, pool.quota_detail))))
            )
        return tuple(found)

    def check(self, deployment: Deployment | None) -> Iterator[Finding]:
        """The preflight, in the order of need; ends early where nothing further can be looked at."""
        section = self._project.settings.targets[self.name]
        machine = self._project.settings.instance_types.get(section.instance_type)
        instance = InstanceType(section.instance_type, **machine.model_dump()) if machine else None
        image = deployment.image.handle if deployment else ""
        return checks.preflight(self.cluster, self.place, checks.Subject(instance, image, section.access.mode))

    def person(self) -> Person | None:
        """Who the cluster says we are."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            answer = self.cluster.request("POST", "apis/authentication.k8s.io/v1/selfsubjectreviews", body=body)
        except Refused:
            return None
        name = answer.get("status", {}).get("userInfo", {}).get("username", "")
        return Person(name, "kubernetes", "cluster") if name else None

    # ---- what they share ---------------------------------------------------------------------------------------------

    @property
    def _quota_path(self) -> str:
        return f"api/v1/namespaces/{self.place.namespace}/resourcequotas"

    def _made_keys(self) -> Keys:
        return keeping.ensure_keys(self.cluster, self.place)

    def _pods(self) -> list[Json]:
        return self.cluster.find("Pod", self.place.namespace, labelSelector=self.place.pod_query)

    def _seen_nodes(self, own: list[Json]) -> tuple[capacity.Node, ...] | None:
        seen_at, nodes = self._nodes
        if time.monotonic() - seen_at > _NODES_SECONDS:
            nodes = looking.see_nodes(self.cluster, own)
            self._nodes = (time.monotonic(), nodes)
        return nodes

    def _certificate_digest(self) -> str:
        name = self._project.settings.targets[self.name].tls.certificate
        return keeping.certificate_digest(self._project.home / name) if name else ""

    def _address(self, deployment: Deployment | None, sight: looking.Sight) -> str:
        declared = deployment.address if deployment else ""
        service = sight.objects.get(f"Service/{self.place.object_name}")
        if declared or service is None:
            return declared
        return service_address(service, sight.pods, self.cluster.host)


def service_address(service: Json, pods: list[Json], api_server: str) -> str:
    """Where a Service is called: a node's port, a load balancer's address, or its name inside the cluster.

    Args:
        service: As it is in the cluster.
        pods: The endpoint's: they know their node's address, which needs no right to read nodes.
        api_server: Its address; a loopback address means that nodes are on this machine too.
    """
    port = service["spec"]["ports"][0]
    scheme = str(port["name"])
    if port.get("nodePort") and service["spec"]["type"] == "NodePort":
        hosts = [pod["status"]["hostIP"] for pod in pods if pod.get("status", {}).get("hostIP")]
        host = "127.0.0.1" if is_loopback(api_server) else (hosts[0] if hosts else urlsplit(api_server).hostname)
        return f"{scheme}://{host}:{port['nodePort']}"
    balancer = service.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    usual = port["port"] == {"http": 80, "https": 443}.get(scheme)
    suffix = "" if usual else f":{port['port']}"
    if balancer:
        return f"{scheme}://{balancer[0].get('hostname') or balancer[0].get('ip')}{suffix}"
    metadata = service["metadata"]
    return f"{scheme}://{metadata['name']}.{metadata['namespace']}.svc.cluster.local{suffix}"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
