"""An image, run on this machine's Docker engine just as a target would run it, for looking closely."""

from __future__ import annotations

import contextlib
import io
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound

from ridgeway.artifacts import Image
from ridgeway.errors import NotFound, Permanent, Unreachable, UsageError
from ridgeway.image.assemble import PORT, USER

Say = Callable[[str], None]
_STOP_SECONDS = 10
"""For the server to finish what it has begun."""


def engine_version() -> str:
    """Version of the Docker engine that this machine uses.

    Raises:
        Unreachable: None answers.
    """
    with _engine() as engine:
        return str(engine.version()["Version"])


def serve_here(
    image: Image,
    *,
    port: int,
    say: Say,
    keys: Mapping[str, str] | None = None,
    ready: Callable[[str], None] | None = None,
) -> int:
    """Runs the very image until it ends (its exit code) or Ctrl-C (0). It answers on this machine only.

    The container has a read-only root file system, no capabilities and a user without rights, as on a target.

    Args:
        image: Built before, in a registry.
        port: Of this machine; 0 takes a free one.
        say: Told each line that the server logs.
        keys: Keys by name (``primary``, ``secondary``) that requests must carry; without any, all are answered.
        ready: Told the address once the port is published.

    Raises:
        NotFound: The registry does not have the image.
        Permanent: The engine cannot start it.
        Unreachable: No Docker engine answers.
        UsageError: The port is taken, or the image is only a folder.
    """
    if image.is_folder:
        raise UsageError(
            f"{image.handle} is a folder, not a container image",
            expected="an image for targets of kind docker or kubernetes",
            next_step=f"ridgeway serve {image.model}",
        )
    with _engine() as engine:
        _pull(engine, image, say)
        with _container(engine, image, port, keys or {}) as container:
            try:
                if ready:
                    ready(_address(container))
                return _follow(container, say)
            except KeyboardInterrupt:
                container.stop(timeout=_STOP_SECONDS)
                return 0


@contextlib.contextmanager
def _engine() -> Iterator[docker.DockerClient]:
    try:
        engine = docker.from_env(timeout=60)
        engine.ping()
    except (DockerException, OSError) as error:
        raise Unreachable(
            "no Docker engine answers",
            where="DOCKER_HOST, or the usual socket",
            problem=str(error),
            expected="a running engine, and the right to use it",
            next_step="systemctl start docker     or     docker context show",
        ) from error
    try:
        yield engine
    finally:
        engine.close()


def _pull(engine: docker.DockerClient, image: Image, say: Say) -> None:
    try:
        engine.images.get(image.handle)
    except ImageNotFound:
        say(f"pulling {image.handle}")
        try:
            engine.images.pull(image.repository, tag=image.digest)
        except ImageNotFound as error:
            raise NotFound(
                f"there is no image {image.handle}", problem=str(error.explanation), next_step="ridgeway run release …"
            ) from error
        except APIError as error:
            raise _refused(image, error) from error


@contextlib.contextmanager
def _container(engine: docker.DockerClient, image: Image, port: int, keys: Mapping[str, str]) -> Iterator[Any]:
    access = {"RIDGEWAY_SERVER_KEYS_DIR": "/keys"} if keys else {"RIDGEWAY_SERVER_ACCESS": "none"}
    container = None
    try:
        container = engine.containers.create(
            image.handle,
            environment={"RIDGEWAY_SERVER_IMAGE": image.digest, "RIDGEWAY_SERVER_DRAIN_SECONDS": "0", **access},
            ports={f"{PORT}/tcp": ("127.0.0.1", port)},
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            pids_limit=200,
            volumes=["/keys"] if keys else [],
            labels={"dev.ridgeway.served": "here"},
        )
        if keys:
            container.put_archive("/keys", _archive(keys))
        container.start()
        container.reload()
        yield container
    except APIError as error:
        raise _refused(image, error, port=port) from error
    finally:
        if container is not None:
            with contextlib.suppress(APIError):
                container.remove(force=True, v=True)


def _follow(container: Any, say: Say) -> int:
    def read() -> None:
        rest = b""
        for block in container.logs(stream=True, follow=True):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                say(line.decode(errors="replace"))

    # The lines arrive on a thread of their own, so that Ctrl-C finds us where it can be answered.
    reader = threading.Thread(target=read, name="container log", daemon=True)
    reader.start()
    while reader.is_alive():
        reader.join(0.2)
    return int(container.wait(timeout=_STOP_SECONDS)["StatusCode"])


def _address(container: Any) -> str:
    published = container.ports.get(f"{PORT}/tcp") or [{"HostIp": "127.0.0.1", "HostPort": "0"}]
    return f"http://{published[0]['HostIp']}:{published[0]['HostPort']}"


def _archive(keys: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, key in keys.items():
            member = tarfile.TarInfo(Path(name).name)
            member.size, member.mode, member.uid, member.gid = len(key), 0o400, USER, USER
            archive.addfile(member, io.BytesIO(key.encode()))
    return buffer.getvalue()


def _refused(image: Image, error: APIError, *, port: int = 0) -> Exception:
    said = str(error.explanation or error)
    if "port is already allocated" in said or "address already in use" in said:
        return UsageError(
            f"port {port} of this machine is taken", problem=said, expected="a free one", next_step="--port 0"
        )
    return Permanent(
        f"the Docker engine does not run {image.handle}",
        problem=said,
        expected="an image for this kind of machine, and an engine that reaches its registry",
        next_step=f"docker pull {image.handle}",
    )
