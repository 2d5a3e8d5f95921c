"""Secrets: from the environment or from a file that it names, never a setting, so no table of settings holds one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ridgeway.errors import UsageError

SECRETS = {
    "RIDGEWAY_NOTIFICATIONS__URL": "address of the webhook that is told what happens",
    "RIDGEWAY_NOTIFICATIONS__KEY": "its signing key, whsec_…; several, separated by blanks, while it is being changed",
    "RIDGEWAY_SERVERS__PASSWORD": "password of the Prefect and the MLflow server, for user servers.user",
    "RIDGEWAY_SERVERS__DATABASE_PASSWORD": "password of the role that servers.database names",
}
"""Variables that hold a secret, and what it is. Each may be given with ``_FILE`` instead: the path of a file."""


def secret(name: str, environ: Mapping[str, str] | None = None) -> str:
    """The secret in the variable ``name``, or in the file that ``name_FILE`` names; empty where neither is given.

    One line break at the end of a file does not belong to the secret: editors and ``echo`` add it.

    Args:
        name: One of ``SECRETS``, or a name that is used in the same way.
        environ: The environment; that of this process by default.

    Raises:
        UsageError: Both are given, the file cannot be read, or what it holds is empty or more than one line.

    Example:
        >>> secret("RIDGEWAY_SERVERS__PASSWORD", {"RIDGEWAY_SERVERS__PASSWORD": "river-9"})
        'river-9'
        >>> secret("RIDGEWAY_SERVERS__PASSWORD", {})
        ''
    """
    environ = os.environ if environ is None else environ
    value, file = environ.get(name, ""), environ.get(f"{name}_FILE", "")
    if value and file:
        raise UsageError(
            f"{name} is given twice",
            where=f"{name} and {name}_FILE = {file}",
            expected="one of the two",
            next_step=f"unset {name}",
        )
    return _from_file(f"{name}_FILE", Path(file)) if file else value


def _from_file(name: str, path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or "it is no text"
        raise _bad_file(name, path, problem) from None
    value = text.removesuffix("\n").removesuffix("\r")
    if not value or "\n" in value:
        raise _bad_file(name, path, "it holds several lines" if value else "it is empty")
    return value


def _bad_file(name: str, path: Path, problem: str) -> UsageError:
    return UsageError(
        "cannot read a secret",
        where=f"{name} = {path}",
        problem=problem,
        expected="a file with the secret as its only line, which this user may read",
        next_step=f"mend the file, or unset {name}",
    )


def secret_setting(path: str) -> str:
    """The variable that holds what someone wrote as setting ``path``; empty when that is no secret.

    Example:
        >>> secret_setting("servers.password")
        'RIDGEWAY_SERVERS__PASSWORD'
        >>> secret_setting("servers.prefect")
        ''
    """
    name = f"RIDGEWAY_{path.upper().replace('.', '__')}"
    return name if name in SECRETS else ""


def has_password(address: str) -> bool:
    """Whether a password stands in an address.

    Example:
        >>> has_password("postgresql://ridgeway:river-9@db.example/ridgeway")
        True
        >>> has_password("https://mlflow.example/")
        False
    """
    try:
        return urlsplit(address).password is not None
    except ValueError:
        return False


def without_password(address: str) -> str:
    """The address with dots in the place of its password, to be shown.

    Example:
        >>> without_password("postgresql://ridgeway:river-9@db.example/ridgeway")
        'postgresql://ridgeway:…@db.example/ridgeway'
    """
    if not has_password(address):
        return address
    scheme, _, rest = address.partition("://")
    netloc, slash, path = rest.partition("/")
    user_info, _, host = netloc.rpartition("@")
    return f"{scheme}://{user_info.partition(':')[0]}:…@{host}{slash}{path}"
