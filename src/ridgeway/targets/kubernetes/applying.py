"""A plan carried out: first tried as a whole without effect, then object by object, in the order of need."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Mapping
from typing import Any

from ridgeway.errors import Permanent, RidgewayError
from ridgeway.targets.interface import Plan, PlannedAction, Say
from ridgeway.targets.kubernetes.connection import Cluster, Json, Refused, patiently
from ridgeway.targets.kubernetes.naming import SINCE, Place

OUTAGE_SECONDS = 20.0
"""How long an API server may be away while objects are applied."""


def apply_objects(cluster: Cluster, plan: Plan, place: Place, *, now: str, say: Say) -> None:
    """Applies what a plan wants to be created or changed, and takes away what it no longer wants.

    Raises:
        Permanent: Another manager has set a field, a quota or an admission rule forbids it; nothing was changed then.
        Unreachable: The API server stayed away.
    """
    by_subject = {f"{one['kind']} {one['metadata']['name']}": one for one in plan.details["manifests"]}
    todo = [action for action in plan.actions if action.verb in ("create", "change") and action.subject in by_subject]
    objects = [_dated(by_subject[action.subject], cluster, place, now) for action in todo]
    for one in objects:
        _applied(cluster, one, place, dry_run=True)
    for action, one in zip(todo, objects, strict=True):
        _applied(cluster, one, place, dry_run=False)
        _tell(say, action)
    for action in plan.actions:
        if action.verb == "delete":
            kind, _, name = action.subject.partition(" ")
            patiently(functools.partial(cluster.delete, kind, place.namespace, name), seconds=OUTAGE_SECONDS)
            _tell(say, action)


def _tell(say: Say, action: PlannedAction) -> None:
    verb = {"create": "created", "change": "changed", "delete": "removed"}[action.verb]
    say(f"{verb} {action.subject}")


def _dated(manifest: Json, cluster: Cluster, place: Place, now: str) -> Json:
    """A Deployment with the time at which what it runs took its place: now, unless the same ran before."""
    if manifest["kind"] != "Deployment":
        return manifest
    live = patiently(lambda: cluster.get("Deployment", place.namespace, place.object_name), seconds=OUTAGE_SECONDS)
    since = now
    if live is not None and _image(live) == _image(manifest):
        since = live["metadata"].get("annotations", {}).get(SINCE, now)
    dated = copy.deepcopy(manifest)
    dated["metadata"]["annotations"][SINCE] = since
    return dated


def _image(one: Mapping[str, Any]) -> str:
    return str(one["spec"]["template"]["spec"]["containers"][0]["image"])


def _applied(cluster: Cluster, manifest: Json, place: Place, *, dry_run: bool) -> None:
    try:
        patiently(lambda: cluster.apply(manifest, dry_run=dry_run), seconds=OUTAGE_SECONDS)
    except Refused as error:
        raise _explained(error, manifest, place) from error


def _explained(error: Refused, manifest: Json, place: Place) -> RidgewayError:
    subject = f"{manifest['kind']} {manifest['metadata']['name']}"
    where = f"{subject} in namespace {place.namespace}"
    causes = error.details.get("details", {}).get("causes", ())
    conflicts = [one for one in causes if one.get("reason") == "FieldManagerConflict"]
    if error.status == 409 and conflicts:
        return Permanent(
            f"kubernetes: {subject} was changed by someone else",
            where=where,
            problem="\n".join(_conflict(one) for one in conflicts),
            expected="that nobody else sets these fields; they are not taken by force",
            next_step=_take_back(place, manifest),
        )
    if error.status == 404:
        return Permanent(
            f"kubernetes: namespace {place.namespace} does not exist",
            where=where,
            problem=error.problem,
            next_step=f"sed s/NAMESPACE/{place.namespace}/ templates/kubernetes/namespace.yaml | kubectl apply -f -",
        )
    if error.status == 422:
        look = "kubectl get services -A" if "already allocated" in error.problem else "ridgeway settings"
        return Permanent(
            f"kubernetes: {subject} is refused",
            where=where,
            problem=error.problem,
            next_step=f"{look}     (targets.{place.target} of the settings holds the value)",
        )
    if "exceeded quota" in error.problem:
        look = f"kubectl -n {place.namespace} describe resourcequota"
        return Permanent(f"kubernetes: {subject} is refused", where=where, problem=error.problem, next_step=look)
    return error


def _conflict(cause: Mapping[str, Any]) -> str:
    """``kubectl-edit has set spec.replicas``."""
    message = str(cause.get("message", ""))
    manager = re.search(r'conflict with "([^"]*)"', message)
    field = str(cause.get("field", "")).lstrip(".")
    return f"{manager[1] if manager else message} has set {field}"


def _take_back(place: Place, manifest: Json) -> str:
    """Commands that show what was changed, and that give the fields back to us."""
    name = f"{manifest['kind'].lower()}/{manifest['metadata']['name']}"
    look = f"kubectl -n {place.namespace} get {name} -o yaml --show-managed-fields"
    take = (
        f"ridgeway run release MODEL --plan --format manifests | kubectl apply -n {place.namespace} --server-side "
        "--field-manager=ridgeway --force-conflicts -f -"
    )
    return f"{look}     then, to undo it,\n{take}"
