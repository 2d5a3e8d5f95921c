"""Keys: who may ask. Two at a time, so that one can be changed while the other is in use."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from ridgeway_server.errors import SettingError

NAMES = ("primary", "secondary")
_SHORTEST = 16


class Keys:
    """The keys in a folder, held as digests.

    A key is compared as its SHA-256 in constant time, and with both keys whatever the first comparison says: the time
    that an answer takes tells nothing about a key.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.digests = self._read()
        if not self.digests:
            raise SettingError(
                f"no keys in {folder}: expected the files primary and secondary, at least 16 characters each"
            )

    def reload(self) -> bool:
        """Take up the keys that the files hold now; True if they differ. Missing or empty files change nothing."""
        digests = self._read()
        if not digests or digests == self.digests:
            return False
        self.digests = digests
        return True

    def admits(self, key: bytes) -> bool:
        """True if ``key`` is one of the keys."""
        digest = hashlib.sha256(key).digest()
        found = [hmac.compare_digest(digest, known) for known in self.digests]
        return any(found)

    def _read(self) -> tuple[bytes, ...]:
        digests = []
        for name in NAMES:
            try:
                key = (self.folder / name).read_bytes().strip()
            except OSError:
                continue
            if len(key) >= _SHORTEST:
                digests.append(hashlib.sha256(key).digest())
        return tuple(digests)
