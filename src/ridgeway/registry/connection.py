"""The connection to MLflow: its environment, its SQLite file, its client, and its errors in our family of errors.

Everything that MLflow does on our behalf goes through ``Connection.call``, so that no exception of MLflow, SQLAlchemy
or requests leaves this package, and none of its log lines reaches a terminal.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from ridgeway.errors import Busy, NotFound, Permanent, RidgewayError, StorageError, Transient
from ridgeway.registry import look

log = logging.getLogger("ridgeway.registry")

_Result = TypeVar("_Result")

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # MLflow would wait minutes (7 retries, doubling) before it says that a server is not there.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    # Requirements are given, never guessed from a lock file that happens to lie in the working directory.
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_LOG_UV_FILES": "false",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
}
"""Defaults for MLflow's own variables; what the user has set stays."""

LOCK_SECONDS = 5.0
"""How long to wait for another process's write lock on the SQLite file before saying that it is busy."""
PATIENCE_SECONDS = 15.0
"""How long to repeat a call that lost a race with another process."""


def import_mlflow() -> Any:
    """The mlflow package, quiet and without telemetry."""
    for variable, value in ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    # It logs a stack trace for what it also raises; the raised one is shown, as a message.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    return mlflow


# ---- errors ----------------------------------------------------------------------------------------------------------


class _LostRace(Busy):
    """Two processes wrote the same row at once, and the database let only one of them."""


_DATABASE_ERRORS: tuple[tuple[tuple[str, ...], type[RidgewayError], str, str], ...] = (
    (("unique constraint", "integrityerror", "duplicate key"), _LostRace, "", "run the same command again"),
    (
        ("database is locked", "table is locked"),
        Busy,
        "no other process that holds the lock",
        "wait for the other run to end, then run the same command again",
    ),
    (
        ("readonly database", "read-only", "unable to open database file", "permission denied"),
        StorageError,
        "a file and a folder that this user may write",
        "give yourself the right to write there, or set registry.uri to another place",
    ),
    (
        ("disk is full", "disk i/o error", "no space left"),
        StorageError,
        "free space on its disk",
        "free some space, then run the same command again",
    ),
    (
        ("malformed", "not a database", "file is encrypted"),
        Permanent,
        "a whole SQLite database that MLflow made",
        "move the file away and put a backup in its place; without one, a new registry starts empty",
    ),
    (
        ("database schema", "locate revision"),
        Permanent,
        "the schema of the installed MLflow",
        "install the version of ridgeway that wrote it; or, for an older one: back up the file, then mlflow db upgrade",
    ),
)
"""Texts of a database's error, the error they mean, what was expected and the next step; the first that fits counts."""

_SILENCE = (
    "max retries exceeded",
    "connection refused",
    "connection aborted",
    "connection reset",
    "timeout exception",
    "timed out",
    "name resolution",
    "remote end closed",
)


def _status(error: BaseException) -> int:
    """The HTTP status that an exception of MLflow or requests stands for; 0 when it stands for none."""
    response = getattr(error, "response", None)
    if response is not None:
        return int(response.status_code)
    return int(error.get_http_status_code()) if hasattr(error, "get_http_status_code") else 0


def _no_rights(server: str, status: int, doing: str, said: str = "") -> Permanent:
    return Permanent(
        f"{doing}: the tracking server refused",
        where=f"setting registry.uri = {server!r}",
        problem=f"status {status}: {said or ('not signed in' if status == 401 else 'no right to do this')}",
        expected="credentials with the right to read and write experiments and models",
        next_step="set RIDGEWAY_SERVERS__PASSWORD for a server of `ridgeway up`;\n"
        "for another one MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    )


def _server_error(error: BaseException, server: str, doing: str) -> RidgewayError:
    status, text = _status(error), str(error)
    where, low = f"setting registry.uri = {server!r}", str(error).lower()
    if status in (401, 403):
        return _no_rights(server, status, doing)
    if _code(error) == "RESOURCE_DOES_NOT_EXIST" or (status == 404 and _code(error) != "ENDPOINT_NOT_FOUND"):
        return NotFound(f"{doing}: not found", where=where, problem=text)
    if "error responses" not in low and any(sign in low for sign in _SILENCE):
        return look.unreachable(server, text)
    if status >= 500 or status == 429:
        next_step = "try again later; if it stays, look into the tracking server's log"
        return Transient(
            f"{doing}: the tracking server failed", where=where, problem=_first_line(text), next_step=next_step
        )
    return Permanent(f"{doing}: the tracking server refused", where=where, problem=_first_line(text))


def _code(error: BaseException) -> str:
    return str(getattr(error, "error_code", ""))


def _first_line(text: str) -> str:
    return text.strip().split("\n", maxsplit=1)[0][:500]


def _database_error(error: BaseException, place: str, doing: str) -> RidgewayError:
    text = str(error)
    if _code(error) == "RESOURCE_DOES_NOT_EXIST":
        return NotFound(f"{doing}: not found", where=place, problem=_first_line(text))
    for signs, kind, expected, next_step in _DATABASE_ERRORS:
        if any(sign in text.lower() for sign in signs):
            return kind(doing, where=place, problem=_first_line(text), expected=expected, next_step=next_step)
    return Permanent(doing, where=place, problem=_first_line(text))


def _is_foreign(error: BaseException) -> bool:
    """Whether an exception belongs to MLflow or to what it stands on."""
    owners = {kind.__module__.split(".", maxsplit=1)[0] for kind in type(error).__mro__}
    return bool(owners & {"mlflow", "sqlalchemy", "requests", "urllib3", "sqlite3", "alembic"})


def translated(error: Exception, place: str, doing: str) -> RidgewayError | None:
    """Our error for one of MLflow, its database, its HTTP client or the file system; None for a programming error.

    Args:
        error: As it was raised.
        place: The database's path or the server's address.
        doing: What was being done, such as ``cannot register the model``.
    """
    if isinstance(error, RidgewayError):
        return error
    on_server = place.startswith(("http://", "https://"))
    if _is_foreign(error):
        lost = any(sign in str(error).lower() for sign in _DATABASE_ERRORS[0][0])
        return _server_error(error, place, doing) if on_server and not lost else _database_error(error, place, doing)
    if isinstance(error, OSError):
        return storage_error(error, place, doing)
    return None


def storage_error(error: OSError, place: str, doing: str) -> StorageError:
    """Our error for a disk that is full, a folder that cannot be written, or a file that cannot be read."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return StorageError(
        doing,
        where=str(error.filename or place),
        problem=error.strerror or str(error),
        expected="free space on its disk" if full else "a place that this user may read and write",
        next_step="free some space, then run the same command again" if full else "check the rights on this path",
    )


# ---- the SQLite file -------------------------------------------------------------------------------------------------


def inspect_database(path: Path) -> bool:
    """Whether MLflow's tables are in the SQLite file; quickly, where MLflow itself would try for two minutes.

    Raises:
        Busy: Another process holds its lock for longer than ``LOCK_SECONDS``.
        Permanent: It is damaged, or holds tables that are not MLflow's.
        StorageError: It cannot be opened.
    """
    doing = "cannot open the model registry"
    if not path.exists():
        return False
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        raise _database_error(error, str(path), doing) from error
    if tables and "alembic_version" not in tables:
        raise Permanent(
            doing,
            where=str(path),
            problem=f"the file holds other tables: {', '.join(sorted(tables)[:5])}",
            expected="a SQLite database that MLflow made, or no file",
            next_step="set registry.uri to another path",
        )
    return bool(tables)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock ends with the process, however that ends."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def create_database(path: Path) -> None:
    """Makes the SQLite file with MLflow's tables, whole or not at all, however many processes try at once.

    MLflow makes its tables in dozens of steps, and two processes doing so in one file end in an error. So they are made
    in a file aside, which then takes the name.

    Raises:
        StorageError: The folder cannot be written, or its disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_name(path.name + ".lock")):
        if inspect_database(path):
            return
        log.info("making the model registry %s", path)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            _create_tables(draft)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def _create_tables(path: Path) -> None:
    import_mlflow()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # In memory, because MLflow's 67 migrations rewrite the same tables again and again: a fifth less than on a disk.
    # With the artifact root of a server, so that its own default experiment stays valid when one is put in front.
    store = SqlAlchemyStore("sqlite:///:memory:", "mlflow-artifacts:/")
    with (
        contextlib.closing(store.engine.raw_connection()) as source,
        contextlib.closing(sqlite3.connect(path)) as target,
    ):
        source.driver_connection.backup(target)


# ---- the connection --------------------------------------------------------------------------------------------------


class Connection:
    """MLflow at one address, opened at first use.

    Args:
        uri: ``sqlite:///…`` or an http(s) address.
        root: The project's folder, from which a relative SQLite path counts.

    Raises:
        UsageError: The address is of no known kind.
    """

    def __init__(self, uri: str, root: Path) -> None:
        self.database = look.database_path(uri, root)
        self.uri = uri.rstrip("/") if self.database is None else f"sqlite:///{self.database.absolute()}"
        self.place = self.uri if self.database is None else str(self.database)

    @cached_property
    def client(self) -> Any:
        """An ``mlflow.MlflowClient`` on a server that answers, or on a database that exists."""
        with self.errors("cannot open the model registry"):
            if self.database is None:
                self._knock()
            elif not inspect_database(self.database):
                create_database(self.database)
            return import_mlflow().MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    @property
    def entities(self) -> Any:
        """The module ``mlflow.entities``, once the address is known to answer."""
        _ = self.client
        import mlflow.entities

        return mlflow.entities

    def _knock(self) -> None:
        """Finds out within seconds, before MLflow is imported, whether a tracking server is there at all."""
        if look.needs_mlflow():
            return
        status, answer = look.ask(self.uri, "experiments/search", max_results="1")
        if status in (401, 403):
            raise _no_rights(self.uri, status, "cannot open the model registry", str(answer.get("message", "")))
        if status == 404 or (status == 200 and not isinstance(answer.get("experiments", []), list)):
            raise Permanent(
                "there is no MLflow tracking server at this address",
                where=f"setting registry.uri = {self.uri!r}",
                problem=f"something answers with status {status}",
                expected="the address that shows MLflow's pages in a browser",
                next_step="ridgeway settings registry.uri",
            )

    @contextlib.contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Lets only errors of our family out."""
        try:
            yield
        except Exception as error:
            ours = translated(error, self.place, doing)
            if ours is None or ours is error:
                raise
            raise ours from error

    def call(self, doing: str, function: Callable[..., _Result], *arguments: Any, **keywords: Any) -> _Result:
        """What ``function`` returns, called again while it only loses races with other processes.

        Repeating is sound: a race is lost when the database has rolled the whole transaction back.

        Args:
            doing: The summary of an error, such as ``cannot read the run``.
            function: Usually a method of ``client``.
            arguments: Its arguments.
            keywords: Its keyword arguments.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with self.errors(doing):
                    return function(*arguments, **keywords)
            except Busy:
                if time.monotonic() > deadline:
                    raise
                time.sleep(random.uniform(0.02, 0.2))  # noqa: S311 - spreads the processes, hides nothing
