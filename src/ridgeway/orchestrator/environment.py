"""Prefect's settings as environment variables: state in the project's folder, nothing phones home, results are JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from ridgeway.guard import Guard
from ridgeway.places import state_of

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


_LASTING = {
    # Each look costs 3 to 5 ms of a core on SQLite; these keep it below what a person notices.
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "15",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "15",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "30",
    "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_LOOP_SECONDS": "30",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS": "30",
    "PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS": "30",
    # Where one run of a deployment waits for another: 30 s by default.
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "5",
    # In memory by default: after a restart nobody would give back the slot of a run that was under way.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}


def home(root: Path) -> Path:
    """Where Prefect keeps what it keeps of this project."""
    # Prefect keeps paths in its database: they must outlive the clone of a commit that a run works in.
    return state_of(root) / "prefect"


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


def local_server(root: Path, url: str, inherited: Mapping[str, str], *, lasting: bool = False) -> dict[str, str]:
    """The whole environment of the local server's process.

    Args:
        root: The project's root, absolute.
        url: Where its API will answer.
        inherited: The environment of whoever starts it; Prefect's settings in it are meant for another server.
        lasting: Whether it stays, with schedules, workers and automations, and not only keeps runs.
    """
    kept = {name: value for name, value in inherited.items() if not name.startswith("PREFECT_")}
    off = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in _NOT_NEEDED}
    return {
        **kept,
        **environment(root),
        **(_LASTING if lasting else off),
        # Pages of the browser on this machine may not ask it under a name that they have invented for it.
        **Guard(("localhost",)).to_environment(),
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


def client_headers(environ: Mapping[str, str]) -> dict[str, str]:
    """What a server wants to see of a client that does not have Prefect at hand.

    Example:
        >>> client_headers({"PREFECT_API_KEY": "k"})
        {'Authorization': 'Bearer k'}
        >>> client_headers({})
        {}
    """
    key, secret = environ.get("PREFECT_API_KEY", ""), environ.get("PREFECT_API_AUTH_STRING", "")
    if key:
        return {"Authorization": f"Bearer {key}"}
    if secret:
        return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode('ascii')}"}
    return {}


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
