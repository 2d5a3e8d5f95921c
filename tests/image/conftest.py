"""A registry that counts what is written to it, packages written by hand, and one image that all tests share."""

from __future__ import annotations

import contextlib
import http.client
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from ridgeway import image
from ridgeway.artifacts import Image
from ridgeway.image import ImageRequest
from ridgeway.image.needs import locks_of
from tests.server.toys import PackageMaker

MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"


@dataclass
class Gate:
    """A registry behind a gate that sees every request; the registry behind it is a real one."""

    host: str
    writes: list[str] = field(default_factory=list)
    written_bytes: int = 0
    log: list[str] = field(default_factory=list)

    def note(self, method: str, path: str, size: int) -> None:
        """One request."""
        self.log.append(f"{method} {path}")
        if method in ("PUT", "POST", "PATCH", "DELETE"):
            self.writes.append(f"{method} {path}")
            self.written_bytes += size

    def forget(self) -> None:
        """What follows is counted from nothing."""
        self.writes, self.written_bytes, self.log = [], 0, []


@contextlib.contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server on a free port of this machine; ``HOST:PORT``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="session")
def image_registry() -> str:
    """``HOST:PORT`` of a real registry; a test that asks for it needs the mark ``docker``."""
    host = os.environ.get("LAB_REGISTRY", "127.0.0.1:5000")
    try:
        httpx.get(f"http://{host}/v2/", timeout=5).raise_for_status()
    except httpx.HTTPError:
        if "docker" in os.environ.get("RIDGEWAY_REQUIRE", "").split(","):
            pytest.fail(f"RIDGEWAY_REQUIRE asks for docker, but no registry answers on {host}", pytrace=False)
        pytest.skip("no image registry answers")
    return host


@pytest.fixture(scope="session")
def base_image(image_registry: str) -> str:
    """An image with Python, in the registry."""
    return os.environ.get("LAB_BASE_IMAGE", f"{image_registry}/python:3.11-slim-bookworm")


class Forwarding(BaseHTTPRequestHandler):
    """Hands each request to the registry behind it and notes it; subclasses say which registry and where to note."""

    protocol_version = "HTTP/1.1"
    behind: str
    noted: Gate

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.forward
        raise AttributeError(name)

    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.noted.note(self.command, self.path, len(body))
        connection = http.client.HTTPConnection(self.behind, timeout=60)
        # With the name under which we were called, so that the registry names us in its answers, too; and line by line,
        # because the engine says what it accepts in several.
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders(body or None)
        self._hand_back(connection.getresponse())
        connection.close()

    def _hand_back(self, answer: http.client.HTTPResponse) -> None:
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name not in ("Content-Length", "Connection", "Transfer-Encoding"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="session")
def gate(image_registry: str) -> Iterator[Gate]:
    """The registry, with every write counted."""
    made = Gate("")
    handler = type("Handler", (Forwarding,), {"behind": image_registry, "noted": made})
    with answering(handler) as host:
        made.host = host
        yield made


@pytest.fixture(scope="session")
def new_repository(gate: Gate, image_registry: str) -> Iterator[Callable[[], str]]:
    """Makes names of repositories that no one else uses; at the end all in them is taken away."""
    names: list[str] = []

    def make() -> str:
        names.append(f"image-tests/{uuid.uuid4().hex[:12]}")
        return f"{gate.host}/{names[-1]}"

    yield make
    with httpx.Client(base_url=f"http://{image_registry}/v2") as client:
        for name in names:
            for tag in client.get(f"/{name}/tags/list").json().get("tags") or []:
                found = client.head(f"/{name}/manifests/{tag}", headers={"Accept": MANIFESTS})
                client.delete(f"/{name}/manifests/{found.headers['Docker-Content-Digest']}")
    with contextlib.suppress(docker.errors.DockerException):
        engine = docker.from_env()
        ours = [one for one in engine.images.list() if any(name in str(one.attrs["RepoDigests"]) for name in names)]
        for one in ours:
            with contextlib.suppress(docker.errors.APIError):
                engine.images.remove(one.id, force=True)
        engine.close()


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> PackageMaker:
    return PackageMaker(tmp_path_factory.mktemp("packages"))


@dataclass(frozen=True)
class Built:
    """An image and what was asked for."""

    image: Image
    request: ImageRequest
    said: list[str]


@pytest.fixture(scope="session")
def built(
    gate: Gate,
    new_repository: Callable[[], str],
    base_image: str,
    toys: PackageMaker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Built:
    """The image of a linear model, made once."""
    request = ImageRequest(
        toys.linear(),
        new_repository(),
        base_image,
        "models:/toy/1",
        "sha256:" + "7" * 64,
        {"commit": "c" * 40, "source": "https://git.example/toy", "dataset": "data://toy@sha256:1"},
        locks=locks_of(Path(__file__).parents[2]),
        state=tmp_path_factory.mktemp("project") / ".ridgeway",
    )
    said: list[str] = []
    return Built(image.build(request, say=said.append), request, said)


@pytest.fixture
def another(built: Built, tmp_path: Path) -> Callable[..., ImageRequest]:
    """The same request as another machine would make it, changed as given."""

    def make(**changes: Any) -> ImageRequest:
        return replace(built.request, **{"state": tmp_path / "elsewhere/.ridgeway", **changes})

    return make
