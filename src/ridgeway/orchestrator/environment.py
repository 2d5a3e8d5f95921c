"""Prefect's settings as environment variables: state in the project's folder, nothing phones home, results are JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_NOT_NEEDED = (
    # Work of a server with deployments, schedules, workers and automations; one that only keeps runs has none of it.
    "CANCELLATION_CLEANUP",
    "CLEANUP_RECONCILER",
    "FOREMAN",
    "LATE_RUNS",
    "PAUSE_EXPIRATIONS",
    "REPOSSESSOR",
    "SCHEDULER",
    "TRIGGERS",
)


def home(root: Path) -> Path:
    """Where Prefect keeps what it keeps of this project."""
    return root / ".ridgeway" / "prefect"


def environment(root: Path) -> dict[str, str]:
    """Environment variables for every process of the project that uses Prefect.

    Args:
        root: The project's root, absolute.

    Example:
        >>> environment(Path("/p"))["PREFECT_HOME"]
        '/p/.ridgeway/prefect'
    """
    return {
        "PREFECT_HOME": str(home(root)),
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # Prefect's own default is pickle.
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(home(root) / "results"),
        # The terminal belongs to the command line; Prefect's page shows what steps log all the same.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "ridgeway",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    }


def local_client(root: Path, url: str) -> dict[str, str]:
    """``environment`` for a client of the local server at ``url`` (which ends in ``/api``)."""
    return {
        **environment(root),
        "PREFECT_API_URL": url,
        # Each of these is a request more per client, for what cannot differ on one machine.
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
        # A server on this machine that is gone does not come back: 6 s of trying are enough, not 62.
        "PREFECT_CLIENT_MAX_RETRIES": "2",
    }


def local_server(root: Path, url: str, inherited: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of the local server's process.

    Args:
        root: The project's root, absolute.
        url: Where its API will answer.
        inherited: The environment of whoever starts it; Prefect's settings in it are meant for another server.
    """
    kept = {name: value for name, value in inherited.items() if not name.startswith("PREFECT_")}
    off = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in _NOT_NEEDED}
    return {
        **kept,
        **environment(root),
        **off,
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home(root) / 'prefect.db'}",
        # Its pages would ask the usual port otherwise.
        "PREFECT_SERVER_UI_API_URL": url,
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        # A second of every first start, for integrations that runs of ours do not use.
        "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "ERROR",
        # No command of ours waits longer for a locked database than a person would.
        "PREFECT_SERVER_DATABASE_TIMEOUT": "20",
    }


def without_proxy(inherited: Mapping[str, str]) -> dict[str, str]:
    """``NO_PROXY`` in both spellings, with this machine added: a company's proxy cannot reach the local server.

    Example:
        >>> without_proxy({"NO_PROXY": "intranet"})["no_proxy"]
        'intranet,127.0.0.1,localhost'
    """
    present = inherited.get("NO_PROXY") or inherited.get("no_proxy") or ""
    names = [name.strip() for name in present.split(",") if name.strip()]
    both = ",".join([*names, *(name for name in ("127.0.0.1", "localhost") if name not in names)])
    return {"NO_PROXY": both, "no_proxy": both}
