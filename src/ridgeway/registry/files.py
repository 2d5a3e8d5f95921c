"""Where a run's files lie: on a tracking server, or in the very folder that a server put in front would serve.

Over SQLite there is no server to take files. They are written where ``mlflow server --artifacts-destination`` looks for
them, and the database knows them by addresses of that server (``mlflow-artifacts:/…``), so that nothing has to be moved
or rewritten on the day a server is started on the same database.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
import urllib.parse
from pathlib import Path, PurePosixPath

from ridgeway.errors import NotFound, UsageError
from ridgeway.registry.connection import Connection

SCHEME = "mlflow-artifacts:"


def served_folder(database: Path) -> Path:
    """The folder to give to ``mlflow server`` as ``--artifacts-destination``: ``artifacts`` beside the database.

    Example:
        >>> str(served_folder(Path(".ridgeway/mlflow.db")))
        '.ridgeway/artifacts'
    """
    return database.parent / "artifacts"


def experiment_location(name: str) -> str:
    """The address of a model's files, as a server with ``--artifacts-destination`` understands it.

    Example:
        >>> experiment_location("diabetes")
        'mlflow-artifacts:/diabetes'
    """
    return f"{SCHEME}/{urllib.parse.quote(name, safe='')}"


def local_folder(database: Path, address: str) -> Path | None:
    """The folder behind a server's address, or None for an address that some other store resolves.

    Example:
        >>> str(local_folder(Path(".ridgeway/mlflow.db"), "mlflow-artifacts:/diabetes/3f2a/artifacts"))
        '.ridgeway/artifacts/diabetes/3f2a/artifacts'
        >>> local_folder(Path("mlflow.db"), "s3://bucket/1")
    """
    parts = urllib.parse.urlsplit(address)
    if parts.scheme + ":" != SCHEME or parts.netloc:
        return None
    inside = PurePosixPath(parts.path.lstrip("/"))
    return None if ".." in inside.parts else served_folder(database) / inside


def checked_path(path: str) -> PurePosixPath:
    """``path`` as a relative path inside a run.

    Raises:
        UsageError: It is absolute, climbs out, or is empty.

    Example:
        >>> str(checked_path("model/MLmodel"))
        'model/MLmodel'
    """
    inside = PurePosixPath(path)
    if not inside.parts or inside.is_absolute() or ".." in inside.parts or not re.fullmatch(r"[\w. /@+=-]+", path):
        raise UsageError(f"{path!r} is not a path inside a run", expected="such as candidate.json or model/MLmodel")
    return inside


class RunFiles:
    """The files of one run.

    Args:
        connection: To MLflow.
        run_id: The run.
        address: Its ``artifact_uri``.
        downloads: The folder that takes what has to be fetched from a server.
    """

    def __init__(self, connection: Connection, run_id: str, address: str, downloads: Path) -> None:
        self._connection = connection
        self._run_id = run_id
        self._downloads = downloads / run_id
        self._folder = local_folder(connection.database, address) if connection.database is not None else None

    def put(self, source: Path, path: str) -> None:
        """Copies the file ``source`` to ``path`` inside the run; a reader finds the old or the new one, never a part.

        Raises:
            StorageError: The disk is full or read-only.
            Unreachable: The server is gone.
        """
        inside = checked_path(path)
        if self._folder is None:
            self._upload(source, inside)
            return
        with self._connection.errors(f"cannot write {path}"):
            _copy(source, self._folder / inside)

    def put_folder(self, source: Path, path: str = "") -> None:
        """Copies every file below ``source`` to below ``path`` inside the run."""
        for file in sorted(item for item in source.rglob("*") if item.is_file()):
            self.put(file, str(PurePosixPath(path) / file.relative_to(source).as_posix()))

    def get(self, path: str) -> Path:
        """The file or folder at ``path``, on this machine; not to be written to.

        Raises:
            NotFound: The run has no such file.
            Unreachable: The server is gone.
        """
        inside = checked_path(path)
        if self._folder is not None:
            found = self._folder / inside
            if found.exists():
                return found
            raise self._missing(path)
        return self._download(inside)

    def _missing(self, path: str) -> NotFound:
        return NotFound(f"run {self._run_id} has no file {path}", next_step=f"ridgeway show runs:/{self._run_id}")

    def _upload(self, source: Path, inside: PurePosixPath) -> None:
        client, folder = self._connection.client, inside.parent.as_posix()
        with tempfile.TemporaryDirectory(prefix="ridgeway-") as place, self._connection.errors(f"cannot read {source}"):
            # MLflow stores a file under the name that it has.
            named = Path(place) / inside.name
            named.symlink_to(source.absolute())
            doing, into = f"cannot upload {inside}", None if folder == "." else folder
            self._connection.call(doing, client.log_artifact, self._run_id, str(named), into)

    def _download(self, inside: PurePosixPath) -> Path:
        target, doing = self._downloads / inside, f"cannot download {inside}"
        client = self._connection.client
        with self._connection.errors(doing):
            self._downloads.mkdir(parents=True, exist_ok=True)
            # Aside first: another thread or process may be reading what an earlier download brought.
            draft = Path(tempfile.mkdtemp(prefix=".", dir=self._downloads))
        try:
            found = self._connection.call(doing, client.download_artifacts, self._run_id, str(inside), str(draft))
            with self._connection.errors(doing):
                _move(Path(found), target)
        except NotFound as error:
            raise self._missing(str(inside)) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return target


def _move(source: Path, target: Path) -> None:
    """Moves a file, or each file below a folder, over what is there."""
    files = [file for file in source.rglob("*") if file.is_file()] if source.is_dir() else [source]
    for file in files:
        place = target / file.relative_to(source) if source.is_dir() else target
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        shutil.copyfile(source, draft)
        _flush(draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    # The tag that makes a candidate whole is flushed by SQLite; its files must not come after it.
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
