"""The bill of materials of an image (CycloneDX 1.6): every distribution in it, the base, the server and the model."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import ridgeway_server
from ridgeway.image.layers import MOMENT
from ridgeway.image.needs import Pin
from ridgeway.image.request import Ingredients

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

MEDIA_TYPE = "application/vnd.cyclonedx+json"
_NAMESPACE = uuid.UUID("6f1f4bb4-6d1b-5f0e-9c0e-1d2b7f5b8a11")
"""Ours: equal images have bills with equal serial numbers."""


def write_bill(parts: Ingredients, *, image: str, runtime: str) -> bytes:
    """The bill as JSON; equal for equal arguments, whenever and wherever it is written.

    Args:
        parts: What went into the image.
        image: Handle of the image.
        runtime: Handle of the image below.
    """
    from datetime import UTC, datetime

    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    request = parts.request
    repository, _, digest = image.partition("@")
    subject = Component(
        name=repository, version=digest, type=ComponentType.CONTAINER, bom_ref="image", hashes=_hashes(digest),
        purl=_image_purl(image), properties=_properties({"ridgeway:runtime": runtime, "ridgeway:inputs": parts.inputs}),
    )  # fmt: skip
    bill = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, parts.inputs),
        metadata=BomMetaData(component=subject, timestamp=datetime.fromtimestamp(MOMENT, UTC), tools=[]),
    )
    lineage = {"ridgeway:package": str(parts.manifest["digest"]), "ridgeway:model-digest": request.model_digest}
    facts = {f"ridgeway:{name}": value for name, value in request.facts.items() if value}
    model = Component(
        name=str(parts.manifest["name"]), version=str(parts.manifest["version"]), bom_ref="model",
        type=ComponentType.MACHINE_LEARNING_MODEL, properties=_properties({**lineage, **facts}),
    )  # fmt: skip
    components = [model, *_software(parts)]
    bill.components.update(components)
    bill.register_dependency(subject, components)
    # The library's own order is that of sets: sorted, equal images have equal bills byte for byte.
    content: dict[str, Any] = json.loads(JsonV1Dot6(bill).output_as_string())
    return json.dumps(content, indent=1, sort_keys=True).encode()


def _software(parts: Ingredients) -> list[Component]:
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    base = parts.base.reference
    found = [
        Component(
            name=base.repository, version=base.digest, type=ComponentType.CONTAINER, bom_ref="base",
            hashes=_hashes(base.digest), purl=_image_purl(base.handle),
        ),
        Component(
            name="ridgeway-server", version=ridgeway_server.__version__, type=ComponentType.APPLICATION,
            bom_ref="server", properties=_properties({"ridgeway:sources": parts.server}),
        ),
    ]  # fmt: skip
    found += [
        Component(
            name=wheel.name, version=wheel.version, bom_ref=f"own {wheel.name}", hashes=_hashes(wheel.digest),
            purl=PackageURL("pypi", None, wheel.name, wheel.version),
        )
        for wheel in parts.wheels
    ]  # fmt: skip
    return found + [_distribution(pin) for pin in parts.pins]


def _distribution(pin: Pin) -> Component:
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

    state = "checked against the lock" if pin.hashes else "as the package index had it"
    return Component(
        name=pin.name, version=pin.version, bom_ref=pin.short, purl=PackageURL("pypi", None, pin.name, pin.version),
        properties=_properties({"ridgeway:origin": state}),
    )  # fmt: skip


def _image_purl(handle: str) -> Any:
    from packageurl import PackageURL

    repository, _, digest = handle.partition("@")
    return PackageURL("oci", None, repository.rpartition("/")[2], digest, {"repository_url": repository})


def _hashes(digest: str) -> list[Any]:
    from cyclonedx.model import HashAlgorithm, HashType

    return [HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))]


def _properties(facts: dict[str, str]) -> list[Any]:
    from cyclonedx.model import Property

    return [Property(name=name, value=value) for name, value in sorted(facts.items())]
