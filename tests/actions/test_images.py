"""From a registered model to the folder that processes run, and what preflight says of images."""

from __future__ import annotations

import pytest

from ridgeway.actions import images
from ridgeway.errors import ModelError
from tests.actions.conftest import Workshop, Yard


def test_a_folder_is_an_image_with_a_digest_of_its_own(yard: Yard) -> None:
    project = yard.project()
    version = Workshop(yard.root).registry.version(1)
    made = images.image_of(project, version, container=False)
    assert (made.repository, made.is_folder) == ("folder/diabetes", True)
    assert (made.model, made.model_digest) == (version.handle, version.digest)
    assert (
        made == images.image_of(project, version, container=False) == images.expected(project, version, container=False)
    )
    assert images.package_folder(project, made).name == "1"


def test_another_model_is_another_image(yard: Yard) -> None:
    workshop = Workshop(yard.root)
    workshop.retrained()
    project, registry = yard.project(), workshop.registry
    one, two = (images.image_of(project, registry.version(number), container=False) for number in (1, 2))
    assert (one.digest != two.digest, one.package != two.package) == (True, True)


def test_an_altered_package_is_no_image(yard: Yard) -> None:
    project = yard.project()
    version = Workshop(yard.root).registry.version(1)
    made = images.image_of(project, version, container=False)
    weights = images.package_folder(project, made) / "weights.npy"
    before = weights.read_bytes()
    weights.chmod(0o644)
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(ModelError, match="altered") as raised:
        images.image_of(project, version, container=False)
    assert "weights.npy" in str(raised.value)
    weights.write_bytes(before)
    assert images.image_of(project, version, container=False) == made
