"""A registry on its bad days, and one that wants to know who asks: small servers that answer as such registries do."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ridgeway import image
from ridgeway.errors import NotFound, Permanent, RidgewayError, StorageError, Unreachable, UsageError
from ridgeway.image.reference import parse_repository
from ridgeway.image.registry_client import Registry
from tests.image.conftest import answering

DIGEST = "sha256:" + "a" * 64


class Answering(BaseHTTPRequestHandler):
    """Answers writing with one status and body; reading finds nothing, unless ``all_alike``."""

    status, body, kind, all_alike = 500, b"", "application/json", False

    def do_HEAD(self) -> None:
        self.reply(self.status if self.all_alike else 404, b"")

    def do_GET(self) -> None:
        self.reply(self.status, self.body) if self.all_alike else self.reply(404, b"{}")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.reply(self.status, self.body)

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", self.kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def registry_that() -> Iterator[Callable[..., Registry]]:
    with ExitStack() as stack:

        def start(**facts: Any) -> Registry:
            host = stack.enter_context(answering(type("Handler", (Answering,), facts)))
            return stack.enter_context(Registry(parse_repository(f"{host}/team/model")))

        yield start


def said(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "exit_code", "problem"),
    [
        (507, b"", StorageError, 1, "it is full (HTTP 507: Insufficient Storage)"),
        (500, said("UNKNOWN", "write: no space left on device"), StorageError, 1, "no space left on device"),
        (403, said("DENIED", "adding 20 MiB exceeds the storage quota"), StorageError, 1, "it is full (HTTP 403"),
        (500, said("UNKNOWN", "unknown error"), Unreachable, 75, "it answers HTTP 500: UNKNOWN unknown error"),
        (429, said("TOOMANYREQUESTS", "slow down"), Unreachable, 75, "TOOMANYREQUESTS"),
        (403, said("DENIED", "requested access is denied"), Permanent, 1, "it refuses us (HTTP 403: DENIED"),
        (401, said("UNAUTHORIZED", "authentication required"), Permanent, 1, "it refuses us (HTTP 401"),
        (405, b"<html>", UsageError, 2, "POST /v2/team/model/blobs/uploads/ answers HTTP 405"),
    ],
)
def test_a_refusal_is_told_apart_from_trouble_and_from_a_full_disk(
    registry_that: Callable[..., Registry],
    status: int,
    body: bytes,
    kind: type[RidgewayError],
    exit_code: int,
    problem: str,
) -> None:
    registry = registry_that(status=status, body=body)
    with pytest.raises(RidgewayError) as caught:
        registry.put_blob(DIGEST, b"content", 7)
    assert type(caught.value) is kind
    assert caught.value.exit_code == exit_code
    assert problem in caught.value.problem
    assert caught.value.next_step


def test_a_refused_login_names_the_command_that_logs_in(registry_that: Callable[..., Registry]) -> None:
    registry = registry_that(status=403, body=said("DENIED", "no"))
    with pytest.raises(Permanent) as caught:
        registry.try_writing()
    assert f"docker login {registry.reference.host}" in caught.value.next_step


@pytest.mark.parametrize(
    ("status", "body", "kind"), [(200, b"<html>hello</html>", "text/html"), (404, b"", "text/html")]
)
def test_a_server_that_is_no_registry_is_named_so(
    registry_that: Callable[..., Registry], status: int, body: bytes, kind: str
) -> None:
    registry = registry_that(status=status, body=body, kind=kind, all_alike=True)
    with pytest.raises(UsageError, match="takes no images"):
        registry.ping()


def test_a_manifest_that_is_none_is_not_believed(registry_that: Callable[..., Registry]) -> None:
    registry = registry_that(status=200, body=b"<html>hello</html>", kind="text/html", all_alike=True)
    with pytest.raises(UsageError, match="no manifest"):
        registry.manifest("1")


def test_content_that_does_not_have_its_digest_is_not_believed(registry_that: Callable[..., Registry]) -> None:
    registry = registry_that(status=200, body=b"{}", all_alike=True)
    with pytest.raises(Permanent, match="altered content"):
        registry.read_blob(DIGEST)
    with pytest.raises(Permanent, match="altered content"):
        registry.manifest(DIGEST)


def test_a_registry_that_is_down_may_be_tried_again() -> None:
    with Registry(parse_repository("127.0.0.1:9/d")) as registry, pytest.raises(Unreachable) as caught:
        registry.digest("1")
    assert caught.value.exit_code == 75
    assert caught.value.next_step.startswith("curl http://127.0.0.1:9/v2/")


def test_a_public_base_that_cannot_be_reached_names_the_setting() -> None:
    from ridgeway.image.reference import parse_image

    with Registry(parse_image("python:3.11-slim-bookworm")) as registry:
        error = registry._unreachable(OSError("no route"))
    assert "--set image.base=" in error.next_step
    assert error.where == "https://registry-1.docker.io"


class Guarded(Answering):
    """A registry that wants a token, and the place that gives one to user ``ada``."""

    asked: list[str]

    def do_HEAD(self) -> None:
        if self.headers.get("Authorization") == "Bearer t0ken":
            return self.reply(404, b"")
        self.send_response(401)
        realm = f"http://{self.headers['Host']}/token"
        self.send_header("WWW-Authenticate", f'Bearer realm="{realm}",service="r",scope="repository:team/model:pull"')
        self.end_headers()
        return None

    def do_GET(self) -> None:
        self.asked.append(parse_qs(urlsplit(self.path).query)["scope"][0])
        good = self.headers.get("Authorization") == f"Basic {base64.b64encode(b'ada:secret').decode()}"
        self.reply(*((200, b'{"token": "t0ken"}') if good else (401, b"{}")))


def test_a_registry_that_asks_gets_what_docker_login_has_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    with answering(type("Handler", (Guarded,), {"asked": asked})) as host:
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        with Registry(parse_repository(f"{host}/team/model")) as registry, pytest.raises(Permanent, match="refuses us"):
            registry.digest("1")
        login = {"auths": {host: {"auth": base64.b64encode(b"ada:secret").decode()}}}
        (tmp_path / "config.json").write_text(json.dumps(login))
        with Registry(parse_repository(f"{host}/team/model")) as registry:
            assert registry.digest("1") is None
    assert asked == ["repository:team/model:pull", "repository:team/model:pull,push"]


# ---- preflight -------------------------------------------------------------------------------------------------------


def outcomes(repository: str, base: str, **options: Any) -> dict[str, tuple[str, str]]:
    found = image.check(repository, base, root=Path(__file__).parents[2], **options)
    return {finding.check: (finding.outcome, finding.next_step) for finding in found}


@pytest.mark.docker
def test_preflight_finds_nothing_where_all_is_well(image_registry: str, base_image: str) -> None:
    found = outcomes(f"{image_registry}/image-tests/none", base_image)
    assert {name for name, (outcome, _) in found.items() if outcome == "pass"} >= {
        "packaging tools", "image registry", "image repository", "base image", "Docker engine",
    }  # fmt: skip


def test_preflight_names_each_thing_that_is_missing_with_the_next_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    found = outcomes("127.0.0.1:9/d", "127.0.0.1:9/python:3.11", engine_needed=True)
    failed = {name for name, (outcome, _) in found.items() if outcome == "fail"}
    assert failed == {"image registry", "base image", "Docker engine"}
    assert all(step for outcome, step in found.values() if outcome != "pass")
    # Images are made without an engine: where none is needed, its absence is only a remark.
    assert outcomes("127.0.0.1:9/d", "127.0.0.1:9/python:3.11")["Docker engine"][0] == "warn"


def test_preflight_tells_a_registry_that_takes_nothing_from_us() -> None:
    facts = {"status": 403, "body": said("DENIED", "no"), "do_GET": lambda self: self.reply(200, b"{}")}
    with answering(type("Handler", (Answering,), facts)) as host:
        found = outcomes(f"{host}/d", "127.0.0.1:9/python:3.11")
    assert found["image registry"][0] == "pass"
    assert found["image repository"] == ("fail", f"docker login {host}     or     --set image.repository=…")


def test_preflight_tells_a_missing_base_from_a_registry_that_is_down() -> None:
    with answering(type("Handler", (Answering,), {"status": 202, "body": b"{}"})) as host:
        found = outcomes(f"{host}/d", f"{host}/python:3.11")
    assert found["base image"] == ("fail", f"docker push {host}/python:3.11     or     --set image.base=…")
    assert issubclass(NotFound, UsageError)
