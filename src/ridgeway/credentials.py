"""User and password of the servers that `ridgeway up` runs, and to which addresses they are ever sent.

They come from the environment or from a file of this machine. A password that was made here goes to the servers of this
machine only; one that somebody put into the environment goes also to those that the settings name.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ridgeway.errors import StorageError

if TYPE_CHECKING:  # who only asks a server needs no settings, and is far lighter without
    from ridgeway.settings import Settings

PASSWORD = "RIDGEWAY_SERVERS__PASSWORD"  # noqa: S105 - the variable's name
_DEFAULT_PORTS = {"http": 80, "https": 443}
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - looked for, not listened at


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who signs in to both servers."""

    user: str
    password: str = field(repr=False)

    @property
    def text(self) -> str:
        """As Prefect's ``PREFECT_API_AUTH_STRING`` wants it."""
        return f"{self.user}:{self.password}"

    @property
    def header(self) -> str:
        """Value of the header ``Authorization`` (RFC 7617).

        Example:
            >>> Credentials("ridgeway", "quiet-river").header
            'Basic cmlkZ2V3YXk6cXVpZXQtcml2ZXI='
        """
        return f"Basic {base64.b64encode(self.text.encode()).decode('ascii')}"


# ---- the password of this machine ------------------------------------------------------------------------------------


def password_file(state: Path) -> Path:
    """Where the password is kept that was made on this machine."""
    return state / "secrets" / "servers-password"


def make_password(state: Path) -> str:
    """The password of this machine's servers: the one that is kept, or a new one of 192 bits, in a file of one's own.

    Raises:
        StorageError: The folder cannot be written.
    """
    path = password_file(state)
    if kept := _kept(path):
        return kept
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:  # noqa: PTH123 - with the mode from the start
            file.write(f"{secrets.token_urlsafe(24)}\n")
        # A link fails where the name is taken: of two processes one wins, and both then read the same.
        with suppress(FileExistsError):
            os.link(draft, path)
    except OSError as error:
        raise StorageError(
            "cannot keep the password of the servers",
            where=str(path),
            problem=error.strerror or str(error),
            expected="space, and the right to write; or a password in the environment",
            next_step=f"set {PASSWORD}_FILE, or make room",
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return _kept(path)


def _kept(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def find(settings: Settings, state: Path, environ: Mapping[str, str]) -> Credentials | None:
    """Who this process signs in as; None where no password was given or made.

    Raises:
        UsageError: The variable is given twice, or its file cannot be read.
    """
    password = _given(environ) or _kept(password_file(state))
    return Credentials(settings.servers.user, password) if password else None


def _given(environ: Mapping[str, str]) -> str:
    from ridgeway.settings.secrets import secret

    return secret(PASSWORD, environ)


# ---- who gets it -----------------------------------------------------------------------------------------------------

_KNOWN: dict[str, Credentials] = {}
"""Origin → what is sent there, for this process."""


def sign_in(settings: Settings, state: Path, environ: MutableMapping[str, str] | None = None) -> None:
    """Lets what this process asks of the servers carry user and password, as far as they are meant for them.

    MLflow's client reads its own variables: they are set where the registry is one of the servers, and neither they nor
    a token are set already. For Prefect see ``for_url``.

    Args:
        settings: Of the project.
        state: Its ``.ridgeway``.
        environ: This process's environment by default.

    Raises:
        UsageError: The variable is given twice, or its file cannot be read.
    """
    environ = os.environ if environ is None else environ
    found = find(settings, state, environ)
    mine = _KNOWN.get(origin(settings.registry.uri))
    _KNOWN.clear()
    if found is None:
        return
    origins = meant_for(settings, is_given=bool(_given(environ))) | _running(state)
    _KNOWN.update(dict.fromkeys(origins, found))
    is_ours = mine is not None and environ.get("MLFLOW_TRACKING_PASSWORD") == mine.password
    is_set = any(environ.get(f"MLFLOW_TRACKING_{name}") for name in ("USERNAME", "PASSWORD", "TOKEN"))
    if origin(settings.registry.uri) in _KNOWN and (is_ours or not is_set):
        environ["MLFLOW_TRACKING_USERNAME"] = found.user
        environ["MLFLOW_TRACKING_PASSWORD"] = found.password


def _running(state: Path) -> frozenset[str]:
    """The origins of the servers that run here now, wherever they were told to listen."""
    try:
        content = json.loads((state / "services" / "services.json").read_text(encoding="utf-8"))
        return frozenset(origin(one["address"]) for one in content["services"]) - {""}
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()


def for_url(url: str) -> Credentials | None:
    """What is to be sent to this address, after ``sign_in``; None for any other server's."""
    return _KNOWN.get(origin(url))


def meant_for(settings: Settings, *, is_given: bool) -> frozenset[str]:
    """The origins that may see the password: this machine's servers, and those the settings name if it was given.

    Example:
        >>> from ridgeway.settings import Settings
        >>> sorted(meant_for(Settings(), is_given=False))[:2]
        ['http://127.0.0.1:4200', 'http://127.0.0.1:5050']
    """
    chosen = settings.servers
    hosts = {"127.0.0.1", "localhost", "::1"} | ({chosen.host} - set(_EVERYWHERE))
    ports = (chosen.prefect_port, chosen.mlflow_port)
    own = {origin(f"http://{f'[{host}]' if ':' in host else host}:{port}") for host in hosts for port in ports}
    named = {origin(chosen.prefect), origin(settings.registry.uri)} if is_given else set()
    return frozenset(own | named) - {""}


def origin(url: str) -> str:
    """Scheme, host and port of an address; empty for what is none.

    Example:
        >>> origin("https://MLflow.example/path"), origin("auto")
        ('https://mlflow.example:443', '')
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}" if parts.hostname and port else ""
