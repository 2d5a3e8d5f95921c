"""The outbox: one JSON file for each message, in a folder that says what became of it. A kill anywhere loses none.

``.ridgeway/notifications/`` holds ``waiting/``, ``delivered/`` and ``undelivered/``. Names begin with the time of
writing and end with the message's id. A file is only ever made, replaced or moved as a whole, and moved only after the
receiver's answer: whoever is killed in between leaves a message that is sent again, under the same id.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import typing
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ridgeway.errors import StorageError
from ridgeway.notifications.message import Message
from ridgeway.run_log.record import write

log = logging.getLogger("ridgeway.notifications")

Place = Literal["waiting", "delivered", "undelivered"]
PLACES: tuple[Place, ...] = typing.get_args(Place)
SCHEMA = 1
KEPT: dict[Place, int] = {"delivered": 200, "undelivered": 1000}
"""How many are kept of what has ended; the oldest go first."""
FOLDER_MODE = 0o700
"""Names of people are in it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A message, and what became of it so far."""

    message: Message
    place: Place


@dataclass(frozen=True, slots=True)
class Pause:
    """What is known of a receiver that failed."""

    receiver: str
    """Its mark: for another one none of this holds."""
    failures: int
    not_before: str
    """ISO 8601, UTC."""
    problem: str
    is_gone: bool = False
    """It wants no messages any more."""


class Outbox:
    """The outbox of one project on this machine.

    Args:
        root: The project's root.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / ".ridgeway" / "notifications"

    @property
    def is_used(self) -> bool:
        """Whether anyone has ever sent from here, so that a message would find its way even if this process cannot."""
        return self.folder.is_dir()

    def add(self, message: Message) -> bool:
        """Keeps a message to be sent; False if the same was kept before, whatever became of it.

        Raises:
            StorageError: It cannot be written.
        """
        if any(self._names(place, message.id) for place in PLACES):
            return False
        self._prepare("waiting")
        _write(self.folder / "waiting" / _file_name(message), message)
        return True

    def waiting(self) -> Iterator[Message]:
        """What is to be sent, oldest first; each is read when its turn comes, and may have been sent meanwhile."""
        for name in self._names("waiting"):
            found = self._read("waiting", name)
            if found is not None:
                yield found

    def count(self, place: Place) -> int:
        """How many messages are there."""
        return len(self._names(place))

    def kept(self, limit: int = 50) -> list[Kept]:
        """The newest messages of all, newest first."""
        names = [(name, place) for place in PLACES for name in self._names(place)]
        newest = sorted(names, reverse=True)[:limit]
        found = [(self._read(place, name), place) for name, place in newest]
        return [Kept(message, place) for message, place in found if message is not None]

    def retry(self, message: Message, *, problem: str, not_before: str) -> None:
        """Notes an attempt that failed.

        Raises:
            StorageError: It cannot be written.
        """
        changed = dataclasses.replace(message, attempts=message.attempts + 1, problem=problem, not_before=not_before)
        _write(self.folder / "waiting" / _file_name(message), changed)

    def end(self, message: Message, place: Place, *, at: str, problem: str = "", attempts: int = 1) -> None:
        """Moves a message to where it stays.

        Raises:
            StorageError: It cannot be written.
        """
        ended = dataclasses.replace(
            message, attempts=message.attempts + attempts, problem=problem, ended_at=at, not_before=""
        )
        self._prepare(place)
        name = _file_name(message)
        _write(self.folder / place / name, ended)
        (self.folder / "waiting" / name).unlink(missing_ok=True)
        for old in self._names(place)[: -KEPT[place]]:
            (self.folder / place / old).unlink(missing_ok=True)

    def older_than(self, moment: str) -> list[Message]:
        """What is to be sent and was written before this time."""
        limit = _stamp(moment)
        found = [self._read("waiting", name) for name in self._names("waiting") if name < limit]
        return [message for message in found if message is not None]

    # ---- what is known of the receiver -------------------------------------------------------------------------------

    def pause(self, receiver: str) -> Pause | None:
        """What is known of this receiver's failing; None where nothing is."""
        try:
            content = json.loads((self.folder / "receiver.json").read_text(encoding="utf-8"))
            found = Pause(**{field.name: content[field.name] for field in dataclasses.fields(Pause)})
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if found.receiver == receiver else None

    def set_pause(self, pause: Pause | None) -> None:
        """Keeps what is known of a receiver's failing, or forgets it.

        Raises:
            StorageError: It cannot be written.
        """
        path = self.folder / "receiver.json"
        if pause is None:
            path.unlink(missing_ok=True)
            return
        write(path, {"schema": SCHEMA, **dataclasses.asdict(pause)})

    # ---- files -------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Makes the folder, which says that messages are wanted here.

        Raises:
            StorageError: It cannot be made.
        """
        self._prepare("waiting")

    def _prepare(self, place: Place) -> None:
        try:
            self.folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            (self.folder / place).mkdir(mode=FOLDER_MODE, exist_ok=True)
        except OSError as error:
            raise StorageError(
                "cannot keep a notification", where=str(self.folder), problem=error.strerror or str(error)
            ) from error

    def _names(self, place: Place, identity: str = "") -> list[str]:
        """Names of files, oldest first; those of one message if its id is given."""
        try:
            names = os.listdir(self.folder / place)  # noqa: PTH208 - thousands of names, of which no paths are needed
        except (FileNotFoundError, NotADirectoryError):
            return []
        # A name that begins with a dot is a file under way.
        return sorted(name for name in names if name[0] != "." and name.endswith(f"{identity}.json"))

    def _read(self, place: Place, name: str) -> Message | None:
        path = self.folder / place / name
        try:
            return _from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("a notification cannot be read: %s: %s", path.name, error)
            with suppress(OSError):  # out of the way, and still there to be looked at
                path.rename(path.with_name(f".damaged-{name}"))
            return None


def _file_name(message: Message) -> str:
    return f"{_stamp(message.created_at)}-{message.id}.json"


def _stamp(moment: str) -> str:
    """A time as text that sorts like it, to the millisecond."""
    return datetime.fromisoformat(moment).astimezone(UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]


def _write(path: Path, message: Message) -> None:
    write(path, {"schema": SCHEMA, **dataclasses.asdict(message)})
    _flush(path.parent)


def _flush(folder: Path) -> None:
    """The folder's entry for a new file is on the disk too."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _from_json(content: dict[str, Any]) -> Message:
    if content["schema"] != SCHEMA:
        raise ValueError(f"schema {content['schema']!r}, expected {SCHEMA}")
    known = {field.name for field in dataclasses.fields(Message)}
    return Message(**{key: value for key, value in content.items() if key in known})
