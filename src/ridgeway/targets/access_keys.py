"""Keys of an endpoint: how they are made, and how a new one takes its place. Only making one is not pure."""

from __future__ import annotations

import secrets
from typing import Literal

from ridgeway.targets.interface import Keys

_BYTES = 32


def new_key() -> str:
    """A key of 256 random bits: 43 characters that are safe in a URL, a header line and a shell.

    Example:
        >>> len(new_key()), new_key() == new_key()
        (43, False)
    """
    return secrets.token_urlsafe(_BYTES)


def new_keys() -> Keys:
    """A first pair."""
    return Keys(primary=new_key(), secondary=new_key())


def exchanged(keys: Keys, which: Literal["primary", "secondary"], key: str) -> Keys:
    """The pair with ``key`` in place of one of them.

    Example:
        >>> exchanged(Keys("a", "b"), "secondary", "c") == Keys("a", "c")
        True
    """
    return Keys(key, keys.secondary) if which == "primary" else Keys(keys.primary, key)
