"""The process behind `ridgeway up`: keeps every service running, and ends all of them when it is asked to.

Light on purpose (no Prefect, no MLflow): it looks around every second for as long as the services stay. It holds the
sockets on which servers listen, so that a server that is started again is the same to its clients: whoever asks
meanwhile waits. When it is gone, however it went, each service ends by itself: the pipe that it holds is then closed.

    python -m ridgeway.services.supervisor < PLAN
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from ridgeway import __version__
from ridgeway.orchestrator import state_file
from ridgeway.orchestrator.dead_runs import is_workers, mark_quietly
from ridgeway.run_log import Process, RunLog, exclusive, is_alive
from ridgeway.services import state as states
from ridgeway.services.forking import Wanted, Zygote, lifeline
from ridgeway.services.plan import Plan, Service, from_json
from ridgeway.services.state import Condition, ServiceState, UpState

log = logging.getLogger("ridgeway.services")

LOOK_EVERY_SECONDS = 1.0
STARTING_SECONDS = 0.2
"""Between two looks while something is still starting."""
BACKOFF_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Before the first, second … start after a death; the last one for all further."""
PROVEN_SECONDS = 60.0
"""A service that has lived for so long begins again at the first."""
START_TIMEOUT_SECONDS = 180.0
"""Long: cold imports on a busy machine with a slow disk were seen to take a minute."""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class _Kept:
    """One service, as the supervisor knows it."""

    def __init__(self, service: Service, root: Path, socket: int | None) -> None:
        self.service = service
        self.root = root
        self.socket = socket
        self.process: Process | None = None
        self.condition: Condition = "waiting"
        self.note = ""
        self.restarts = 0
        self.failures = 0
        self.asked = False
        self.not_before = 0.0
        self.since = time.monotonic()

    @property
    def state(self) -> ServiceState:
        """For the file."""
        log_file = str(states.log_file(self.root, self.service.name))
        return ServiceState(
            self.service.name, self.condition, self.service.address, log_file, self.process, self.restarts, self.note
        )

    def is_ready(self) -> bool:
        """Whether it answers, or has said that it is ready."""
        if self.service.health:
            return _answers(self.service.health)
        if self.service.once:
            return False
        assert self.process is not None
        try:
            return states.ready_file(self.root, self.service.name).read_text() == str(self.process.pid)
        except OSError:
            return False

    def died(self) -> None:
        """Notes its death, and when it is started again."""
        lived = time.monotonic() - self.since
        self.failures = 1 if lived > PROVEN_SECONDS else self.failures + 1
        wait = BACKOFF_SECONDS[min(self.failures, len(BACKOFF_SECONDS)) - 1]
        self.not_before = time.monotonic() + wait
        self.process, self.asked, self.condition = None, False, "restarting"
        self.restarts += 1
        self.note = f"ended by itself{_last_line(states.log_file(self.root, self.service.name))}"
        log.warning("%s ended; started again in %.0f s", self.service.name, wait)


class Supervisor:
    """All services of one project, from their start to their end.

    Args:
        plan: What to run.
        sockets: Service → descriptor of the socket on which it listens.
        guardian: Descriptor of a pipe whose end is the end of all; None to stay until asked.
    """

    def __init__(self, plan: Plan, sockets: Mapping[str, int], guardian: int | None) -> None:
        self.plan = plan
        self.root = plan.root
        self.kept = {one.name: _Kept(one, plan.root, sockets.get(one.name)) for one in plan.services}
        self._guardian = guardian
        self._lifeline, self._end_of_lifeline = lifeline()
        self._zygote: Zygote | None = None
        self._zygote_since = 0.0
        self._written: UpState | None = None
        self._stopping = False

    def run(self) -> None:
        """Keeps the services until it is asked to end, or nobody can find it any more."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_stop)
        try:
            self._write()
            # Whoever deletes .ridgeway, which is allowed at any time, deletes what the services are found by.
            while not self._stopping and states.is_kept(self.root):
                self._look()
                self._wait()
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not cut the cleaning up short
            self._end()

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    # ---- one look ------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        if self._zygote is None or not self._zygote.is_alive:
            self._start_zygote()
        for kept in self.kept.values():
            self._look_at(kept)
        if self._is_ready("prefect"):
            mark_quietly(self.root, self.plan.prefect_url)
        self._write()

    def _start_zygote(self) -> None:
        if self._zygote is not None:
            if time.monotonic() - self._zygote_since < 2:
                return
            log.warning("the zygote ended; started again")
            self._zygote.end()
            for kept in self.kept.values():  # who had asked it asks the next one
                kept.asked = kept.asked and kept.process is not None
        self._zygote = Zygote(self.plan.zygote_environment, states.log_file(self.root, "zygote"))
        self._zygote_since = time.monotonic()

    def _look_at(self, kept: _Kept) -> None:
        if kept.condition in ("done", "failed"):
            return
        if kept.process is None:
            self._start(kept)
        elif not is_alive(kept.process):
            self._ended(kept)
        elif kept.condition != "ready":
            self._check(kept)

    def _start(self, kept: _Kept) -> None:
        if kept.asked or time.monotonic() < kept.not_before or not all(map(self._is_ready, kept.service.after)):
            return
        assert self._zygote is not None
        service = kept.service
        descriptors = {"lifeline": self._lifeline}
        if kept.socket is not None:
            descriptors["listening"] = kept.socket
        wanted = Wanted(
            service.name,
            service.stage,
            service.call,
            service.arguments,
            service.environment,
            states.log_file(self.root, service.name),
            self.root,
            descriptors,
        )
        kept.asked = self._zygote.ask(wanted)
        kept.since = time.monotonic()
        if kept.condition == "waiting":
            kept.condition = "starting"

    def _check(self, kept: _Kept) -> None:
        if kept.is_ready():
            kept.condition, kept.note = "ready", ""
            log.info("%s is ready", kept.service.name)
        elif time.monotonic() - kept.since > START_TIMEOUT_SECONDS and not kept.service.once:
            assert kept.process is not None
            _signal(kept.process, signal.SIGKILL)

    def _ended(self, kept: _Kept) -> None:
        if kept.service.once:
            kept.condition = "done"
            kept.note = _said(self.root, kept.service.name)
        else:
            kept.died()

    def _is_ready(self, name: str) -> bool:
        return name in self.kept and self.kept[name].condition == "ready"

    def _wait(self) -> None:
        """Until the zygote says something, the guardian is gone, or it is time to look again."""
        assert self._zygote is not None
        watched: list[Any] = [self._zygote.channel]
        if self._guardian is not None:
            watched.append(self._guardian)
        settled = all(kept.condition in ("ready", "done", "failed") for kept in self.kept.values())
        try:
            ready, _, _ = select.select(watched, [], [], LOOK_EVERY_SECONDS if settled else STARTING_SECONDS)
        except InterruptedError:
            return
        if self._guardian in ready:
            self._stopping = True
        if self._zygote.channel in ready:
            self._hear()

    def _hear(self) -> None:
        assert self._zygote is not None
        heard = self._zygote.hear()
        if heard is None:
            if not self._zygote.is_alive:
                time.sleep(0.05)
            return
        name, process = heard
        kept = self.kept[name]
        kept.process = process
        if name == "prefect":
            self._tell_commands(process)

    # ---- what others read ----------------------------------------------------------------------------------------

    def _write(self) -> None:
        state = UpState(Process.current(), __version__, tuple(kept.state for kept in self.kept.values()))
        if self._written is None and self.plan.is_prefect_ours:
            self._tell_commands(None)
        if state != self._written:
            states.write_state(self.root, state)
            self._written = state

    def _tell_commands(self, server: Process | None) -> None:
        """Every command of the project uses this server from now on."""
        told = state_file.ServerState(self.plan.prefect_url, Process.current(), server, lasting=True)
        state_file.write_state(self.root, told)

    # ---- the end -------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Ends all: first who works, then what they work with; leaves their logs."""
        with contextlib.suppress(Exception):  # a full disk keeps nobody from ending
            for kept in self.kept.values():
                kept.condition = "stopping" if kept.process else kept.condition
            if states.is_kept(self.root):
                self._write()
        if self._zygote is not None:
            self._zygote.end()
        servers = [kept for kept in self.kept.values() if kept.socket is not None]
        workers = [kept for kept in self.kept.values() if kept.socket is None]
        _stop(workers)
        self._end_runs()
        _stop(servers)
        with contextlib.suppress(OSError):
            state_file.forget(self.root)
        states.forget(self.root)

    def _end_runs(self) -> None:
        """Runs of a worker that could not end them itself."""
        with contextlib.suppress(Exception):
            runs = [record.process for record in RunLog(self.root).active() if is_workers(record)]
            _end_processes(runs, 10)


def _stop(kept: list[_Kept]) -> None:
    processes = [one.process for one in kept if one.process is not None]
    _end_processes(processes, max((one.service.stop_seconds for one in kept), default=0))


def _end_processes(processes: list[Process], patience_seconds: float) -> None:
    for process in processes:
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + patience_seconds
    while any(map(is_alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in processes:
        _signal(process, signal.SIGKILL)


def _signal(process: Process, number: signal.Signals) -> None:
    if is_alive(process):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, number)


def _answers(url: str) -> bool:
    try:
        with _DIRECT.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)  # it is there, and wants to know who asks
    except (OSError, ValueError):
        return False


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return f": {lines[-1][:200]}" if lines else ""


def _said(root: Path, name: str) -> str:
    """What a service that has done its work left word of."""
    path = states.folder(root) / f"{name}.said"
    try:
        said = path.read_text(encoding="utf-8").strip()
        path.unlink()
    except OSError:
        return _last_line(states.log_file(root, name)).removeprefix(": ")
    return said


def main() -> None:
    """Reads the plan from standard input, and keeps it until asked to end."""
    content = json.load(sys.stdin)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", level=logging.WARNING)
    logging.getLogger("ridgeway").setLevel(logging.INFO)
    plan = from_json(content["plan"])
    with exclusive(plan.root, states.LOCK):
        Supervisor(plan, content["sockets"], content["guardian"]).run()


if __name__ == "__main__":
    main()
