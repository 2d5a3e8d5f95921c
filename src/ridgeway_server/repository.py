"""Which models there are, which of them are in memory, and which one a name means.

The folder is either one package or ``NAME/VERSION`` packages. Versions are ordered as people count: 10 after 9. A name
alone means its newest version that can be loaded; a version that appears is used once it is loaded, not before.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

from ridgeway_server.errors import PackageError, Refusal
from ridgeway_server.models import Model, load_model
from ridgeway_server.packages import MANIFEST, read_manifest, read_package

log = logging.getLogger("ridgeway_server")
Place = tuple[str, str]
"""Name and version."""
_EAGER_UP_TO = 8
_RETRY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Found:
    """A package on disk: its folder, and what changes when it does."""

    folder: Path
    fingerprint: tuple[int, ...]


def scan(root: Path) -> dict[Place, Found]:
    """All packages below ``root``. A folder without ``model.json`` is not one (yet); unreadable ones are left out."""
    if (root / MANIFEST).exists():
        try:
            manifest = read_manifest(root)
            return {(str(manifest["name"]), str(manifest["version"])): Found(root, _fingerprint(root))}
        except PackageError:
            return {(root.resolve().name, "0"): Found(root, _fingerprint(root))}
    packages: dict[Place, Found] = {}
    for name in _folders(root):
        for version in _folders(name):
            try:
                packages[name.name, version.name] = Found(version, _fingerprint(version))
            except OSError:
                continue
    return packages


def _folders(root: Path) -> list[Path]:
    try:
        with os.scandir(root) as entries:
            return sorted(Path(e.path) for e in entries if not e.name.startswith(".") and e.is_dir())
    except OSError:
        return []


def _fingerprint(folder: Path) -> tuple[int, ...]:
    manifest, itself = (folder / MANIFEST).stat(), folder.stat()
    return (manifest.st_mtime_ns, manifest.st_size, manifest.st_ino, itself.st_mtime_ns)


@dataclass(slots=True, eq=False)
class Entry:
    """One version of one model, in memory or not."""

    name: str
    version: str
    found: Found
    model: Model | None = None
    reason: str = ""
    """Why it cannot be loaded, or why a change on disk was not taken up."""
    failed_at: float = 0.0
    used: int = 0
    waiting: list[Callable[[], None]] | None = None
    """What to call when a load that is under way has ended."""
    off: bool = False
    """Unloaded on request."""

    @property
    def state(self) -> str:
        """READY, LOADING or UNAVAILABLE, or empty for one that loads at its first request."""
        if self.off or (self.failed_at and self.model is None):
            return "UNAVAILABLE"
        return "READY" if self.model is not None else "LOADING" if self.waiting is not None else ""


@dataclass(slots=True)
class Rules:
    """How the repository behaves: see the settings of the same names."""

    root: Path
    default: str = ""
    load: str = "auto"
    memory_bytes: int = 2**60
    trusted: tuple[str, ...] = ()


@dataclass(slots=True)
class Repository:
    """The models of one process.

    ``in_background`` runs a function away from the event loop and hands its result or exception to a callback on the
    loop; ``changed`` is called whenever a name may mean another model than before, ``loaded`` with each load's
    seconds.
    """

    rules: Rules
    in_background: Callable[[Callable[[], Model], Callable[[Model | BaseException], None]], None]
    changed: Callable[[], None] = lambda: None
    loaded: Callable[[Model, float], None] = lambda _model, _seconds: None
    entries: dict[str, dict[str, Entry]] = field(default_factory=dict)
    memory_used: int = 0

    # ---- which model is meant ---------------------------------------------------------------------------------------

    def find(self, name: str = "", version: str = "") -> Entry:
        """The entry that a name (none: the default model) and a version (none: the newest usable one) mean.

        Raises:
            Refusal: 404 if there is none; 503 if it cannot be loaded.
        """
        if not name:
            name, version = self._default()
        versions = self.entries.get(name)
        if versions is None:
            raise Refusal(404, f"no model {name[:100]!r}", self._names())
        if version:
            if version not in versions:
                shown = ", ".join(list(versions)[:20])
                raise Refusal(404, f"model {name!r} has no version {version[:100]!r}", f"one of {shown}")
            return self._usable(versions[version])
        newest = sorted(versions.values(), key=lambda entry: _natural(entry.version), reverse=True)
        for states in (("READY", ""), ("LOADING",)):
            for entry in newest:
                if entry.state in states:
                    return entry
        return self._usable(newest[0])

    def _default(self) -> Place:
        if self.rules.default:
            name, _, version = self.rules.default.partition("/")
            return name, version
        if len(self.entries) == 1:
            return next(iter(self.entries)), ""
        raise Refusal(404, "no model named, and none is the default", f"{self._names()}, as in /models/NAME/score")

    def _names(self) -> str:
        names = list(self.entries)
        return f"one of {', '.join(names[:20])}" if names else "a package in the models folder; there is none"

    def _usable(self, entry: Entry) -> Entry:
        if entry.off:
            raise Refusal(503, f"model {entry.name}/{entry.version} was unloaded", "a request to load it first")
        if entry.state == "UNAVAILABLE":
            if monotonic() - entry.failed_at < _RETRY_SECONDS:
                raise Refusal(503, f"model {entry.name}/{entry.version} cannot be loaded: {entry.reason}")
            entry.failed_at = 0.0
        return entry

    # ---- loading and eviction ---------------------------------------------------------------------------------------

    @property
    def eager(self) -> bool:
        """True if models are loaded before they are asked for."""
        count = sum(map(len, self.entries.values()))
        return self.rules.load == "eager" or (self.rules.load == "auto" and count <= _EAGER_UP_TO)

    def start(self) -> None:
        """Take up what is on disk and, where models are loaded eagerly, load them before returning."""
        for (name, version), found in scan(self.rules.root).items():
            self.entries.setdefault(name, {})[version] = Entry(name, version, found)
        if self.eager:
            for entry in self._all():
                outcome: Model | BaseException
                try:
                    outcome = self._read(entry)
                except PackageError as error:
                    outcome = error
                self._settle(entry, outcome)

    def load(self, entry: Entry, then: Callable[[], None]) -> None:
        """Load a model in the background and call ``then`` whether or not that went well."""
        if entry.waiting is not None:
            entry.waiting.append(then)
            return
        entry.waiting = [then]

        def done(outcome: Model | BaseException) -> None:
            self._settle(entry, outcome)
            waiting, entry.waiting = entry.waiting or [], None
            self.changed()
            for call in waiting:
                call()

        self.in_background(lambda: self._read(entry), done)

    def _read(self, entry: Entry) -> Model:
        started = perf_counter()
        model = load_model(read_package(entry.found.folder), trusted=self.rules.trusted)
        nested = entry.found.folder != self.rules.root
        if nested and (model.name, model.version) != (entry.name, entry.version):
            raise PackageError(f"{entry.found.folder} holds {model.name}/{model.version}, not what its folder says")
        if model.size_bytes > self.rules.memory_bytes:
            raise PackageError(
                f"{entry.found.folder} needs {model.size_bytes >> 20} MiB, more than all models may take"
            )
        self.loaded(model, perf_counter() - started)
        return model

    def _settle(self, entry: Entry, outcome: Model | BaseException) -> None:
        if isinstance(outcome, BaseException):
            entry.reason, entry.failed_at = str(outcome), monotonic()
            log.error("model %s/%s is not loaded: %s", entry.name, entry.version, outcome)
            return
        if entry.model is not None:
            self.memory_used -= entry.model.size_bytes
        entry.model, entry.reason, entry.failed_at = outcome, "", 0.0
        self.memory_used += outcome.size_bytes
        log.info("model %s/%s is loaded (%s, %s)", entry.name, entry.version, outcome.kind, outcome.digest)
        self._evict(keep=entry)

    def _evict(self, keep: Entry) -> None:
        if self.memory_used <= self.rules.memory_bytes:
            return
        for entry in sorted(self._all(), key=lambda one: one.used):
            if entry.model is not None and entry is not keep:
                self._drop(entry)
                if self.memory_used <= self.rules.memory_bytes:
                    break
        self.changed()

    def _drop(self, entry: Entry) -> None:
        if entry.model is not None:
            self.memory_used -= entry.model.size_bytes
            entry.model = None

    # ---- changes ----------------------------------------------------------------------------------------------------

    def rescan(self) -> None:
        """Take up changes on disk. What was loaded answers until its successor is loaded; what is gone is let go."""
        packages = scan(self.rules.root)
        for entry in self._all():
            if (entry.name, entry.version) not in packages:
                self._drop(entry)
                del self.entries[entry.name][entry.version]
                if not self.entries[entry.name]:
                    del self.entries[entry.name]
        fresh = []
        for (name, version), found in packages.items():
            known = self.entries.get(name, {}).get(version)
            if known is None:
                known = self.entries.setdefault(name, {})[version] = Entry(name, version, found)
                fresh.append(known)
            elif known.found != found:
                known.found, known.failed_at = found, 0.0
                fresh.append(known)
        self.changed()
        for entry in fresh:
            if not entry.off and (self.eager or entry.model is not None):
                self.load(entry, lambda: None)

    def switch(self, name: str, *, on: bool) -> None:
        """Allow or forbid all versions of a model, as the repository extension asks.

        Raises:
            Refusal: 404: there is no such model.
        """
        if name not in self.entries:
            raise Refusal(404, f"no model {name[:100]!r}", self._names())
        for entry in self.entries[name].values():
            entry.off = not on
            if not on:
                self._drop(entry)
        self.changed()

    def index(self) -> list[dict[str, Any]]:
        """Each model and version with its state, for the repository index."""
        return [
            {"name": entry.name, "version": entry.version, "state": entry.state, "reason": entry.reason}
            for entry in self._all()
        ]

    @property
    def ready(self) -> bool:
        """True if each model that is loaded eagerly has a version that answers."""
        if not self.eager:
            return bool(self.entries)
        return bool(self.entries) and all(
            any(entry.model is not None or entry.off for entry in versions.values())
            for versions in self.entries.values()
        )

    def _all(self) -> list[Entry]:
        return [entry for versions in self.entries.values() for entry in versions.values()]


def _natural(version: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", version)]
