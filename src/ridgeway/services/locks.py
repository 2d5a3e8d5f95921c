"""What has to be open before the servers of `ridgeway up` can start, and what is locked behind them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ridgeway.registry.look import database_path
from ridgeway.services import access, database
from ridgeway.services.access import DATABASE_PASSWORD, Access
from ridgeway.settings import Settings, secret

log = logging.getLogger("ridgeway.services")


@dataclass(frozen=True, slots=True)
class Locks:
    """Who may ask both servers, and what they open their databases with."""

    access: Access = field(default_factory=Access)
    database_password: str = field(default="", repr=False)


def prepare(
    settings: Settings,
    root: Path,
    *,
    only_plan: bool = False,
    environ: Mapping[str, str] | None = None,
    say: Callable[[str], None] = log.info,
) -> Locks:
    """Databases that servers can start on, and the account that they ask for.

    Args:
        settings: Of the project.
        root: Its working folder.
        only_plan: Nothing is made and no database is asked.
        environ: The environment; that of this process by default.
        say: Told in one line what was made.

    Raises:
        UsageError: A secret cannot be read or is easily guessed, or PostgreSQL lacks something (``database.prepare``).
        Unreachable: PostgreSQL does not answer.
        Busy: Someone holds a database's lock.
        StorageError: No room, or no right to write.
        Permanent: A database is of another release, or damaged.
    """
    environ = os.environ if environ is None else environ
    password = secret(DATABASE_PASSWORD, environ)
    if not only_plan:
        _prepare_databases(settings, root, password, say)
    found = access.prepare(settings, root / ".ridgeway", only_plan=only_plan, environ=environ, say=say)
    return Locks(found, password)


def _prepare_databases(settings: Settings, root: Path, password: str, say: Callable[[str], None]) -> None:
    if database.prepare(settings.servers.database, password=password, say=say) is not None:
        return
    if settings.servers.prefect == "auto":
        database.check_file(root / ".ridgeway" / "prefect" / "prefect.db", database.PREFECT)
    registry = database_path(settings.registry.uri, root)
    if registry is not None:
        database.check_file(registry, database.MLFLOW)
