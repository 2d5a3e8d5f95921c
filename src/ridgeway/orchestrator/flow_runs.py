"""Published runs as the Prefect server has them, read and changed by REST: light enough for who looks all the time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.error import HTTPError

from ridgeway.orchestrator import rest
from ridgeway.orchestrator.heartbeat import EVENT

PAGE = 200
"""Rows that the server gives at once, at most."""
TIMEOUT_SECONDS = 30.0
"""Prefect on SQLite was seen to keep a change waiting for 10 s while it marked hundreds of runs as late."""
_UNDER_WAY = ("PENDING", "RUNNING", "CANCELLING")
_QUEUED = "AwaitingConcurrencySlot"
"""The state's name where a worker wanted a run, and the deployment's limit let it wait."""
_TAKEN_BEFORE = ("AwaitingRetry", "Resuming")
_SCHEDULED_TAG = "auto-scheduled"


@dataclass(frozen=True, slots=True)
class Api:
    """A Prefect server: its address and what it wants to see of a client."""

    url: str
    """Ends in ``/api``."""
    headers: Mapping[str, str] = field(default_factory=dict)

    def call(self, path: str, content: Any = None) -> Any:
        """The JSON answer to a GET, or to a POST of ``content``.

        Raises:
            OSError: Nothing answers, or it answers with an error.
            ValueError: The answer is not JSON.
        """
        url = f"{self.url}/{path}"
        return rest.call(url, content, timeout_seconds=TIMEOUT_SECONDS, headers=self.headers)

    def now(self) -> datetime:
        """The server's clock, to the second; its times are compared with this one alone.

        Raises:
            OSError: Nothing answers.
            ValueError: It does not tell the time.
        """
        date = rest.send("GET", f"{self.url}/health", headers=self.headers).date
        return parsedate_to_datetime(date).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class FlowRun:
    """A published run as the server has it."""

    id: str
    name: str
    deployment: str
    """The deployment's id."""
    state: str
    """Its type: ``SCHEDULED``, ``PENDING``, ``RUNNING`` …"""
    state_name: str
    message: str
    since: datetime
    """When it came into this state."""
    due: datetime | None
    """When it was to start."""
    attempts: int
    """How often it has run."""
    schedule: str = ""
    """Name of the schedule that made it; empty for one that was triggered."""
    pool: str = ""
    """The work pool whose workers take it; empty where nobody but a person's command does."""

    @property
    def is_queued(self) -> bool:
        """Whether it waits for another run of its deployment."""
        return self.state_name == _QUEUED

    @property
    def was_taken(self) -> bool:
        """Whether it waits to be carried on: it was begun, or whoever took it had to give it back."""
        return self.attempts > 0 or self.state_name in _TAKEN_BEFORE


def under_way(api: Api, project: str) -> list[FlowRun]:
    """The published runs of a project that somebody carries out, or has just taken.

    Raises:
        OSError: The server does not answer.
        ValueError: It answers in a way that nobody foresaw.
    """
    return _published(api, project, {"state": {"type": {"any_": list(_UNDER_WAY)}}})


def waiting(api: Api, project: str, now: datetime) -> list[FlowRun]:
    """The runs that schedules of a project have made, that are due and that nobody carries out.

    Raises:
        OSError: The server does not answer.
        ValueError: It answers in a way that nobody foresaw.
    """
    wanted = {
        "state": {"type": {"any_": ["SCHEDULED"]}},
        "tags": {"all_": [_SCHEDULED_TAG]},
        "expected_start_time": {"before_": _text(now)},
    }
    return _published(api, project, wanted)


def ended_badly(api: Api, project: str, since: datetime) -> list[FlowRun]:
    """The published runs of a project that failed or crashed since.

    Raises:
        OSError: The server does not answer.
        ValueError: It answers in a way that nobody foresaw.
    """
    wanted = {"state": {"type": {"any_": ["FAILED", "CRASHED"]}}, "end_time": {"after_": _text(since)}}
    return _published(api, project, wanted)


def _published(api: Api, project: str, wanted: Mapping[str, Any]) -> list[FlowRun]:
    content: dict[str, Any] = {
        "flow_runs": dict(wanted),
        "deployments": {"tags": {"all_": ["ridgeway", f"project:{project}"]}},
        "sort": "EXPECTED_START_TIME_ASC",
        "limit": PAGE,
    }
    found: list[FlowRun] = []
    while True:
        page = api.call("flow_runs/filter", {**content, "offset": len(found)})
        found += [_flow_run(one) for one in page]
        if len(page) < PAGE:
            return found


def _flow_run(content: Mapping[str, Any]) -> FlowRun:
    try:
        state, maker = content["state"] or {}, content.get("created_by") or {}
        due = content["expected_start_time"]
        is_scheduled = content["auto_scheduled"] or _SCHEDULED_TAG in (content["tags"] or ())
        return FlowRun(
            id=content["id"],
            name=content["name"],
            deployment=content["deployment_id"] or "",
            state=content["state_type"] or "",
            state_name=content["state_name"] or "",
            message=state.get("message") or "",
            since=datetime.fromisoformat(state["timestamp"]),
            due=datetime.fromisoformat(due) if due else None,
            attempts=int(content["run_count"]),
            schedule=str(maker.get("display_value") or "schedule") if is_scheduled else "",
            pool=content.get("work_pool_name") or "",
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a flow run as Prefect 3.8 tells of it: {error!r}") from error


# ---- signs of life ---------------------------------------------------------------------------------------------------


def signs_of_life(api: Api, runs: Iterable[str], now: datetime) -> dict[str, str]:
    """Run → id of its latest sign of life; runs that never gave one are not in it.

    Raises:
        OSError: The server does not answer.
        ValueError: It answers in a way that nobody foresaw.
    """
    found = {}
    for run in runs:
        wanted = {
            "event": {"name": [EVENT]},
            "resource": {"id": [f"prefect.flow-run.{run}"]},
            # Dated by the machine that sent it, whose clock may be anywhere near.
            "occurred": {"since": _text(now - timedelta(days=2)), "until": _text(now + timedelta(days=2))},
            "order": "DESC",
        }
        events = api.call("events/filter", {"filter": wanted, "limit": 1})["events"]
        if events:
            found[run] = str(events[0]["id"])
    return found


# ---- changes ---------------------------------------------------------------------------------------------------------


def cancel(api: Api, run: str, message: str) -> bool:
    """Ends a run that nobody has taken; False where somebody has taken it meanwhile, or it is gone.

    Raises:
        OSError: The server does not answer.
    """
    if not _is_still(api, run, ("SCHEDULED",)):
        return False
    _set(api, run, {"type": "CANCELLED", "name": "Cancelled", "message": message})
    return True


def crash(api: Api, run: FlowRun, message: str) -> bool:
    """Ends a run whose process is gone, and its open steps; False where it has ended or was taken anew meanwhile.

    One that was being cancelled is cancelled now.

    Raises:
        OSError: The server does not answer.
    """
    found = _read(api, run.id)
    if found is None or found.state not in _UNDER_WAY or found.since != run.since:
        return False
    ended = end_of(found.state, message)
    _set(api, run.id, ended)
    steps = api.call("task_runs/filter", {"flow_runs": {"id": {"any_": [run.id]}}, "limit": PAGE})
    for step in steps:
        if step["state_type"] in (*_UNDER_WAY, "SCHEDULED"):
            api.call(f"task_runs/{step['id']}/set_state", {"state": ended, "force": True})
    return True


def end_of(state: str, message: str) -> dict[str, str]:
    """The state that ends a run whose process is gone: crashed, or cancelled where a person wanted its end.

    Example:
        >>> end_of("CANCELLING", "the process was gone")["type"]
        'CANCELLED'
    """
    kind, name = ("CANCELLED", "Cancelled") if state == "CANCELLING" else ("CRASHED", "Crashed")
    return {"type": kind, "name": name, "message": message}


def try_again(api: Api, run: FlowRun, *, at: datetime, message: str) -> bool:
    """Lets a run that has ended be carried out once more, under its own id; False where somebody has done so already.

    Raises:
        OSError: The server does not answer.
    """
    found = _read(api, run.id)
    if found is None or (found.state, found.since) != (run.state, run.since):
        return False
    state = {
        "type": "SCHEDULED",
        "name": "AwaitingRetry",
        "message": message,
        "state_details": {"scheduled_time": _text(at)},
    }
    # Not by force: the server has rules of its own for what may begin again.
    answer = api.call(f"flow_runs/{run.id}/set_state", {"state": state})
    return bool(answer["status"] == "ACCEPT")


def _is_still(api: Api, run: str, states: Sequence[str]) -> bool:
    found = _read(api, run)
    return found is not None and found.state in states


def _read(api: Api, run: str) -> FlowRun | None:
    try:
        return _flow_run(api.call(f"flow_runs/{run}"))
    except HTTPError as error:
        with error:
            if error.code == 404:
                return None
            raise


def _set(api: Api, run: str, state: Mapping[str, Any]) -> None:
    api.call(f"flow_runs/{run}/set_state", {"state": dict(state), "force": True})


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
