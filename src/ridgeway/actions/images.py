"""From a registered model to the image that is released, and to the folder that a process runs."""

from __future__ import annotations

import logging
from pathlib import Path

from ridgeway import image as images
from ridgeway.actions import serve
from ridgeway.actions.models import open_registry
from ridgeway.artifacts import Image, ModelVersion
from ridgeway.image.request import LOOPBACK_REGISTRY
from ridgeway.project import Project

log = logging.getLogger("ridgeway.build_image")


def image_of(project: Project, version: ModelVersion, *, container: bool) -> Image:
    """The image of a model: found if one was made of the very same inputs, else made and stored.

    Args:
        project: Whose settings count.
        version: The registered model.
        container: For docker and kubernetes; False: a folder of this machine, for processes.

    Raises:
        ModelError: The model's package was altered, or no form of it answers as the model does.
        Unreachable: The image registry does not answer.
    """
    package = serve.package(project, version.handle)
    log.info("%s as %s", version.handle, package.kind)
    if not container:
        return _folder_image(project, version, package)
    request = _request(project, version, package)
    found = images.find(request)
    if found is not None:
        log.info("it is in the registry already")
        return found
    return images.build(request, say=log.info)


def expected(project: Project, version: ModelVersion, *, container: bool) -> Image:
    """The image that a release of the model would take, as far as that is known without making anything.

    The digest is empty where the image, or the model's package, is not made yet.
    """
    package = serve.kept(project, serve.subject(open_registry(project), version.handle))
    if package is None:
        chosen = project.settings.image.repository or f"{LOOPBACK_REGISTRY}/{project.name}"
        repository = chosen if container else f"folder/{project.name}"
        return Image(repository, "", version.handle, version.digest, "", "")
    if not container:
        return _folder_image(project, version, package)
    request = _request(project, version, package)
    found = images.find(request)
    return found or Image(request.target.handle, "", version.handle, version.digest, package.digest, "")


def package_folder(project: Project, image: Image) -> Path:
    """The folder of the model in an image, for a place that runs folders."""
    return serve.package(project, image.model).folder


def _folder_image(project: Project, version: ModelVersion, package: serve.Package) -> Image:
    return images.folder_image(package.folder, name=project.name, model=version.handle, model_digest=version.digest)


def _request(project: Project, version: ModelVersion, package: serve.Package) -> images.ImageRequest:
    facts = {
        "commit": version.tags.get("ridgeway.commit", ""),
        "dataset": version.dataset,
        "run": version.run_id,
    }
    known = {name: value for name, value in facts.items() if value}
    return images.request_for(project, package.folder, model=version.handle, model_digest=version.digest, facts=known)
