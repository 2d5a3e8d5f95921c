"""What a target remembers of what was asked for: the deployment as text, and what differs between two of them."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from ridgeway.artifacts import Deployment, Image, InstanceType

_SCHEMA = 1
_NOT_SHOWN = ("release", "deadline_seconds", "when_full", "image")


def as_record(deployment: Deployment) -> dict[str, Any]:
    """The deployment as JSON values."""
    return {"schema": _SCHEMA, **dataclasses.asdict(deployment)}


def from_record(record: Any) -> Deployment | None:
    """The deployment that ``as_record`` made; None where it is damaged or newer than this version can read."""
    try:
        fields = {name: value for name, value in record.items() if name != "schema"}
        if record["schema"] != _SCHEMA:
            return None
        instance = {**fields["instance"], "tolerations": tuple(fields["instance"]["tolerations"])}
        return Deployment(**{**fields, "image": Image(**fields["image"]), "instance": InstanceType(**instance)})
    except (AttributeError, TypeError, KeyError):
        return None


def as_text(deployment: Deployment) -> str:
    """The deployment as one line of JSON: an annotation, a label, a file."""
    return json.dumps(as_record(deployment), sort_keys=True, separators=(",", ":"))


def from_text(text: str) -> Deployment | None:
    """The deployment that ``as_text`` wrote; None where the text is damaged: then nobody knows what was asked for.

    Example:
        >>> from_text("{") is None
        True
    """
    try:
        return from_record(json.loads(text))
    except ValueError:
        return None


def differences(before: Deployment, after: Deployment) -> tuple[str, ...]:
    """What a roll-out would change, the image first: ``image sha256:9c41… → sha256:77ab…``.

    Example:
        >>> from ridgeway.artifacts import Image, InstanceType
        >>> image = Image("folder/d", "sha256:9c41d00d0000", "models:/d/1", "", "", "")
        >>> one = Deployment("qa", "process", "d", image, "releases:/d/1", InstanceType("s", 1, 512))
        >>> differences(one, dataclasses.replace(one, access="none"))
        ('access keys → none',)
    """
    changes = []
    if before.image.handle != after.image.handle:
        changes.append(f"image {short(before.image.digest)} → {short(after.image.digest)}")
    for field in dataclasses.fields(Deployment):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if old != new and field.name not in _NOT_SHOWN:
            changes.append(f"{field.name} {_shown(old)} → {_shown(new)}")
    return tuple(changes)


def short(digest: str) -> str:
    """A digest as people compare it: ``sha256:9c41d00d…``.

    Example:
        >>> short("sha256:9c41d00d0000")
        'sha256:9c41d00d…'
    """
    return f"{digest[:15]}…" if len(digest) > 15 else digest


def _shown(value: Any) -> str:
    return str(getattr(value, "name", value)) if value != "" else "none"
