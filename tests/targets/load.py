"""Clients that ask an endpoint all the time, on kept and on new connections, and check every answer."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Load:
    """Each client has a rhythm of its own; toy model N must answer age / 2 + 1 + N."""

    host: str
    port: int
    key: Callable[[], str] = str
    """The key to send; empty: none."""
    kept: tuple[float, ...] = (0.0, 0.002, 0.02, 0.2)
    """Pauses of clients that keep their connection, seconds."""
    new: tuple[float, ...] = (0.0, 0.01)
    """Pauses of clients that open one for each request."""
    right: dict[str, int] = field(default_factory=dict)
    """Model → answers that were as they should be."""
    failures: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        kinds = [(pause, True) for pause in self.kept] + [(pause, False) for pause in self.new]
        self._threads = [threading.Thread(target=self._ask, args=kind) for kind in kinds]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def total(self) -> int:
        """Right answers so far."""
        return sum(self.right.values())

    def _ask(self, pause: float, keep: bool) -> None:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        for age in itertools.cycle(range(0, 100, 2)):
            if self.stop.wait(pause) if pause else self.stop.is_set():
                break
            try:
                self._ask_once(connection, age)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
            if not keep:
                connection.close()
        connection.close()

    def _ask_once(self, connection: http.client.HTTPConnection, age: int) -> None:
        headers = {"Authorization": f"Bearer {key}"} if (key := self.key()) else {}
        connection.request("POST", "/score", json.dumps({"data": [[age, 1, 1]]}), headers)
        response = connection.getresponse()
        model, body = response.headers.get("Ridgeway-Model", ""), response.read()
        if response.status == 200 and json.loads(body) == {"result": [age / 2 + 1 + int(model.split("/")[1])]}:
            self.right[model] = self.right.get(model, 0) + 1
        else:
            self.failures.append(f"{response.status} {model} {body!r}")
