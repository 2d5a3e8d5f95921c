"""One release at a time per endpoint, across machines: a Lease that is renewed while it is held."""

from __future__ import annotations

import contextlib
import datetime
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

from ridgeway.errors import Busy, Permanent, RidgewayError
from ridgeway.targets.kubernetes.connection import Cluster, Json, Refused, patiently
from ridgeway.targets.kubernetes.naming import FROZEN, Place

log = logging.getLogger("ridgeway.kubernetes")
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_ATTEMPTS = 8


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _new(place: Place) -> Json:
    metadata = {"name": place.object_name, "namespace": place.namespace, "labels": place.labels}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}}


@contextlib.contextmanager
def held(cluster: Cluster, place: Place, holder: str, *, seconds: float) -> Iterator[None]:
    """The Lease, held until the end of the block and renewed by a thread.

    Raises:
        Busy: Someone else holds it.
    """
    identity = _take(cluster, place, holder, seconds)
    stop = threading.Event()
    thread = threading.Thread(target=_renew, args=(cluster, place, identity, seconds, stop), name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=15)
        with contextlib.suppress(RidgewayError):
            _give_back(cluster, place, identity)


def _take(cluster: Cluster, place: Place, holder: str, seconds: float) -> str:
    """The identity that now holds it. The holder's clock is not trusted where a renewal is seen to come in."""
    for _ in range(_ATTEMPTS):
        lease = cluster.get("Lease", place.namespace, place.object_name)
        if lease is not None:
            _require_free(place, lease)
        wish = lease or _new(place)
        now = _now().strftime(_TIME)
        wish["spec"] = {
            **wish.get("spec", {}),
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, round(seconds)),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": int(wish.get("spec", {}).get("leaseTransitions") or 0) + (lease is not None),
        }
        try:
            if lease is None:
                cluster.create("Lease", place.namespace, wish)
            else:
                cluster.replace("Lease", wish)
        except Refused as error:
            if error.status not in (404, 409) or "namespaces" in error.problem:
                raise
            continue  # Someone was faster: look again at who it was.
        return holder
    raise Busy(f"{place.object_name}: the Lease changes all the time", next_step="the same command again")


def _require_free(place: Place, lease: Json) -> None:
    spec = lease.get("spec", {})
    holder = spec.get("holderIdentity")
    renewed = spec.get("renewTime")
    if not holder or not renewed:
        return
    lasts = float(spec.get("leaseDurationSeconds") or 30)
    age = (_now() - datetime.datetime.strptime(renewed, _TIME).replace(tzinfo=datetime.UTC)).total_seconds()
    if age <= lasts:
        raise Busy(
            f"{place.object_name} is held by {holder}",
            where=f"Lease {place.object_name} in namespace {place.namespace}",
            problem=f"since {spec.get('acquireTime')}, renewed {max(0.0, age):.0f} s ago",
            expected="one release at a time",
            next_step=f"wait for it; without a renewal it is free in {max(1.0, lasts - age):.0f} s",
        )
    log.warning("taking over from %s, whose last sign of life was %.0f s ago", holder, age)


def _renew(cluster: Cluster, place: Place, identity: str, seconds: float, stop: threading.Event) -> None:
    while not stop.wait(seconds / 3):
        try:
            lease = cluster.get("Lease", place.namespace, place.object_name)
            if lease is None or lease["spec"].get("holderIdentity") != identity:
                log.error("the Lease %s was taken by someone else", place.object_name)
                return
            lease["spec"]["renewTime"] = _now().strftime(_TIME)
            cluster.replace("Lease", lease)
        except RidgewayError as error:
            # The next turn comes before it expires; a conflict is a mark that was set meanwhile.
            log.info("the Lease was not renewed: %s", error.summary)


def _give_back(cluster: Cluster, place: Place, identity: str) -> None:
    for _ in range(_ATTEMPTS):
        lease = cluster.get("Lease", place.namespace, place.object_name)
        if lease is None or lease.get("spec", {}).get("holderIdentity") != identity:
            return
        try:
            if not lease["metadata"].get("annotations", {}).get(FROZEN):
                version = {"uid": lease["metadata"]["uid"], "resourceVersion": lease["metadata"]["resourceVersion"]}
                cluster.delete("Lease", place.namespace, place.object_name, preconditions=version)
                return
            lease["spec"].update(holderIdentity="", leaseDurationSeconds=1)
            cluster.replace("Lease", lease)
        except Refused as error:
            if error.status != 409:
                raise
        else:
            return


def freeze(cluster: Cluster, place: Place, reason: str) -> None:
    """Marks the endpoint's Lease, which is there whatever becomes of its other objects; empty: no mark."""
    patch: Any = {"metadata": {"annotations": {FROZEN: reason or None}}}

    def mark() -> None:
        for _ in range(_ATTEMPTS):
            try:
                if cluster.get("Lease", place.namespace, place.object_name) is not None:
                    cluster.merge("Lease", place.namespace, place.object_name, patch)
                elif reason:
                    lease = _new(place)
                    lease["metadata"]["annotations"] = {FROZEN: reason}
                    cluster.create("Lease", place.namespace, lease)
            except Refused as error:
                if error.status not in (404, 409):
                    raise
                time.sleep(0.05)
                continue
            return
        raise Permanent(f"{place.object_name}: the Lease could not be marked")

    patiently(mark, seconds=20)
