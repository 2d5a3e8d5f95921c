"""What the watcher remembers between looks and between starts: one small file, written whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import logging
import uuid
from pathlib import Path
from typing import Any

from ridgeway.errors import StorageError
from ridgeway.places import state_of
from ridgeway.rules.triggers import Known, Mark
from ridgeway.run_log.record import write

SCHEMA = 1
FILE = "triggers.json"
log = logging.getLogger("ridgeway.triggers")


class Memory:
    """What is known of each source and each registry; read once, written at each change.

    Where the file is gone or cannot be read, all is new: what is found then is known, and begins nothing.

    Args:
        root: The project's root.

    Attributes:
        epoch: Tells the runs of this file's life apart from those of any earlier one.
        known: Source → what it held when it was last looked into.
        marks: Registry and model → up to where its versions are known.
    """

    def __init__(self, root: Path) -> None:
        self._path = state_of(root) / FILE
        self.epoch = uuid.uuid4().hex[:8]
        self.known: dict[str, Known] = {}
        self.marks: dict[str, Mark] = {}
        self._is_saved = True
        self._read()

    def _read(self) -> None:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            _check_schema(content["schema"])
            known = {name: Known(**one) for name, one in content["known"].items()}
            marks = {name: _mark(one) for name, one in content["marks"].items()}
            self.epoch, self.known, self.marks = str(content["epoch"]), known, marks
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s cannot be read (%s): what is there now counts as known", self._path, error)

    def know(self, source: str, known: Known) -> None:
        """Remembers what a source holds.

        Raises:
            StorageError: The file cannot be written; the next change, or ``save``, writes this one too.
        """
        if self.known.get(source) != known:
            self.known[source] = known
            self._is_saved = False
        self.save()

    def mark(self, registry: str, mark: Mark) -> None:
        """Remembers up to where versions are known.

        Raises:
            StorageError: The file cannot be written; the next change, or ``save``, writes this one too.
        """
        if self.marks.get(registry) != mark:
            self.marks[registry] = mark
            self._is_saved = False
        self.save()

    def save(self) -> None:
        """Writes what has changed.

        Raises:
            StorageError: The disk is full or the folder cannot be written.
        """
        if self._is_saved:
            return
        content = {
            "schema": SCHEMA,
            "epoch": self.epoch,
            "known": {name: dataclasses.asdict(one) for name, one in self.known.items()},
            "marks": {name: dataclasses.asdict(one) for name, one in self.marks.items()},
        }
        try:
            self._path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot write {self._path}", problem=error.strerror or str(error)) from error
        write(self._path, content)
        self._is_saved = True


def _check_schema(found: object) -> None:
    if found != SCHEMA:
        raise ValueError(f"schema {found!r}, expected {SCHEMA}")


def _mark(content: dict[str, Any]) -> Mark:
    return Mark(**{**content, "waiting": tuple(content["waiting"])})
