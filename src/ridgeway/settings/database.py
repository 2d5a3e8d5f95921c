"""The one setting that says which database both servers keep their tables in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlsplit

NAME = re.compile(r"[a-z_][a-z0-9_]{0,50}")
"""Of a database: what needs no quotes in SQL, with room for ``_prefect`` in the 63 bytes that PostgreSQL keeps."""
TLS_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
FORM = "postgresql://USER@HOST[:PORT]/NAME[?sslmode=verify-full&sslrootcert=FILE]"


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """A PostgreSQL server, the role that signs in, and the beginning of the names of two databases."""

    user: str
    host: str
    port: int
    prefix: str
    tls_mode: str = "prefer"
    """As libpq names them; ``prefer`` is libpq's own default."""
    tls_authority: str = ""
    """File with the authority that the server's certificate must come from."""

    @property
    def prefect(self) -> str:
        """Name of Prefect's database. Two are needed: both servers keep a table ``alembic_version``."""
        return f"{self.prefix}_prefect"

    @property
    def mlflow(self) -> str:
        """Name of MLflow's database."""
        return f"{self.prefix}_mlflow"

    def url(self, database: str, *, scheme: str = "postgresql") -> str:
        """The address of one database, without a password.

        Example:
            >>> PostgresAddress("ridgeway", "db.example", 5432, "team").url("team_mlflow")
            'postgresql://ridgeway@db.example:5432/team_mlflow'
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{quote(self.user, safe='')}@{host}:{self.port}/{database}"


def read_database(text: str) -> PostgresAddress | None:
    """What ``servers.database`` says; None for ``sqlite``, files of this machine.

    Raises:
        ValueError: It is neither; the message says what is wrong with it and holds no password.

    Example:
        >>> read_database("postgresql://ridgeway@db.example/team").mlflow
        'team_mlflow'
        >>> read_database("sqlite")
    """
    if text == "sqlite":
        return None
    parts = urlsplit(text)
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError(f'neither "sqlite" nor {FORM}')
    if parts.password is not None:
        raise ValueError("a password stands in it; it belongs into RIDGEWAY_SERVERS__DATABASE_PASSWORD or …_FILE")
    if not parts.username or not parts.hostname:
        raise ValueError(f"it names no user or no host; expected {FORM}")
    name = parts.path.removeprefix("/")
    if not NAME.fullmatch(name):
        raise ValueError("the name in it must be of small letters, digits and _, at most 51")
    options = dict(parse_qsl(parts.query))
    if foreign := set(options) - {"sslmode", "sslrootcert"}:
        raise ValueError(f"it has the option {min(foreign)}; sslmode and sslrootcert are known")
    mode = options.get("sslmode", "prefer")
    if mode not in TLS_MODES:
        raise ValueError(f"sslmode must be one of {', '.join(TLS_MODES)}")
    return PostgresAddress(
        unquote(parts.username), parts.hostname, parts.port or 5432, name, mode, options.get("sslrootcert", "")
    )
