"""The engine: how it is reached, and its answers as errors that a person can act on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import docker
from docker.context import ContextAPI
from docker.errors import APIError, DockerException, ImageNotFound
from requests.exceptions import RequestException

from ridgeway.artifacts import Image
from ridgeway.errors import NotFound, Permanent, RidgewayError, Unreachable, UsageError

_SECONDS = 60


def connect(context: str, setting: str) -> docker.DockerClient:
    """A client of the engine that a context names; without one, of DOCKER_HOST, or of the current context.

    Raises:
        Unreachable: It does not answer.
        UsageError: There is no such context.
    """
    try:
        if not context and os.environ.get("DOCKER_HOST"):
            client = docker.from_env(timeout=_SECONDS)
        else:
            chosen = ContextAPI.get_context(context or None)
            if chosen is None:
                raise UsageError(f"there is no Docker context {context}", where=setting, next_step="docker context ls")
            tls = chosen.TLSConfig
            client = docker.DockerClient(base_url=chosen.Host, tls=tls or False, timeout=_SECONDS)
        client.ping()
    except (DockerException, RequestException, OSError) as error:
        raise _unreachable(setting, error) from error
    return client


@contextmanager
def told(doing: str, *, setting: str = "") -> Iterator[None]:
    """Whatever the engine refuses meanwhile, said as one of our errors.

    Raises:
        Unreachable: The engine has gone away.
        Permanent: It refuses.
    """
    try:
        yield
    except RidgewayError:
        raise
    except APIError as error:
        raise Permanent(
            f"the Docker engine refuses: {doing}",
            where=setting,
            problem=str(error.explanation or error),
            next_step="docker ps -a     or     ridgeway preflight",
        ) from error
    except (DockerException, RequestException, OSError) as error:
        raise _unreachable(setting, error) from error


def pull(client: docker.DockerClient, image: Image) -> docker.models.images.Image:
    """The image by its digest, pulled if the engine does not have it.

    Raises:
        NotFound: The registry does not have it.
        Permanent: The registry refuses us.
    """
    try:
        return client.images.get(image.handle)
    except ImageNotFound:
        pass
    try:
        return client.images.pull(image.repository, tag=image.digest)
    except docker.errors.NotFound as error:
        raise NotFound(
            f"there is no image {image.handle}",
            problem=str(error.explanation),
            expected="an image that a release has stored",
            next_step=f"ridgeway run release {image.model}",
        ) from error
    except APIError as error:
        raise Permanent(
            f"cannot pull {image.handle}",
            problem=str(error.explanation or error),
            expected="a registry that this engine reaches, and the right to read there",
            next_step=f"docker pull {image.handle}",
        ) from error


def _unreachable(setting: str, error: Exception) -> Unreachable:
    return Unreachable(
        "no Docker engine answers",
        where=setting,
        problem=str(error),
        expected="a running engine, and the right to use it",
        next_step="systemctl start docker     or     docker context ls",
    )
