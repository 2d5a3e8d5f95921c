"""Who may ask the servers of `ridgeway up`: decided from the settings, and told to each process in its environment.

On loopback whoever is signed in to this machine may. Beyond it a request carries user and password. In both cases the
servers are called by a name that they are known by (see ``ridgeway.guard``). One account serves for both: Prefect knows
no second one. ``docs/decisions/0093-who-may-ask-the-servers.md`` says why MLflow's own users are not used.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ridgeway import credentials
from ridgeway.credentials import PASSWORD, Credentials
from ridgeway.errors import UsageError
from ridgeway.guard import Guard
from ridgeway.settings import ServersSection, Settings

log = logging.getLogger("ridgeway.services")

DATABASE_PASSWORD = "RIDGEWAY_SERVERS__DATABASE_PASSWORD"  # noqa: S105 - the variable's name
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHORTEST = 12
"""Characters of a password. One guesses at the rate that a network allows, and never stops."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?")


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask both servers."""

    credentials: Credentials | None = None
    """What a request must carry; None: nothing."""
    names: tuple[str, ...] = ("localhost",)
    """By which the servers may be called, beside addresses in figures."""
    pages: tuple[str, ...] = ()
    """The names that the settings declare: pages of theirs may ask."""


# ---- decisions -------------------------------------------------------------------------------------------------------


def is_wanted(servers: ServersSection) -> bool:
    """Whether the servers ask for user and password.

    Example:
        >>> is_wanted(ServersSection()), is_wanted(ServersSection(host="0.0.0.0"))
        (False, True)
        >>> is_wanted(ServersSection(host="0.0.0.0", authentication="off"))
        False
    """
    if servers.authentication == "auto":
        return servers.host not in LOOPBACK
    return servers.authentication == "on"


def decide(servers: ServersSection, found: Credentials | None, *, machine: str = "") -> Access:
    """Who may ask, where nothing is left to be made or asked.

    Args:
        servers: The settings.
        found: User and password, where there are any.
        machine: This machine's own name.

    Raises:
        UsageError: A name of ``servers.allowed_hosts`` is none, or the password is easily guessed.

    Example:
        >>> decide(ServersSection(allowed_hosts=("mlflow.example",)), None, machine="hub").names
        ('localhost', '127.0.0.1', 'hub', 'mlflow.example')
    """
    for name in servers.allowed_hosts:
        if not _NAME.fullmatch(name):
            raise UsageError(
                "setting servers.allowed_hosts has a wrong value",
                where=f"servers.allowed_hosts: {name!r}",
                expected="names in small letters, with a port or without, such as mlflow.example.org",
                next_step="ridgeway settings servers.allowed_hosts",
            )
    own = ("localhost", servers.host, machine.lower(), machine.lower().partition(".")[0])
    names = tuple(dict.fromkeys(name for name in (*own, *servers.allowed_hosts) if name))
    if not is_wanted(servers):
        return Access(None, names, servers.allowed_hosts)
    if found is not None:
        _refuse_weak(found)
    return Access(found, names, servers.allowed_hosts)


def _refuse_weak(found: Credentials) -> None:
    text = found.password
    if len(text) < SHORTEST or not text.isascii() or not text.isprintable() or text == "password1234":
        raise UsageError(
            "the password of the servers is refused",
            where=f"{PASSWORD} or …_FILE",
            expected=f"at least {SHORTEST} characters that a keyboard has (ASCII), and no well-known one",
            next_step=f"unset {PASSWORD}: a good one is made then; or: openssl rand -base64 24",
        )


def prepare(
    settings: Settings,
    state: Path,
    *,
    only_plan: bool = False,
    environ: Mapping[str, str] | None = None,
    say: Callable[[str], None] = log.info,
) -> Access:
    """Who may ask; a password is made and kept in ``secrets/`` of the state where one is needed and none was given.

    Args:
        settings: Of the project.
        state: Its ``.ridgeway``.
        only_plan: Nothing is made; the plan then names no password.
        environ: The environment; that of this process by default.
        say: Told in one line when a password was made.

    Raises:
        UsageError: As ``decide`` says, or the variable with the password is given twice or its file cannot be read.
        StorageError: The password cannot be kept.
    """
    servers, environ = settings.servers, os.environ if environ is None else environ
    wanted = is_wanted(servers)
    found = credentials.find(settings, state, environ) if wanted else None
    if wanted and found is None and not only_plan:
        found = Credentials(servers.user, credentials.make_password(state))
        say(f"made a password for both servers: {credentials.password_file(state)}")
    if not wanted and servers.host not in LOOPBACK:
        log.warning("anyone who reaches %s may use both servers: servers.authentication is off", servers.host)
    return decide(servers, found, machine=socket.gethostname())


# ---- what each process is told ---------------------------------------------------------------------------------------


def prefect_variables(access: Access, *, addresses: tuple[str, ...] = ()) -> dict[str, str]:
    """What Prefect's server needs in its environment; for no other process.

    Prefect asks for user and password itself, because its pages have a form for them and its clients send them in the
    first message of a web socket. What it lacks is a look at the name that it is called by, and at the page that asks.

    Args:
        access: Who may ask.
        addresses: Where it is reached, such as ``http://127.0.0.1:4200``; the first is told to its pages.
    """
    pages = [*addresses, *(f"{scheme}://{name}" for name in access.pages for scheme in ("http", "https"))]
    found = {
        **Guard(access.names, access.pages).to_environment(),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(pages) or "http://localhost",
        # Its pages ask where they came from: an address of this machine would be another one's for whoever sees them.
        "PREFECT_SERVER_UI_API_URL": "/api",
    }
    if access.credentials is not None:
        found["PREFECT_SERVER_API_AUTH_STRING"] = access.credentials.text
    return found


def mlflow_variables(access: Access) -> dict[str, str]:
    """What MLflow's server needs in its environment; for no other process.

    All is asked by the guard. MLflow's own look at names is left open behind it, because it compares with patterns: to
    its default ``10.*`` the name ``10.rebound.example`` is an address of this network.
    """
    secret = access.credentials.text if access.credentials else ""
    return {
        **Guard(access.names, access.pages, secret, open_paths=("/health",)).to_environment(),
        "MLFLOW_SERVER_ALLOWED_HOSTS": "*",
    }


def client_variables(access: Access) -> dict[str, str]:
    """What a process of ours that asks both servers needs in its environment."""
    if access.credentials is None:
        return {}
    return {
        "PREFECT_API_AUTH_STRING": access.credentials.text,
        "MLFLOW_TRACKING_USERNAME": access.credentials.user,
        "MLFLOW_TRACKING_PASSWORD": access.credentials.password,
    }


def without_database_password(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what opens the database: whoever runs training code needs the servers, and not that.

    Example:
        >>> without_database_password({"RIDGEWAY_SERVERS__DATABASE_PASSWORD_FILE": "/run/p", "LANG": "C"})
        {'LANG': 'C'}
    """
    return {name: value for name, value in environ.items() if name not in _DATABASE_SECRETS}


_DATABASE_SECRETS = (DATABASE_PASSWORD, f"{DATABASE_PASSWORD}_FILE", "PGPASSWORD", "PGPASSFILE")
