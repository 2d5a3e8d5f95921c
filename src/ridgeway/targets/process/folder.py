"""What this machine keeps of one endpoint: what was asked for, how it is, packages, keys, the log. Standard library.

``.ridgeway/targets/NAME/`` holds ``wanted.json``, written by commands, and ``state.json``, written by the daemon; both
are only ever replaced as a whole: whoever is killed in the middle leaves the one before.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ridgeway.artifacts import Deployment, Health
from ridgeway.errors import StorageError
from ridgeway.run_log import Process, is_alive
from ridgeway.targets.interface import Keys
from ridgeway.targets.remembered import as_record, from_record

_LARGEST_LOG_BYTES = 20 * 2**20


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for last."""

    generation: int
    """Grows with every roll-out."""
    deployment: Deployment
    package: str
    """Name of the folder in ``packages/``."""


@dataclass(frozen=True, slots=True)
class Running:
    """One generation's server."""

    generation: int
    process: Process
    health_port: int


@dataclass(frozen=True, slots=True)
class State:
    """How the daemon found things; it writes this whenever something has changed."""

    daemon: Process
    address: str
    """``HOST:PORT`` of the socket that it holds."""
    generation: int
    """The wanted one that this is about."""
    health: Health
    reason: str = ""
    sentence: str = ""
    log: tuple[str, ...] = ()
    since: str = ""
    """When the generation that serves took its place; ISO 8601, UTC."""
    serving: int = 0
    """The generation that answers; 0: none yet."""
    restarts: int = 0
    """How often the wanted generation has crashed."""
    servers: tuple[Running, ...] = field(default=())


@dataclass(frozen=True)
class Folder:
    """The state folder of one endpoint."""

    path: Path

    @property
    def keys_folder(self) -> Path:
        """Two files, each one key."""
        return self.path / "keys"

    @property
    def packages(self) -> Path:
        """Copies of packages, each named for its content."""
        return self.path / "packages"

    @property
    def log(self) -> Path:
        """What daemon and servers say."""
        return self.path / "log"

    def prepare(self) -> None:
        """Makes the folder; only its owner may look into it.

        Raises:
            StorageError: It cannot be written.
        """
        try:
            self.packages.mkdir(parents=True, exist_ok=True)
            self.path.chmod(0o700)
            self.log.touch(0o600)
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    # ---- wanted and state --------------------------------------------------------------------------------------------

    def wanted(self) -> Wanted | None:
        """What was asked for last; None where nothing was."""
        record = _read(self.path / "wanted.json")
        try:
            deployment = from_record(record["deployment"])
            return Wanted(int(record["generation"]), deployment, str(record["package"])) if deployment else None
        except (KeyError, TypeError, ValueError):
            return None

    def want(self, wanted: Wanted) -> None:
        """Keeps what is asked for from now on."""
        record = {
            "schema": 1,
            "generation": wanted.generation,
            "deployment": as_record(wanted.deployment),
            "package": wanted.package,
        }
        self.write("wanted.json", json.dumps(record, indent=1))

    def state(self) -> State | None:
        """How the daemon found things last; None where there never was one."""
        record = _read(self.path / "state.json")
        try:
            servers = tuple(
                Running(one["generation"], Process(**one["process"]), one["health_port"]) for one in record["servers"]
            )
            kept = {**record, "daemon": Process(**record["daemon"]), "servers": servers, "log": tuple(record["log"])}
            return State(**{name: kept[name] for name in State.__dataclass_fields__})
        except (KeyError, TypeError):
            return None

    def keep_state(self, state: State) -> None:
        """Replaces the state."""
        self.write("state.json", json.dumps(dataclasses.asdict(state), indent=1))

    def daemon(self) -> State | None:
        """The state of a daemon that still lives; None where none does."""
        state = self.state()
        return state if state is not None and is_alive(state.daemon) else None

    # ---- marks and keys ----------------------------------------------------------------------------------------------

    def frozen(self) -> str:
        """Why nothing may be rolled out here; empty where it may."""
        try:
            return (self.path / "frozen").read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def freeze(self, reason: str) -> None:
        """Leaves or lifts the mark."""
        self.prepare()
        if reason:
            self.write("frozen", reason)
        else:
            (self.path / "frozen").unlink(missing_ok=True)

    def keys(self) -> Keys | None:
        """The keys; None where there are none."""
        try:
            texts = [(self.keys_folder / name).read_text(encoding="ascii") for name in ("primary", "secondary")]
        except FileNotFoundError:
            return None
        return Keys(*texts)

    def keep_keys(self, keys: Keys) -> None:
        """Writes the keys that differ: files of mode 0600 in a folder of mode 0700."""
        self.prepare()
        self.keys_folder.mkdir(mode=0o700, exist_ok=True)
        for name in ("primary", "secondary"):
            text, file = getattr(keys, name), self.keys_folder / name
            if not file.exists() or file.read_text(encoding="ascii") != text:
                self.write(f"keys/{name}", text)

    # ---- the log -----------------------------------------------------------------------------------------------------

    def tail(self, lines: int) -> list[str]:
        """The last lines of the log, the one before it was cut included."""
        kept: list[str] = []
        for file in (self.path / "log.1", self.log):
            try:
                kept += file.read_text(encoding="utf-8", errors="replace").splitlines()
            except FileNotFoundError:
                continue
        return kept[-lines:] if lines else []

    def cut_log(self) -> None:
        """Puts a log of more than 20 MiB aside. In place, because servers hold it open (for appending)."""
        if self.log.exists() and self.log.stat().st_size > _LARGEST_LOG_BYTES:
            shutil.copyfile(self.log, self.path / "log.1")
            os.truncate(self.log, 0)

    def write(self, name: Literal["wanted.json", "state.json", "frozen"] | str, text: str) -> None:
        """Replaces a file as a whole, readable by its owner only.

        Raises:
            StorageError: It cannot be written.
        """
        file = self.path / name
        new = file.with_name(f"{file.name}.{os.getpid()}.new")
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(file)
        except OSError as error:
            raise _cannot_write(file, error) from error


def folders(state: Path) -> Iterator[tuple[str, Folder]]:
    """Every endpoint that this project keeps processes of: target's name and folder."""
    for path in sorted((state / "targets").glob("*/wanted.json")):
        yield path.parent.name, Folder(path.parent)


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _cannot_write(path: Path, error: OSError) -> StorageError:
    return StorageError(
        "cannot keep an endpoint's state",
        where=str(path),
        problem=error.strerror or str(error),
        expected="a folder that can be written",
        next_step="make room, or give yourself the right to write there",
    )
