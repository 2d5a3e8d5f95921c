"""What is wrong with a pod, told from its status; what is sure and what may heal; how a quota and nodes are counted."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeway.artifacts import InstanceType
from ridgeway.targets import Outcome
from ridgeway.targets.kubernetes import capacity, waiting
from ridgeway.targets.kubernetes.diagnosis import lost_nodes, newest, pod_trouble, quota_trouble
from ridgeway.targets.kubernetes.target import service_address
from ridgeway.targets.kubernetes.waiting import Progress, View
from tests.targets.kubernetes.conftest import GPU_SMALL


def pod(name: str = "p", *, ready: bool = False, going: bool = False, **status: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": str(ready)}, *status.pop("conditions", [])]
    metadata: dict[str, Any] = {"name": name, "uid": name, "labels": {"pod-template-hash": "new"}}
    if going:
        metadata["deletionTimestamp"] = "now"
    spec = {"nodeName": "gpu-1", "containers": [{"image": "i@sha256:1", "resources": {"requests": {"cpu": "500m"}}}]}
    return {"metadata": metadata, "spec": spec, "status": {"conditions": conditions, **status}}


def container(state: dict[str, Any], *, last: dict[str, Any] | None = None, restarts: int = 0) -> dict[str, Any]:
    one = {"image": "i@sha256:1", "state": state, "lastState": last or {}, "restartCount": restarts, "ready": False}
    return {"containerStatuses": [one]}


def waits(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


ENDED = {"terminated": {"exitCode": 1, "reason": "Error"}}


@pytest.mark.parametrize(
    ("status", "reason", "sure"),
    [
        (container(waits("ErrImagePull", "manifest unknown: not found")), "ErrImagePull", True),
        (container(waits("ErrImagePull", "i/o timeout")), "ErrImagePull", False),
        (container(waits("InvalidImageName", "couldn't parse")), "InvalidImageName", True),
        (container(waits("CrashLoopBackOff"), last=ENDED, restarts=1), "CrashLoopBackOff", True),
        (container({"running": {}}, last=ENDED, restarts=1), "Error", False),
        (container({"running": {}}, last=ENDED, restarts=2), "CrashLoopBackOff", True),
        (container(ENDED), "Error", False),
        (container(waits("CreateContainerConfigError", "secret not found")), "CreateContainerConfigError", True),
        ({"reason": "Evicted", "message": "the node was low on memory"}, "Evicted", False),
    ],
)
def test_what_is_sure(status: dict[str, Any], reason: str, sure: bool) -> None:
    trouble = pod_trouble(pod(**status))
    assert trouble is not None
    assert (trouble.reason, trouble.sure) == (reason, sure)


@pytest.mark.parametrize("status", [container(waits("ContainerCreating")), container({"running": {}}), {}])
def test_what_is_no_trouble(status: dict[str, Any]) -> None:
    assert pod_trouble(pod(**status)) is None


def test_memory_beyond_the_limit_is_said() -> None:
    killed = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    trouble = pod_trouble(pod(**container(waits("CrashLoopBackOff"), last=killed, restarts=3)))
    assert trouble is not None
    assert trouble.line.startswith("CrashLoopBackOff: OOMKilled: it took more memory than its limit")


def test_a_quota_is_told_by_the_controller() -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: q"}
    trouble = quota_trouble({"status": {"conditions": [condition]}})
    assert trouble is not None
    assert trouble.line == "FailedCreate: exceeded quota: q"


def test_a_lost_node_is_named() -> None:
    event = {"reason": "NodeNotReady", "message": "Node is not ready", "involvedObject": {"name": "p"}}
    assert lost_nodes([pod()], [event]) == {"gpu-1": "Node is not ready"}
    assert lost_nodes([pod(ready=True)], [event]) == {}, "it is back"


# ---- a roll-out, judged ----------------------------------------------------------------------------------------------


def view(*pods: dict[str, Any], gap: float = 0, unavailable: int = 0) -> View:
    annotations = {"deployment.kubernetes.io/revision": "2", "ridgeway.dev/gap-seconds": str(gap)}
    live = {
        "metadata": {"generation": 2, "annotations": annotations},
        "spec": {"replicas": 1, "strategy": {"rollingUpdate": {"maxUnavailable": unavailable}}},
        "status": {"observedGeneration": 2},
    }
    sets = [
        {
            "metadata": {
                "labels": {"pod-template-hash": name},
                "annotations": {"deployment.kubernetes.io/revision": number},
            }
        }
        for name, number in (("old", "1"), ("new", "2"))
    ]
    return View(live, list(pods), sets)


def old(one: dict[str, Any]) -> dict[str, Any]:
    one["metadata"]["labels"]["pod-template-hash"] = "old"
    return one


LACKS = {
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
        }
    ]
}


def test_a_generation_is_known_by_its_template() -> None:
    seen = view(old(pod("a", ready=True)), pod("b"), pod("c", going=True))
    assert [one["metadata"]["name"] for one in seen.new_pods] == ["b"]
    seen.live["metadata"]["generation"] = 3
    assert newest(seen.live, seen.replica_sets, seen.pods) == [], "its controller has not seen it yet"


def test_what_lacks_becomes_free_by_the_roll_out_itself() -> None:
    def told(seen: View) -> list[str]:
        return [trouble.reason for trouble in waiting._troubles(seen)]

    assert told(view(pod(**LACKS))) == ["Insufficient nvidia.com/gpu"]
    assert told(view(pod(**LACKS), old(pod("a", ready=True)), unavailable=1)) == []
    assert told(view(pod(**LACKS), old(pod("a", ready=True)))) == ["Insufficient nvidia.com/gpu"], "nobody will go"
    assert told(view(pod(**LACKS), old(pod("a", going=True)))) == []


def test_trouble_must_last_to_be_sure() -> None:
    progress, seen = Progress(), view(pod(**LACKS))
    assert waiting._hopeless(seen, progress, 100.0) is None
    assert waiting._hopeless(view(pod()), progress, 105.0) is None
    assert waiting._hopeless(seen, progress, 109.0) is None, "it was away in between"
    outcome = waiting._hopeless(seen, progress, 119.0)
    assert outcome == Outcome(
        False, "Insufficient nvidia.com/gpu", "p: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    )


def test_a_gap_longer_than_announced_ends_the_roll_out() -> None:
    progress, dark = Progress(), view(pod(), gap=30)
    assert waiting._gap(dark, progress, 100.0) is None
    assert waiting._gap(dark, progress, 129.0) is None
    assert waiting._gap(view(pod(ready=True), gap=30), progress, 129.5) is None
    assert waiting._gap(dark, progress, 131.0) is None, "something answered in between"
    outcome = waiting._gap(dark, progress, 161.0)
    assert outcome is not None
    assert (outcome.healthy, outcome.reason) == (False, "gap")


# ---- room ------------------------------------------------------------------------------------------------------------


def node(name: str = "gpu-1", **allocatable: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"pool": "gpu"}},
        "spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]},
        "status": {
            "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "110", "nvidia.com/gpu": "8", **allocatable},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def test_room_is_counted_in_replicas() -> None:
    nodes = capacity.read_nodes([node()], [pod("mine"), pod("other")], {"mine"})
    found = capacity.pool(GPU_SMALL, nodes)
    assert found.detail == "gpu-1: 2 cpu, 1 in use, 8 nvidia.com/gpu, 0 in use"
    assert found.machines is not None
    (machine,) = found.machines
    assert (machine.free, machine.old, machine.per_old, machine.if_all_gone) == (4, 1, 1, 6)


def test_why_no_node_takes_it() -> None:
    nodes = capacity.read_nodes([node()], [], set())
    assert capacity.pool(InstanceType("x", 1, 64, node_selector={"pool": "gpu"}), nodes).detail == (
        "node gpu-1 has taints that are not tolerated: nvidia.com/gpu:NoSchedule"
    )
    lost = node()
    lost["status"]["conditions"][0]["status"] = "Unknown"
    assert capacity.pool(GPU_SMALL, capacity.read_nodes([lost], [], set())).detail == "node gpu-1 is not ready"


def test_the_tightest_line_of_all_quotas_counts() -> None:
    quotas = [
        {"metadata": {"name": "a"}, "status": {"hard": {"requests.cpu": "2", "pods": "3"}, "used": {"pods": "2"}}},
        {"metadata": {"name": "b"}, "status": {"hard": {"requests.storage": "0"}, "used": {}}},
    ]
    assert capacity.pool(GPU_SMALL, None, quotas).quota_free == 1
    assert capacity.pool(GPU_SMALL, None, quotas).quota_detail == "quota a: 2 of 3 pods in use"
    assert capacity.pool(GPU_SMALL, None, quotas, [pod(going=True)]).quota_free == 2, "one is about to go"


# ---- the address -----------------------------------------------------------------------------------------------------


def test_addresses() -> None:
    def service(kind: str, port: dict[str, Any], **status: Any) -> dict[str, Any]:
        metadata = {"name": "toy-production", "namespace": "prod"}
        return {"metadata": metadata, "spec": {"type": kind, "ports": [port]}, "status": status}

    http, https = {"name": "http", "port": 80}, {"name": "https", "port": 443}
    node_port, here, there = (
        service("NodePort", {**http, "nodePort": 30080}),
        "https://127.0.0.1:6443",
        "https://k:6443",
    )
    pods = [{"status": {"hostIP": "10.0.0.7"}}]
    assert service_address(node_port, pods, here) == "http://127.0.0.1:30080"
    assert service_address(node_port, pods, there) == "http://10.0.0.7:30080"
    assert service_address(node_port, [], there) == "http://k:30080"
    assert service_address(service("ClusterIP", https), [], there) == "https://toy-production.prod.svc.cluster.local"
    balanced = service("LoadBalancer", http, loadBalancer={"ingress": [{"ip": "192.0.2.1"}]})
    assert service_address(balanced, [], there) == "http://192.0.2.1"
