"""From what an endpoint shall be and how it was found to what will be done. Pure: no network, clock or files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ridgeway.artifacts import Deployment
from ridgeway.errors import UsageError
from ridgeway.rules.rollout import MemoryUse, Way, Wish, choose_way, propose_memory
from ridgeway.targets.interface import Plan, PlannedAction
from ridgeway.targets.kubernetes import capacity
from ridgeway.targets.kubernetes.comparison import Difference, differences, others, we_own
from ridgeway.targets.kubernetes.diagnosis import is_ready
from ridgeway.targets.kubernetes.manifests import Manifest, Shape, manifests, stop_seconds
from ridgeway.targets.kubernetes.naming import CERTIFICATE, DEPLOYMENT, Place
from ridgeway.targets.remembered import differences as differing_wishes
from ridgeway.targets.remembered import from_text

START_LIMIT_SECONDS = 60
SERVER_MIB = 48.0
"""A server of one worker and its supervisor without a model, measured at 27 to 35 MiB, with some air."""
MAX_BODY_MIB = 100.0
"""The server's own default."""
_NOT_COMPARED = (
    # They change with the way that a roll-out goes or with who asked for it, not with what runs.
    "metadata.annotations",
    "spec.progressDeadlineSeconds",
    "spec.strategy",
)
_SHOWN = 3
_WHERE = ("spec.template.spec.containers[server].", "spec.template.spec.", "spec.template.", "spec.")


@dataclass(frozen=True, slots=True)
class Found:
    """What a plan is made from."""

    namespace: bool = True
    """Whether it is there."""
    objects: Mapping[str, Any] = field(default_factory=dict)
    """Live objects of the endpoint by ``Kind/name``; of Secrets only the metadata."""
    pods: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)
    """Pods of the endpoint that are there to stay."""
    templates: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, compare=False)
    """Pod templates of its generations by the hash that their pods are labelled with."""
    nodes: tuple[capacity.Node, ...] | None = field(default=None, compare=False)
    """None where they may not be read. Others use them too: no part of how the endpoint is."""
    quotas: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)
    going: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)
    """Pods of the endpoint on their way out."""
    autoscaler: str = ""
    """Name of the autoscaler that owns the number of replicas."""
    certificate: str = ""
    """Digest of the certificate's file on this machine."""
    memory_mib: float | None = field(default=None, compare=False)
    """Measured, of the largest replica."""
    model_mib: float | None = field(default=None, compare=False)
    """Measured, of the models in it."""

    def live(self, kind: str, name: str) -> Mapping[str, Any] | None:
        """A live object of the endpoint."""
        found: Mapping[str, Any] | None = self.objects.get(f"{kind}/{name}")
        return found


def make_plan(deployment: Deployment, place: Place, found: Found) -> Plan:
    """What would be done.

    Raises:
        UsageError: The namespace is not there, or the server's settings hold one that is the target's own.
        Permanent: There is no room.
    """
    _require_namespace(place, found)
    autoscaled = _autoscaled(found, place)
    draft = manifests(deployment, place, autoscaled)
    changed = [_action(manifest, found) for manifest in draft]
    secrets = [*_secret_actions(deployment, place, found)]
    unwanted = _unwanted(draft, deployment, place, found)
    actions = (*secrets, *changed, *(PlannedAction("delete", subject) for subject in unwanted))
    details: dict[str, Any] = {"namespace": place.namespace, "delete": unwanted}
    if not _rolls(changed, found, place):
        return Plan(deployment, actions, "none", 0.0, _remarks(found, place), {**details, "manifests": draft})
    way = _way(deployment, found, draft[-1]["spec"]["template"])
    shape = Shape(way.max_surge, way.max_unavailable, way.gap_seconds, autoscaled.replicas, autoscaled.autoscaled)
    details["manifests"] = manifests(deployment, place, shape)
    notes = (*way.sentences, *_remarks(found, place), *_memory(deployment, found))
    return Plan(deployment, actions, way.strategy, way.gap_seconds, notes, details)


def _require_namespace(place: Place, found: Found) -> None:
    if found.namespace:
        return
    raise UsageError(
        f"kubernetes: namespace {place.namespace} does not exist",
        where=f"targets.{place.target}.namespace = {place.namespace!r}",
        expected="a namespace that operations has made, with Pod Security `restricted` and a quota",
        next_step=f"sed s/NAMESPACE/{place.namespace}/ templates/kubernetes/namespace.yaml | kubectl apply -f -",
    )


def _way(deployment: Deployment, found: Found, template: Mapping[str, Any]) -> Way:
    """How the roll-out goes. Pods of another template that serve nobody count as gone: they are the first to go.

    So the way back of a failed roll-out finds the room that its failing pods hold.
    """
    hashes = {name for name, other in found.templates.items() if _same_template(template, other)}
    kept = [pod for pod in found.pods if _template_hash(pod) in hashes]
    idle = [pod for pod in found.pods if _template_hash(pod) not in hashes and not is_ready(pod)]
    nodes = capacity.without(found.nodes, {pod["metadata"]["uid"] for pod in idle})
    wish = Wish(
        running=len(found.pods) - len(idle),
        replicas=deployment.replicas,
        kept=len(kept),
        when_full=deployment.when_full,
        stop_seconds=float(stop_seconds(deployment)),
        start_seconds=min(START_LIMIT_SECONDS, deployment.deadline_seconds),
    )
    return choose_way(wish, capacity.pool(deployment.instance, nodes, found.quotas, (*found.going, *idle)))


def _template_hash(pod: Mapping[str, Any]) -> str:
    return str(pod["metadata"].get("labels", {}).get("pod-template-hash", ""))


def _same_template(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    """Whether pods of a template are just what is wanted, with nothing left of what was asked for besides."""
    if any(differences(wanted, live)):
        return False
    ours, theirs = wanted["spec"], live["spec"]
    same_nodes = all(bool(ours.get(key)) == bool(theirs.get(key)) for key in ("nodeSelector", "tolerations"))
    limits = [spec["containers"][0].get("resources", {}).get("limits", {}).keys() for spec in (ours, theirs)]
    return same_nodes and limits[0] == limits[1]


def _autoscaled(found: Found, place: Place) -> Shape:
    """Whether an autoscaler owns the replicas; then what we still own of them is repeated, never let go.

    Letting go of a field that only we own would set it to its default of one replica.
    """
    if not found.autoscaler:
        return Shape()
    live = found.live("Deployment", place.object_name)
    if live is not None and we_own(live, "spec", "replicas"):
        return Shape(replicas=live["spec"]["replicas"], autoscaled=True)
    return Shape(autoscaled=True)


def _rolls(actions: Sequence[PlannedAction], found: Found, place: Place) -> bool:
    """Whether pods come or go: then room is needed."""
    live = found.live("Deployment", place.object_name)
    if live is None:
        return True
    return any(action.subject.startswith("Deployment ") and action.verb != "keep" for action in actions)


# ---- what is as it shall be ------------------------------------------------------------------------------------------


def _action(manifest: Manifest, found: Found) -> PlannedAction:
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    subject = f"{kind} {name}"
    live = found.live(kind, name)
    if live is None:
        return PlannedAction("create", subject, _first_sight(manifest))
    asked, fields = _asked_changes(manifest, live), _field_changes(manifest, live)
    if not asked and not fields:
        return PlannedAction("keep", subject)
    # What is asked for says it best; fields that differ although the same is asked for were changed by someone.
    told = asked or tuple(_sentence(one) for one in fields)
    more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return PlannedAction("change", subject, "; ".join(told[:_SHOWN]) + more)


def _asked_changes(manifest: Manifest, live: Mapping[str, Any]) -> tuple[str, ...]:
    """What is asked for otherwise than last time."""
    if manifest["kind"] != "Deployment":
        return ()
    before, after = _asked(live), _asked(manifest)
    assert after is not None
    if before is None:
        return ("what was asked for last is not known",)
    return differing_wishes(before, after) if before.digest != after.digest else ()


def _asked(one: Mapping[str, Any]) -> Deployment | None:
    return from_text(one.get("metadata", {}).get("annotations", {}).get(DEPLOYMENT, ""))


def _field_changes(manifest: Manifest, live: Mapping[str, Any]) -> list[Difference]:
    return [
        one
        for one in differences(manifest, live)
        if one.path != "apiVersion" and not one.path.startswith(_NOT_COMPARED)
    ]


def _first_sight(manifest: Manifest) -> str:
    if manifest["kind"] == "Deployment":
        spec = manifest["spec"]
        image = spec["template"]["spec"]["containers"][0]["image"]
        count = spec.get("replicas", "autoscaled")
        return f"{count} replica{'' if count == 1 else 's'} of {image}"
    if manifest["kind"] == "Service":
        return str(manifest["spec"]["type"])
    return ""


def _sentence(one: Difference) -> str:
    start = next((start for start in _WHERE if one.path.startswith(start)), "")
    short = one.path.removeprefix(start)
    return f"{short} {_short(one.live)} → {_short(one.wanted)}"


def _short(value: Any) -> str:
    if value is None:
        return "(nothing)"
    text = str(value)
    before, at, digest = text.partition("@sha256:")
    text = f"{before.rpartition('/')[2]}@{digest[:12]}" if at else text
    return text if len(text) <= 60 else text[:57] + "…"


def _secret_actions(deployment: Deployment, place: Place, found: Found) -> list[PlannedAction]:
    actions = []
    if deployment.access == "keys":
        there = found.live("Secret", place.keys_secret) is not None
        detail = "" if there else "primary and secondary key"
        actions.append(PlannedAction("keep" if there else "create", f"Secret {place.keys_secret}", detail))
    if deployment.certificate:
        live = found.live("Secret", place.tls_secret)
        subject = f"Secret {place.tls_secret}"
        if live is None:
            actions.append(PlannedAction("create", subject, f"certificate {deployment.certificate}"))
        elif live["metadata"].get("annotations", {}).get(CERTIFICATE) != found.certificate:
            actions.append(PlannedAction("change", subject, f"certificate {deployment.certificate} is another one"))
        else:
            actions.append(PlannedAction("keep", subject))
    return actions


def _unwanted(draft: Sequence[Manifest], deployment: Deployment, place: Place, found: Found) -> tuple[str, ...]:
    """Objects that we made for the endpoint and that it no longer has; keys stay, since clients know them."""
    kept = {f"{one['kind']}/{one['metadata']['name']}" for one in draft} | {f"Secret/{place.keys_secret}"}
    if deployment.certificate:
        kept.add(f"Secret/{place.tls_secret}")
    return tuple(key.replace("/", " ") for key in sorted(found.objects) if key not in kept)


# ---- remarks ---------------------------------------------------------------------------------------------------------


def _remarks(found: Found, place: Place) -> tuple[str, ...]:
    notes = []
    if found.autoscaler:
        notes.append(f"the number of replicas is left to the autoscaler {found.autoscaler}")
    live = found.live("Deployment", place.object_name)
    if live is not None and (hands := [one for one in others(live) if not _harmless(one, found)]):
        notes.append(
            f"Deployment {place.object_name} was also changed by {', '.join(hands)}; what they have set is kept"
        )
    return tuple(notes)


def _harmless(manager: str, found: Found) -> bool:
    return bool(found.autoscaler) and "autoscaler" in manager


def _memory(deployment: Deployment, found: Found) -> tuple[str, ...]:
    """What a replica should be given, as far as something was measured of the one that runs."""
    if found.model_mib is None:
        return ()
    measured, model = found.memory_mib, found.model_mib
    server = max(SERVER_MIB, (measured or 0) - model)
    given = deployment.instance.memory_mib
    use = MemoryUse(server, model, _body_budget_mib(deployment), measured)
    proposal = propose_memory(use, given)
    return (proposal.sentence if proposal.enough else f"{proposal.sentence}: too little under load",)


def _body_budget_mib(deployment: Deployment) -> float:
    """Of all request bodies in flight, as the server derives it from its limit."""
    asked = deployment.server
    if asked.get("max_bodies_mib"):
        return float(asked["max_bodies_mib"])
    return max(deployment.instance.memory_mib / 4, float(asked.get("max_body_mib", MAX_BODY_MIB)))
