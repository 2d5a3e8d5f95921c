"""Where messages go, and what they are signed with: secrets, which are never shown, written or logged."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from ridgeway.errors import UsageError
from ridgeway.settings.secrets import secret

URL, KEY = "RIDGEWAY_NOTIFICATIONS__URL", "RIDGEWAY_NOTIFICATIONS__KEY"
PREFIX = "whsec_"
LEAST_KEY_BYTES = 24
"""As the published scheme asks for."""
_NEW_KEY = 'echo "whsec_$(openssl rand -base64 32)" > FILE'


@dataclass(frozen=True, slots=True, repr=False)
class Receiver:
    """A webhook and its signing keys, the newest first. What shows it shows neither."""

    url: str
    keys: tuple[str, ...]

    @property
    def place(self) -> str:
        """Scheme and host: what may be shown. Path and user of such an address are often secrets.

        Example:
            >>> Receiver("https://ada:pw@hooks.example:8443/T0/secret", ()).place
            'https://hooks.example:8443'
        """
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    @property
    def mark(self) -> str:
        """What this receiver's state is kept under: another one as soon as the address or a key is."""
        return hashlib.sha256("\0".join((self.url, *self.keys)).encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"Receiver({self.place})"

    def cleaned(self, text: str) -> str:
        """The text without anything of the address beyond its place, and without keys."""
        for word in (self.url, *self.keys, *(key.removeprefix(PREFIX) for key in self.keys)):
            text = text.replace(word, "…")
        return text


def configured(environ: Mapping[str, str] | None = None) -> Receiver | None:
    """The receiver that the environment names; None where it names none.

    Args:
        environ: The environment; that of this process by default.

    Raises:
        UsageError: Address or key cannot be used; the message holds neither.

    Example:
        >>> configured({}) is None
        True
    """
    url = secret(URL, environ).strip()
    if not url:
        return None
    return Receiver(_checked_url(url), tuple(_checked_key(key) for key in _keys(environ)))


def _checked_url(url: str) -> str:
    try:
        parts: SplitResult | None = urlsplit(url)
        assert parts is not None
        parts.port  # noqa: B018 - a port that is none raises only here
    except ValueError:
        parts = None
    usable = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)
    if not usable or not url.isascii() or any(mark.isspace() for mark in url):
        raise UsageError(
            "notifications: the address of the webhook cannot be used",
            where=f"{URL}, or the file that {URL}_FILE names",
            expected="https://HOST/PATH, as the receiver gave it",
            next_step="correct it",
        )
    return url


def _keys(environ: Mapping[str, str] | None) -> list[str]:
    keys = secret(KEY, environ).split()
    if not keys:
        raise UsageError(
            "notifications: there is no key to sign with",
            where=f"{KEY}, or {KEY}_FILE",
            problem="it is not set, and the address is",
            expected="the key that the receiver checks signatures with",
            next_step=f"take the receiver's, or make one: {_NEW_KEY}",
        )
    return keys


def _checked_key(key: str) -> str:
    bare = key.removeprefix(PREFIX)
    try:
        # Strictly: who has a passphrase in mind would otherwise sign with what is left of it.
        length = len(base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True))
    except (binascii.Error, ValueError):
        length = 0
    if length < LEAST_KEY_BYTES:
        raise UsageError(
            "notifications: a key cannot be used",
            where=f"{KEY}, or the file that {KEY}_FILE names",
            problem=f"{length} bytes" if length else "it is not base64",
            expected=f"{PREFIX} and base64 of at least {LEAST_KEY_BYTES} random bytes",
            next_step=f"take the receiver's, or make one: {_NEW_KEY}",
        )
    return key
