"""Starting the services of a project and ending them; what `ridgeway up` and `ridgeway down` do."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from ridgeway.errors import Busy, StorageError, Unreachable, UsageError
from ridgeway.orchestrator import server as servers
from ridgeway.orchestrator.environment import home
from ridgeway.run_log import Process, RunLog, RunRecord, exclusive, is_alive
from ridgeway.services import state as states
from ridgeway.services.plan import Plan, Service, to_json
from ridgeway.services.state import ServiceState, UpState

STOP_SECONDS = 60.0
"""What the supervisor gets to end everything; runs under way are interrupted first."""
START_SECONDS = 120.0
"""What the supervisor gets to say that it is there; a moment, except on a machine that is busy beyond measure."""
FAILING = 3
"""A service that has ended so often before it was ever ready does not start."""
_LOG_BYTES = 5_000_000
"""A log that is longer at the start is put aside, and the one before it removed."""


def start(plan: Plan, *, guardian: int | None = None) -> UpState:
    """The services, starting; the supervisor stays when this process ends.

    Args:
        plan: What to start.
        guardian: Descriptor of a pipe's read end: when its other end is closed, everything ends. None: stays.

    Raises:
        UsageError: A port is taken, or the address is not one of this machine.
        StorageError: The project's folder cannot be written.
        Busy: Another command is starting or stopping servers, and does not come to an end.
        Unreachable: The supervisor ended at once.
    """
    with contextlib.ExitStack() as stack:
        # Bound before anything is stopped or started: a port that is taken changes nothing.
        sockets = {one.name: stack.enter_context(_listen(one)) for one in plan.services if one.port}
        stack.enter_context(exclusive(plan.root, servers.LOCK, wait_seconds=30))
        servers.end_server(plan.root)
        return _start(plan, {name: one.fileno() for name, one in sockets.items()}, guardian)


def wait_ready(root: Path) -> Iterator[UpState]:
    """Each state that differs from the one before, until all is ready.

    Raises:
        Unreachable: The supervisor has ended, or a service ends again and again.
    """
    seen: UpState | None = None
    while seen is None or not seen.is_ready:
        state = states.running(root)
        if state is None:
            raise _ended(root)
        failing = [one for one in state.services if one.restarts >= FAILING and one.condition != "ready"]
        if failing:
            raise _failing(failing[0])
        if state != seen:
            seen = state
            yield state
        else:
            time.sleep(0.1)


def stop(root: Path) -> bool:
    """Ends the services and all that belongs to them; False when there were none.

    Raises:
        Busy: They do not come to an end.
    """
    state = states.running(root)
    if state is None:
        _end_leftovers(root)
        return False
    _signal(state.supervisor, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while is_alive(state.supervisor) and time.monotonic() < deadline:
        time.sleep(0.05)
    if is_alive(state.supervisor):
        _signal(state.supervisor, signal.SIGKILL)
    _end_leftovers(root, state)
    return True


def active_runs(root: Path) -> list[RunRecord]:
    """Runs of the worker that are under way."""
    from ridgeway.orchestrator.dead_runs import is_workers

    return [record for record in RunLog(root).active() if is_workers(record)]


def _end_leftovers(root: Path, state: UpState | None = None) -> None:
    """What is left of services whose supervisor was killed; each ends by itself within seconds, this is sooner."""
    state = state or states.read_state(root)
    for service in state.services if state else ():
        if service.process and is_alive(service.process):
            _signal(service.process, signal.SIGKILL)
    states.forget(root)


def _start(plan: Plan, sockets: Mapping[str, int], guardian: int | None) -> UpState:
    _end_leftovers(plan.root)
    folder = states.folder(plan.root)
    try:
        for needed in (folder, home(plan.root)):
            needed.mkdir(parents=True, exist_ok=True)
        for service in plan.services:
            _rotate(states.log_file(plan.root, service.name))
        output = states.log_file(plan.root, "supervisor").open("wb")
    except OSError as error:
        raise StorageError(
            "cannot start the services", where=str(folder), problem=error.strerror or str(error),
            expected="space, and the right to write",
        ) from error  # fmt: skip
    content = json.dumps({"plan": to_json(plan), "sockets": dict(sockets), "guardian": guardian}).encode()
    passed = [*sockets.values(), *([guardian] if guardian is not None else [])]
    with output:
        supervisor = subprocess.Popen(
            # -P: nothing in the folder where the command was given can take the place of a module.
            [sys.executable, "-P", "-m", "ridgeway.services.supervisor"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=folder,
            pass_fds=passed,
            start_new_session=True,
        )
    assert supervisor.stdin is not None
    with contextlib.suppress(BrokenPipeError), supervisor.stdin as pipe:
        pipe.write(content)  # by a pipe: an environment may hold secrets, which others could read in a file
    state = _first_state(plan.root, supervisor)
    # It outlives this process and is no child to wait for; without this, Python warns of it at exit.
    supervisor.returncode = 0
    return state


def _first_state(root: Path, supervisor: subprocess.Popen[bytes]) -> UpState:
    deadline = time.monotonic() + START_SECONDS
    mine = Process.of(supervisor.pid)
    while supervisor.poll() is None and time.monotonic() < deadline:
        state = states.read_state(root)
        if state is not None and state.supervisor == mine:
            return state
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        supervisor.kill()
    supervisor.wait()
    raise _ended(root)


def _ended(root: Path) -> Unreachable:
    path = states.log_file(root, "supervisor")
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()[-5:]
    except OSError:
        lines = []
    return Unreachable(
        "the services did not start",
        where=str(path),
        problem="\n".join(["their supervisor ended", *lines]),
        next_step="ridgeway up     once more; logs are in .ridgeway/services",
    )


def _failing(service: ServiceState) -> Unreachable:
    return Unreachable(
        f"{service.name} does not start",
        where=service.log,
        problem=service.note,
        next_step="read its log, mend what it says, then: ridgeway up",
    )


def _rotate(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > _LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))


# ---- ports -----------------------------------------------------------------------------------------------------------


def _listen(service: Service) -> socket.socket:
    """A socket that already takes connections: who comes before the server is up waits instead of being refused."""
    family = socket.AF_INET6 if ":" in service.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    # Connections of a server that has just ended keep the port for a minute otherwise.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((service.host, service.port))
        listening.listen(256)
    except OSError as error:
        listening.close()
        raise _not_free(service, error) from error
    return listening


def _not_free(service: Service, error: OSError) -> UsageError | Busy:
    where = f"{service.setting} = {service.port}, servers.host = {service.host!r}"
    if isinstance(error, PermissionError) or error.errno in (99, 49):  # EADDRNOTAVAIL on Linux and macOS
        return UsageError(
            f"cannot listen for {service.what.partition(':')[0]}",
            where=where,
            problem=error.strerror or str(error),
            expected="an address of this machine, and a port above 1023",
            next_step=f"ridgeway up --set {service.setting}={service.port + 10000}",
        )
    holder = holder_of(service.port)
    return UsageError(
        f"port {service.port} is taken",
        where=where,
        problem=f"{holder} listens there" if holder else "another program listens there",
        expected=f"a free port for the {service.what.partition(':')[0]}",
        next_step=f"end that program, or: ridgeway up --set {service.setting}={service.port + 1}",
    )


def holder_of(port: int) -> str:
    """Which process of this machine listens on a port, as far as this user may see it; empty where it may not."""
    inodes = _listening_inodes(port)
    for folder in Path("/proc").glob("[0-9]*") if inodes else ():
        with contextlib.suppress(OSError):
            if any(_target(link) in inodes for link in (folder / "fd").iterdir()):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                return f"process {folder.name} ({command[:120]})"
    return ""


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed meanwhile
        return ""


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{fields[9]}]")
    return found


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)
