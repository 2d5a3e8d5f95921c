"""What has changed on disk: models, keys, certificates. One process looks, for all workers."""

from __future__ import annotations

from pathlib import Path

from ridgeway_server.access import NAMES
from ridgeway_server.repository import scan
from ridgeway_server.settings import Settings


class Watch:
    """Looks at everything that may change while the server runs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen = self._look()

    def changes(self) -> list[str]:
        """Which of ``models``, ``keys`` and ``certificates`` differ from the last look."""
        now = self._look()
        changed = [kind for kind in now if now[kind] != self._seen[kind]]
        self._seen = now
        return changed

    def _look(self) -> dict[str, object]:
        settings = self._settings
        keys = [Path(settings.keys_dir) / name for name in NAMES] if settings.keys_on else []
        certificates = [Path(settings.tls_certificate), Path(settings.tls_key)] if settings.tls_certificate else []
        return {
            "models": scan(Path(settings.models)),
            "keys": [_content(path) for path in keys],
            "certificates": [_content(path) for path in certificates],
        }


def _content(path: Path) -> bytes:
    # The content and not the time: a mounted secret changes by a link that is exchanged.
    try:
        return path.read_bytes()
    except OSError:
        return b""
