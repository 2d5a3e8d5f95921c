"""A light, read-only look at the releases of a model without MLflow: one line each, in milliseconds."""

from __future__ import annotations

import datetime
import json
import os
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ridgeway.artifacts import Release, from_json
from ridgeway.errors import RidgewayError
from ridgeway.registry.files import local_folder
from ridgeway.registry.look import TIMEOUT_SECONDS, authorisation, database_path, needs_mlflow, reading, unreachable

FLOW_TAG = "ridgeway.flow"
RECORD_FILE = "release.json"
PREFIX = "ridgeway.release."
FLOW_RUN_TAG = f"{PREFIX}flow_run"
MOST = 1000
"""Releases that are listed."""


@dataclass(frozen=True, slots=True)
class GlancedRelease:
    """What the tags of a release's run tell."""

    name: str
    number: int
    state: str
    kind: str
    model: str
    target: str
    sentence: str
    requested_at: str
    """ISO 8601, UTC."""
    run_id: str = ""
    """The run that holds its record."""
    files: str = ""
    """Where that run's files are, as MLflow has it."""
    flow_run_id: str = field(default="", compare=False)
    """The flow run under which it is carried out; empty where there is none, or the record alone was read."""


def glance_releases(uri: str, name: str, root: Path) -> tuple[GlancedRelease, ...] | None:
    """The releases of the model ``name``, highest number first; None when only MLflow itself can tell.

    Args:
        uri: ``sqlite:///…`` or the address of a tracking server.
        name: Of the model.
        root: The project's folder, from which a relative SQLite path counts.

    Raises:
        Unreachable: The server does not answer within three seconds.
        UsageError: The address is of no known kind.

    Example:
        >>> glance_releases("sqlite:///no-such-file.db", "diabetes", Path("."))
        ()
    """
    path = database_path(uri, root)
    if path is None:
        return None if needs_mlflow() else _at_server(uri.rstrip("/"), name)
    if not path.exists():
        return ()
    try:
        with reading(path) as database:
            return _sorted(name, _in_tables(database, name))
    except (sqlite3.Error, KeyError, ValueError):
        return None


def read_glanced(uri: str, root: Path, known: GlancedRelease) -> Release | None:
    """The whole record of a release that was glanced at; None when only MLflow itself can tell.

    Args:
        uri: ``sqlite:///…`` or the address of a tracking server.
        root: The project's folder, from which a relative SQLite path counts.
        known: From :func:`glance_releases`.
    """
    try:
        content = _file(database_path(uri, root), uri.rstrip("/"), known)
        record = from_json(json.loads(content)) if content else None
    except (OSError, ValueError, KeyError, TypeError, RidgewayError):
        return None
    return record if isinstance(record, Release) and record.number == known.number else None


def _file(database: Path | None, server: str, known: GlancedRelease) -> bytes:
    """The record's file; empty where it lies in a store that only MLflow knows."""
    if database is not None:
        folder = local_folder(database, known.files)
        return (folder / RECORD_FILE).read_bytes() if folder else b""
    served = urllib.parse.urlsplit(known.files)
    if served.scheme != "mlflow-artifacts" or served.netloc or needs_mlflow():
        return b""
    path = urllib.parse.quote(f"{served.path.strip('/')}/{RECORD_FILE}")
    request = urllib.request.Request(  # noqa: S310 - database_path lets only http(s) pass
        f"{server}/api/2.0/mlflow-artifacts/artifacts/{path}", headers=authorisation(os.environ)
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
        content: bytes = answer.read()
        return content


_Run = tuple[str, str, int, dict[str, str]]
"""Its id, where its files are, when it started, and its tags."""


def _in_tables(database: sqlite3.Connection, name: str) -> Iterable[_Run]:
    found = database.execute(
        "SELECT r.run_uuid, r.artifact_uri, r.start_time, t.key, t.value FROM experiments e"
        " JOIN runs r ON r.experiment_id = e.experiment_id AND r.lifecycle_stage = 'active'"
        " JOIN tags f ON f.run_uuid = r.run_uuid AND f.key = ? AND f.value = 'release'"
        " JOIN tags t ON t.run_uuid = r.run_uuid AND substr(t.key, 1, ?) = ?"
        " WHERE e.name = ?",
        (FLOW_TAG, len(PREFIX), PREFIX, name),
    )
    runs: dict[str, _Run] = {}
    for run, files, start, key, value in found:
        runs.setdefault(run, (run, files or "", start, {}))[3][key] = value
    return runs.values()


def _at_server(server: str, name: str) -> tuple[GlancedRelease, ...] | None:
    try:
        experiment = _call(server, f"experiments/get-by-name?experiment_name={urllib.parse.quote(name)}", None)
        wanted = {
            "experiment_ids": [experiment["experiment"]["experiment_id"]],
            "filter": f"tags.`{FLOW_TAG}` = 'release'",
            "max_results": MOST,
        }
        runs = _call(server, "runs/search", wanted).get("runs", [])
        return _sorted(
            name,
            (
                (
                    run["info"]["run_id"],
                    run["info"].get("artifact_uri", ""),
                    int(run["info"]["start_time"]),
                    {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])},
                )
                for run in runs
            ),
        )
    except urllib.error.HTTPError as error:
        with error:
            return () if error.code == 404 else None
    except OSError as error:
        raise unreachable(server, str(getattr(error, "reason", error))) from error
    except (KeyError, TypeError, ValueError):
        return None


def _call(server: str, call: str, content: Mapping[str, Any] | None) -> Any:
    request = urllib.request.Request(  # noqa: S310 - database_path lets only http(s) pass
        f"{server}/api/2.0/mlflow/{call}",
        data=None if content is None else json.dumps(content).encode(),
        headers={"Content-Type": "application/json", **authorisation(os.environ)},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
        return json.loads(answer.read())


def _sorted(name: str, found: Iterable[_Run]) -> tuple[GlancedRelease, ...]:
    releases = [_glanced(name, run) for run in found if f"{PREFIX}number" in run[3]]
    return tuple(sorted(releases, key=lambda one: -one.number))[:MOST]


def _glanced(name: str, run: _Run) -> GlancedRelease:
    run_id, files, start, tags = run
    moment = datetime.datetime.fromtimestamp(start / 1000, datetime.UTC)
    return GlancedRelease(
        name=name,
        number=int(tags[f"{PREFIX}number"]),
        state=tags.get(f"{PREFIX}state", "?"),
        kind=tags.get(f"{PREFIX}kind", "release"),
        model=tags.get(f"{PREFIX}model", ""),
        target=tags.get(f"{PREFIX}target", ""),
        sentence=tags.get(f"{PREFIX}sentence", ""),
        requested_at=moment.isoformat(timespec="seconds").replace("+00:00", "Z"),
        run_id=run_id,
        files=files,
        flow_run_id=tags.get(FLOW_RUN_TAG, ""),
    )
