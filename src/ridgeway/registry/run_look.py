"""A file of a run, fetched without MLflow: for whoever wants a report and has no other use for seconds of importing."""

from __future__ import annotations

import os
import sqlite3
import urllib.parse
import urllib.request
from pathlib import Path

from ridgeway.errors import RidgewayError
from ridgeway.registry.files import checked_path, local_folder
from ridgeway.registry.look import TIMEOUT_SECONDS, ask, authorisation, database_path, needs_mlflow, reading


def glance_file(uri: str, root: Path, run_id: str, path: str) -> bytes | None:
    """The content of a run's file; None where only MLflow itself can tell, or there is no such file.

    Args:
        uri: ``sqlite:///…`` or the address of a tracking server.
        root: The project's folder, from which a relative SQLite path counts.
        run_id: The run.
        path: Of the file in it, such as ``report/record.json``.

    Example:
        >>> glance_file("sqlite:///no-such-file.db", Path("."), "0" * 32, "report/record.json")
    """
    inside = checked_path(path)
    try:
        database = database_path(uri, root)
        if database is None:
            return None if needs_mlflow() else _from_server(uri.rstrip("/"), run_id, str(inside))
        folder = local_folder(database, _address(database, run_id)) if database.exists() else None
        return (folder / inside).read_bytes() if folder else None
    except (OSError, sqlite3.Error, KeyError, TypeError, RidgewayError):
        return None


def _address(database: Path, run_id: str) -> str:
    with reading(database) as tables:
        found = tables.execute("SELECT artifact_uri FROM runs WHERE run_uuid = ?", (run_id,)).fetchone()
    return str(found[0]) if found and found[0] else ""


def _from_server(server: str, run_id: str, path: str) -> bytes | None:
    _, answer = ask(server, "runs/get", run_id=run_id)
    address = urllib.parse.urlsplit(answer["run"]["info"]["artifact_uri"])
    if address.scheme != "mlflow-artifacts" or address.netloc:
        return None
    place = urllib.parse.quote(f"{address.path.strip('/')}/{path}")
    request = urllib.request.Request(  # noqa: S310 - database_path lets only http(s) pass
        f"{server}/api/2.0/mlflow-artifacts/artifacts/{place}", headers=authorisation(os.environ)
    )
    with urllib.request.urlopen(request, timeout=10 * TIMEOUT_SECONDS) as found:  # noqa: S310
        content: bytes = found.read()
        return content
