"""The server inside another process, on a thread: for tests, notebooks and trying out. One worker, no supervisor."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from ridgeway_server.listening import listen
from ridgeway_server.settings import Settings, checked
from ridgeway_server.worker import Worker

_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers at ``host`` and ``port``."""

    host: str
    port: int
    worker: Worker

    @property
    def address(self) -> str:
        """What clients call."""
        return f"{'https' if self.worker.settings.tls_certificate else 'http'}://{self.host}:{self.port}"


@contextlib.contextmanager
def running(settings: Settings, *, log_descriptor: int = 1) -> Iterator[Running]:
    """A running server; at the end of the block it drains and stops.

    Args:
        settings: With ``port=0`` a free port is taken.
        log_descriptor: Where the access log is written.

    Raises:
        SettingError: The settings do not fit together, or the server does not start with them.
    """
    listener = listen(checked(settings).host, settings.port)
    worker = Worker(settings, listener, log_descriptor=log_descriptor)
    started, failed = threading.Event(), []

    def serve() -> None:
        try:
            worker.run(started.set)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits for the start
            failed.append(error)
            started.set()

    thread = threading.Thread(target=serve, name="server", daemon=True)
    thread.start()
    try:
        if not started.wait(_START_SECONDS) or failed:
            raise failed[0] if failed else TimeoutError("the server did not start")
        yield Running(settings.host, listener.getsockname()[1], worker)
    finally:
        if thread.is_alive() and not failed:
            worker.loop.call_soon_threadsafe(worker.stop)
        thread.join(settings.drain_seconds + settings.drain_limit_seconds + 5)
        listener.close()
