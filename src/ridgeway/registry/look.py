"""A light, read-only look at the registry without MLflow: which versions there are, in milliseconds.

MLflow takes seconds to import. For "is this candidate registered already?" the tables of its SQLite file, or two calls
of its public REST interface, are enough. Whatever is not as expected here gives None: then the caller asks MLflow.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ridgeway.errors import Transient, Unreachable, UsageError
from ridgeway.places import home_of

TIMEOUT_SECONDS = 3.0
"""For one answer of a tracking server, and for a lock on a SQLite file: a look must not become a wait."""

DIGEST_TAG = "ridgeway.digest"
COMPLETE_TAG = "ridgeway.complete"

# What mlflow would need and urllib does not do: with one of these set, only the long way speaks to the server.
_BEYOND_URLLIB = (
    "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4",
    "MLFLOW_WORKSPACE",
)


@dataclass(frozen=True, slots=True)
class GlancedVersion:
    """One version as the tables hold it."""

    number: int
    digest: str
    """Empty when it was registered without Ridgeway."""
    run_id: str
    complete: bool
    """False for one that was only half registered when its process ended, or by someone else."""
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Glance:
    """All versions of one model at one moment, by rising number; none when nothing is registered."""

    versions: tuple[GlancedVersion, ...]

    def by_digest(self, digest: str) -> GlancedVersion | None:
        """The complete version with this candidate digest, or None."""
        return next((version for version in self.versions if version.complete and version.digest == digest), None)

    def by_alias(self, alias: str) -> GlancedVersion | None:
        """The version that carries ``alias``, or None."""
        return next((version for version in self.versions if alias in version.aliases), None)


def database_path(uri: str, root: Path) -> Path | None:
    """The file behind a SQLite address, relative ones from the project's root; None for a tracking server's address.

    Raises:
        UsageError: It is neither a SQLite file nor an http(s) address.

    Example:
        >>> str(database_path("sqlite:///.ridgeway/mlflow.db", Path("/projects/diabetes")))
        '/projects/diabetes/.ridgeway/mlflow.db'
        >>> database_path("https://mlflow.example.org", Path("."))
    """
    if uri.startswith(("http://", "https://")) and urllib.parse.urlsplit(uri).hostname:
        return None
    name = uri.removeprefix("sqlite:///")
    if name == uri or name in ("", ":memory:") or "?" in name:
        raise UsageError(
            f"cannot use {uri!r} as registry",
            where="setting registry.uri",
            expected="sqlite:///PATH for a file on this machine, or the http(s) address of an MLflow tracking server",
            next_step='registry.uri = "sqlite:///.ridgeway/mlflow.db"',
        )
    return home_of(root) / name


def refuse_local_in_ci(uri: str) -> None:
    """Nothing, when ``uri`` is a registry that outlives a CI agent.

    Raises:
        UsageError: It is a file: an empty registry on a throw-away agent would accept every model.

    Example:
        >>> refuse_local_in_ci("https://mlflow.example.org")
    """
    if database_path(uri, Path()) is not None:
        raise UsageError(
            "a registry on this machine cannot be used with --ci",
            where=f"setting registry.uri = {uri!r}",
            problem="the next agent starts with an empty one, against which any model would be accepted",
            expected="the address of a tracking server that all agents share",
            next_step="RIDGEWAY_REGISTRY__URI=https://your-mlflow-server",
        )


def glance(uri: str, name: str, root: Path) -> Glance | None:
    """All versions of the model ``name``, read without MLflow; None when only MLflow itself can tell.

    Args:
        uri: ``sqlite:///…`` or the address of a tracking server.
        name: Of the registered model.
        root: The project's folder, from which a relative SQLite path counts.

    Returns:
        The versions, none if the model or the database does not exist yet. None when the database's tables or the
        server's answers are not as expected: then ask ``Registry``.

    Raises:
        Unreachable: The server does not answer within three seconds.
        Transient: The server reports a fault of its own.
        UsageError: The address is of no known kind.

    Example:
        >>> glance("sqlite:///no-such-file.db", "diabetes", Path("."))
        Glance(versions=())
    """
    path = database_path(uri, root)
    if path is None:
        return _look_at_server(uri.rstrip("/"), name)
    return _look_at_file(path, name) if path.exists() else Glance(())


def _glanced(number: int, run_id: str | None, aliases: list[str], tags: dict[str, str]) -> GlancedVersion:
    return GlancedVersion(
        number=number,
        digest=tags.get(DIGEST_TAG, ""),
        run_id=run_id or "",
        complete=DIGEST_TAG in tags and (COMPLETE_TAG in tags or bool(aliases)),
        aliases=tuple(sorted(aliases)),
        tags=dict(sorted(tags.items())),
    )


# ---- a SQLite file ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A SQLite file that cannot be written to meanwhile, all of it as it was at one moment."""
    address = f"file:{urllib.parse.quote(str(path.absolute()))}?mode=ro"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=TIMEOUT_SECONDS)) as database:
        database.execute("BEGIN")
        yield database


def _look_at_file(path: Path, name: str) -> Glance | None:
    try:
        with reading(path) as database:
            return _read_tables(database, name)
    except sqlite3.Error:
        # Locked, damaged, of another schema, or with a journal that only a writer may roll back.
        return None


def _read_tables(database: sqlite3.Connection, name: str) -> Glance:
    versions = database.execute(
        "SELECT version, run_id FROM model_versions"
        " WHERE name = ? AND current_stage <> 'Deleted_Internal' ORDER BY version",
        (name,),
    ).fetchall()
    tags: dict[int, dict[str, str]] = {}
    for number, key, value in database.execute(
        "SELECT version, key, value FROM model_version_tags WHERE name = ?", (name,)
    ):
        tags.setdefault(number, {})[key] = value
    aliases: dict[int, list[str]] = {}
    for alias, number in database.execute(
        "SELECT alias, version FROM registered_model_aliases WHERE name = ?", (name,)
    ):
        aliases.setdefault(number, []).append(alias)
    return Glance(
        tuple(_glanced(number, run_id, aliases.get(number, []), tags.get(number, {})) for number, run_id in versions)
    )


# ---- a tracking server -----------------------------------------------------------------------------------------------


class _Unexpected(Exception):
    """An answer that is none of the documented ones."""


def authorisation(environment: Mapping[str, str]) -> dict[str, str]:
    """The header that mlflow itself would send, from the variables that mlflow itself reads."""
    user, password = environment.get("MLFLOW_TRACKING_USERNAME"), environment.get("MLFLOW_TRACKING_PASSWORD")
    if user and password:
        return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    token = environment.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def ask(server: str, call: str, **parameters: str) -> tuple[int, dict[str, Any]]:
    """One GET on the server's REST interface: status and JSON answer, an empty dictionary when it is not JSON.

    Raises:
        Unreachable: No answer within three seconds.
        Transient: Status 429 or 5xx.
    """
    address = f"{server}/api/2.0/mlflow/{call}?{urllib.parse.urlencode(parameters)}"
    request = urllib.request.Request(address, headers=authorisation(os.environ))  # noqa: S310 - database_path lets only http(s) pass
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            return answer.status, _json(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 429 or error.code >= 500:
                raise _faulty(server, f"status {error.code}") from error
            return error.code, _json(error.read())
    except (OSError, urllib.error.URLError) as error:
        raise unreachable(server, str(getattr(error, "reason", error))) from error


def needs_mlflow() -> bool:
    """Whether the server is to be spoken to in a way that only MLflow's own client knows."""
    return any(os.environ.get(variable) for variable in _BEYOND_URLLIB)


def unreachable(server: str, problem: str) -> Unreachable:
    """The error for a tracking server that does not answer."""
    return Unreachable(
        "the model registry does not answer",
        where=f"setting registry.uri = {server!r}",
        problem=problem,
        expected="an MLflow tracking server at this address",
        next_step="try again later, or check the address and the network: ridgeway settings registry.uri",
    )


def _faulty(server: str, problem: str) -> Transient:
    return Transient(
        "the model registry reports a fault of its own",
        where=f"setting registry.uri = {server!r}",
        problem=problem,
        next_step="try again later; if it stays, look into the tracking server's log",
    )


def _json(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _look_at_server(server: str, name: str) -> Glance | None:
    if needs_mlflow():
        return None
    try:
        aliases = _server_aliases(server, name)
        if aliases is None:
            return Glance(())
        entries = list(_server_versions(server, name))
        return Glance(tuple(sorted((_from_entry(entry, aliases) for entry in entries), key=lambda one: one.number)))
    except (_Unexpected, KeyError, TypeError, ValueError, AttributeError):
        return None


def _server_aliases(server: str, name: str) -> list[dict[str, str]] | None:
    """The model's aliases; None when there is no such model."""
    status, answer = ask(server, "registered-models/get", name=name)
    if status == 404 and answer.get("error_code") == "RESOURCE_DOES_NOT_EXIST":
        return None
    if status != 200:
        raise _Unexpected(status)
    return list(answer["registered_model"].get("aliases", []))


def _server_versions(server: str, name: str) -> Iterator[dict[str, Any]]:
    page = ""
    while True:
        query = {"filter": "name='" + name.replace("'", "''") + "'", "max_results": "1000"}
        status, answer = ask(server, "model-versions/search", **query, **({"page_token": page} if page else {}))
        if status != 200:
            raise _Unexpected(status)
        yield from answer.get("model_versions", [])
        page = answer.get("next_page_token", "")
        if not page:
            return


def _from_entry(entry: dict[str, Any], aliases: list[dict[str, str]]) -> GlancedVersion:
    number = int(entry["version"])
    tags = {tag["key"]: tag.get("value", "") for tag in entry.get("tags", [])}
    own = [alias["alias"] for alias in aliases if int(alias["version"]) == number]
    return _glanced(number, entry.get("run_id"), own, tags)
