"""How many replicas fit: nodes as the cluster shows them, counted against what runs on them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from ridgeway.artifacts import InstanceType
from ridgeway.rules.rollout import Machine, Pool
from ridgeway.targets.kubernetes.quantities import number, shown, total

Amounts = Mapping[str, Fraction]
_DONE = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Node:
    """A node and what is asked for on it."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Mapping[str, Any], ...]
    ready: bool
    allocatable: Amounts
    used: Amounts
    """Requests of all pods on it."""
    own: Mapping[str, Amounts] = field(default_factory=dict)
    """Requests of each pod of the endpoint by its ``uid``, contained in ``used``."""


def read_nodes(
    nodes: Iterable[Mapping[str, Any]], pods: Sequence[Mapping[str, Any]], own: set[str]
) -> tuple[Node, ...]:
    """The nodes with what runs on them.

    Args:
        nodes: As the API server lists them.
        pods: Of all namespaces.
        own: ``uid`` of the pods that are the endpoint's.
    """
    by_node: dict[str, list[Mapping[str, Any]]] = {}
    for pod in pods:
        if pod.get("status", {}).get("phase") not in _DONE and pod["spec"].get("nodeName"):
            by_node.setdefault(pod["spec"]["nodeName"], []).append(pod)
    return tuple(_node(node, by_node.get(node["metadata"]["name"], []), own) for node in nodes)


def _node(node: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], own: set[str]) -> Node:
    conditions = node.get("status", {}).get("conditions", ())
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    ours = {pod["metadata"]["uid"]: pod_requests(pod) for pod in pods if pod["metadata"].get("uid") in own}
    return Node(
        name=node["metadata"]["name"],
        labels=node["metadata"].get("labels", {}),
        taints=tuple(node.get("spec", {}).get("taints") or ()),
        ready=ready and not node.get("spec", {}).get("unschedulable", False),
        allocatable=total(node.get("status", {}).get("allocatable", {})),
        used=_sum([pod_requests(pod) for pod in pods]),
        own=ours,
    )


def without(nodes: Sequence[Node] | None, gone: set[str]) -> tuple[Node, ...] | None:
    """The nodes as they are once these pods of the endpoint, known by their ``uid``, have gone."""
    if nodes is None:
        return None
    return tuple(_relieved(node, gone & node.own.keys()) for node in nodes)


def _relieved(node: Node, gone: set[str]) -> Node:
    given_back = _sum([node.own[uid] for uid in gone])
    used = {name: value - given_back.get(name, Fraction(0)) for name, value in node.used.items()}
    return replace(node, used=used, own={uid: one for uid, one in node.own.items() if uid not in gone})


def pod_requests(pod: Mapping[str, Any]) -> dict[str, Fraction]:
    """What a pod asks for as the scheduler counts it: its containers together, or its largest init container."""
    spec = pod["spec"]
    mine = _sum([_requests(one) for one in spec.get("containers", ())])
    for one in spec.get("initContainers", ()):
        for name, value in _requests(one).items():
            mine[name] = max(mine.get(name, Fraction(0)), value)
    return {**mine, "pods": Fraction(1)}


def _requests(container: Mapping[str, Any]) -> dict[str, Fraction]:
    return total(container.get("resources", {}).get("requests", {}))


def _sum(amounts: Iterable[Amounts]) -> dict[str, Fraction]:
    found: dict[str, Fraction] = {}
    for one in amounts:
        for name, value in one.items():
            found[name] = found.get(name, Fraction(0)) + value
    return found


def wanted(instance: InstanceType) -> dict[str, Fraction]:
    """What one replica of an instance type asks for."""
    return {
        "cpu": Fraction(round(instance.cpu * 1000), 1000),
        "memory": Fraction(instance.memory_mib * 2**20),
        "pods": Fraction(1),
        **{name: Fraction(count) for name, count in instance.gpus.items() if count},
    }


def tolerates(tolerations: Iterable[Mapping[str, Any]], taint: Mapping[str, Any]) -> bool:
    """Whether one of the tolerations is for this taint.

    Example:
        >>> tolerates([{"key": "gpu", "operator": "Exists"}], {"key": "gpu", "value": "yes", "effect": "NoSchedule"})
        True
    """
    return any(_matches(one, taint) for one in tolerations)


def _matches(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if not toleration.get("key"):
        return toleration.get("operator") == "Exists"
    if toleration["key"] != taint.get("key"):
        return False
    return toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")


def selected(instance: InstanceType, nodes: Iterable[Node]) -> tuple[Node, ...]:
    """Nodes with the labels that an instance type asks for, whatever their taints and state."""
    wish = instance.node_selector.items()
    return tuple(node for node in nodes if all(node.labels.get(key) == value for key, value in wish))


def usable(instance: InstanceType, nodes: Iterable[Node]) -> tuple[Node, ...]:
    """Of those, the ones that are ready and whose taints are tolerated."""
    return tuple(node for node in selected(instance, nodes) if node.ready and not untolerated(instance, node))


def untolerated(instance: InstanceType, node: Node) -> tuple[str, ...]:
    """Taints of a node that keep an instance type away."""
    return tuple(
        f"{taint['key']}:{taint['effect']}"
        for taint in node.taints
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not tolerates(instance.tolerations, taint)
    )


def pool(
    instance: InstanceType,
    nodes: Sequence[Node] | None,
    quotas: Sequence[Mapping[str, Any]] = (),
    going: Sequence[Mapping[str, Any]] = (),
) -> Pool:
    """What an endpoint of this instance type may run on, counted in replicas.

    Args:
        instance: What one replica asks for.
        nodes: All nodes; None where they may not be read.
        quotas: The namespace's ResourceQuotas.
        going: Pods of the namespace on their way out, which the quotas still count.
    """
    quota_free, quota_detail = _quota(instance, quotas, _sum([pod_requests(pod) for pod in going]))
    if nodes is None:
        return Pool(instance.name, None, "no right to read nodes", quota_free, quota_detail)
    usable_nodes = usable(instance, nodes)
    machines = tuple(_machine(instance, node) for node in usable_nodes)
    detail = "; ".join(_detail(instance, node) for node in usable_nodes) or _nobody(instance, nodes)
    return Pool(instance.name, machines, detail, quota_free, quota_detail)


def free_replicas(pool: Pool) -> int | None:
    """How many more replicas fit; None where it is not known."""
    if pool.machines is None:
        return None
    free = sum(machine.free for machine in pool.machines)
    return free if pool.quota_free is None else min(free, pool.quota_free)


def _machine(instance: InstanceType, node: Node) -> Machine:
    one = wanted(instance)
    free = _left(node.allocatable, node.used)
    fits_now = _count(free, one)
    own = list(node.own.values())
    all_gone = _count(_sum([free, *own]), one)
    return Machine(node.name, fits_now, len(own), _steps(free, own, one), all_gone)


def _steps(free: Amounts, own: Sequence[Amounts], one: Amounts) -> int:
    """Old replicas that must go before a new one fits; 0 if none ever does."""
    gone: list[Amounts] = []
    for place, old in enumerate(own, start=1):
        gone.append(old)
        if _count(_sum([free, *gone]), one) > 0:
            return place
    return 0


def _left(allocatable: Amounts, used: Amounts) -> dict[str, Fraction]:
    return {name: value - used.get(name, Fraction(0)) for name, value in allocatable.items()}


def _count(free: Amounts, one: Amounts) -> int:
    return max(0, min(int(free.get(name, Fraction(0)) // value) for name, value in one.items() if value))


def _detail(instance: InstanceType, node: Node) -> str:
    """Each resource that is asked for, the scarcest first: ``gpu-1: 8 nvidia.com/gpu, 6 in use``."""
    one = wanted(instance)
    free = _left(node.allocatable, node.used)
    names = sorted((name for name in one if name != "pods"), key=lambda name: free.get(name, Fraction(0)) / one[name])
    parts = [
        f"{shown(name, node.allocatable.get(name, Fraction(0)))} {_named(name)}, "
        f"{shown(name, node.used.get(name, Fraction(0)))} in use"
        for name in names[:2]
    ]
    return f"{node.name}: {', '.join(parts)}"


def _named(resource: str) -> str:
    return {"memory": "memory", "cpu": "cpu"}.get(resource, resource)


def _nobody(instance: InstanceType, nodes: Sequence[Node]) -> str:
    """Why no node takes it."""
    found = selected(instance, nodes)
    if not found:
        labels = ", ".join(f"{key}={value}" for key, value in instance.node_selector.items()) or "any"
        return f"no node has the labels {labels}"
    reasons = []
    for node in found:
        taints = untolerated(instance, node)
        lost = [one for one in taints if one.startswith("node.kubernetes.io/")]
        reason = "is not ready" if not node.ready or lost else f"has taints that are not tolerated: {', '.join(taints)}"
        reasons.append(f"node {node.name} {reason}")
    return "; ".join(reasons)


def _quota(instance: InstanceType, quotas: Sequence[Mapping[str, Any]], going: Amounts) -> tuple[int | None, str]:
    """Replicas that the quotas still let in, and the tightest line of them."""
    one, tightest, detail = wanted(instance), None, ""
    for quota in quotas:
        hard, used = quota.get("status", {}).get("hard", {}), quota.get("status", {}).get("used", {})
        for line, limit in hard.items():
            name = line.removeprefix("requests.").removeprefix("limits.").removeprefix("count/")
            if name not in one:
                continue
            spent_now = max(Fraction(0), number(used.get(line, "0")) - going.get(name, Fraction(0)))
            count = max(0, int((number(limit) - spent_now) // one[name]))
            if tightest is None or count < tightest:
                spent = f"{shown(name, spent_now)} of {shown(name, number(limit))}"
                tightest, detail = count, f"quota {quota['metadata']['name']}: {spent} {line} in use"
    return tightest, detail
