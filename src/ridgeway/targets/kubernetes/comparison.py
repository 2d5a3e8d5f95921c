"""Whether a live object is as it shall be, and who has set what differs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ridgeway.targets.kubernetes.naming import FIELD_MANAGER
from ridgeway.targets.kubernetes.quantities import number

_QUANTITIES = ("requests", "limits", "sizeLimit")
_MERGE_KEYS = ("name", "containerPort", "port", "mountPath")


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that is not as it shall be."""

    path: str
    """Such as ``spec.template.spec.containers[server].image``."""
    live: Any
    wanted: Any


def differences(wanted: Any, live: Any, path: str = "") -> Iterator[Difference]:
    """Each field of ``wanted`` that ``live`` has otherwise or not at all; what only ``live`` has is others' business.

    Example:
        >>> [one.path for one in differences({"spec": {"replicas": 2}}, {"spec": {"replicas": 3, "paused": True}})]
        ['spec.replicas']
        >>> list(differences({"limits": {"memory": "1Gi"}}, {"limits": {"memory": "1024Mi"}}))
        []
    """
    if isinstance(wanted, Mapping):
        found = live if isinstance(live, Mapping) else {}
        for key, value in wanted.items():
            yield from differences(value, found.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(wanted, Sequence) and not isinstance(wanted, str):
        yield from _lists(wanted, live if isinstance(live, Sequence) else (), path)
    elif not _equal(wanted, live, path):
        yield Difference(path, live, wanted)


def _lists(wanted: Sequence[Any], live: Sequence[Any], path: str) -> Iterator[Difference]:
    key = next(
        (key for key in _MERGE_KEYS if wanted and all(isinstance(one, Mapping) and key in one for one in wanted)), ""
    )
    if not key:
        if len(wanted) != len(live):
            yield Difference(path, live, wanted)
            return
        for place, (one, other) in enumerate(zip(wanted, live, strict=True)):
            yield from differences(one, other, f"{path}[{place}]")
        return
    by_key = {one.get(key): one for one in live if isinstance(one, Mapping)}
    for one in wanted:
        yield from differences(one, by_key.get(one[key]), f"{path}[{one[key]}]")


def _equal(wanted: Any, live: Any, path: str) -> bool:
    if wanted == live:
        return True
    parts = path.split(".")
    if live is None or not set(_QUANTITIES) & set(parts):
        return False
    try:
        return number(wanted) == number(live)
    except (ValueError, ArithmeticError):
        return False


def owners(live: Mapping[str, Any]) -> set[str]:
    """Every manager that has set a field of an object."""
    return {entry.get("manager", "") for entry in live.get("metadata", {}).get("managedFields", ())}


def we_own(live: Mapping[str, Any], *path: str) -> bool:
    """Whether a field is ours: applied by us, and set by nobody since.

    Example:
        >>> fields = {"f:spec": {"f:replicas": {}}}
        >>> entry = {"manager": "ridgeway", "operation": "Apply", "fieldsV1": fields}
        >>> we_own({"metadata": {"managedFields": [entry]}}, "spec", "replicas")
        True
    """
    return any(
        entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply" and _holds(entry, path)
        for entry in live.get("metadata", {}).get("managedFields", ())
    )


def _holds(entry: Mapping[str, Any], path: Sequence[str]) -> bool:
    fields: Any = entry.get("fieldsV1", {})
    for part in path:
        if f"f:{part}" not in fields:
            return False
        fields = fields[f"f:{part}"]
    return True


def others(live: Mapping[str, Any]) -> tuple[str, ...]:
    """Managers beside us that a person works with: those of the cluster itself are left out."""
    own = {FIELD_MANAGER, "kube-controller-manager", "kube-scheduler", "kubelet", ""}
    return tuple(sorted(owners(live) - own))
