"""The local state in one file, and back: what it takes to go on elsewhere, or after a disk was lost.

A backup is made while everything runs. Databases are copied by SQLite's own online copy, and before all files: a record
in a database is written after the files that it names, so that every record in the copy finds its files. A restore
checks the whole archive, file by file, before it touches anything, and then takes two renames.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import logging
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from packaging.version import Version

from ridgeway import __version__, orchestrator
from ridgeway.actions import operations
from ridgeway.errors import BadData, Busy, NotFound, StorageError, UsageError
from ridgeway.project import Project
from ridgeway.registry.look import database_path
from ridgeway.run_log import RunLog, exclusive

log = logging.getLogger("ridgeway.backup")

SCHEMA = 1
MANIFEST = "manifest.json"
"""The archive's last member: what is in it, with digests."""
LOCK = "backup"
LEFT_OUT = {
    ".gitignore": "made anew",
    "locks": "who holds what just now",
    "services": "what runs just now",
    "published": "clones of commits, which the repository holds",
    "downloads": "copies of what a tracking server holds",
    "packages": "models made ready to serve, made again from the registry",
    "build": "what tools remember to be quicker",
    "prefect/server.json": "which server runs just now",
    "prefect/used": "when it was used last",
    "prefect/server.log": "what a server of this machine said",
}
"""Not in a backup, below ``.ridgeway/``, and why. All else is in it, also what later versions may put there."""
KEYS = re.compile(r"secrets/.*|targets/[^/]+/keys/.*")
"""Keys of endpoints, and the servers' password that was made on this machine."""
LIVE = re.compile(r"targets/[^/]+/(state\.json|daemon\.lock|log)")
"""About processes of this machine."""
PROGRAMS = ("mlflow", "prefect")
"""Their databases can be read by the version that wrote them, and by later ones."""
_SQLITE = b"SQLite format 3\0"
_CHUNK_BYTES = 2**20
_IN_MEMORY_BYTES = 64 * 2**20
_EMPTY = {".gitignore", "locks"}
"""What a state may hold and still count as empty."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a backup."""

    path: str
    """Relative to ``.ridgeway/``, ``/`` between the parts."""
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds, and what wrote it."""

    project: str
    made_at: str
    """ISO 8601, UTC."""
    ridgeway: str
    programs: dict[str, str]
    """Versions of those whose databases are in it."""
    has_keys: bool
    elsewhere: tuple[str, ...]
    """What is needed too and is not in it, with the way to back it up."""
    files: tuple[Entry, ...]

    @property
    def total_bytes(self) -> int:
        """Of all files, unpacked."""
        return sum(entry.bytes for entry in self.files)


# ---- making one ------------------------------------------------------------------------------------------------------


def make(project: Project, target: Path, *, keys: bool = True) -> Manifest:
    """Writes the backup of the project's local state to ``target``, readable by its owner only.

    The file appears under its name when it is whole. What runs goes on.

    Args:
        project: Whose state it is.
        target: The file to be; one that is there is replaced.
        keys: Whether keys of endpoints, and the servers' password, are in it.

    Raises:
        NotFound: There is no state yet.
        Busy: Another backup is being made.
        StorageError: A file cannot be read or written.
        BadData: A database is damaged.
    """
    if not project.state.is_dir() or is_empty(project.state):
        raise NotFound("there is nothing to back up yet", where=str(project.state), next_step="ridgeway run retraining")
    if target.is_dir() or not target.parent.is_dir():
        raise UsageError(f"{target} cannot be the file of a backup", expected="a file in a folder that is there")
    if target.resolve().is_relative_to(project.state.resolve()):
        raise UsageError(f"{target} is inside of what is backed up", expected="a file outside of .ridgeway")
    with exclusive(project.home, LOCK):
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with _storage_errors("cannot write the backup", target):
                descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "wb") as stream:
                    manifest = _pack(project, stream, keys=keys)
                    stream.flush()
                    os.fsync(stream.fileno())
                partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    return manifest


def contents(project: Project, *, keys: bool = True) -> list[tuple[str, int]]:
    """What a backup would hold now: path below ``.ridgeway/`` and size in bytes, databases first."""
    found = []
    for path in _paths(project.state, keys=keys):
        with contextlib.suppress(OSError):
            found.append((path.relative_to(project.state).as_posix(), path.stat().st_size))
    return found


def elsewhere(project: Project) -> tuple[str, ...]:
    """What is needed too and is not below ``.ridgeway/``, each with the way to back it up."""
    found, chosen = [], project.settings
    place = database_path(chosen.registry.uri, project.home)
    if place is None:
        found.append("models and runs: on the tracking server; back up its database and its artifacts there")
    elif not place.resolve().is_relative_to(project.state.resolve()):
        found.append(f"models and runs: sqlite3 {place} '.backup FILE', and the folder artifacts beside it")
    if chosen.servers.prefect.startswith(("http://", "https://")):
        found.append("flow runs and deployments: on the Prefect server; back up its database there")
    if getattr(chosen.servers, "database", "sqlite").startswith("postgres"):
        found.append("both servers' databases: pg_dump --format=custom, of NAME_prefect and of NAME_mlflow")
    return tuple(found)


def _pack(project: Project, stream: IO[bytes], *, keys: bool) -> Manifest:
    entries = []
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=3) as archive:
        for path in _paths(project.state, keys=keys):
            entry = _add(archive, project.state, path)
            if entry is not None:
                entries.append(entry)
        manifest = Manifest(
            project=project.name,
            made_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            ridgeway=__version__,
            programs={name: version(name) for name in PROGRAMS},
            has_keys=keys,
            elsewhere=elsewhere(project),
            files=tuple(entries),
        )
        content = json.dumps({"schema": SCHEMA, **asdict(manifest)}, indent=1).encode()
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mode = len(content), 0o600
        archive.addfile(info, io.BytesIO(content))
    return manifest


def _paths(state: Path, *, keys: bool) -> list[Path]:
    """The files of a backup, databases first."""
    found = [
        path
        for path in _walk(state)
        if _is_wanted(path.relative_to(state).as_posix(), keys=keys) and not path.name.endswith(("-wal", "-shm"))
    ]
    return sorted(found, key=lambda path: (not _is_database(path), path))


def _walk(folder: Path) -> Iterator[Path]:
    for name, _, files in os.walk(folder):
        yield from (Path(name) / file for file in files)


def _is_wanted(path: str, *, keys: bool) -> bool:
    if any(path == name or path.startswith(f"{name}/") for name in LEFT_OUT) or LIVE.fullmatch(path):
        return False
    return keys or not KEYS.fullmatch(path)


def _is_database(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False


def _add(archive: tarfile.TarFile, state: Path, path: Path) -> Entry | None:
    """The file as it is now, into the archive; None if it is gone meanwhile."""
    name = path.relative_to(state).as_posix()
    # A copy first: a log that grows while it is read has no size that an archive could announce.
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as copy:
        try:
            status = path.stat()
            if _is_database(path):
                _copy_database(path, copy)
            else:
                with path.open("rb") as source:
                    shutil.copyfileobj(source, copy, _CHUNK_BYTES)
        except FileNotFoundError:
            return None
        entry = Entry(name, copy.tell(), _digest(copy))
        info = tarfile.TarInfo(f"state/{name}")
        info.size, info.mode, info.mtime = entry.bytes, status.st_mode & 0o777, status.st_mtime
        copy.seek(0)
        archive.addfile(info, cast("IO[bytes]", copy))
    return entry


def _copy_database(path: Path, copy: IO[bytes]) -> None:
    """The database as it is at one moment, also while others write to it.

    Raises:
        BadData: It is damaged: a backup of it would be none.
    """
    with tempfile.TemporaryDirectory(prefix="ridgeway-") as folder:
        draft = Path(folder) / "copy.db"
        try:
            with (
                contextlib.closing(sqlite3.connect(path, timeout=30)) as source,
                contextlib.closing(sqlite3.connect(draft)) as target,
            ):
                source.backup(target)
                found = target.execute("PRAGMA quick_check").fetchone()[0]
        except sqlite3.Error as error:
            raise BadData("cannot back up a database", where=str(path), problem=str(error)) from error
        if found != "ok":
            raise BadData("cannot back up a database", where=str(path), problem=str(found))
        with draft.open("rb") as source_file:
            shutil.copyfileobj(source_file, copy, _CHUNK_BYTES)


def _digest(stream: IO[bytes]) -> str:
    stream.seek(0)
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


# ---- and back --------------------------------------------------------------------------------------------------------


def restore(project: Project, source: Path, *, force: bool = False) -> Manifest:
    """Puts the state that a backup holds in the place of the project's, which must be empty.

    Runs that were under way when the backup was made are recorded as crashed.

    Args:
        project: Of the same name as the backup's.
        source: The backup.
        force: A state that is not empty is moved aside, to ``.ridgeway.before-TIME``.

    Raises:
        UsageError: The state is not empty, or the backup is of another project, or of a later version.
        BadData: The archive is damaged, or no backup.
        Busy: Something runs here.
        StorageError: There is no room.
    """
    state = project.state
    refuse_to_restore(project, force=force)
    staging = state.with_name(f"{state.name}.restoring-{os.getpid()}")
    try:
        with _storage_errors("cannot restore the backup", state):
            staging.mkdir(mode=0o700)
            manifest = _unpack(project, source, staging)
            (staging / ".gitignore").write_text("*\n", encoding="utf-8")
            _exchange(state, staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    _bury(project)
    return manifest


def check(project: Project, source: Path) -> Manifest:
    """What a backup holds, after every byte of it was looked at; nothing is written to the state.

    Raises:
        UsageError: It is of another project, or of a later version.
        BadData: The archive is damaged, or no backup.
    """
    with tempfile.TemporaryDirectory(prefix="ridgeway-") as folder:
        return _unpack(project, source, Path(folder))


def is_empty(state: Path) -> bool:
    """Whether there is nothing in a state that a restore would take the place of."""
    return not state.exists() or {entry.name for entry in state.iterdir()} <= _EMPTY


def refuse_to_restore(project: Project, *, force: bool = False) -> None:
    """Nothing, if a state may be put here.

    Raises:
        Busy: Something runs here.
        UsageError: The state is not empty, and nobody has said that it may go.
    """
    running = [f"runs:/{record.id[:12]} ({record.flow})" for record in RunLog(project.home).active()]
    server = orchestrator.running_server(project.home)
    running += [f"the Prefect server at {server.url}"] if server is not None else []
    running += operations.stop_processes(project, only_plan=True)
    if running:
        raise Busy(
            "cannot restore while something runs here",
            problem=", ".join(running),
            next_step="ridgeway down     then the same command again",
        )
    if not force and not is_empty(project.state):
        raise UsageError(
            "there is a state here already",
            where=str(project.state),
            expected="a project without one, such as a fresh clone",
            next_step="ridgeway restore … --force     moves it aside, and deletes nothing",
        )


def _unpack(project: Project, source: Path, folder: Path) -> Manifest:
    """Every file of the archive in ``folder``, each as its digest says."""
    found: dict[str, Entry] = {}
    content = b""
    try:
        with gzip.open(source) as packed, tarfile.open(fileobj=packed, mode="r:") as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is None:
                    raise _damaged(source, f"{member.name} is no file")
                if member.name == MANIFEST:
                    content = stream.read()
                    continue
                name = _safe_name(source, member.name)
                found[name] = _write(name, stream, folder / name, member)
            while packed.read(_CHUNK_BYTES):  # up to the checksum at its very end
                pass
    except FileNotFoundError:
        raise UsageError(f"there is no file {source}", next_step="ridgeway restore FILE") from None
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as error:
        if isinstance(error, StorageError) or getattr(error, "errno", None):
            raise
        raise _damaged(source, str(error)) from error
    manifest = _read_manifest(source, content)
    _compare(source, manifest, found)
    _refuse_foreign(project, manifest)
    return manifest


def _write(name: str, stream: IO[bytes], path: Path, member: tarfile.TarInfo) -> Entry:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as target:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            target.write(chunk)
    path.chmod(member.mode & 0o777)
    # When a run's record was written says whether its end is news.
    os.utime(path, (member.mtime, member.mtime))
    return Entry(name, size, digest.hexdigest())


def _safe_name(source: Path, name: str) -> str:
    parts = PurePosixPath(name).parts
    if len(parts) < 2 or parts[0] != "state" or ".." in parts or name.startswith("/"):
        raise _damaged(source, f"it holds {name!r}")
    return "/".join(parts[1:])


def _read_manifest(source: Path, content: bytes) -> Manifest:
    if not content:
        raise _damaged(source, f"it ends before its {MANIFEST}")
    try:
        record: dict[str, Any] = json.loads(content)
        schema = int(record.pop("schema"))
        if schema > SCHEMA:
            raise _newer(f"it has schema {schema}, this version reads up to {SCHEMA}", str(record.get("ridgeway", "")))
        record["files"] = tuple(Entry(**entry) for entry in record["files"])
        record["elsewhere"] = tuple(record["elsewhere"])
        return Manifest(**record)
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, UsageError):
            raise
        raise _damaged(source, f"its {MANIFEST} cannot be read: {error}") from error


def _compare(source: Path, manifest: Manifest, found: dict[str, Entry]) -> None:
    for entry in manifest.files:
        if found.get(entry.path) != entry:
            there = "has other bytes than were written" if entry.path in found else "is missing"
            raise _damaged(source, f"{entry.path} {there}")
    strange = sorted(set(found) - {entry.path for entry in manifest.files})
    if strange:
        raise _damaged(source, f"it holds {strange[0]}, which was never part of it")


def _refuse_foreign(project: Project, manifest: Manifest) -> None:
    if manifest.project != project.name:
        raise UsageError(
            f"this is a backup of {manifest.project}, and this project is {project.name}",
            where=f"project.name = {project.name!r}   (from {project.loaded.origin('project.name')})",
            next_step=f"restore it in a project of the name {manifest.project}",
        )
    if Version(manifest.ridgeway) > Version(__version__):
        raise _newer(f"ridgeway {manifest.ridgeway} made it, and this is {__version__}", manifest.ridgeway)
    for name, made_by in manifest.programs.items():
        if Version(made_by).release[:2] > Version(version(name)).release[:2]:
            raise _newer(f"{name} {made_by} wrote a database in it, and this is {version(name)}", manifest.ridgeway)


def _newer(problem: str, made_by: str) -> UsageError:
    return UsageError(
        "this backup is of a later version",
        problem=problem,
        expected="one of this version or an earlier one",
        next_step=f"install ridgeway {made_by}".rstrip(),
    )


def _damaged(source: Path, problem: str) -> BadData:
    return BadData(
        f"{source} is no whole backup",
        problem=problem,
        expected="a file that ridgeway backup wrote, every byte of it",
        next_step="take another copy of it, or an earlier backup",
    )


def _exchange(state: Path, staging: Path) -> None:
    """The new state in the place of the old one, which is moved aside."""
    if state.exists():
        if is_empty(state):
            shutil.rmtree(state)
        else:
            aside = state.with_name(f"{state.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")
            state.rename(aside)
            log.info("what was here is in %s", aside)
    staging.rename(state)


def _bury(project: Project) -> None:
    """No run of a backup goes on: whatever machine it ran on, it does not write here."""
    store = RunLog(project.home)
    for record in store.records():
        if record.state == "running":
            path = store.folder / record.id / "run.json"
            written = path.stat().st_mtime
            store.bury(record)
            os.utime(path, (written, written))


@contextlib.contextmanager
def _storage_errors(doing: str, place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            doing,
            where=str(error.filename or place),
            problem=error.strerror or str(error),
            expected="space, and the right to read and write there",
        ) from error
