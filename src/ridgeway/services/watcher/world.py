"""What a look works with: the project as it is set now, the server as it answers now, and what was said before."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ridgeway.artifacts import Triggered
from ridgeway.errors import RidgewayError, Unreachable
from ridgeway.orchestrator.flow_runs import Api
from ridgeway.orchestrator.publication import trigger
from ridgeway.orchestrator.state_file import read_state
from ridgeway.project import Project, open_project
from ridgeway.settings import operations_file

log = logging.getLogger("ridgeway.triggers")


@dataclass(frozen=True, slots=True)
class World:
    """One moment: settings and server."""

    project: Project
    api: Api | None
    """None where no server is known; whether it answers is found by asking."""

    def trigger(self, flow: str, parameters: Mapping[str, Any], *, key: str) -> Triggered:
        """The run of a published flow; the same key never begins two.

        Raises:
            NotFound: It is not published.
            UsageError: It takes other parameters.
            Unreachable: The server does not answer, or there is none.
        """
        if self.api is None:
            raise _no_server(self.project)
        deployment = f"{flow}/{self.project.name}"
        return trigger(self.api.url, deployment, parameters, idempotency_key=key, headers=self.api.headers)


def _no_server(project: Project) -> RidgewayError:
    return Unreachable(
        "no Prefect server is up",
        where=f"servers.prefect = {project.settings.servers.prefect!r}",
        next_step="ridgeway up",
    )


class Settings:
    """The project as its files say now; read anew when one of them changes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: tuple[object, ...] = ()
        self._project: Project | None = None
        self._wrong: RidgewayError | None = None

    def project(self) -> Project:
        """The project.

        Raises:
            RidgewayError: Its settings are wrong, and for as long as they are; those from before stay in force.
        """
        seen = tuple(_stamp(path) for path in (self._root / "ridgeway.toml", operations_file(self._root)) if path)
        if seen != self._seen or self._project is None:
            self._seen, self._wrong = seen, None
            try:
                self._project = open_project(self._root)
            except RidgewayError as error:
                self._wrong = error
        if self._wrong is not None:
            raise self._wrong.with_traceback(None)  # raised at each look: a traceback would grow with every one
        assert self._project is not None
        return self._project

    def before(self) -> Project | None:
        """What was in force before; None at the first look."""
        return self._project


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def api_of(project: Project, headers: Mapping[str, str]) -> Api | None:
    """The Prefect server that the settings name, or the one of this project that is up."""
    named = project.settings.servers.prefect
    if named != "auto":
        address = named.rstrip("/")
        return Api(address if address.endswith("/api") or "/api/" in named else f"{address}/api", headers)
    state = read_state(project.root)
    return Api(state.url, headers) if state and urlsplit(state.url).port else None


@dataclass(slots=True)
class Voice:
    """Says each thing once, for as long as it stays so."""

    said: dict[str, str] = field(default_factory=dict)

    def trouble(self, about: str, error: Exception) -> None:
        """Warns of what is not as it should be."""
        text = str(error) if isinstance(error, RidgewayError) else f"{type(error).__name__}: {error}"
        if self.said.get(about) != text:
            self.said[about] = text
            log.warning("%s: %s", about, text)

    def well(self, about: str) -> None:
        """Tells that it is over, if it was ever said."""
        if self.said.pop(about, None) is not None:
            log.info("%s: works again", about)

    def once(self, about: str, text: str) -> None:
        """Says something that is as it should be."""
        if self.said.get(about) != text:
            self.said[about] = text
            log.info("%s", text)
