"""What a step prints, on its way to the screen and the log: commands to the agent are picked out, secrets masked."""

from __future__ import annotations

import codecs
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from ridgeway.ci.azure.logging_commands import Command, command
from ridgeway.ci.azure.masking import Masker
from ridgeway.ci.execution.folders import writing

LOG_LIMIT_MIB: Final = 64
"""A log grows no further than this, so that a step in a loop does not fill the disk; the screen goes on."""
LONGEST_LINE: Final = 65536
"""Characters; a longer line is taken in pieces, so that a step without line ends does not fill the memory."""


class Secrets:
    """The secrets of a run: all streams of it mask all of them."""

    def __init__(self, values: list[str]) -> None:
        self.values = [value for value in values if value]
        self._streams: list[Stream] = []
        self._lock = threading.Lock()

    def add(self, value: str) -> None:
        """One more secret, from now on."""
        with self._lock:
            if value and value not in self.values:
                self.values.append(value)
                for stream in self._streams:
                    stream.masker.add(value)

    def join(self, stream: Stream) -> None:
        """A stream that masks them."""
        with self._lock:
            self._streams.append(stream)
            for value in self.values:
                stream.masker.add(value)

    def leave(self, stream: Stream) -> None:
        """The end of a stream."""
        with self._lock:
            self._streams.remove(stream)


class Stream:
    """One step's output.

    Args:
        log: Its log file; made with its folder.
        secrets: What is masked.
        show: Gets each masked line.
        obey: Gets each command to the agent, before its line is shown.

    Raises:
        StorageError: The log cannot be written.
    """

    def __init__(
        self, log: Path, secrets: Secrets, show: Callable[[str], None], obey: Callable[[Command], None]
    ) -> None:
        self.masker = Masker()
        self.error: BaseException | None = None
        self._doing = f"cannot write the log {log.name}"
        with writing(self._doing, log):
            log.parent.mkdir(parents=True, exist_ok=True)
            self._log = log.open("a", encoding="utf-8", errors="backslashreplace")
        self._path = log
        self._written = 0
        self._show, self._obey, self._secrets = show, obey, secrets
        self._lock = threading.RLock()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._masked = ""
        self._obeys = True
        self._open = True
        secrets.join(self)

    def feed(self, piece: bytes) -> None:
        """Takes what a process prints. Never raises: the reader must go on, or the process would wait for it."""
        with self._lock:
            if not self._open:
                return
            try:
                self._take(self._decoder.decode(piece))
            except BaseException as error:  # noqa: BLE001 - told by `settle`, on the thread of the job
                self.error = self.error or error

    def say(self, line: str) -> None:
        """A line of our own between the others; commands in it are not obeyed."""
        with self._lock, suppress(Exception):
            self._pass(self.masker.feed(f"{line}\n"))

    def settle(self) -> None:
        """All that was printed so far is shown, and was obeyed.

        Raises:
            StorageError: The log could not be written.
        """
        with self._lock:
            self._finish()
        if self.error is not None:
            raise self.error

    def mute(self) -> None:
        """The end of the step: what children that it has left print later is shown, but not obeyed."""
        with self._lock:
            self._obeys = False

    def close(self) -> None:
        """The end of the job: nothing more comes."""
        with self._lock:
            if self._open:
                self._finish()
                self._open = False
                self._secrets.leave(self)
                with suppress(OSError):
                    self._log.close()

    def _finish(self) -> None:
        try:
            self._take(self._decoder.decode(b"", final=True))
            if self._line:
                self._take("\n")
            self._pass(self.masker.end())
            if self._masked:
                self._pass("\n")
            with writing(self._doing, self._path):
                self._log.flush()
        except BaseException as error:  # noqa: BLE001 - as in feed
            self.error = self.error or error

    def _take(self, text: str) -> None:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            found = command(line) if self._obeys and "##vso[" in line else None
            if found is not None:
                self._obey(found)
            self._pass(self.masker.feed(f"{line}\n"))
        if len(self._line) > LONGEST_LINE:
            self._pass(self.masker.feed(self._line))
            self._line = ""

    def _pass(self, masked: str) -> None:
        *lines, self._masked = (self._masked + masked).split("\n")
        if len(self._masked) > LONGEST_LINE:
            lines, self._masked = [*lines, self._masked], ""
        for line in lines:
            shown = line.rstrip("\r").rpartition("\r")[2]  # of a progress bar its last state
            self._keep(shown)
            self._show(shown)

    def _keep(self, line: str) -> None:
        if self._written > LOG_LIMIT_MIB << 20:
            return
        self._written += len(line) + 1
        text = line if self._written <= LOG_LIMIT_MIB << 20 else f"[the log ends here, at {LOG_LIMIT_MIB} MiB]"
        with writing(self._doing, self._path):
            self._log.write(f"{text}\n")
