"""Versions that were registered lately, by whomever, without MLflow: for who looks every few seconds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ridgeway.registry.look import COMPLETE_TAG, DIGEST_TAG, ask, database_path, needs_mlflow, reading
from ridgeway.rules.triggers import Mark, Registered

_PAGE = 50
_GONE = "Deleted_Internal"


def newest(uri: str, name: str, root: Path, mark: Mark | None) -> tuple[Registered, ...] | None:
    """The versions above a mark, and those that it waits for; some of the latest where there is no mark yet.

    Args:
        uri: ``sqlite:///…`` or the address of a tracking server.
        name: The registered model's.
        root: The project's folder, from which a relative SQLite path counts.
        mark: Up to where versions are known.

    Returns:
        None when only MLflow itself could tell.

    Raises:
        Unreachable: The server does not answer within three seconds.
        Transient: The server reports a fault of its own.
        UsageError: The address is of no known kind.

    Example:
        >>> newest("sqlite:///no-such-file.db", "diabetes", Path("."), None)
        ()
    """
    path = database_path(uri, root)
    try:
        if path is not None:
            return _in_tables(path, name, mark or Mark()) if path.exists() else ()
        return None if needs_mlflow() else _at_server(uri.rstrip("/"), name, mark)
    except (sqlite3.Error, KeyError, TypeError, ValueError, AttributeError):
        return None


def _in_tables(path: Path, name: str, mark: Mark) -> tuple[Registered, ...]:
    waiting = ",".join("?" * len(mark.waiting))
    with reading(path) as database:
        rows = database.execute(
            "SELECT v.version, v.creation_time, v.status, d.value IS NOT NULL, c.value IS NOT NULL, a.alias IS NOT NULL"  # noqa: S608 - question marks only
            " FROM model_versions v"
            " LEFT JOIN model_version_tags d ON d.name = v.name AND d.version = v.version AND d.key = ?"
            " LEFT JOIN model_version_tags c ON c.name = v.name AND c.version = v.version AND c.key = ?"
            " LEFT JOIN registered_model_aliases a ON a.name = v.name AND a.version = v.version"
            " WHERE v.name = ? AND v.current_stage <> ?"
            f" AND (v.version > ? OR v.creation_time > ? OR v.version IN ({waiting}))",
            (DIGEST_TAG, COMPLETE_TAG, name, _GONE, mark.number, mark.created_ms, *mark.waiting),
        ).fetchall()
    found = {
        int(number): Registered(int(number), int(created), _is_ready(status, ours, complete or aliased))
        for number, created, status, ours, complete, aliased in rows
    }
    return tuple(found[number] for number in sorted(found))


def _is_ready(status: str | None, is_ours: Any, is_complete: Any) -> bool:
    """Whether nothing is still to come: of Ridgeway's own registration, its last note."""
    return (status or "READY") == "READY" and (not is_ours or bool(is_complete))


def _at_server(server: str, name: str, mark: Mark | None) -> tuple[Registered, ...]:
    entries = {int(entry["version"]): entry for entry in _latest(server, name, mark)}
    for number in mark.waiting if mark else ():
        status, answer = ask(server, "model-versions/get", name=name, version=str(number))
        if status == 200:
            entries[number] = answer["model_version"]
    return tuple(_registered(server, name, entries[number]) for number in sorted(entries))


def _latest(server: str, name: str, mark: Mark | None) -> Iterator[dict[str, Any]]:
    """The latest versions by time, page by page, until a page holds none that is new."""
    page = ""
    while True:
        query = {"filter": "name='" + name.replace("'", "''") + "'", "max_results": str(_PAGE)}
        order = {"order_by": "creation_timestamp DESC"}
        status, answer = ask(
            server, "model-versions/search", **query, **order, **({"page_token": page} if page else {})
        )
        if status != 200:
            raise ValueError(f"status {status}")
        entries = answer.get("model_versions", [])
        yield from entries
        page = answer.get("next_page_token", "")
        if not page or mark is None or not any(_is_new(entry, mark) for entry in entries):
            return


def _is_new(entry: Mapping[str, Any], mark: Mark) -> bool:
    return int(entry["version"]) > mark.number or int(entry["creation_timestamp"]) > mark.created_ms


def _registered(server: str, name: str, entry: Mapping[str, Any]) -> Registered:
    number, tags = int(entry["version"]), {tag["key"] for tag in entry.get("tags", [])}
    is_ours = DIGEST_TAG in tags
    is_complete = COMPLETE_TAG in tags or (is_ours and _has_alias(server, name, number))
    return Registered(number, int(entry["creation_timestamp"]), _is_ready(entry.get("status"), is_ours, is_complete))


def _has_alias(server: str, name: str, number: int) -> bool:
    status, answer = ask(server, "registered-models/get", name=name)
    return status == 200 and any(
        int(alias["version"]) == number for alias in answer["registered_model"].get("aliases", [])
    )
