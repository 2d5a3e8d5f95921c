"""What of a project is published and what is yet to run, read lightly; where no server lasts, nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ridgeway import orchestrator
from ridgeway.artifacts import Publication
from ridgeway.errors import RidgewayError
from ridgeway.orchestrator.environment import client_headers
from ridgeway.orchestrator.publication.applying import Door, read
from ridgeway.orchestrator.publication.glance import Coming, coming
from ridgeway.project import Project

TIMEOUT_SECONDS = 3.0
"""A list is not worth waiting for longer."""


@dataclass(frozen=True)
class Outlook:
    """What a server says; empty where none lasts."""

    publication: Publication
    runs: tuple[Coming, ...] = ()
    page: str = ""
    """The server's, for a browser; empty where there is none."""
    problem: str = ""
    """Why the server that the settings name could not be asked."""


def outlook(project: Project) -> Outlook:
    """What is published and what is yet to run. Never raises: whoever lists other things is not to be stopped."""
    nothing = Publication(project.name)
    try:
        server = _server(project)
        if server is None:
            return Outlook(nothing)
        door = Door(server.url, client_headers(os.environ), TIMEOUT_SECONDS)
        found = read(door, project.name)
        return Outlook(found, coming(door, found), server.page)
    except RidgewayError as error:
        return Outlook(nothing, problem=f"{error.summary}: {error.problem}")


def _server(project: Project) -> orchestrator.Server | None:
    chosen = project.settings.servers
    if chosen.prefect != "auto":
        return orchestrator.ensure_server(project.home, setting=chosen.prefect)
    server = orchestrator.running_server(project.home)
    return server if server is not None and server.is_lasting else None
