"""What a probe is asked for: where, who should answer, what should be answered, how fast."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from ridgeway.artifacts import Column

TOLERANCE = 1e-9
"""|answer − prediction| ≤ 1e-9 · max(1, |prediction|): what a package promises unless it says otherwise."""


@dataclass(frozen=True, slots=True)
class Golden:
    """Rows of the holdout with the predictions of the trained estimator. Never printed, not even by ``repr``.

    All tuples are as long as there are rows; values are as JSON carries them, None for a missing one.

    Example:
        >>> Golden((Column("age", "number"),), ((59.0,),), ((202.7,),))
        Golden(columns=(Column(name='age', type='number'),), tolerance=1e-09)
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...] = field(repr=False)
    numbers: tuple[tuple[float, ...], ...] = field(repr=False)
    """Per row the value of a regression, or the probability of each class."""
    labels: tuple[Any, ...] = field(default=(), repr=False)
    """Of a classification."""
    tolerance: float = TOLERANCE

    @property
    def numeric(self) -> bool:
        """Whether rows can be sent as plain numbers."""
        return all(column.type != "string" for column in self.columns)

    def head(self, rows: int) -> Golden:
        """The first rows."""
        return self._cut(slice(rows))

    def only(self, place: int) -> Golden:
        """The row at this place, from 0."""
        return self._cut(slice(place, place + 1))

    def turned(self) -> Golden:
        """The rows in the opposite order."""
        return self._cut(slice(None, None, -1))

    def _cut(self, cut: slice) -> Golden:
        return dataclasses.replace(self, rows=self.rows[cut], numbers=self.numbers[cut], labels=self.labels[cut])


@dataclass(frozen=True, slots=True)
class Expected:
    """Who should answer; what is empty is not asked about."""

    model: str
    """Name of the model, as in the path /v2/models/NAME."""
    version: str = ""
    model_digest: str = ""
    """Of the trained model: ``sha256:…``."""
    package_digest: str = ""
    """Of the compiled one."""
    image: str = ""
    """Handle or digest of the image."""

    @property
    def image_digest(self) -> str:
        """``sha256:…``."""
        return self.image.rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class Budget:
    """Load, and how fast answers must come meanwhile; 0: no load, no limit."""

    p50_ms: float = 0.0
    p99_ms: float = 0.0
    load_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """One endpoint to be asked, through the address, with the keys and the authority that clients use."""

    endpoint: str
    """Handle, ``KIND://TARGET/NAME``."""
    address: str
    """``http(s)://HOST:PORT``."""
    expected: Expected
    golden: Golden
    primary: str = field(default="", repr=False)
    """Key; empty where the endpoint asks for none."""
    secondary: str = field(default="", repr=False)
    authority: str = ""
    """PEM file with the authority that clients trust; empty: the machine's own list."""
    rows: int = 50
    """Golden rows to be sent, at most."""
    budget: Budget = Budget()
    replicas: int = 1
    """How many may answer behind the address: each connection may reach another one."""
    patience_seconds: float = 10.0
    """How long an endpoint may refuse connections, or not be ready, before it counts as not there."""
    timeout_seconds: float = 10.0
    """For one answer."""

    @property
    def target(self) -> str:
        """The target's name."""
        return self.endpoint.partition("://")[2].partition("/")[0]
