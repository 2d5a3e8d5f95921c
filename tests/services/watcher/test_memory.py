"""Killed anywhere, the watcher loses no change and begins no run twice; two never watch at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ridgeway.run_log import exclusive
from ridgeway.services import watcher
from ridgeway.services.watcher import memory as memories
from ridgeway.services.watcher import world as worlds
from tests.services.watcher.conftest import Place, eventually


class Killed(BaseException):
    """As SIGKILL does: nothing after it happens."""


class Deadly:
    """Every effect of the watcher, counted; the process dies right before or right after one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.effects = 0
        self.dies_at = -1.0
        self._wrap(monkeypatch, worlds, "trigger")
        self._wrap(monkeypatch, memories, "write")

    def _wrap(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        effect: Callable[..., Any] = getattr(module, name)

        def counted(*arguments: Any, **keywords: Any) -> Any:
            number = self.effects
            self.effects += 1
            if self.dies_at == number:
                raise Killed
            result = effect(*arguments, **keywords)
            if self.dies_at == number + 0.5:
                raise Killed
            return result

        monkeypatch.setattr(module, name, counted)


def test_killed_before_and_after_each_effect(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.look()
    deadly = Deadly(monkeypatch)
    # Before and after the run is begun, before and after that is remembered.
    for changes, dies_at in enumerate((0.0, 0.5, 1.0, 1.5), start=1):
        place.source.write_text(f"a,b\n{changes},6\n")
        deadly.effects, deadly.dies_at = 0, dies_at
        place.look(after=5)
        with pytest.raises(Killed):
            place.look(after=31)
        deadly.dies_at = -1
        place.new_watcher()
        place.look(after=5)
        place.look(after=31)
        assert len(place.runs("retraining")) == changes
    assert deadly.effects > 0


def test_a_full_disk_loses_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from ridgeway.errors import StorageError

    place.look()

    def full(*_: object) -> None:
        raise StorageError("cannot write triggers.json", problem="No space left on device")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(memories, "write", full)
        place.source.write_text("a,b\n5,6\n")
        place.look(after=5)
        place.look(after=31)
        place.look(after=31)
    assert caplog.text.count("No space left on device") >= 1
    place.look(after=5)
    place.new_watcher()
    place.look(after=5)
    place.look(after=31)
    assert len(place.runs("retraining")) == 1


MAIN = "import sys; from ridgeway.services.watcher import main; sys.exit(main(sys.argv[1]))"


def start(place: Place) -> subprocess.Popen[bytes]:
    log = (place.root / ".ridgeway" / "watcher.log").open("ab")
    with log:
        return subprocess.Popen([sys.executable, "-c", MAIN, str(place.root)], stderr=log)


@pytest.mark.slow
def test_real_processes_killed_at_random(place: Place) -> None:
    toml = place.root / "ridgeway.toml"
    toml.write_text(toml.read_text().replace("debounce_seconds = 30", "debounce_seconds = 0.3\npoll_seconds = 0.2"))
    state: Path = place.root / ".ridgeway" / "triggers.json"
    process = start(place)
    eventually(state.exists, 60)
    for number in range(8):
        place.source.write_text(f"a,b\n{number},6\n")
        time.sleep(0.25 * number)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        process = start(place)
        eventually(lambda count=number + 1: len(place.runs("retraining")) == count, 60)
    process.terminate()
    assert process.wait(20) == 0
    assert len(place.runs("retraining")) == 8
    assert not list((place.root / ".ridgeway" / "services").glob("*.ready"))


def test_two_never_watch_at_once(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ridgeway")
    state = place.root / ".ridgeway" / "triggers.json"
    stop = threading.Event()
    thread = threading.Thread(target=watcher.run, args=(place.root, stop))
    with exclusive(place.root, watcher.LOCK):
        thread.start()
        eventually(lambda: "watcher is already under way" in caplog.text)
        assert not state.exists()
        assert f"held by process {os.getpid()}" in caplog.text
    eventually(state.exists)  # free: the other one watches now
    stop.set()
    thread.join(15)
    assert not thread.is_alive()


def test_it_is_light() -> None:
    heavy = (
        "[name for name in ('prefect', 'mlflow', 'pandas', 'numpy', 'sqlalchemy', 'sklearn') if name in sys.modules]"
    )
    code = f"import sys, ridgeway.services.watcher; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
