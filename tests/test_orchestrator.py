"""Flows against one real local server: results, retries, time-outs, interrupts, deaths, and what is left of it all."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ridgeway import artifacts
from ridgeway.errors import BadData, Busy, NotFound, Permanent, Transient, Unreachable, UsageError
from ridgeway.orchestrator import (
    Server,
    StepLimits,
    ensure_server,
    mark_dead_runs,
    rest,
    run_flow,
    running_server,
    stop_server,
)
from ridgeway.orchestrator.environment import environment, local_server, without_proxy
from ridgeway.orchestrator.result_json import decode, encode
from ridgeway.run_log import Process, Run, RunLog, RunRecord, is_alive

pytestmark = pytest.mark.timeout(120)

STEPS = '''
"""Steps that do what the tests need."""
import logging
import os
import time
from pathlib import Path

from ridgeway.artifacts import Column, Dataset
from ridgeway.errors import BadData, Busy

logger = logging.getLogger("ridgeway.steps")


def load_data(rows: int) -> Dataset:
    logger.info("%d rows in %s", rows, Path.cwd().name)
    return Dataset("toy", "sha256:" + "0" * 64, rows, (Column("a", "number"),), "toy.csv")


def count_rows(data: Dataset) -> dict[str, object]:
    assert isinstance(data, Dataset)
    return {"rows": data.rows, "of": data}


def register_model(times: int) -> int:
    """Succeeds the third time."""
    tried = Path("tried")
    tried.write_text(tried.read_text() + "x" if tried.exists() else "x")
    if len(tried.read_text()) < times:
        raise Busy("the database is locked")
    return len(tried.read_text())


def check_data() -> None:
    tried = Path("checked")
    tried.write_text(tried.read_text() + "x" if tried.exists() else "x")
    raise BadData("toy.csv is refused", where="toy.csv", problem="no rows")


def wait_for_ever() -> None:
    logger.info("waiting")
    Path("waiting").touch()
    for _ in range(6000):
        time.sleep(0.01)
'''

FLOWS = """
from prefect import flow

from ridgeway.orchestrator import as_task, emit, show_markdown
from steps.toy import check_data, count_rows, load_data, register_model, wait_for_ever


@flow(name="toy")
def toy(rows: int = 5):
    data = as_task(load_data)(rows)
    counted = as_task(count_rows)(data)
    emit("ridgeway.model.registered", "models:/toy/1", {"rows": counted["rows"]})
    show_markdown("Toy report", "# Five rows")
    return data


@flow
def busy(times: int):
    return as_task(register_model)(times)


@flow
def bad():
    as_task(check_data)()


@flow
def slow(timeout_seconds: float | None = None):
    as_task(wait_for_ever, timeout_seconds=timeout_seconds)()


not_a_flow = 1
"""

RUN_IT = """
import sys
from pathlib import Path
from ridgeway.orchestrator import ensure_server, run_flow
from ridgeway.run_log import RunLog

root = Path(sys.argv[1])
server = ensure_server(root, wait=False)
with RunLog(root).start("slow") as run:
    run_flow("flows/toy.py:slow", {}, run=run, server=server)
"""


def write_project(root: Path) -> Path:
    for folder, content in (("steps", STEPS), ("flows", FLOWS)):
        (root / folder).mkdir(parents=True)
        (root / folder / "__init__.py").touch()
        (root / folder / "toy.py").write_text(content, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[Server]:
    environment_before = dict(os.environ)
    said: list[str] = []
    began = time.monotonic()
    up = ensure_server(project, say=said.append, wait=False)
    assert time.monotonic() - began < 10
    assert said == [
        "starting the local Prefect server; it stays for 15 idle minutes, and `ridgeway down` stops it sooner"
    ]
    up.wait(said.append)
    yield up
    stop_server(project)
    os.environ.clear()
    os.environ.update(environment_before)


Carry = Callable[..., tuple[Any, Run]]
LIMITS = StepLimits(timeout_seconds=60, retries=2, retry_delay_seconds=0.1)


@pytest.fixture
def carry(project: Path, server: Server) -> Carry:
    """Carries a flow out and gives its result and its run's record."""

    def carry_out(flow: str, **parameters: Any) -> tuple[Any, Run]:
        with RunLog(project).start(flow) as run:
            result = run_flow(f"flows/toy.py:{flow}", parameters, run=run, server=server, limits=LIMITS)
        return result, run

    return carry_out


def last_run(project: Path) -> RunRecord:
    return RunLog(project).records()[0]


def on_server(server: Server, record: RunRecord) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The flow run and its task runs, as the server has them."""
    flow_run = rest.call(f"{server.url}/flow_runs/{record.flow_run_id}")
    wanted = {"flow_runs": {"id": {"any_": [record.flow_run_id]}}}
    return flow_run, rest.call(f"{server.url}/task_runs/filter", wanted)


def eventually(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """What the condition gives as soon as that is true; fails after some seconds."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.1)
    return found


# ---- a flow that goes well -------------------------------------------------------------------------------------------


def test_a_flow_returns_what_its_last_step_made(project: Path, server: Server, carry: Carry) -> None:
    before = Path.cwd()
    result, run = carry("toy", rows=7)
    assert isinstance(result, artifacts.Dataset)
    assert (result.rows, Path.cwd(), str(project) in sys.path) == (7, before, False)
    record = last_run(project)
    assert (record.state, record.exit_code, record.produced) == ("finished", 0, (result.handle,))
    assert [(step.name, step.state) for step in record.steps] == [("load_data", "finished"), ("count_rows", "finished")]
    flow_run, _ = on_server(server, record)
    assert (flow_run["name"], flow_run["state_type"]) == (run.id[:12], "COMPLETED")
    assert flow_run["parameters"] == {"rows": 7}
    assert record.flow_run_url == f"{server.page}/runs/flow-run/{record.flow_run_id}"


def test_defaults_are_filled_in_and_unknown_parameters_refused(carry: Carry) -> None:
    assert carry("toy")[0].rows == 5
    with pytest.raises(UsageError, match="flow toy cannot be called so"):
        carry("toy", colour="red")


def test_tasks_logs_events_and_pages_reach_the_server(server: Server, carry: Carry) -> None:
    _, run = carry("toy", rows=3)
    wanted = {"flow_runs": {"id": {"any_": [run.record.flow_run_id]}}}

    def tasks() -> Any:
        states = {task["name"].rpartition("-")[0]: task["state_type"] for task in on_server(server, run.record)[1]}
        return states == {"load_data": "COMPLETED", "count_rows": "COMPLETED"}

    eventually(tasks)
    pages = rest.call(f"{server.url}/artifacts/filter", {**wanted, "artifacts": {"key": {"any_": ["toy-report"]}}})
    assert [page["data"] for page in pages] == ["# Five rows"]

    def logged() -> bool:  # a busy machine sends them a little later
        logs = rest.call(f"{server.url}/logs/filter", {"logs": {"flow_run_id": {"any_": [run.record.flow_run_id]}}})
        return any("3 rows in" in line["message"] for line in logs)

    eventually(logged)

    def event() -> Any:
        found = rest.call(
            f"{server.url}/events/filter", {"filter": {"event": {"name": ["ridgeway.model.registered"]}}}
        )["events"]
        return [one for one in found if one["payload"] == {"rows": 3}]

    assert eventually(event)[0]["resource"]["prefect.resource.id"] == "models:/toy/1"


def test_the_result_is_kept_as_json_and_comes_back_equal(project: Path, carry: Carry) -> None:
    results = project / ".ridgeway/prefect/results"
    known = set(results.iterdir()) if results.exists() else set()
    data, _ = carry("toy", rows=11)
    kept = [path.read_text(encoding="utf-8") for path in set(results.iterdir()) - known]
    values = [json.loads(one, object_hook=decode) for one in kept]
    assert values == [data]


def test_only_json_and_nouns_can_be_kept() -> None:
    assert encode(BadData("x")) == {"error": "ridgeway.errors.BadData", "message": "x"}
    with pytest.raises(TypeError, match=r"a step returned pathlib\.PosixPath"):
        encode(Path())


# ---- errors, retries, time-outs --------------------------------------------------------------------------------------


def test_a_transient_error_that_stays_comes_out_in_the_end(project: Path, carry: Carry) -> None:
    (project / "tried").unlink(missing_ok=True)
    with pytest.raises(Busy, match="the database is locked"):
        carry("busy", times=9)
    record = last_run(project)
    assert (record.state, record.exit_code, record.steps[0].attempts) == ("failed", 75, 3)


def test_a_transient_error_is_tried_again(project: Path, carry: Carry) -> None:
    (project / "tried").unlink(missing_ok=True)
    result, _ = carry("busy", times=2)
    assert result == 2
    assert [(step.name, step.state, step.attempts) for step in last_run(project).steps] == [
        ("register_model", "finished", 2)
    ]


def test_a_permanent_error_is_not_and_comes_out_as_it_was(
    project: Path, server: Server, carry: Carry, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadData) as caught:
        carry("bad")
    assert str(caught.value) == "toy.csv is refused\n  where     toy.csv\n  problem   no rows"
    assert (project / "checked").read_text() == "x"
    record = last_run(project)
    assert (record.state, record.exit_code, record.sentence) == ("failed", 65, "toy.csv is refused")
    flow_run, _ = on_server(server, record)
    assert flow_run["state_type"] == "FAILED"
    assert flow_run["state"]["message"].startswith("Flow run encountered an exception: BadData: toy.csv is refused")
    assert capfd.readouterr() == ("", ""), "the terminal belongs to the command line"


def test_a_step_that_takes_too_long_is_ended(project: Path, server: Server, carry: Carry) -> None:
    began = time.monotonic()
    with pytest.raises(Permanent, match="wait_for_ever took too long and was ended") as caught:
        carry("slow", timeout_seconds=0.3)
    assert time.monotonic() - began < 20
    assert caught.value.where == "flows.timeout_seconds"
    assert last_run(project).state == "failed"
    assert on_server(server, last_run(project))[0]["state_type"] == "FAILED"


def test_limits_are_those_of_the_run_unless_the_flow_says_otherwise(project: Path) -> None:
    from ridgeway.orchestrator.execution import load_flow
    from ridgeway.orchestrator.tasks import as_task

    def judge_candidate() -> None: ...

    (project / "flows/limits.py").write_text(
        "from prefect import flow\nfrom ridgeway.orchestrator import as_task\n"
        "def step(): ...\nusual, own = as_task(step), as_task(step, timeout_seconds=9, retries=0)\n"
        "@flow\ndef limits(): ...\n"
    )
    sys.path.insert(0, str(project))
    try:
        with StepLimits(timeout_seconds=60, retries=3, retry_delay_seconds=2).in_force():
            load_flow(project, "flows/limits.py:limits")
    finally:
        sys.path.remove(str(project))
    usual, own = sys.modules["flows.limits"].usual, sys.modules["flows.limits"].own
    assert (usual.timeout_seconds, usual.retries, usual.retry_delay_seconds) == (60, 3, [2, 4, 8])
    assert (own.timeout_seconds, own.retries) == (9, 0)
    assert as_task(judge_candidate).retries == StepLimits().retries
    with pytest.raises(ValueError, match="negative"):
        as_task(judge_candidate, timeout_seconds=-1)


# ---- flow files that cannot be run -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entrypoint", "message"),
    [
        ("flows/none.py:none", "there is no such file"),
        ("flows/toy.py:tyo", "it has no flow 'tyo'\n  expected  one of toy, busy, bad, slow"),
        ("flows/toy.py:not_a_flow", "not_a_flow is not a flow"),
        ("flows/broken.py:broken", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("flows/odd.py:odd", "SyntaxError"),
    ],
)
def test_a_flow_that_cannot_be_loaded_is_a_usage_error(
    project: Path, server: Server, entrypoint: str, message: str
) -> None:
    (project / "flows/broken.py").write_text("\nimport no_such_module\n")
    (project / "flows/odd.py").write_text("def odd(:\n")
    with pytest.raises(UsageError) as caught, RunLog(project).start("odd") as run:
        run_flow(entrypoint, {}, run=run, server=server)
    assert message in str(caught.value)
    if "broken" in entrypoint:
        assert caught.value.where.endswith("flows/broken.py:2")


def test_modules_of_another_project_do_not_win(
    project: Path, carry: Carry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("flows", "steps"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("raise RuntimeError('the wrong one')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    carry("toy")
    assert Path(sys.modules["steps.toy"].__file__ or "").is_relative_to(project)


# ---- ends from outside -----------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(project: Path, server: Server) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of a flow's step."""
    (project / "waiting").unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", RUN_IT, str(project)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with process:
        eventually((project / "waiting").exists, 60)
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_over_everywhere(
    project: Path, server: Server, waiting: subprocess.Popen[str], number: signal.Signals
) -> None:
    waiting.send_signal(number)
    output, _ = waiting.communicate(timeout=30)
    assert output.rstrip().endswith("KeyboardInterrupt")
    record = last_run(project)
    assert (record.state, record.exit_code, record.steps[0].state) == ("interrupted", 130, "interrupted")
    flow_run, _ = on_server(server, record)
    assert flow_run["state_type"] == "CRASHED"


def test_a_killed_run_is_crashed_within_seconds(project: Path, server: Server, waiting: subprocess.Popen[str]) -> None:
    waiting.kill()

    def over() -> Any:
        record = last_run(project)
        flow_run, tasks = on_server(server, record)
        return record.state == "crashed" and {one["state_type"] for one in (flow_run, *tasks)} == {"CRASHED"}

    eventually(over, 10)
    assert last_run(project).sentence == "the process was gone without a word, in wait_for_ever"
    assert "waiting" in next(RunLog(project).log_lines(last_run(project).id, "wait_for_ever"))


def test_a_run_that_died_before_it_heard_its_id_is_found_by_its_name(project: Path, server: Server) -> None:
    flow_id = rest.call(f"{server.url}/flows/", {"name": "retraining"})["id"]
    dead = dataclasses.replace(last_run(project), id="d" * 32, state="running", flow_run_id="", process=Process.of(0))
    flow_run = rest.call(
        f"{server.url}/flow_runs/", {"flow_id": flow_id, "name": "d" * 12, "state": {"type": "RUNNING"}}
    )
    log = RunLog(project)
    (log.folder / dead.id).mkdir()
    (log.folder / ".active" / dead.id).touch()
    log._save(dead)
    mark_dead_runs(project, server.url)
    assert rest.call(f"{server.url}/flow_runs/{flow_run['id']}")["state_type"] == "CRASHED"
    assert log.dead() == log.unreported() == []


# ---- the server ------------------------------------------------------------------------------------------------------


def test_a_server_that_runs_is_used_again_at_once(project: Path, server: Server) -> None:
    said: list[str] = []
    began = time.monotonic()
    again = ensure_server(project, say=said.append)
    assert time.monotonic() - began < 1
    assert (again.url, again.pid, again.started, said) == (server.url, server.pid, False, [])
    assert running_server(project) == again


def test_the_pages_of_the_server_ask_the_server_that_they_come_from(server: Server) -> None:
    assert rest.call(f"{server.page}/ui-settings")["api_url"] == server.url


def test_a_server_elsewhere_is_used_by_its_url(project: Path, server: Server) -> None:
    for url in (server.page, server.url, f"{server.url}/"):
        elsewhere = ensure_server(project, setting=url)
        assert (elsewhere.url, elsewhere.is_local) == (server.url, False)


def test_a_flow_runs_on_a_server_named_by_its_url(project: Path, server: Server) -> None:
    elsewhere = ensure_server(project, setting=server.page)
    with RunLog(project).start("toy") as run:
        assert run_flow("flows/toy.py:toy", {"rows": 2}, run=run, server=elsewhere).rows == 2
    assert on_server(server, last_run(project))[0]["state_type"] == "COMPLETED"


def test_a_server_that_wants_to_know_its_clients_is_told() -> None:
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, temporary_settings

    from ridgeway.orchestrator.execution import _headers

    with temporary_settings({PREFECT_API_KEY: "k"}):
        assert _headers() == {"Authorization": "Bearer k"}
    with temporary_settings({PREFECT_API_AUTH_STRING: "a:b"}):
        assert _headers() == {"Authorization": "Basic YTpi"}


@pytest.mark.parametrize(
    ("setting", "error"), [("http://127.0.0.1:9", Unreachable), ("automatic", UsageError), ("ftp://x", UsageError)]
)
def test_a_setting_that_leads_nowhere_is_named(tmp_path: Path, setting: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"servers\.prefect") as caught:
        ensure_server(tmp_path, setting=setting)
    assert isinstance(caught.value, Transient) == (error is Unreachable)


@pytest.mark.slow
def test_many_at_once_lose_nothing(server: Server) -> None:
    """SQLite is locked all the time here; no request may be answered with 503, upon which clients sleep for seconds."""
    from concurrent.futures import ThreadPoolExecutor

    flow_id = rest.call(f"{server.url}/flows/", {"name": "many"})["id"]

    def create(number: int) -> str:
        run = rest.call(f"{server.url}/flow_runs/", {"flow_id": flow_id, "name": f"many-{number}"}, timeout_seconds=30)
        rest.call(f"{server.url}/flow_runs/{run['id']}/set_state", {"state": {"type": "RUNNING"}}, timeout_seconds=30)
        return str(run["id"])

    with ThreadPoolExecutor(16) as pool:
        created = set(pool.map(create, range(80)))
    assert rest.call(f"{server.url}/flow_runs/count", {"flows": {"id": {"any_": [flow_id]}}}) == len(created) == 80


def test_stopping_leaves_no_process_and_no_state_but_the_logs(project: Path, server: Server, carry: Carry) -> None:
    """Comes last in this file: it stops the server that all others use."""
    carry("toy")
    from ridgeway.orchestrator.state_file import read_state

    state = read_state(project)
    assert state is not None
    assert state.server is not None
    assert stop_server(project)
    assert not is_alive(state.supervisor)
    assert not is_alive(state.server)
    assert {path.name for path in (project / ".ridgeway/prefect").iterdir()} <= {
        "memo_store.toml", "prefect.db", "prefect.db-shm", "prefect.db-wal", "results", "server.log",
    }  # fmt: skip
    assert running_server(project) is None
    assert not stop_server(project)
    run_id = last_run(project).id
    assert "5 rows in" in next(RunLog(project).log_lines(run_id, "load_data"))
    with pytest.raises(NotFound):
        RunLog(project).log_lines(run_id, "train_model")


# ---- settings --------------------------------------------------------------------------------------------------------


def test_nothing_of_another_prefect_reaches_the_local_server() -> None:
    inherited = {"PATH": "/bin", "PREFECT_API_URL": "https://elsewhere", "PREFECT_SERVER_API_AUTH_STRING": "a:b"}
    made = local_server(Path("/p"), "http://127.0.0.1:5/api", inherited)
    assert made["PATH"] == "/bin"
    assert not {"PREFECT_API_URL", "PREFECT_SERVER_API_AUTH_STRING"} & set(made)
    assert made["PREFECT_API_DATABASE_CONNECTION_URL"] == "sqlite+aiosqlite:////p/.ridgeway/prefect/prefect.db"


def test_nothing_is_pickled_and_nothing_phones_home() -> None:
    made = environment(Path("/p"))
    assert made["PREFECT_RESULTS_DEFAULT_SERIALIZER"] == "json"
    assert (made["DO_NOT_TRACK"], made["PREFECT_SERVER_ANALYTICS_ENABLED"]) == ("1", "false")
    assert without_proxy({"no_proxy": "localhost, x"})["NO_PROXY"] == "localhost,x,127.0.0.1"


def test_the_door_is_light() -> None:
    heavy = "prefect", "pydantic", "uvicorn", "mlflow", "pandas"
    code = (
        "import sys; from ridgeway.orchestrator import ensure_server, mark_dead_runs, stop_server;"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
