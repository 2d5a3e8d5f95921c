"""Names of images: ``HOST/PATH:TAG`` and ``HOST/PATH@sha256:…``, read as Docker reads them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from ridgeway.errors import UsageError

PUBLIC = "docker.io"
"""The registry of a name without one."""
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Reference:
    """One image or repository: where its registry is, its path there, and a tag or a digest."""

    host: str
    """``registry.example:5000``, or ``docker.io``."""
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """``HOST/PATH``."""
        return f"{self.host}/{self.path}"

    @property
    def handle(self) -> str:
        """The whole name: by digest where there is one, else by tag."""
        if self.digest:
            return f"{self.repository}@{self.digest}"
        return f"{self.repository}:{self.tag}" if self.tag else self.repository

    @property
    def version(self) -> str:
        """What a registry is asked for: the digest, or the tag."""
        return self.digest or self.tag

    @property
    def url(self) -> str:
        """The registry's address: plain HTTP on this machine, TLS elsewhere, as Docker does it."""
        host = "registry-1.docker.io" if self.host == PUBLIC else self.host
        return f"{'http' if is_loopback(host) else 'https'}://{host}"

    def at(self, digest: str) -> Reference:
        """The same repository at a digest."""
        return Reference(self.host, self.path, digest=digest)


def is_loopback(host: str) -> bool:
    """Whether ``HOST:PORT`` is this machine.

    Example:
        >>> is_loopback("127.0.0.1:5000"), is_loopback("localhost"), is_loopback("registry.example")
        (True, True, False)
    """
    name = re.sub(r":\d+$", "", host).strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def parse_image(text: str, *, setting: str = "image.base") -> Reference:
    """An image by tag or digest; without either, the tag ``latest``.

    Raises:
        UsageError: It is not the name of an image.

    Example:
        >>> parse_image("python:3.11-slim-bookworm").handle
        'docker.io/library/python:3.11-slim-bookworm'
        >>> parse_image("127.0.0.1:5000/team/python").handle
        '127.0.0.1:5000/team/python:latest'
    """
    name, _, digest = text.partition("@")
    host, path = _split(name)
    path, _, tag = path.partition(":")
    fits = _PATH.fullmatch(path) and _HOST.fullmatch(host)
    if not fits or (digest and not _DIGEST.fullmatch(digest)) or (tag and not _TAG.fullmatch(tag)):
        raise UsageError(
            f"{text!r} is not the name of an image",
            where=setting,
            expected="such as python:3.11-slim-bookworm, registry.example/team/python:3.11 or NAME@sha256:…",
            next_step=f"ridgeway settings {setting}",
        )
    return Reference(host, path, tag or ("" if digest else "latest"), digest)


def parse_repository(text: str, *, setting: str = "image.repository") -> Reference:
    """A repository: a registry's address and a path, without tag or digest.

    Raises:
        UsageError: It is not one, or names no registry.

    Example:
        >>> parse_repository("127.0.0.1:5000/diabetes").url
        'http://127.0.0.1:5000'
    """
    first, _, path = text.partition("/")
    if not path or not _PATH.fullmatch(path) or not _HOST.fullmatch(first) or not _names_a_host(first):
        raise UsageError(
            f"{text!r} is not a repository for images",
            where=setting,
            expected="a registry's address and a path in small letters, such as registry.example/team/diabetes",
            next_step=f"ridgeway settings {setting}",
        )
    return Reference(first, path)


def _split(name: str) -> tuple[str, str]:
    first, _, rest = name.partition("/")
    if rest and _names_a_host(first):
        return (PUBLIC, _public(rest)) if first == PUBLIC else (first, rest)
    return PUBLIC, _public(name)


def _names_a_host(first: str) -> bool:
    return "." in first or ":" in first or first == "localhost"


def _public(path: str) -> str:
    return path if "/" in path else f"library/{path}"
