"""Requests that arrive together are predicted together, for models that are costly per call.

There is no timer: all requests that were readable in one turn of the event loop form a batch, so a lone request waits
for nothing. Rows of different requests never influence each other; where a model is not row-wise, each goes alone.
"""

from __future__ import annotations

from collections.abc import Callable

from ridgeway_server.answers import Answer
from ridgeway_server.errors import Refusal
from ridgeway_server.exchange import Parsed
from ridgeway_server.models import Model
from ridgeway_server.signature import joined

Done = Callable[[Answer | Exception], None]


class Batcher:
    """The waiting requests of one model."""

    def __init__(self, model: Model, largest_rows: int, later: Callable[[Callable[[], None]], object]) -> None:
        self.model = model
        self.largest_rows = largest_rows if model.row_wise else 0
        self.waiting: list[tuple[Parsed, Done]] = []
        self._later = later

    def add(self, parsed: Parsed, done: Done) -> None:
        """Predict these rows with all others of this turn; ``done`` gets the answer or what went wrong."""
        self.waiting.append((parsed, done))
        if len(self.waiting) == 1:
            self._later(self._turn)

    def _turn(self) -> None:
        batch: list[tuple[Parsed, Done]] = []
        rows = 0
        for item in self.waiting:
            rows += item[0].table.rows
            if batch and rows > self.largest_rows:
                break
            batch.append(item)
        del self.waiting[: len(batch)]
        if self.waiting:
            self._later(self._turn)
        self._predict(batch)

    def _predict(self, batch: list[tuple[Parsed, Done]]) -> None:
        if len(batch) == 1:
            batch[0][1](self._outcome(batch[0][0]))
            return
        together = self._outcome(Parsed(joined([parsed.table for parsed, _ in batch])))
        start = 0
        for parsed, done in batch:
            stop = start + parsed.table.rows
            # One request whose rows the model refuses must not spoil its neighbours: then each is asked alone.
            done(self._outcome(parsed) if isinstance(together, Exception) else together.part(start, stop))
            start = stop

    def _outcome(self, parsed: Parsed) -> Answer | Exception:
        try:
            return self.model.predict(parsed.table)
        except (Refusal, Exception) as error:  # noqa: BLE001 - an estimator may raise anything; the caller answers 500
            return error
