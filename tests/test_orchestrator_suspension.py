"""Flow runs that wait for a person, against a real server with all its services: suspended, resumed, taken, late."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from uuid import UUID

import pytest

from ridgeway.errors import Busy, Transient, UsageError
from ridgeway.orchestrator import Call, Server, ensure_server, mark_dead_runs, rest, run_suspendable, stop_server
from ridgeway.orchestrator.environment import environment, home, without_proxy
from ridgeway.orchestrator.limits import StepLimits
from ridgeway.orchestrator.serving import _prepare_database, _template
from ridgeway.run_log import Process, Run, RunLog

pytestmark = pytest.mark.timeout(120)

STEPS = '''
"""Steps that count how often they were really done; what was finished is kept in record.json."""
import json
import time
import urllib.request
from pathlib import Path
from typing import Any

RECORD = Path("record.json")


def _once(name: str) -> str:
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if name not in record:
        with Path("done.txt").open("a") as done:
            done.write(f"{name} ")
        RECORD.write_text(json.dumps({**record, name: "finished"}))
    return name


def build_image() -> str:
    return _once("build")


def deploy_endpoint() -> str:
    return _once("deploy")


def ask_approval() -> bool:
    with Path("asked.txt").open("a") as asked:
        asked.write("asked ")
    return Path("approval").exists()


def set_state(url: str, state: dict[str, Any]) -> None:
    """As somebody would on the page, meanwhile."""
    from ridgeway.orchestrator import current_flow_run

    request = urllib.request.Request(
        f"{url}/flow_runs/{current_flow_run()}/set_state",
        data=json.dumps({"state": state}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        assert json.loads(answer.read())["status"] in ("ACCEPT", "REJECT")
    if state["type"] == "PAUSED":
        time.sleep(1.5)  # until Prefect's own observer has heard of it


def roll_out() -> str:
    while Path("hold").exists():
        Path("rolling").touch()
        time.sleep(0.05)
    return _once("roll")
'''

FLOWS = """
from prefect import flow

from ridgeway.orchestrator import as_task, suspend
from steps.toy import ask_approval, build_image, deploy_endpoint, roll_out, set_state


@flow(name="toy")
def toy(release: str = "releases:/toy/1", seconds: float = 3600, url: str = "", meanwhile: dict | None = None):
    as_task(build_image)()
    as_task(deploy_endpoint)()
    if meanwhile:
        as_task(set_state)(url, meanwhile)
    if not as_task(ask_approval)():
        return suspend({"outcome": "waiting"}, message=f"{release} waits for a yes", timeout_seconds=seconds)
    as_task(roll_out)()
    return {"outcome": "released"}
"""

RUN_IT = """
import sys
from pathlib import Path
from ridgeway.orchestrator import Call, ensure_server, run_suspendable
from ridgeway.run_log import RunLog

root, url, flow_run_id = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
server = ensure_server(root, setting=url)
with RunLog(root).start("toy") as run:
    run_suspendable(Call("flows/toy.py:toy", {}, flow_run_id), run=run, server=server)
"""

ENTRYPOINT = "flows/toy.py:toy"
LIMITS = StepLimits(timeout_seconds=60, retries=0)
SECRET = "planted-8f1b"


def write_project(root: Path) -> Path:
    for folder, content in (("steps", STEPS), ("flows", FLOWS)):
        (root / folder).mkdir(parents=True)
        (root / folder / "__init__.py").touch()
        (root / folder / "toy.py").write_text(content, encoding="utf-8")
    return root


def eventually(condition: Callable[[], Any], seconds: float = 15) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server as a team has it, with all of Prefect's services; it ends when its lifeline is closed."""
    root = tmp_path_factory.mktemp("server")
    home(root).mkdir(parents=True)
    _prepare_database(home(root) / "prefect.db", _template())
    listening = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
    read_end, write_end = os.pipe()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "ridgeway.orchestrator.serving", str(root), str(listening.fileno()), str(read_end)],
        pass_fds=[listening.fileno(), read_end],
        env={
            **inherited,
            **environment(root),
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home(root) / 'prefect.db'}",
            "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "1",
        },
        stderr=subprocess.DEVNULL,  # what it says of connections that its end cuts off
    )
    os.close(read_end)
    listening.close()
    eventually(lambda: rest.is_healthy(address, timeout_seconds=1), 90)
    yield address
    os.close(write_end)
    try:
        process.wait(20)
    finally:
        process.kill()


@pytest.fixture(autouse=True)
def environment_as_before() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path)


@pytest.fixture
def server(project: Path, url: str) -> Server:
    return ensure_server(project, setting=url)


Carry = Callable[..., tuple[Any, Run]]


@pytest.fixture
def carry(project: Path, server: Server) -> Carry:
    """Carries the flow out, or on; its result, and the run with its record."""

    def carry_out(flow_run_id: str = "", **parameters: Any) -> tuple[Any, Run]:
        with RunLog(project).start("toy") as run:
            call = Call(ENTRYPOINT, parameters, flow_run_id)
            result = run_suspendable(call, run=run, server=server, limits=LIMITS)
        return result, run

    return carry_out


def flow_run(server: Server, flow_run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = rest.call(f"{server.url}/flow_runs/{flow_run_id}")
    return found


def state(server: Server, flow_run_id: str) -> tuple[str, str]:
    found = flow_run(server, flow_run_id)["state"]
    return found["type"], found["name"]


def resume_on_the_page(server: Server, flow_run_id: str) -> None:
    assert rest.call(f"{server.url}/flow_runs/{flow_run_id}/resume", {})["status"] == "ACCEPT"


def deployments(server: Server, project: Path) -> list[dict[str, Any]]:
    found = rest.call(f"{server.url}/deployments/filter", {})
    return [one for one in found if one["path"] == str(project)]


def done(project: Path) -> list[str]:
    return (project / "done.txt").read_text().split()


def asked(project: Path) -> int:
    return len((project / "asked.txt").read_text().split())


def leave_dead(project: Path, run: Run) -> None:
    """As if the run's process had been killed before it could write its end."""
    store = RunLog(project)
    store._save(dataclasses.replace(store.find(run.id), state="running", process=Process.of(0)))
    (store.folder / ".active" / run.id).touch()


# ---- suspended and resumed -------------------------------------------------------------------------------------------


def test_a_release_waits_without_a_process_and_resuming_it_is_no_approval(
    project: Path, server: Server, carry: Carry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIDGEWAY_TEST_SECRET", SECRET)
    result, first = carry()
    waiting = first.record.flow_run_id
    assert result == {"outcome": "waiting"}
    record = RunLog(project).find(first.id)
    assert (record.state, record.exit_code, record.sentence) == ("finished", 5, "releases:/toy/1 waits for a yes")
    assert [(step.name, step.state) for step in record.steps] == [
        ("build_image", "finished"), ("deploy_endpoint", "finished"), ("ask_approval", "finished"),
    ]  # fmt: skip
    assert state(server, waiting) == ("PAUSED", "Suspended")
    found = flow_run(server, waiting)
    assert found["state"]["message"] == "releases:/toy/1 waits for a yes"
    assert record.flow_run_url == f"{server.page}/runs/flow-run/{waiting}"

    # Somebody resumes it on Prefect's page: nobody has said yes, so it is suspended again by whoever carries it out.
    resume_on_the_page(server, waiting)
    assert state(server, waiting) == ("SCHEDULED", "Resuming")
    result, second = carry(waiting)
    assert (result, second.record.flow_run_id, second.record.exit_code) == ({"outcome": "waiting"}, waiting, 5)
    assert state(server, waiting) == ("PAUSED", "Suspended")

    (project / "approval").touch()
    result, third = carry(waiting)
    assert (result, third.record.flow_run_id, third.record.exit_code) == ({"outcome": "released"}, waiting, 0)
    assert state(server, waiting) == ("COMPLETED", "Completed")
    assert (done(project), asked(project)) == (["build", "deploy", "roll"], 3)

    (made,) = deployments(server, project)
    assert (made["entrypoint"], made["schedules"], made["work_pool_name"]) == (ENTRYPOINT, [], None)
    assert (made["parameters"], made["job_variables"]) == ({}, {})
    assert SECRET not in json.dumps(made)
    assert found["deployment_id"] == made["id"]


def test_the_death_of_who_asked_does_not_crash_what_waits_or_is_carried_on_by_another(
    project: Path, server: Server, carry: Carry
) -> None:
    _, first = carry()
    waiting = first.record.flow_run_id
    for resting in (("PAUSED", "Suspended"), ("SCHEDULED", "Resuming")):
        leave_dead(project, first)
        assert [record.id for record in mark_dead_runs(project, server.url)] == [first.id]
        assert RunLog(project).unreported() == []
        assert state(server, waiting) == resting
        if resting[0] == "PAUSED":
            resume_on_the_page(server, waiting)
    # Taken by a worker, which is another process than the one that died.
    for kind in ("PENDING", "RUNNING"):
        rest.call(f"{server.url}/flow_runs/{waiting}/set_state", {"state": {"type": kind}})
    leave_dead(project, first)
    mark_dead_runs(project, server.url)
    assert state(server, waiting)[0] == "RUNNING"


@pytest.mark.slow
def test_killed_while_it_was_carried_on_the_same_command_comes_to_the_end(
    project: Path, server: Server, carry: Carry
) -> None:
    _, first = carry()
    waiting = first.record.flow_run_id
    (project / "approval").touch()
    (project / "hold").touch()
    process = subprocess.Popen([sys.executable, "-c", RUN_IT, str(project), server.url, waiting])
    with process:
        eventually((project / "rolling").exists, 60)
        assert state(server, waiting)[0] == "RUNNING"
        with pytest.raises(Busy, match="is being carried out by someone else"):
            carry(waiting)
        process.kill()
    (project / "hold").unlink()
    result, last = carry(waiting)
    assert result == {"outcome": "released"}
    assert state(server, waiting)[0] == "CRASHED"
    assert last.record.flow_run_id != waiting
    assert done(project) == ["build", "deploy", "roll"]


@pytest.mark.slow
def test_what_has_waited_too_long_is_ended_by_the_server_and_a_new_flow_run_goes_on(
    project: Path, server: Server, carry: Carry
) -> None:
    _, first = carry(seconds=1)
    waiting = first.record.flow_run_id
    assert state(server, waiting)[0] == "PAUSED"
    eventually(lambda: state(server, waiting)[0] == "FAILED")
    (project / "approval").touch()
    result, second = carry(waiting)
    assert result == {"outcome": "released"}
    assert second.record.flow_run_id != waiting
    assert done(project) == ["build", "deploy", "roll"]
    lines = "\n".join(RunLog(project).log_lines(second.id))
    assert "is over (Failed: The flow was paused and never resumed.); a new one goes on" in lines


# ---- somebody else ---------------------------------------------------------------------------------------------------


def test_what_a_worker_has_taken_is_left_to_it(project: Path, server: Server, carry: Carry) -> None:
    _, first = carry()
    waiting = first.record.flow_run_id
    resume_on_the_page(server, waiting)
    rest.call(f"{server.url}/flow_runs/{waiting}/set_state", {"state": {"type": "PENDING"}})
    with pytest.raises(Busy) as caught:
        carry(waiting)
    assert caught.value.where == f"{server.page}/runs/flow-run/{waiting}"
    assert "it is Pending" in caught.value.problem
    assert asked(project) == 1
    assert state(server, waiting)[0] == "PENDING"


@pytest.mark.slow
def test_of_two_that_take_it_at_once_one_has_it_and_if_that_dies_it_is_found_dead(
    project: Path, server: Server, carry: Carry
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from ridgeway.orchestrator.suspension import _claim

    _, first = carry()
    waiting = first.record.flow_run_id
    resume_on_the_page(server, waiting)
    with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as client:
        assert [_claim(client, UUID(waiting), first), _claim(client, UUID(waiting), first)] == [True, False]
    leave_dead(project, first)
    mark_dead_runs(project, server.url)
    assert state(server, waiting)[0] == "CRASHED"


@pytest.mark.slow
def test_a_process_of_prefect_s_own_can_carry_it_on(project: Path, server: Server, carry: Carry) -> None:
    _, first = carry()
    waiting = first.record.flow_run_id
    env = {**os.environ, **environment(project), **without_proxy(os.environ), "PREFECT_API_URL": server.url}
    command = [sys.executable, "-m", "prefect", "flow-run", "execute", waiting]
    for approved, ends in ((False, ("PAUSED", "Suspended")), (True, ("COMPLETED", "Completed"))):
        if approved:
            (project / "approval").touch()
        resume_on_the_page(server, waiting)
        ran = subprocess.run(
            command,
            check=False,
            env=env,
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
        )
        assert state(server, waiting) == ends, ran.stdout
    assert done(project) == ["build", "deploy", "roll"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("meanwhile", "message"),
    [
        ({"type": "CANCELLING"}, "the flow run cannot wait on the Prefect server"),
        ({"type": "PAUSED", "name": "Suspended", "state_details": {"pause_reschedule": True}}, "was suspended on"),
    ],
)
def test_what_somebody_stops_on_the_page_ends_with_one_message(
    project: Path, server: Server, carry: Carry, meanwhile: dict[str, Any], message: str
) -> None:
    with pytest.raises(Transient, match=message):
        carry(url=server.url, meanwhile=meanwhile)
    record = RunLog(project).records()[0]
    assert (record.state, record.exit_code) == ("failed", 75)
    assert state(server, record.flow_run_id)[0] in ("CANCELLING", "CANCELLED", "PAUSED", "FAILED")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cancelled", "deleted", "nonsense"])
def test_where_the_flow_run_cannot_go_on_a_new_one_does(project: Path, server: Server, carry: Carry, how: str) -> None:
    waiting = carry()[1].record.flow_run_id
    if how == "cancelled":
        rest.call(f"{server.url}/flow_runs/{waiting}/set_state", {"state": {"type": "CANCELLING"}})
        assert state(server, waiting)[0] == "CANCELLED"
    if how == "deleted":
        delete(f"{server.url}/flow_runs/{waiting}")
    (project / "approval").touch()
    result, run = carry("not an id" if how == "nonsense" else waiting)
    assert result == {"outcome": "released"}
    assert run.record.flow_run_id != waiting
    assert done(project) == ["build", "deploy", "roll"]


def delete(address: str) -> None:
    from urllib.request import Request, urlopen

    urlopen(Request(address, method="DELETE")).close()


# ---- the deployment --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_deployment_is_made_once_mended_when_stale_and_made_again_when_deleted(
    project: Path, server: Server, carry: Carry
) -> None:
    carry()
    (made,) = deployments(server, project)
    carry()
    (again,) = deployments(server, project)
    assert (again["id"], again["updated"]) == (made["id"], made["updated"])

    rest.call(
        f"{server.url}/deployments/",
        {"name": made["name"], "flow_id": made["flow_id"], "entrypoint": "flows/old.py:toy", "path": str(project)},
    )
    waiting = carry()[1].record.flow_run_id
    (mended,) = deployments(server, project)
    assert (mended["id"], mended["entrypoint"]) == (made["id"], ENTRYPOINT)
    assert mended["pull_steps"] == [
        {"prefect.deployments.steps.set_working_directory": {"directory": str(project)}},
    ]

    delete(f"{server.url}/deployments/{made['id']}")
    assert carry(waiting)[1].record.flow_run_id != waiting
    assert state(server, waiting) == ("CANCELLED", "Cancelled")
    (new,) = deployments(server, project)
    assert new["id"] != made["id"]
    with pytest.raises(HTTPError):
        rest.call(f"{server.url}/deployments/{made['id']}")


def test_a_wrong_parameter_is_told_before_anything_is_published(project: Path, server: Server, carry: Carry) -> None:
    with pytest.raises(UsageError, match="flow toy cannot be called so"):
        carry(colour="red")
    assert deployments(server, project) == []


# ---- the local server ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_on_the_local_server_it_ends_well_and_a_new_flow_run_goes_on(project: Path) -> None:
    local = ensure_server(project)
    try:
        with RunLog(project).start("toy") as first:
            result = run_suspendable(Call(ENTRYPOINT), run=first, server=local, limits=LIMITS)
        assert result == {"outcome": "waiting"}
        assert (first.record.state, first.record.exit_code) == ("finished", 5)
        ended = flow_run(local, first.record.flow_run_id)
        assert ended["deployment_id"] is None
        assert (ended["state_type"], ended["state_name"]) == ("COMPLETED", "Waiting for approval")
        assert ended["state"]["message"] == "releases:/toy/1 waits for a yes"
        (project / "approval").touch()
        with RunLog(project).start("toy") as second:
            call = Call(ENTRYPOINT, {}, first.record.flow_run_id)
            result = run_suspendable(call, run=second, server=local, limits=LIMITS)
        assert (result, second.record.exit_code) == ({"outcome": "released"}, 0)
        assert second.record.flow_run_id != first.record.flow_run_id
        assert done(project) == ["build", "deploy", "roll"]
    finally:
        stop_server(project)
