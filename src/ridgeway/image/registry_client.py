"""An image registry, spoken to over HTTP by the protocol that all of them share (OCI Distribution 1.1).

No Docker engine is involved: looking an image up, or storing one, needs nothing but the registry.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urljoin

import httpx

from ridgeway.errors import NotFound, Permanent, RidgewayError, StorageError, Unreachable, UsageError
from ridgeway.image.reference import PUBLIC, Reference, is_loopback

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
INDEXES = (OCI_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")
"""Manifests that only point to others: one for each kind of machine."""
_ACCEPTED = (OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json", *INDEXES)
_BLOCK_BYTES = 1 << 20
_CERTIFICATES = Path("/etc/docker/certs.d")
"""Where Docker looks for a registry's own authority: ``HOST/ca.crt``."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as a registry keeps it."""

    digest: str
    media_type: str
    body: bytes

    @property
    def content(self) -> dict[str, Any]:
        """Its JSON."""
        content: dict[str, Any] = json.loads(self.body)
        return content

    @property
    def is_index(self) -> bool:
        """Whether it only points to the manifests of several kinds of machines."""
        return self.media_type in INDEXES


class Registry:
    """One repository of a registry. Close it, or use it in a ``with`` statement.

    Credentials are those of ``docker login`` (credential helpers included); nothing is asked for before the registry
    says that it wants to know.

    Every method raises:
        Unreachable: The registry does not answer, or has trouble of its own.
        StorageError: It has no room left.
        Permanent: It refuses us.
        UsageError: What answers there is no image registry.
    """

    def __init__(self, reference: Reference, *, timeout_seconds: float = 30) -> None:
        self.reference = reference
        self.sent_bytes = 0
        """Of blobs that the registry did not have."""
        self._client = httpx.Client(
            base_url=reference.url,
            timeout=httpx.Timeout(timeout_seconds, connect=5),
            verify=_trust(reference),
            # A proxy that the machine uses for the outside knows nothing of addresses on the machine itself.
            trust_env=not is_loopback(reference.host),
            follow_redirects=True,
            headers={"User-Agent": "ridgeway"},
        )
        self._authorization: dict[str, str] = {}

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    # ---- manifests ---------------------------------------------------------------------------------------------------

    def digest(self, version: str) -> tuple[str, str] | None:
        """Digest and media type of a tag or digest, or None where there is no such image."""
        response = self._ask("HEAD", f"manifests/{version}", headers={"Accept": ", ".join(_ACCEPTED)})
        if response.status_code == 404:
            return None
        self._demand(response, f"looking for {self._name(version)}")
        digest = response.headers.get("Docker-Content-Digest", "")
        if not digest:  # Not every registry sends it with HEAD.
            found = self.manifest(version)
            return (found.digest, found.media_type) if found else None
        return digest, _media_type(response)

    def manifest(self, version: str) -> Manifest | None:
        """The manifest of a tag or digest, or None where there is none."""
        response = self._ask("GET", f"manifests/{version}", headers={"Accept": ", ".join(_ACCEPTED)})
        if response.status_code == 404:
            return None
        self._demand(response, f"looking for {self._name(version)}")
        found = Manifest(sha256(response.content), _media_type(response), response.content)
        if version.startswith("sha256:") and version != found.digest:
            raise self._altered(version, found.digest)
        try:
            found.content["schemaVersion"]
        except (ValueError, KeyError, TypeError):
            raise self._no_registry(f"GET {response.url} answers something that is no manifest") from None
        return found

    def put_manifest(self, version: str, content: bytes, media_type: str) -> str:
        """Stores a manifest under a tag, or under its own digest; the digest."""
        response = self._ask("PUT", f"manifests/{version}", content=content, headers={"Content-Type": media_type})
        self._demand(response, f"storing {self._name(version)}")
        return sha256(content)

    # ---- blobs -------------------------------------------------------------------------------------------------------

    def has_blob(self, digest: str) -> bool:
        """Whether the repository holds this blob."""
        response = self._ask("HEAD", f"blobs/{digest}")
        if response.status_code == 404:
            return False
        self._demand(response, f"looking for {digest} in {self.reference.repository}")
        return True

    def read_blob(self, digest: str) -> bytes:
        """A small blob, proven to be the one that was asked for."""
        content = b"".join(self.stream_blob(digest))
        if sha256(content) != digest:
            raise self._altered(digest, sha256(content))
        return content

    def stream_blob(self, digest: str) -> Iterator[bytes]:
        """A blob in pieces, unchecked."""
        # Asked for with HEAD first, so that a registry that wants to know who asks is told before the answer streams.
        self._demand(self._ask("HEAD", f"blobs/{digest}"), f"reading {digest}")
        try:
            with self._client.stream(
                "GET", f"/v2/{self.reference.path}/blobs/{digest}", headers=self._authorization
            ) as response:
                if response.status_code != 200:
                    response.read()
                    self._demand(response, f"reading {digest}")
                yield from response.iter_raw(_BLOCK_BYTES)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def mount_blob(self, digest: str, source: str) -> bool:
        """Takes a blob over from another repository of the same registry, if it lets us; nothing is transferred."""
        response = self._ask("POST", "blobs/uploads/", params={"mount": digest, "from": source})
        if response.status_code == 202:
            self._cancel(response)
        return response.status_code == 201

    def put_blob(self, digest: str, content: bytes | BinaryIO, size: int) -> None:
        """Stores a blob that is not there; one that is costs a question."""
        if self.has_blob(digest):
            return
        opened = self._ask("POST", "blobs/uploads/")
        self._demand(opened, f"storing in {self.reference.repository}", status=202)
        body = content if isinstance(content, bytes) else _blocks(content)
        try:
            response = self._client.put(
                _upload_url(opened, digest),
                content=body,
                headers={
                    "Content-Type": "application/octet-stream",
                    "Content-Length": str(size),
                    **self._authorization,
                },
                timeout=httpx.Timeout(300, connect=5),
            )
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        self._demand(response, f"storing in {self.reference.repository}", status=201)
        self.sent_bytes += size

    def try_writing(self) -> None:
        """Begins to store something and takes it back: as much as can be known of the right to store."""
        opened = self._ask("POST", "blobs/uploads/")
        self._demand(opened, f"storing in {self.reference.repository}", status=202)
        self._cancel(opened)

    def ping(self) -> None:
        """Proves that a registry answers."""
        response = self._ask("GET", "", whole_registry=True)
        if response.status_code != 200:
            self._demand(response, "asking the registry")
        if "json" not in response.headers.get("Content-Type", "json"):
            raise self._no_registry(f"GET {response.url} answers {response.headers['Content-Type']}")

    def _cancel(self, opened: httpx.Response) -> None:
        if location := opened.headers.get("Location"):
            url = urljoin(str(opened.url), location)
            try:
                self._client.delete(url, headers=self._authorization)
            except httpx.TransportError as error:
                raise self._unreachable(error) from error

    # ---- asking ------------------------------------------------------------------------------------------------------

    def _ask(self, method: str, path: str, *, whole_registry: bool = False, **options: Any) -> httpx.Response:
        url = "/v2/" if whole_registry else f"/v2/{self.reference.path}/{path}"
        headers = options.pop("headers", {})
        try:
            response = self._client.request(method, url, headers={**headers, **self._authorization}, **options)
            if response.status_code == 401 and self._authorize(response):
                response = self._client.request(method, url, headers={**headers, **self._authorization}, **options)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        return response

    def _authorize(self, response: httpx.Response) -> bool:
        """Gets what the registry asks for in a 401; False where we have nothing to offer."""
        challenge = response.headers.get("WWW-Authenticate", "")
        scheme, _, rest = challenge.partition(" ")
        login = _login(self.reference.host)
        if scheme.lower() == "basic":
            if not login.get("Username"):
                return False
            self._authorization = {"Authorization": _basic(login)}
            return True
        if scheme.lower() != "bearer":
            return False
        facts = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        token = self._token(facts, login)
        self._authorization = {"Authorization": f"Bearer {token}"} if token else {}
        return bool(token)

    def _token(self, facts: dict[str, str], login: dict[str, Any]) -> str:
        # The right to write is asked for at once: a token is fetched once, and without login it is none for either.
        scope = facts.get("scope") or f"repository:{self.reference.path}:pull"
        if login:
            scope = re.sub(r":pull$", ":pull,push", scope)
        asked = {"service": facts.get("service", ""), "scope": scope}
        if identity := login.get("IdentityToken"):
            form = {**asked, "grant_type": "refresh_token", "refresh_token": identity, "client_id": "ridgeway"}
            response = self._client.post(facts.get("realm", ""), data=form)
        else:
            headers = {"Authorization": _basic(login)} if login.get("Username") else {}
            response = self._client.get(facts.get("realm", ""), params=asked, headers=headers)
        if response.status_code != 200:
            return ""
        body = response.json()
        return str(body.get("token") or body.get("access_token") or "")

    # ---- what can go wrong -------------------------------------------------------------------------------------------

    def _name(self, version: str) -> str:
        return f"{self.reference.repository}{'@' if version.startswith('sha256:') else ':'}{version}"

    def _demand(self, response: httpx.Response, doing: str, *, status: int | None = None) -> None:
        code = response.status_code
        if (200 <= code < 300) if status is None else code == status:
            return
        raise self._refusal(response, doing)

    def _refusal(self, response: httpx.Response, doing: str) -> RidgewayError:
        code, text = response.status_code, _told(response)
        summary, where = f"image registry: {doing} failed", self.reference.url
        if code == 507 or re.search(r"no space|quota|storage limit|insufficient storage", text, re.IGNORECASE):
            return StorageError(
                summary,
                where=where,
                problem=f"it is full (HTTP {code}: {text})",
                expected="room for the image",
                next_step="remove old images there, or raise its quota; then run the same command again",
            )
        if code >= 500 or code == 429:
            return Unreachable(
                summary,
                where=where,
                problem=f"it answers HTTP {code}: {text}",
                expected="a registry in good health",
                next_step="try again later, or look at the registry's own log",
            )
        if code in (401, 403):
            return Permanent(
                summary,
                where=where,
                problem=f"it refuses us (HTTP {code}: {text})",
                expected=f"the right to read and write {self.reference.repository}",
                next_step=f"docker login {self.reference.host}     or     --set image.repository=…",
            )
        if code == 404 and "_UNKNOWN" in text:
            return NotFound(summary, where=where, problem=text, next_step="ridgeway settings image")
        return self._no_registry(f"{response.request.method} {response.url.path} answers HTTP {code}: {text}")

    def _no_registry(self, problem: str) -> UsageError:
        return UsageError(
            f"{self.reference.repository} takes no images",
            where="image.repository",
            problem=problem,
            expected="the address of an image registry",
            next_step="ridgeway settings image.repository",
        )

    def _unreachable(self, error: Exception) -> Unreachable:
        public = self.reference.host == PUBLIC
        tls = "SSL" in str(error) or "WRONG_VERSION_NUMBER" in str(error)
        mirror = (
            "name a base that can be reached from here: --set image.base=registry.example/python:3.11-slim-bookworm"
        )
        return Unreachable(
            f"image registry {self.reference.host} cannot be reached",
            where=self.reference.url,
            problem=str(error) or type(error).__name__,
            expected="a registry that speaks TLS with a certificate that this machine trusts"
            if tls
            else "a registry that answers",
            next_step=mirror if public else f"curl {self.reference.url}/v2/     and     ridgeway settings image",
        )

    def _altered(self, wanted: str, found: str) -> Permanent:
        return Permanent(
            f"image registry: {self.reference.repository} hands out altered content",
            where=self.reference.url,
            problem=f"asked for {wanted}, it sent {found}",
            expected="content that has the digest it is stored under",
            next_step="have the registry's storage checked",
        )


def sha256(content: bytes) -> str:
    """``sha256:…`` of bytes.

    Example:
        >>> sha256(b"")[:20]
        'sha256:e3b0c44298fc1'
    """
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _media_type(response: httpx.Response) -> str:
    return str(response.headers.get("Content-Type", "")).partition(";")[0].strip()


def _told(response: httpx.Response) -> str:
    """What a registry says in an error, in one line."""
    try:
        errors = response.json()["errors"]
        said = [" ".join(str(one.get(key) or "") for key in ("code", "message", "detail")) for one in errors]
        text = "; ".join(said)
    except (ValueError, KeyError, TypeError, AttributeError):
        text = response.text if "html" not in response.headers.get("Content-Type", "") else ""
    return " ".join(text.split())[:200] or response.reason_phrase


def _upload_url(opened: httpx.Response, digest: str) -> str:
    url = httpx.URL(urljoin(str(opened.url), opened.headers["Location"]))
    return str(url.copy_merge_params({"digest": digest}))


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK_BYTES):
        yield block


def _trust(reference: Reference) -> ssl.SSLContext | bool:
    if reference.url.startswith("http:"):
        return False
    context = ssl.create_default_context()
    own = _CERTIFICATES / reference.host / "ca.crt"
    if own.is_file():
        context.load_verify_locations(own)
    return context


def _login(host: str) -> dict[str, Any]:
    """What `docker login` has left for this registry; empty where nothing."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    if not (folder / "config.json").is_file():
        return {}
    from docker import auth, errors

    config = auth.load_config(str(folder / "config.json"))
    try:
        found = config.resolve_authconfig(None if host == PUBLIC else host)
    except errors.DockerException as error:
        raise Permanent(
            f"cannot read the login for {host}",
            where=str(folder / "config.json"),
            problem=str(error),
            expected="a credential helper that works",
            next_step=f"docker login {host}",
        ) from error
    return {_KEYS.get(key, key): value for key, value in (found or {}).items()}


_KEYS = {"username": "Username", "password": "Password", "identitytoken": "IdentityToken"}


def _basic(login: dict[str, Any]) -> str:
    pair = f"{login['Username']}:{login.get('Password') or ''}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
