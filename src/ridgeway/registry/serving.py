"""The MLflow server of `ridgeway up`: MLflow's own application in one process, in front of the project's registry.

`mlflow server` starts four workers and a runner of jobs, 1.8 GB together, for what one process does here.
"""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path
from typing import Any

from ridgeway.guard import guarded
from ridgeway.registry.connection import ENVIRONMENT, create_database
from ridgeway.registry.files import served_folder

_UNUSED = {
    # Jobs judge traces of language models; their runner and its queue are processes of their own.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_SERVER_JOB_ENABLE_PERIODIC_TASKS": "false",
    "MLFLOW_ENABLE_REMOTE_ASSISTANT": "false",
}


def server_environment(database: Path) -> dict[str, str]:
    """What `mlflow server --serve-artifacts` would tell its workers, for the registry in this file.

    Args:
        database: The SQLite file, absolute; artifacts lie beside it.

    Example:
        >>> server_environment(Path("/p/.ridgeway/mlflow.db"))["_MLFLOW_SERVER_ARTIFACT_DESTINATION"]
        '/p/.ridgeway/artifacts'
    """
    return {**addressed(f"sqlite:///{database}", served_folder(database)), **_UNUSED}


def addressed(uri: str, artifacts: Path) -> dict[str, str]:
    """The same for any database that MLflow understands."""
    return {
        **ENVIRONMENT,
        **_UNUSED,
        "_MLFLOW_SERVER_FILE_STORE": uri,
        "_MLFLOW_SERVER_REGISTRY_STORE": uri,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(artifacts),
        "_MLFLOW_SGI_NAME": "uvicorn",
    }


def serve(listening: str) -> None:
    """Serves on a socket that listens already, as the environment says, until SIGTERM.

    Args:
        listening: Number of the socket's file descriptor.

    Raises:
        RidgewayError: The database is damaged, of another schema, or cannot be written.
    """
    import warnings

    uri = os.environ["_MLFLOW_SERVER_FILE_STORE"]
    if uri.startswith("sqlite:///"):
        create_database(Path(uri.removeprefix("sqlite:///")))
    os.environ["_MLFLOW_SERVER_BOOT_ID"] = uuid.uuid4().hex
    warnings.simplefilter("ignore")  # of what MLflow's own modules import
    import uvicorn
    from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(uri, uri, os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"])
    behind_guard: Any = guarded(app, os.environ)
    options: Any = {"log_level": "warning", "access_log": False, "lifespan": "on", "timeout_graceful_shutdown": 2}
    config = uvicorn.Config(behind_guard, **options)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(listening))])
