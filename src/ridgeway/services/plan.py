"""Which services a project needs, and what each is told: decided from the settings, nothing started."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ridgeway.orchestrator.environment import environment, local_client, local_server
from ridgeway.registry.files import served_folder
from ridgeway.registry.look import database_path
from ridgeway.registry.serving import addressed, server_environment
from ridgeway.services.access import (
    client_variables,
    mlflow_variables,
    prefect_variables,
    without_database_password,
)
from ridgeway.services.database import mlflow_store, sign_in_variables
from ridgeway.services.database import prefect_variables as prefect_database
from ridgeway.services.locks import Locks
from ridgeway.settings import QUIET_ENVIRONMENT, Settings
from ridgeway.settings.database import read_database

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Service:
    """One process that the supervisor keeps."""

    name: str
    what: str
    """For people, in a few words."""
    stage: str
    """What has to be imported before it can be forked; one of ``zygote.STAGES``."""
    call: str
    """``module:function``."""
    arguments: tuple[str, ...] = ()
    """Texts; ``{listening}`` and ``{lifeline}`` are replaced by a descriptor's number."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """All of it; may hold secrets, and is never written anywhere."""
    host: str = ""
    """Where it listens; empty for what does not."""
    port: int = 0
    setting: str = ""
    """The setting that names its port."""
    address: str = ""
    """Where people and programs of this machine reach it."""
    health: str = ""
    """What answers with 200 when it is ready; empty where a file says so."""
    after: tuple[str, ...] = ()
    """What has to be ready before."""
    once: bool = False
    """Whether it ends by itself, with what it had to do."""
    stop_seconds: float = 8
    """What it gets to end by itself."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that `ridgeway up` is about to start."""

    root: Path
    services: tuple[Service, ...]
    prefect_url: str
    """The API that the project's runs are shown by."""
    is_prefect_ours: bool
    zygote_environment: Mapping[str, str]


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan for the supervisor, which reads it from a pipe."""
    return {**dataclasses.asdict(plan), "root": str(plan.root)}


def from_json(content: Mapping[str, Any]) -> Plan:
    """The plan that ``to_json`` wrote."""
    services = tuple(
        Service(**{**one, "arguments": tuple(one["arguments"]), "after": tuple(one["after"])})
        for one in content["services"]
    )
    return Plan(**{**content, "root": Path(content["root"]), "services": services})


def reachable(host: str) -> str:
    """The address by which programs of this machine reach what listens on ``host``.

    Example:
        >>> reachable("0.0.0.0"), reachable("10.1.2.3")
        ('127.0.0.1', '10.1.2.3')
    """
    return "127.0.0.1" if host in ("0.0.0.0", "::", "localhost", "") else host  # noqa: S104 - only compared


_OPEN = Locks()


def make_plan(
    root: Path,
    settings: Settings,
    inherited: Mapping[str, str],
    *,
    host: str = "",
    locks: Locks = _OPEN,
) -> Plan:
    """What `ridgeway up` starts for a project.

    Args:
        root: The project's root, absolute.
        settings: The project's.
        inherited: The environment of whoever starts it.
        host: In place of ``servers.host``.
        locks: Who may ask the servers, and what they open their database with.
    """
    host = host or settings.servers.host
    inherited = without_database_password(inherited)
    base = {**inherited, **{name: inherited.get(name, value) for name, value in QUIET_ENVIRONMENT.items()}}
    servers = [*_prefect(root, settings, base, host, locks), *_mlflow(root, settings, base, host, locks)]
    is_ours = settings.servers.prefect == "auto"
    url = f"{servers[0].address}/api" if is_ours else _api(settings.servers.prefect)
    client = {**base, **(local_client(root, url) if is_ours else {**environment(root), "PREFECT_API_URL": url})}
    client |= client_variables(locks.access)
    rest = _companions(root, settings, client, url, ("prefect",) if is_ours else ())
    return Plan(root, (*servers, *rest), url, is_ours, {**_without_prefect(base), **environment(root)})


def _prefect(root: Path, settings: Settings, base: Mapping[str, str], host: str, locks: Locks) -> list[Service]:
    """The Prefect server; none where a setting names another one."""
    if settings.servers.prefect != "auto":
        return []
    port = settings.servers.prefect_port
    address = f"http://{reachable(host)}:{port}"
    told = local_server(root, f"{address}/api", base, lasting=True)
    told |= prefect_variables(locks.access, addresses=(address,))
    if database := read_database(settings.servers.database):
        told |= prefect_database(database, locks.database_password)
    return [
        Service(
            "prefect",
            "Prefect server: runs, schedules, triggers",
            "web",
            "ridgeway.orchestrator.serving:serve",
            (str(root), "{listening}"),
            told,
            host=host,
            port=port,
            setting="servers.prefect_port",
            address=address,
            health=f"{address}/api/health",
        )
    ]


def _mlflow(root: Path, settings: Settings, base: Mapping[str, str], host: str, locks: Locks) -> list[Service]:
    """The MLflow server; none where the registry is on a server already."""
    told = _registry(root, settings, locks)
    if told is None:
        return []
    port = settings.servers.mlflow_port
    address = f"http://{reachable(host)}:{port}"
    return [
        Service(
            "mlflow",
            "MLflow server: models and their runs",
            "registry",
            "ridgeway.registry.serving:serve",
            ("{listening}",),
            {**_without_prefect(base), **told, **mlflow_variables(locks.access)},
            host=host,
            port=port,
            setting="servers.mlflow_port",
            address=address,
            health=f"{address}/health",
        )
    ]


def _registry(root: Path, settings: Settings, locks: Locks) -> dict[str, str] | None:
    """What the MLflow server is told of its database and its files; None where it is not ours to start."""
    file = database_path(settings.registry.uri, root)
    if file is not None:
        return server_environment(file.absolute())
    database = read_database(settings.servers.database)
    own = f"http://{reachable(settings.servers.host)}:{settings.servers.mlflow_port}"
    if database is None or settings.registry.uri != own:
        return None
    artifacts = served_folder(root / ".ridgeway" / "mlflow.db")
    return {**addressed(mlflow_store(database), artifacts), **sign_in_variables(database, locks.database_password)}


def _companions(
    root: Path, settings: Settings, client: Mapping[str, str], url: str, after: tuple[str, ...]
) -> list[Service]:
    """What works beside the servers."""
    limit = str(settings.servers.worker_limit)
    worker = Service(
        "worker",
        f"carries published runs out, {limit} at a time",
        "flows",
        "ridgeway.services.worker:main",
        (str(root), settings.project.name, url, limit, "{lifeline}"),
        client,
        after=after,
        stop_seconds=30,
    )
    watcher = Service(
        "watcher",
        "watches data, models and missed schedules; notifies",
        "flows",
        "ridgeway.services.lookout:main",
        (str(root),),
        client,
        after=after,
    )
    publisher = Service(
        "publisher",
        "publishes the flows of HEAD, if nothing is published yet",
        "flows",
        "ridgeway.services.publisher:main",
        (str(root),),
        client,
        after=after,
        once=True,
    )
    return [worker, watcher, publisher]


def _without_prefect(base: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in base.items() if not name.startswith("PREFECT_")}


def _api(url: str) -> str:
    stripped = url.rstrip("/")
    return stripped if stripped.endswith("/api") or "/api/" in url else f"{stripped}/api"
