"""The target: commands write what is wanted, look at what the daemon says, and end what nobody keeps any more."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ridgeway.artifacts import Deployment, Endpoint, Finding, InstanceType, Kind, Person
from ridgeway.errors import Busy, Permanent, Transient
from ridgeway.run_log import Process, exclusive, is_alive
from ridgeway.targets.access_keys import exchanged, new_key, new_keys
from ridgeway.targets.addresses import Address, listening_address
from ridgeway.targets.interface import Keys, Observed, Outcome, Plan, Room, Say
from ridgeway.targets.key_check import takes_key
from ridgeway.targets.process import machine, packages
from ridgeway.targets.process.findings import findings
from ridgeway.targets.process.folder import Folder, State, Wanted
from ridgeway.targets.process.planning import WATCH_SECONDS, make_plan, server_environment, stop_seconds

_LOOK_SECONDS = 0.02
_START_SECONDS = 20.0
_ORPHAN_SECONDS = 5.0
"""What servers whose daemon was killed get to finish open requests."""


@dataclass(frozen=True)
class ProcessTarget:
    """See ``ridgeway.targets.interface.Target``."""

    name: str
    endpoint: str
    root: Path
    instance_types: tuple[InstanceType, ...] = ()
    kind: Kind = "process"

    @property
    def folder(self) -> Folder:
        """What this machine keeps of it."""
        return Folder(self.root / ".ridgeway" / "targets" / self.name)

    # ---- look, plan --------------------------------------------------------------------------------------------------

    def observe(self) -> Observed:
        """How it is now: what was asked for, as the daemon says it is."""
        wanted, frozen = self.folder.wanted(), self.folder.frozen()
        if wanted is None:
            return Observed(Endpoint(self.name, self.kind, self.endpoint, "absent", frozen=frozen), None)
        deployment, state = wanted.deployment, self.folder.daemon()
        health, reason = _health(state, wanted)
        serving = _serving(state)
        endpoint = Endpoint(
            self.name, self.kind, self.endpoint, health, deployment.address, image=deployment.image.handle,
            model=deployment.image.model, release=deployment.release, since=state.since if state else "",
            ready=1 if health == "healthy" else 0, replicas=1, reason=reason, frozen=frozen,
            memory_mib=machine.memory_mib(serving) if serving else None,
            memory_limit_mib=deployment.instance.memory_mib,
        )  # fmt: skip
        facts = {
            "generation": wanted.generation,
            "serving": state.serving if state else 0,
            "restarts": state.restarts if state else 0,
        }
        return Observed(endpoint, deployment, facts)

    def plan(self, deployment: Deployment, observed: Observed) -> Plan:
        """What would be done; see ``make_plan``."""
        return make_plan(deployment, observed)

    # ---- apply -------------------------------------------------------------------------------------------------------

    def apply(self, plan: Plan, *, package: Path | None, say: Say) -> None:
        """Carries a plan out: keeps a copy of the package, writes down what is wanted, sees to it that a daemon lives.

        Raises:
            Permanent: The port is another program's, or there is no package to run.
            StorageError: The state folder cannot be written.
        """
        if not plan.changes:
            return
        with exclusive(self.root, f"apply {self.name}", wait_seconds=60):
            self.folder.prepare()
            deployment, before = plan.deployment, self.folder.wanted()
            if deployment.access == "keys":
                self.keys(create=True)
            copy = packages.keep_copy(self.folder.packages, deployment, package)
            for action in plan.actions:
                say(f"{action.verb} {action.subject}: {action.detail}")
            wanted = Wanted(before.generation + 1 if before else 1, deployment, copy)
            self._ask_for(wanted, before)
            packages.prune(self.folder.packages, {one.package for one in (wanted, before) if one is not None})

    def _ask_for(self, wanted: Wanted, before: Wanted | None) -> None:
        address = listening_address(wanted.deployment)
        state = self.folder.daemon()
        if state is not None and before is not None and listening_address(before.deployment).place != address.place:
            self._end_daemon(state, before.deployment)
            state = None
        if state is None:
            self._end_orphans()
            listener = self._listen(address)
            state = self.folder.daemon() if listener is None else None
            if listener is not None:
                with listener:
                    self.folder.want(wanted)
                    self._start_daemon(listener)
                return
        self.folder.want(wanted)
        if state is not None:
            _signal(state.daemon, signal.SIGHUP)

    def _listen(self, address: Address) -> socket.socket | None:
        """The listening socket; None where a daemon of ours, started a moment ago, holds it."""
        deadline = time.monotonic() + 3
        while True:
            try:
                return machine.listen(address.host, address.port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise self._cannot_listen(address, error.strerror or str(error)) from error
                if self.folder.daemon() is not None:
                    return None
                owner = machine.who_listens(address.port)
                foreign = owner is not None and str(self.folder.path) not in owner.command
                if foreign or time.monotonic() >= deadline:
                    raise self._cannot_listen(address, f"{owner or 'another program'} listens there already") from error
                time.sleep(_LOOK_SECONDS)

    def _cannot_listen(self, address: Address, problem: str) -> Permanent:
        return Permanent(
            f"cannot listen on {address.place}",
            where=f"targets.{self.name}.address",
            problem=problem,
            expected="a free port of this machine",
            next_step=f"end that program, or ridgeway … --set targets.{self.name}.address={address.scheme}://HOST:PORT",
        )

    def _start_daemon(self, listener: socket.socket) -> None:
        """Returns once the daemon has said that it lives."""
        command = [sys.executable, "-P", "-m", "ridgeway.targets.process.daemon"]
        descriptor = listener.fileno()
        done = subprocess.run(  # noqa: S603 - this interpreter with our own module
            [*command, str(self.folder.path), str(descriptor)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            pass_fds=[descriptor],
            env=server_environment(os.environ),
        )
        deadline = time.monotonic() + (_START_SECONDS if done.returncode == 0 else 0)
        while self.folder.daemon() is None:
            if time.monotonic() >= deadline:
                raise Transient(
                    f"cannot keep {self.kind}://{self.name}/{self.endpoint}",
                    problem="\n".join([done.stderr.strip(), *self.folder.tail(10)]).strip()
                    or "its daemon did not start",
                    next_step="the same command again",
                )
            time.sleep(_LOOK_SECONDS)

    # ---- wait --------------------------------------------------------------------------------------------------------

    def wait(self, deployment: Deployment, *, seconds: float, say: Say) -> Outcome:
        """Returns when it serves, cannot come to serve, or too late."""
        deadline, told = time.monotonic() + seconds, ""
        while True:
            wanted, state = self.folder.wanted(), self.folder.daemon()
            if wanted is None or wanted.deployment.digest != deployment.digest:
                return Outcome(False, "NotAsked", "something else was asked for since")
            health, reason = _health(state, wanted)
            if health == "healthy":
                return Outcome(True)
            if health in ("unhealthy", "stopped"):
                sentence = (state.sentence if state else "") or f"{deployment.name} is {health}: {reason}"
                return Outcome(False, reason, sentence, state.log if state else tuple(self.folder.tail(20)))
            if told != (text := f"{deployment.name} is {health}" + (f": {reason}" if reason else "")):
                say(text)
                told = text
            if time.monotonic() >= deadline:
                sentence = f"{deployment.name} was not ready within {seconds:g} s"
                return Outcome(False, "deadline", sentence, tuple(self.folder.tail(20)))
            time.sleep(_LOOK_SECONDS)

    def address(self, deployment: Deployment) -> str:
        """The declared address: a process has no other."""
        return deployment.address

    # ---- end ---------------------------------------------------------------------------------------------------------

    def remove(self) -> tuple[str, ...]:
        """Ends the servers and forgets the endpoint with its keys."""
        if not self.folder.path.exists():
            return ()
        lines = self.stop()
        with exclusive(self.root, f"apply {self.name}", wait_seconds=60):
            shutil.rmtree(self.folder.path, ignore_errors=True)
        return (*lines, f"state, packages and keys in .ridgeway/targets/{self.name}")

    def stop(self) -> tuple[str, ...]:
        """Ends the servers and forgets nothing: the same deployment can be applied again."""
        with exclusive(self.root, f"apply {self.name}", wait_seconds=60):
            wanted, state = self.folder.wanted(), self.folder.daemon()
            lines: list[str] = []
            if state is not None:
                self._end_daemon(state, wanted.deployment if wanted else None)
                lines.append(f"process {self.endpoint} on {state.address}")
            self._end_orphans()
        return tuple(lines)

    def _end_daemon(self, state: State, deployment: Deployment | None) -> None:
        """Asks the daemon to end, which ends its servers first; after more than they may take, by force."""
        seconds = (stop_seconds(deployment) if deployment else 0) + 15
        if not _end(state.daemon, seconds):
            _signal(state.daemon, signal.SIGKILL)
        self._end_orphans()

    def _end_orphans(self) -> None:
        """Ends servers whose daemon is gone. They end by themselves where the kernel tells them of its death."""
        state = self.folder.state()
        if state is None or is_alive(state.daemon):
            return
        for one in state.servers:
            _signal(one.process, signal.SIGTERM)
        for one in state.servers:
            if not _end(one.process, _ORPHAN_SECONDS):
                _signal(one.process, signal.SIGKILL)

    # ---- the rest ----------------------------------------------------------------------------------------------------

    def logs(self, *, follow: bool = False, lines: int = 200) -> Iterator[str]:
        """The last lines of the log, and with ``follow`` what comes after."""
        yield from self.folder.tail(lines)
        if follow:
            yield from _following(self.folder.log)

    @contextmanager
    def hold(self, holder: str, *, seconds: float = 30) -> Iterator[None]:  # noqa: ARG002 - the kernel frees it at once
        """Nobody else may change this endpoint meanwhile; free at once when the holder's process ends.

        Raises:
            Busy: Someone holds it.
        """
        sign = self.root / ".ridgeway" / "locks" / f"endpoint-{self.name}.holder"
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(exclusive(self.root, f"endpoint {self.name}"))
            except Busy as busy:
                who = sign.read_text(encoding="utf-8") if sign.exists() else "somebody"
                raise Busy(
                    f"{self.kind}://{self.name}/{self.endpoint} is being changed",
                    problem=f"{busy.problem}, for {who}",
                    expected=busy.expected,
                    next_step=busy.next_step,
                ) from None
            sign.write_text(holder, encoding="utf-8")
            yield

    def freeze(self, reason: str) -> None:
        """Marks the endpoint; an empty reason lifts the mark."""
        self.folder.freeze(reason)

    def keys(self, *, create: bool = False) -> Keys | None:
        """The endpoint's keys, from files that only their owner may read."""
        keys = self.folder.keys()
        if keys is None and create:
            keys = new_keys()
            self.folder.keep_keys(keys)
        return keys

    def rotate(self, which: Literal["primary", "secondary"], *, say: Say) -> Keys:
        """The keys with a new one in that place, once the server takes it.

        Raises:
            Transient: The server does not take the new key; the file holds it already.
        """
        keys = exchanged(self.folder.keys() or new_keys(), which, new_key())
        self.folder.keep_keys(keys)
        observed = self.observe()
        if observed.endpoint.state == "healthy" and observed.deployment and observed.deployment.access == "keys":
            say(f"waiting for the server to take the new {which} key")
            self._await_key(observed.deployment, getattr(keys, which))
        return keys

    def _await_key(self, deployment: Deployment, key: str) -> None:
        # Each worker takes a key up by itself, and a new connection may reach any of them.
        wanted = 1 if (workers := int(deployment.server.get("workers", 1))) == 1 else 8 * workers
        taken, deadline = 0, time.monotonic() + 20
        time.sleep(WATCH_SECONDS / 2)
        while taken < wanted:
            taken = taken + 1 if takes_key(deployment, key, self.root) else 0
            if time.monotonic() >= deadline:
                raise Transient(
                    f"{self.kind}://{self.name}/{self.endpoint} does not take the new key",
                    problem="it answers 401, or not at all",
                    expected="the server to read its keys again",
                    next_step=f"ridgeway logs {self.name}",
                )
            if not taken:
                time.sleep(WATCH_SECONDS / 4)

    def rooms(self) -> tuple[Room, ...]:
        """How many further servers of each type this machine's cores and free memory would hold."""
        cores, memory = machine.cores(), machine.free_memory_mib()
        return tuple(_room(one, cores, memory) for one in self.instance_types)

    def check(self, deployment: Deployment | None) -> Iterator[Finding]:
        """This machine: Python packages, disk, port, keys, certificate."""
        yield from findings(self.folder, self.root, deployment)

    def person(self) -> Person | None:
        """Nobody: the operating system's user is for ``people`` to say."""
        return None


def _health(state: State | None, wanted: Wanted) -> tuple[Literal["starting", "healthy", "unhealthy", "stopped"], str]:
    if state is None:
        return "stopped", "its processes have ended"
    if state.generation != wanted.generation or state.health not in ("healthy", "unhealthy"):
        return "starting", state.reason if state.generation == wanted.generation else ""
    # The daemon has not yet told of a server that was killed a moment ago.
    if state.health == "healthy" and not any(is_alive(one.process) for one in state.servers):
        return "starting", "Restarting"
    return state.health, state.reason


def _serving(state: State | None) -> int | None:
    if state is None:
        return None
    return next((one.process.pid for one in state.servers if one.generation == state.serving), None)


def _room(one: InstanceType, cores: int, memory: int | None) -> Room:
    by_cores = int(cores // one.cpu)
    if memory is None:
        return Room(one.name, None, f"{cores} cores")
    detail = f"{cores} cores, {memory} MiB free; {one.cpu:g} and {one.memory_mib} each"
    return Room(one.name, min(by_cores, memory // one.memory_mib), detail)


def _signal(process: Process, number: int) -> None:
    if is_alive(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _end(process: Process, seconds: float) -> bool:
    """Whether it has ended within that time of being asked to."""
    _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _following(file: Path) -> Iterator[str]:
    """Lines as they are added; a file that is cut or gone is followed from its new beginning."""
    position = file.stat().st_size if file.exists() else 0
    rest = ""
    while True:
        with contextlib.suppress(FileNotFoundError):
            size = file.stat().st_size
            position = min(position, size) if size else 0
            with file.open("r", encoding="utf-8", errors="replace") as stream:
                stream.seek(position)
                *whole, rest = (rest + stream.read()).split("\n")
                position = stream.tell()
            yield from whole
        time.sleep(0.1)
