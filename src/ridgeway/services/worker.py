"""The worker of `ridgeway up`: takes what is due of this project's published flows, and forks a process for each.

It is itself forked from the zygote, so that everything a run needs is imported already; it never imports a project's
code, so that each run imports what its own commit has. It looks once a second, and speaks plain REST: one thread, no
connection that a fork could share.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from ridgeway.errors import RidgewayError
from ridgeway.orchestrator import rest
from ridgeway.orchestrator.dead_runs import is_over, is_resting
from ridgeway.orchestrator.environment import client_headers
from ridgeway.orchestrator.flow_runs import Api
from ridgeway.run_log import Process, RunLog
from ridgeway.services.child import leave
from ridgeway.services.claims import Claim, Claims
from ridgeway.services.post import Place, put_back
from ridgeway.services.state import ready_file
from ridgeway.services.watcher.schedules import settle

log = logging.getLogger("ridgeway.worker")

LOOK_EVERY_SECONDS = 1.0
HEARTBEAT_SECONDS = 30.0
END_SECONDS = 20.0
"""What runs get to end by themselves before they are killed."""
RESUMED_SECONDS = 5.0
"""Whoever has just resumed a run usually carries it on at once: that is left to them for so long."""


def main(home: str, project: str, url: str, limit: str, lifeline: str) -> int:
    """Works until SIGTERM, or until the other end of the lifeline is closed; runs under way are then interrupted.

    Args:
        home: The project's working folder.
        project: Its name.
        url: The Prefect server's API.
        limit: How many runs at once.
        lifeline: Number of a file descriptor.
    """
    gc.collect()
    gc.freeze()
    worker = Worker(Place(Path(home), project, url, int(limit), headers=client_headers(os.environ)), int(lifeline))
    worker.work()
    return 0


class Worker:
    """One worker, from its start to its end.

    Args:
        place: Where it works.
        lifeline: Descriptor of a pipe; its end is this worker's end.
    """

    def __init__(self, place: Place, lifeline: int) -> None:
        self.place = place
        self.claims = Claims(place.home)
        self.runs = RunLog(place.home)
        self._api = Api(place.url, place.headers)
        self._ahead = timedelta(0)
        self._pools: list[str] = []
        self._lifeline = lifeline
        self._children: dict[int, Claim] = {}
        self._codes: dict[str, int] = {}
        self._mine: dict[str, bool] = {}
        self._cancelled: set[str] = set()
        self._beaten = -HEARTBEAT_SECONDS
        self._stopping = False
        self._is_silent = False

    def work(self) -> None:
        """Looks and takes, until it is told to stop."""
        self._mind_signals()
        ready_file(self.place.home, "worker").write_text(str(os.getpid()), encoding="ascii")
        while not self._stopping:
            try:
                self._look()
                self._is_silent = False
            except (OSError, ValueError, LookupError, TypeError) as error:
                self._tell_once(error)
            except RidgewayError as error:
                log.warning("%s", error)
            self._wait()
        self._stop()

    # ---- one look ------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        self._beat()
        claims = self._settle_all()
        self._cancel(claims)
        free = self.place.limit - len(claims)
        if free > 0:
            for flow_run in self._due(free):
                self._take(flow_run)

    def _beat(self) -> None:
        """Tells the server every half minute that somebody works on the pools, and asks how late it is there."""
        if time.monotonic() - self._beaten < HEARTBEAT_SECONDS:
            return
        self._pools = [pool for pool in self.place.pools if self._beat_for(pool)]
        ahead = self._api.now() - datetime.now(UTC)
        # It tells the time to the second; a difference of less is none.
        self._ahead = ahead if abs(ahead.total_seconds()) > 2 else timedelta(0)
        self._beaten = time.monotonic()

    def _beat_for(self, pool: str) -> bool:
        """One heartbeat; whether there is such a pool."""
        beat = {"name": self.place.name, "heartbeat_interval_seconds": HEARTBEAT_SECONDS}
        path = f"work_pools/{pool}/workers/heartbeat"
        try:
            self._call(path, beat)
        except OSError as error:
            if getattr(error, "code", 0) != 404:
                raise
            if pool != self.place.pools[0]:
                return False
            made = {"name": pool, "type": "process", "description": "What `ridgeway up` carries out."}
            self._call("work_pools/", made)
            self._call(path, beat)
        return True

    def _due(self, free: int) -> Iterator[dict[str, Any]]:
        """The project's flow runs that are due, at most ``free``.

        The cheap question first: the others write into the server's database each time.
        """
        now = datetime.now(UTC) + self._ahead
        wanted = {
            "flow_runs": {
                "state": {"type": {"any_": ["SCHEDULED"]}},
                "next_scheduled_start_time": {"before_": now.isoformat()},
            },
            "work_pools": {"name": {"any_": self._pools}},
        }
        if not self._call("flow_runs/count", wanted):
            return
        # After an outage nothing may be taken that was missed and shall not be made up for.
        refused = settle(self._api, self.place.project)
        for pool in self._pools:
            asked = {"scheduled_before": now.isoformat(), "limit": 100}
            for found in self._call(f"work_pools/{pool}/get_scheduled_flow_runs", asked):
                flow_run = found["flow_run"]
                if free > 0 and flow_run["id"] not in refused and self._is_mine(flow_run):
                    free -= 1
                    yield flow_run

    def _is_mine(self, flow_run: Mapping[str, Any]) -> bool:
        """Whether its deployment is this project's: a server of the team has others', of other machines."""
        deployment = flow_run["deployment_id"]
        if deployment not in self._mine:
            self._mine[deployment] = f"project:{self.place.project}" in self._call(f"deployments/{deployment}")["tags"]
        return self._mine[deployment]

    # ---- taking --------------------------------------------------------------------------------------------------

    def _take(self, flow_run: Mapping[str, Any]) -> None:
        """Takes a flow run, if the server lets this worker have it, and forks a process for it."""
        whole = self._read(flow_run["id"])
        if whole is None or _just_resumed(whole["state"], datetime.now(UTC) + self._ahead):
            return
        claim = self.claims.intend(flow_run["id"], flow_run["name"])
        state = {"type": "PENDING", "name": "Pending", "message": claim.carrier}
        answer = self._call(f"flow_runs/{flow_run['id']}/set_state", {"state": state})
        if answer["status"] != "ACCEPT":
            log.info("%s is not to be had: %s", flow_run["name"], _reason(answer))
            self.claims.drop(claim)
            return
        pid = os.fork()
        if pid == 0:
            self._carry_out(claim)
        self._children[pid] = self.claims.hand_to(claim, Process.of(pid))
        log.info("%s taken, by process %d", flow_run["name"], pid)

    def _carry_out(self, claim: Claim) -> None:
        code = 1
        try:
            os.close(self._lifeline)
            from ridgeway.services import job

            code = job.carry_out(self.place, claim)
        except KeyboardInterrupt:
            code = 130
        except BaseException:
            log.exception("%s ended by an error that nobody foresaw", claim.name)
        leave(code)

    # ---- what became of it ---------------------------------------------------------------------------------------

    def _settle_all(self) -> list[Claim]:
        """The claims that are still carried out; of the others the server is told if it does not know."""
        self._reap()
        claims = self.claims.all()
        for claim in claims:
            if not self._is_carried(claim):
                self._settle(claim)
        return [claim for claim in claims if self._is_carried(claim)]

    def _reap(self) -> None:
        for pid in list(self._children):
            done, status, used = os.wait4(pid, os.WNOHANG)
            if done:
                claim = self._children.pop(pid)
                self._codes[claim.token] = os.waitstatus_to_exitcode(status)
                log.info("%s took %.1f s of a processor", claim.name, used.ru_utime + used.ru_stime)

    def _is_carried(self, claim: Claim) -> bool:
        return claim.process.pid != os.getpid() and claim.is_alive

    def _settle(self, claim: Claim) -> None:
        """The end of a claim: what the flow run is on the server is how it is."""
        code = self._codes.get(claim.token)
        flow_run = self._read(claim.flow_run_id)
        state = flow_run["state"] if flow_run else None
        if state is not None and self._is_cancelled(claim, state):
            self._set(claim, "CANCELLED", "Cancelled", "cancelled; what was finished is kept")
        elif state is not None and self._stopping and code == 130 and state["type"] != "COMPLETED":
            self._put_back(claim, "interrupted, because the services were stopped; goes on when they are started again")
        elif state is not None and not is_over(state) and not is_resting(state):
            self._lost(claim, state, code)
        log.info("%s ended%s", claim.name, "" if code is None else f" with exit code {code}")
        self.claims.drop(claim)
        self._codes.pop(claim.token, None)
        self._cancelled.discard(claim.token)

    def _lost(self, claim: Claim, state: Mapping[str, Any], code: int | None) -> None:
        """Tells the server of a run whose process has gone without telling it."""
        if state["type"] == "PENDING" and state.get("message") != claim.carrier:
            return  # somebody else has taken it since
        if state["type"] == "PENDING" and self._record_of(claim) is None and code in (None, -signal.SIGKILL):
            self._put_back(claim, "its process was gone before it had begun")
            return
        how = f", {_how(code)}" if code is not None else ""
        self._set(claim, "CRASHED", "Crashed", f"the process was gone without a word{how}")

    def _is_cancelled(self, claim: Claim, state: Mapping[str, Any]) -> bool:
        """Whether a person wanted it to end, on the server's page or by `ridgeway cancel`."""
        if state["type"] in ("COMPLETED", "CANCELLED"):
            return False
        record = self._record_of(claim)
        by_command = record is not None and self.runs.is_cancelled(record)
        return by_command or claim.token in self._cancelled or state["type"] == "CANCELLING"

    def _record_of(self, claim: Claim) -> Any:
        records = (record for record in self.runs.records() if record.command == claim.command)
        return next(records, None)

    def _cancel(self, claims: list[Claim]) -> None:
        """Interrupts the runs that somebody has cancelled on the server."""
        if not claims:
            return
        wanted = {"flow_runs": {"id": {"any_": [claim.flow_run_id for claim in claims]}}}
        states = {one["id"]: one["state_type"] for one in self._call("flow_runs/filter", wanted)}
        for claim in claims:
            gone = states.get(claim.flow_run_id) in (None, "CANCELLING", "CANCELLED")
            if gone and claim.token not in self._cancelled:
                log.info("%s is cancelled on the server", claim.name)
                self._cancelled.add(claim.token)
                _signal(claim, signal.SIGTERM)

    # ---- the end -------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """Interrupts what is under way, and tells the server that it goes on later."""
        deadline = time.monotonic() + END_SECONDS
        for claim in self.claims.all():
            if self._is_carried(claim):
                _signal(claim, signal.SIGTERM)
        while self._children and time.monotonic() < deadline:
            self._reap()
            time.sleep(0.05)
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
        try:
            self._settle_all()
        except (OSError, ValueError, LookupError, TypeError, RidgewayError) as error:
            log.info("the server is not told of the end: %s", error)
        ready_file(self.place.home, "worker").unlink(missing_ok=True)

    def _mind_signals(self) -> None:
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        os.set_blocking(write_end, False)
        self._woken = read_end
        signal.set_wakeup_fd(write_end)
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, _nothing)

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _wait(self) -> None:
        """A second; less when a run ends, or it is told to stop."""
        if self._stopping:
            return
        ready, _, _ = select.select([self._lifeline, self._woken], [], [], LOOK_EVERY_SECONDS)
        if self._lifeline in ready:
            self._stopping = True
        if self._woken in ready:
            os.read(self._woken, 4096)

    # ---- the server ----------------------------------------------------------------------------------------------

    def _call(self, path: str, content: Any = None) -> Any:
        return rest.call(f"{self.place.url}/{path}", content, timeout_seconds=30, headers=self.place.headers)

    def _read(self, flow_run_id: str) -> Any:
        """The flow run; None where it was deleted."""
        wanted = {"flow_runs": {"id": {"any_": [flow_run_id]}}}
        return next(iter(self._call("flow_runs/filter", wanted)), None)

    def _set(self, claim: Claim, kind: str, name: str, message: str) -> None:
        state = {"type": kind, "name": name, "message": message}
        self._call(f"flow_runs/{claim.flow_run_id}/set_state", {"state": state, "force": True})

    def _put_back(self, claim: Claim, message: str) -> None:
        """The flow run waits again, for this worker or another."""
        put_back(self.place, claim.flow_run_id, message)

    def _tell_once(self, error: Exception) -> None:
        if not self._is_silent:
            unforeseen = not isinstance(error, OSError)
            log.warning(
                "the Prefect server does not answer as it should (%s: %s); asked again every second",
                type(error).__name__,
                error,
                exc_info=unforeseen,
            )
        self._is_silent = True


def _just_resumed(state: Mapping[str, Any], now: datetime) -> bool:
    """Whether somebody has resumed the run a moment ago, most likely to carry it on himself."""
    if state["name"] != "Resuming":
        return False
    return (now - datetime.fromisoformat(state["timestamp"])).total_seconds() < RESUMED_SECONDS


def _reason(answer: Mapping[str, Any]) -> str:
    details = answer.get("details") or {}
    return str(details.get("reason") or answer["status"])


def _how(code: int) -> str:
    return f"ended by signal {-code}" if code < 0 else f"exit code {code}"


def _signal(claim: Claim, number: signal.Signals) -> None:
    if claim.is_alive:
        os.kill(claim.process.pid, number)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """A handler, so that the end of a child wakes the worker."""
