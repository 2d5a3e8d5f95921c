"""The databases of both servers: found, made where the role may, and judged before a server is started on them.

Prefect and MLflow both keep a table ``alembic_version``, so they need a database each. Left alone, a server that finds
its database missing, locked, of a newer release or behind a wrong password tries for up to two minutes and then shows a
stack trace. Here that takes a second and one message.

A password never stands in an address, and so never in an error or a log of SQLAlchemy's: libpq and asyncpg both read it
from the environment of the server's process.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ridgeway.errors import Busy, Permanent, RidgewayError, StorageError, Transient, Unreachable, UsageError
from ridgeway.settings.database import PostgresAddress, read_database

log = logging.getLogger("ridgeway.services")

CONNECT_SECONDS = 5.0
"""For a connection, and for a lock that someone else holds."""
OLDEST_VERSION = 14
"""Of PostgreSQL: the oldest that Prefect is tested with."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Program:
    """A server that keeps its tables in a database, and where its package says how they came to be."""

    name: str
    package: str
    migrations: str
    """Folder of the migrations for PostgreSQL, inside the package."""
    file_migrations: str
    """The same for SQLite."""
    upgrades_itself: bool

    def revisions(self, *, in_file: bool) -> Revisions:
        """What the installed version knows."""
        return _revisions(self.package, self.file_migrations if in_file else self.migrations)


@dataclass(frozen=True, slots=True)
class Revisions:
    """All revisions of a schema that an installed package knows, and the newest of them."""

    known: frozenset[str]
    head: str


PREFECT = Program(
    "Prefect",
    "prefect",
    "server/database/_migrations/versions/postgresql",
    "server/database/_migrations/versions/sqlite",
    upgrades_itself=True,
)
MLFLOW = Program("MLflow", "mlflow", "store/db_migrations/versions", "store/db_migrations/versions", False)


# ---- what the servers are told ---------------------------------------------------------------------------------------


def prefect_variables(address: PostgresAddress, password: str) -> dict[str, str]:
    """What Prefect's server needs in its environment to work on this database; for no other process.

    Example:
        >>> address = PostgresAddress("ridgeway", "db.example", 5432, "team")
        >>> prefect_variables(address, "")["PREFECT_API_DATABASE_CONNECTION_URL"]
        'postgresql+asyncpg://ridgeway@db.example:5432/team_prefect'
    """
    url = address.url(address.prefect, scheme="postgresql+asyncpg")
    # Five by default: background services and the requests that are let in at once have enough so.
    pool = {"POOL_SIZE": "10", "MAX_OVERFLOW": "20"}
    return {
        "PREFECT_API_DATABASE_CONNECTION_URL": url,
        **{f"PREFECT_SERVER_DATABASE_SQLALCHEMY_{name}": value for name, value in pool.items()},
        **sign_in_variables(address, password),
    }


def mlflow_store(address: PostgresAddress) -> str:
    """What MLflow's server takes as ``--backend-store-uri``; ``sign_in_variables`` belong into its environment.

    Example:
        >>> mlflow_store(PostgresAddress("ridgeway", "db.example", 5432, "team"))
        'postgresql+psycopg://ridgeway@db.example:5432/team_mlflow'
    """
    return address.url(address.mlflow, scheme="postgresql+psycopg")


def sign_in_variables(address: PostgresAddress, password: str) -> dict[str, str]:
    """How one signs in, as the environment variables that libpq, its programs (``pg_dump``) and asyncpg read.

    Example:
        >>> sign_in_variables(PostgresAddress("ridgeway", "db.example", 5432, "team", "require"), "river-9")
        {'PGSSLMODE': 'require', 'PGPASSWORD': 'river-9'}
    """
    found = {"PGSSLMODE": address.tls_mode, "PGSSLROOTCERT": address.tls_authority, "PGPASSWORD": password}
    return {name: value for name, value in found.items() if value}


# ---- files of this machine -------------------------------------------------------------------------------------------


def check_file(path: Path, program: Program) -> None:
    """Nothing, if a server can be started on the SQLite file, or makes it.

    Raises:
        Busy: Someone holds its lock.
        Permanent: A newer release wrote it, it is of an older one that is not brought up to date unasked, or it is
            no database of this server.
        StorageError: It cannot be read.
    """
    if not path.exists():
        return
    try:
        address = f"file:{quote(str(path.absolute()))}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=CONNECT_SECONDS)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            found = database.execute("SELECT version_num FROM alembic_version") if "alembic_version" in tables else ()
            revisions = [str(revision) for (revision,) in found]
    except sqlite3.Error as error:
        raise _file_error(error, path, program) from error
    problem = judge_schema(tables, revisions, program.revisions(in_file=True))
    if problem and not (problem == OLDER and program.upgrades_itself):
        raise _schema_error(problem, program, str(path), f"sqlite:///{path}")


def _file_error(error: sqlite3.Error, path: Path, program: Program) -> RidgewayError:
    text = str(error)
    doing = f"cannot use {program.name}'s database"
    if "locked" in text:
        return Busy(
            doing,
            where=str(path),
            problem=text,
            expected="no other process that holds its lock",
            next_step="wait for the other program to end, then the same command again",
        )
    if "unable to open" in text:
        return StorageError(doing, where=str(path), problem=text, expected="a file that this user may read and write")
    return Permanent(
        doing,
        where=str(path),
        problem=text,
        expected=f"a whole SQLite database that {program.name} made",
        next_step="ridgeway restore …     or move the file away: an empty one is made then",
    )


# ---- schemas ---------------------------------------------------------------------------------------------------------

NEWER = "a newer release wrote it"
OLDER = "an older release wrote it"
FOREIGN = "it holds tables of another program"


def judge_schema(tables: set[str], revisions: list[str], known: Revisions) -> str:
    """What is wrong with a database, one of ``NEWER``, ``OLDER``, ``FOREIGN``; empty when it can be used as it is.

    Example:
        >>> judge_schema({"runs", "alembic_version"}, ["c3"], Revisions(frozenset({"a1", "b2"}), "b2"))
        'a newer release wrote it'
        >>> judge_schema(set(), [], Revisions(frozenset({"a1", "b2"}), "b2"))
        ''
    """
    if not revisions:
        return FOREIGN if tables - {"alembic_version"} else ""
    if any(revision not in known.known for revision in revisions):
        return NEWER
    return "" if known.head in revisions else OLDER


def _schema_error(problem: str, program: Program, where: str, address: str) -> Permanent:
    installed = f"the schema of the installed {program.name}"
    steps = {
        NEWER: "install the version of ridgeway that wrote it, or restore a backup that is older than the change",
        OLDER: f"back it up (ridgeway backup, pg_dump), then: {program.package} db upgrade {address}",
        FOREIGN: "name another database, or move the file away",
    }
    return Permanent(
        f"cannot use {program.name}'s database",
        where=where,
        problem=problem,
        expected=installed if problem != FOREIGN else f"an empty database, or one that {program.name} made",
        next_step=steps[problem],
    )


@cache
def _revisions(package: str, folder: str) -> Revisions:
    """Read from the migrations' files: asking Alembic would import the whole server."""
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.submodule_search_locations is not None
    known, replaced = set(), set()
    for file in Path(found.submodule_search_locations[0], folder).glob("*.py"):
        text = file.read_text(encoding="utf-8")
        if own := re.search(r"^revision(?:\s*:[^=\n]+)?\s*=\s*['\"](\w+)", text, re.MULTILINE):
            known.add(own[1])
        if down := re.search(r"^down_revision(?:\s*:[^=\n]+)?\s*=\s*(\([^)]*\)|.*)", text, re.MULTILINE):
            replaced |= set(re.findall(r"['\"](\w+)['\"]", down[1]))
    (head,) = known - replaced
    return Revisions(frozenset(known), head)


# ---- PostgreSQL ------------------------------------------------------------------------------------------------------


def prepare(setting: str, *, password: str = "", say: Say = log.info) -> PostgresAddress | None:
    """Both databases behind ``servers.database``, ready for their servers; None where that is ``sqlite``.

    What is missing is made: the databases where the role may create databases, and the extension that Prefect's tables
    need. What is there is looked at and left as it is.

    Args:
        setting: ``servers.database``.
        password: Of the role; empty where the server asks for none.
        say: Told in one line what was made.

    Raises:
        UsageError: The driver is not installed, the password is wrong, or a database or a right is missing and the role
            may not make it; with the SQL to be run by someone who may.
        Unreachable: Nobody answers at this address.
        Busy: A lock is held, or no connection is left.
        StorageError: The server's disk is full, or it only lets itself be read.
        Permanent: A database is of a newer or older release, or the server itself too old.
    """
    address = read_database(setting)
    if address is None:
        return None
    _require_driver()
    asyncio.run(_prepare(address, password, say))
    return address


def _require_driver() -> None:
    if importlib.util.find_spec("psycopg") is None:
        raise UsageError(
            "cannot use PostgreSQL",
            where="setting servers.database",
            problem="the driver that MLflow needs is not installed",
            expected="the extra postgresql",
            next_step="pip install 'ridgeway[postgresql]'",
        )


async def _prepare(address: PostgresAddress, password: str, say: Say) -> None:
    for program, name in ((PREFECT, address.prefect), (MLFLOW, address.mlflow)):
        if not await _exists(address, password, name):
            await _create(address, password, name)
            say(f"made the database {name} for {program.name}")
        async with _connected(address, password, name) as connection:
            await _check_server(connection, address, name)
            if program is PREFECT:
                await _ensure_extension(connection, address)
            await _check_schema(connection, address, name, program)


async def _exists(address: PostgresAddress, password: str, name: str) -> bool:
    try:
        async with _connected(address, password, name):
            return True
    except _NoDatabase:
        return False


class _NoDatabase(UsageError):
    """There is no database of this name."""


@contextlib.asynccontextmanager
async def _connected(address: PostgresAddress, password: str, name: str) -> AsyncIterator[Any]:
    """A connection on which nothing waits for long; only errors of our family leave."""
    import asyncpg

    connection = None
    try:
        connection = await asyncpg.connect(
            _dsn(address, name),
            password=password or None,
            timeout=CONNECT_SECONDS,
            command_timeout=6 * CONNECT_SECONDS,
            server_settings={"application_name": "ridgeway", "lock_timeout": f"{CONNECT_SECONDS:.0f}s"},
        )
        yield connection
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise explain(getattr(error, "sqlstate", None) or "", str(error), address, name) from error
    except (OSError, TimeoutError) as error:
        raise explain("", str(error) or "no answer in time", address, name) from error
    finally:
        if connection is not None:
            connection.terminate()


def _dsn(address: PostgresAddress, name: str) -> str:
    authority = f"&sslrootcert={quote(address.tls_authority)}" if address.tls_authority else ""
    return f"{address.url(name)}?sslmode={address.tls_mode}{authority}"


async def _create(address: PostgresAddress, password: str, name: str) -> None:
    import asyncpg

    async with _connected(address, password, "postgres") as connection:
        if not await connection.fetchval("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"):
            raise _has_to_be_made(address, f"there is no database {name}, and the role may not create one")
        with contextlib.suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            # From template0, because a cluster made without a locale would give a database that knows no encoding.
            await connection.execute(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")


async def _check_server(connection: Any, address: PostgresAddress, name: str) -> None:
    version = connection.get_server_version()
    if version.major < OLDEST_VERSION:
        raise Permanent(
            "cannot use PostgreSQL",
            where=_where(address),
            problem=f"the server is of version {version.major}.{version.minor}",
            expected=f"PostgreSQL {OLDEST_VERSION} or newer",
        )
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        raise explain("25006", "it is a replica, which only lets itself be read", address, name)
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise Permanent(
            f"cannot use the database {name}",
            where=_where(address),
            problem=f"its encoding is {encoding}",
            expected="UTF8",
            next_step=f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0",
        )
    if not await connection.fetchval("SELECT has_schema_privilege(current_user, 'public', 'CREATE')"):
        raise _has_to_be_made(address, f"the role may not make tables in {name}")


async def _ensure_extension(connection: Any, address: PostgresAddress) -> None:
    """Prefect's own migration asks for it too, but only after half a minute, and says no more than that it failed."""
    import asyncpg

    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except asyncpg.InsufficientPrivilegeError as error:
        raise _has_to_be_made(address, f"{address.prefect} has no extension pg_trgm") from error
    except (asyncpg.UndefinedFileError, asyncpg.FeatureNotSupportedError) as error:
        raise UsageError(
            "PostgreSQL lacks an extension that Prefect needs",
            where=_where(address),
            problem=str(error),
            expected="the extension pg_trgm, which comes with PostgreSQL",
            next_step="install PostgreSQL's contributed modules on its machine (package postgresql-contrib)",
        ) from error


async def _check_schema(connection: Any, address: PostgresAddress, name: str, program: Program) -> None:
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    tables = {row["tablename"] for row in rows}
    found = await connection.fetch("SELECT version_num FROM alembic_version") if "alembic_version" in tables else []
    problem = judge_schema(tables, [row["version_num"] for row in found], program.revisions(in_file=False))
    if problem == OLDER and program.upgrades_itself:
        return
    if problem:
        scheme = "postgresql+psycopg" if program is MLFLOW else "postgresql+asyncpg"
        raise _schema_error(problem, program, f"{name} on {address.host}", address.url(name, scheme=scheme))


# ---- errors ----------------------------------------------------------------------------------------------------------


def explain(state: str, text: str, address: PostgresAddress, name: str) -> RidgewayError:
    """Our error for one that PostgreSQL answered with, or for its silence.

    Args:
        state: SQLSTATE, five characters; empty when nobody answered.
        text: The message, which comes in the server's language.
        address: Of the server.
        name: Of the database that was meant.

    Example:
        >>> address = PostgresAddress("ridgeway", "db.example", 5432, "team")
        >>> explain("28P01", "password authentication failed", address, "team_mlflow").next_step
        'set RIDGEWAY_SERVERS__DATABASE_PASSWORD, or …_FILE'
    """
    doing, where = f"cannot use the database {name}", _where(address)
    if state == "3D000":
        return _NoDatabase(doing, where=where, problem=text)
    if state in _MEANINGS:
        kind, expected, next_step = _MEANINGS[state]
        return kind(doing, where=where, problem=text, expected=expected, next_step=next_step)
    if state:
        return Transient(
            doing, where=where, problem=f"{text} ({state})", next_step="look into PostgreSQL's log, then try again"
        )
    return Unreachable(
        "PostgreSQL does not answer",
        where=where,
        problem=text,
        expected=f"a server at {address.host}:{address.port}",
        next_step="start it, or check the address and the network: ridgeway settings servers.database",
    )


_PASSWORD = "set RIDGEWAY_SERVERS__DATABASE_PASSWORD, or …_FILE"  # noqa: S105 - names of variables
_ROOM = "make room on PostgreSQL's disk, then the same command again"
_MEANINGS: dict[str, tuple[type[RidgewayError], str, str]] = {
    "28P01": (UsageError, "a role with this password", _PASSWORD),
    "28000": (UsageError, "a role that may sign in from here (pg_hba.conf)", "ridgeway settings servers.database"),
    "42501": (UsageError, "the right to connect and to make tables", "GRANT ALL ON DATABASE … TO …"),
    "53300": (Busy, "a free connection (max_connections)", "try again later, or raise max_connections"),
    "57P03": (Busy, "a server that is up", "wait until it has started, then the same command again"),
    "55P03": (Busy, "nobody who holds a lock on its tables", "wait for the other program, then the same command again"),
    "53100": (StorageError, "free space on PostgreSQL's disk", _ROOM),
    "25006": (StorageError, "a server that lets itself be written to", "ridgeway settings servers.database"),
}
"""SQLSTATE (appendix A of PostgreSQL's documentation) → error, what was expected, next step."""


def _where(address: PostgresAddress) -> str:
    return f"setting servers.database = '{address.url(address.prefix)}'"


def _has_to_be_made(address: PostgresAddress, problem: str) -> UsageError:
    return UsageError(
        "PostgreSQL is not prepared for Ridgeway",
        where=_where(address),
        problem=problem,
        expected="two databases that the role owns, one of them with the extension pg_trgm",
        next_step="let an administrator run this with psql:\n" + preparing_sql(address),
    )


def preparing_sql(address: PostgresAddress) -> str:
    r"""What an administrator runs with ``psql`` where the role may make nothing itself.

    Example:
        >>> print(preparing_sql(PostgresAddress("ridgeway", "db.example", 5432, "team")))
        CREATE DATABASE team_prefect OWNER ridgeway ENCODING 'UTF8' TEMPLATE template0;
        CREATE DATABASE team_mlflow OWNER ridgeway ENCODING 'UTF8' TEMPLATE template0;
        \c team_prefect
        CREATE EXTENSION IF NOT EXISTS pg_trgm;
    """
    plain = re.fullmatch(r"[a-z_][a-z0-9_]*", address.user)
    owner = address.user if plain else '"' + address.user.replace('"', '""') + '"'
    made = [
        f"CREATE DATABASE {name} OWNER {owner} ENCODING 'UTF8' TEMPLATE template0;"
        for name in (address.prefect, address.mlflow)
    ]
    return "\n".join([*made, f"\\c {address.prefect}", "CREATE EXTENSION IF NOT EXISTS pg_trgm;"])
