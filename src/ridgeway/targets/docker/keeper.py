"""What an engine remembers of an endpoint beside its containers, and the secrets that they read.

A container that is never started carries both: a file of its own with the marks, and the way into the volume with keys
and certificate. Nothing of it is ever in a label, a variable or an image.
"""

from __future__ import annotations

import io
import json
import tarfile
from contextlib import suppress
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound, NotFound

from ridgeway.targets.docker.planning import PREFIX, SECRETS, USER, Names
from ridgeway.targets.interface import Keys

EMPTY_IMAGE = "ridgeway-nothing:1"
"""An image without a file, made here: what is never started needs no more."""
_STATE = "ridgeway.json"


def create_unstarted(client: docker.DockerClient, name: str, labels: dict[str, str], **options: Any) -> Any:
    """A container that only exists; it is not there for whoever looks at what runs.

    Raises:
        APIError: 409 where one of this name exists.
    """
    try:
        client.images.get(EMPTY_IMAGE)
    except ImageNotFound:
        repository, tag = EMPTY_IMAGE.split(":")
        client.api.import_image_from_data(tar({}), repository=repository, tag=tag)
    return client.containers.create(EMPTY_IMAGE, command=["never-started"], name=name, labels=labels, **options)


class Keeper:
    """Reads and writes what is remembered."""

    def __init__(self, client: docker.DockerClient, names: Names) -> None:
        self._client = client
        self._names = names

    def state(self) -> dict[str, Any]:
        """The marks: ``frozen`` and ``failure``; empty where there are none."""
        text = self._read(f"/{_STATE}").get(_STATE)
        return dict(json.loads(text)) if text else {}

    def keep(self, **marks: Any) -> None:
        """Changes marks; None takes one away."""
        before = self.state()
        state = {name: mark for name, mark in {**before, **marks}.items() if mark}
        if state == before:
            return
        self._container(make=True).put_archive("/", tar({_STATE: json.dumps(state).encode()}, user=0))

    def keys(self) -> Keys | None:
        """The keys; None where there are none."""
        files = self._read(f"{SECRETS}/keys")
        texts = [files.get(f"keys/{name}", b"").decode() for name in ("primary", "secondary")]
        return Keys(*texts) if all(texts) else None

    def keep_secrets(self, files: dict[str, bytes]) -> None:
        """Writes files such as ``keys/primary`` that nobody but the server's user may read."""
        self._container(make=True).put_archive(SECRETS, tar(files))

    def remove(self) -> bool:
        """Takes everything remembered away, secrets included; whether there was anything."""
        container = self._container()
        if container is not None:
            container.remove(force=True)
        with suppress(NotFound):
            self._client.volumes.get(self._names.volume).remove()
        return container is not None

    def _container(self, *, make: bool = False) -> Any:
        try:
            return self._client.containers.get(self._names.keeper)
        except NotFound:
            if not make:
                return None
        labels = {f"{PREFIX}endpoint": self._names.endpoint, f"{PREFIX}target": self._names.target}
        volumes = {self._names.volume: {"bind": SECRETS, "mode": "rw"}}
        try:
            return create_unstarted(self._client, self._names.keeper, labels, volumes=volumes)
        except APIError as error:
            if error.status_code != 409:
                raise
            return self._client.containers.get(self._names.keeper)

    def _read(self, path: str) -> dict[str, bytes]:
        container = self._container()
        if container is None:
            return {}
        try:
            blocks, _ = container.get_archive(path)
        except NotFound:
            return {}
        return untar(b"".join(blocks))


def untar(content: bytes) -> dict[str, bytes]:
    """Files of an archive by name."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        found = ((member.name, archive.extractfile(member)) for member in archive.getmembers() if member.isfile())
        return {name: stream.read() for name, stream in found if stream is not None}


def tar(files: dict[str, bytes], *, user: int = USER) -> bytes:
    """An archive whose files only ``user`` may read."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in sorted({name.rpartition("/")[0] for name in files} - {""}):
            archive.addfile(_member(folder, user, tarfile.DIRTYPE))
        for name, content in files.items():
            archive.addfile(_member(name, user, tarfile.REGTYPE, len(content)), io.BytesIO(content))
    return buffer.getvalue()


def _member(name: str, user: int, kind: bytes, size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.size, member.uid, member.gid = kind, size, user, user
    member.mode = 0o700 if kind == tarfile.DIRTYPE else 0o400
    return member
