"""The local server's process: Prefect's own application behind a socket that already listens.

Two things differ from ``prefect server start``. Its database is copied from a template where there is one, because
Prefect builds an empty one through 140 migrations, which takes five seconds. And changes come one after the other:
where two meet in SQLite, Prefect answers 503 to one of them, and its client then sleeps for two seconds.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import shutil
import socket
import sqlite3
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import closing, suppress
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvicorn

from ridgeway.guard import guarded
from ridgeway.orchestrator.environment import home

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

RETRY_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.5, 0.5, 0.5)
_READS = ("/filter", "/count", "/paginate", "/history", "/lateness", "/name")
"""How the paths of those POST requests end that change nothing."""


class OneAfterTheOther:
    """An application that is handed one change at a time, and again when it answers 503, its "database is locked".

    SQLite has one writer anyway; the server's own background writers are the ones that a change can still meet. Prefect
    rolls the transaction back before it answers 503, and its own clients then send the same request again.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request; what changes nothing is passed through."""
        if not _is_change(scope):
            await self._application(scope, receive, send)
            return
        body = await _read_whole(receive)
        async with self._turn:
            if not await _has_left(receive):
                await self._change(scope, body, receive, send)

    async def _change(self, scope: Message, body: bytes, receive: Receive, send: Send) -> None:
        for delay_seconds in RETRY_SECONDS:
            if await self._attempt(scope, body, receive, send):
                return
            await asyncio.sleep(delay_seconds)
        await self._application(scope, _replay(body, receive), send)

    async def _attempt(self, scope: Message, body: bytes, receive: Receive, send: Send) -> bool:
        """Whether the request was answered; a 503 is kept back."""
        locked = False

        async def send_unless_locked(message: Message) -> None:
            nonlocal locked
            locked = locked or (message["type"] == "http.response.start" and message["status"] == 503)
            if not locked:
                await send(message)

        try:
            # The application writes into the scope; each attempt gets its own.
            await self._application(dict(scope), _replay(body, receive), send_unless_locked)
        except Exception:
            # Starlette answers an error and then raises it all the same, for the log.
            if not locked:
                raise
        return not locked


class AFewAtATime:
    """An application that is handed so many requests at once and no more; the others wait for their turn.

    Prefect takes a second connection to PostgreSQL while it holds one. When as many requests as there are connections
    do so at once, all wait for each other, for 30 seconds, and then fail.
    """

    def __init__(self, application: Application, at_once: int = 6) -> None:
        self._application = application
        self._turns = asyncio.Semaphore(at_once)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request; what stays open, a web socket, takes nobody's turn."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        body = await _read_whole(receive)
        async with self._turns:
            if not await _has_left(receive):
                await self._application(scope, _replay(body, receive), send)


async def _has_left(receive: Receive) -> bool:
    """Whether the client has gone while it waited; it asks again, and to work for both would make all others wait too.

    Its body has been read, so that all that can still come is its end.
    """
    coming = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    if not coming.done():
        coming.cancel()
        with suppress(asyncio.CancelledError):
            await coming
        return False
    return bool(coming.result()["type"] == "http.disconnect")


def _is_change(scope: Message) -> bool:
    if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
        return False
    path: str = scope["path"]
    return not path.rstrip("/").endswith(_READS)


async def _read_whole(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        part: bytes = message.get("body", b"")
        body += part
        if message["type"] != "http.request" or not message.get("more_body", False):
            return body


def _replay(body: bytes, receive: Receive) -> Receive:
    """A channel that hands out the request's body once, and then what else comes, such as a disconnect."""
    handed_out = False

    async def replay() -> Message:
        nonlocal handed_out
        if handed_out:
            return await receive()
        handed_out = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def main(root: Path, listening: int, lifeline: int) -> None:
    """Serves until asked to end, or until the other end of the lifeline is closed.

    Args:
        root: The project's root.
        listening: File descriptor of the socket.
        lifeline: File descriptor of the pipe's read end.
    """
    server = _server(root)
    threading.Thread(target=_end_with, args=(lifeline, server), daemon=True).start()
    server.run(sockets=[socket.socket(fileno=listening)])


def serve(root: str, listening: str) -> None:
    """The server of `ridgeway up`, in a process that was forked from one with Prefect in it; ends on SIGTERM.

    Args:
        root: The project's root.
        listening: Number of the socket's file descriptor.
    """
    import prefect.context

    background: Any = importlib.import_module("prefect.server.api.background_workers")

    # Read when Prefect was imported, from the environment of whoever imported it.
    prefect.context.refresh_global_settings_context()
    # Four looks a second by default, for what is done every few seconds.
    patient = {"minimum_check_interval": timedelta(seconds=1), "scheduling_resolution": timedelta(seconds=1)}
    background.Worker = functools.partial(background.Worker, **patient)
    _server(Path(root)).run(sockets=[socket.socket(fileno=int(listening))])


def _server(root: Path) -> uvicorn.Server:
    if is_sqlite(os.environ):
        _prepare_database(home(root) / "prefect.db", _template())
    from prefect.server.api.server import create_app

    application: Any = create_app(final=True)
    application = OneAfterTheOther(application) if is_sqlite(os.environ) else AFewAtATime(application)
    application = guarded(application, os.environ)
    return uvicorn.Server(
        uvicorn.Config(application, log_level="warning", access_log=False, lifespan="on", timeout_graceful_shutdown=1)
    )


def is_sqlite(environ: Mapping[str, str]) -> bool:
    """Whether the server's database is a file, which has one writer at a time.

    Example:
        >>> is_sqlite({"PREFECT_API_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:///prefect.db"})
        True
    """
    return environ.get("PREFECT_API_DATABASE_CONNECTION_URL", "sqlite").startswith("sqlite")


def _end_with(lifeline: int, server: uvicorn.Server) -> None:
    os.read(lifeline, 1)
    server.should_exit = True


def _template() -> Path:
    """An empty database of this version of Prefect, shared by the projects of this user."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "ridgeway" / f"prefect-{version('prefect')}.db"


def _prepare_database(database: Path, template: Path) -> None:
    """Sees to it that there is a database: the old one, a copy of the template, or a new one, then the template."""
    if database.exists():
        return
    if template.is_file():
        partial = database.with_name(f".{database.name}.{os.getpid()}")
        shutil.copyfile(template, partial)
        partial.replace(database)
        return
    from prefect.server.database import provide_database_interface

    asyncio.run(provide_database_interface().create_db())
    _keep(database, template)


def _keep(database: Path, template: Path) -> None:
    """Saves the new database as the template; where that cannot be, the next project waits five seconds more."""
    partial = template.with_name(f".{template.name}.{os.getpid()}")
    try:
        template.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(partial)) as target:
            source.backup(target)
        partial.replace(template)
    except (OSError, sqlite3.Error):
        with suppress(OSError):
            partial.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
