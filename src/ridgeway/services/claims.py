"""What the worker has taken, on disk before it is taken: whoever comes after a crash finds every flow run again."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ridgeway.run_log import Process, is_alive
from ridgeway.run_log.record import write
from ridgeway.services.state import folder

SCHEMA = 1
COMMAND = "worker"
"""How the records of the worker's runs name their command; the token follows."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A flow run that the worker has taken, or is about to."""

    token: str
    """12 hex digits: the server is told it with the taking, and the run's record bears it."""
    flow_run_id: str
    name: str
    """The flow run's, for people."""
    process: Process
    """Who carries it out; the worker itself until that is known."""

    @property
    def carrier(self) -> str:
        """What the server is told when the flow run is taken; see ``orchestrator.dead_runs.carrier``."""
        return f"carried out by {COMMAND} {self.token}"

    @property
    def command(self) -> str:
        """The command of the run's record."""
        return f"{COMMAND} {self.token}"

    @property
    def is_alive(self) -> bool:
        """Whether its process is there."""
        return is_alive(self.process)


class Claims:
    """The claims of a project on this machine.

    Args:
        root: The project's home.
    """

    def __init__(self, root: Path) -> None:
        self._folder = folder(root) / "claims"

    def intend(self, flow_run_id: str, name: str) -> Claim:
        """A new claim, kept before the server is asked.

        Raises:
            StorageError: It cannot be kept: then nothing may be taken.
        """
        claim = Claim(secrets.token_hex(6), flow_run_id, name, Process.current())
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write(claim)
        return claim

    def hand_to(self, claim: Claim, process: Process) -> Claim:
        """The claim with the process that carries it out.

        Raises:
            StorageError: It cannot be kept.
        """
        handed = dataclasses.replace(claim, process=process)
        self._write(handed)
        return handed

    def all(self) -> list[Claim]:
        """All claims; one that cannot be read is left out."""
        found = (_read(path) for path in self._folder.glob("*.json"))
        return [claim for claim in found if claim is not None]

    def drop(self, claim: Claim) -> None:
        """Removes a claim: the server knows what became of the flow run."""
        self._path(claim).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()  # only when it is empty: nothing is left behind

    def _write(self, claim: Claim) -> None:
        content: Mapping[str, Any] = {"schema": SCHEMA, **dataclasses.asdict(claim)}
        write(self._path(claim), dict(content))

    def _path(self, claim: Claim) -> Path:
        return self._folder / f"{claim.token}.json"


def _read(path: Path) -> Claim | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("schema") != SCHEMA:
            return None
        return Claim(**{**content, "process": Process(**content["process"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None
