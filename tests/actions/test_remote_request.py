"""What a job is asked for with: addresses that pods reach, secrets that stay secret, settings that go along, names."""

from __future__ import annotations

import json
import logging
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ridgeway.actions import remote_request, remote_story
from ridgeway.actions.remote_request import Prepared, RemoteCall, carried, job_request, prepare
from ridgeway.actions.remote_story import Begun, Ended, Said, Steps
from ridgeway.artifacts import Image
from ridgeway.credentials import make_password
from ridgeway.errors import BadData, Permanent, Transient, UsageError
from ridgeway.project import Project, open_project
from ridgeway.run_log import StepRecord
from ridgeway.settings import load

IMAGE = Image("registry.example/d", f"sha256:{'1' * 64}", "", "", "", "")
SETTINGS = """
[project]
name = "diabetes"
[data]
source = "data/diabetes.csv"
[training]
seed = 3
[registry]
uri = "{registry}"
[instance_types]
cpu-small = {{ cpu = 1, memory_mib = 512 }}
gpu-small = {{ cpu = 1, memory_mib = 1024 }}
[targets.qa]
[targets.production]
"""
SERVER = "https://mlflow.example"


def made(folder: Path, *overrides: str, registry: str = SERVER) -> Project:
    """A committed project."""
    folder.mkdir(exist_ok=True)
    (folder / "ridgeway.toml").write_text(SETTINGS.format(registry=registry))
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data/diabetes.csv").write_text("a\n1\n")
    (folder / ".gitignore").write_text(".ridgeway/\nlocal.csv\n")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(folder), *words], check=False, capture_output=True)
    return Project(folder, load(folder, overrides=overrides, environ={}))


def prepared(project: Project, environ: dict[str, str] | None = None, **call: Any) -> Prepared:
    return prepare(project, RemoteCall("gpu-small", **call), environ or {})


@pytest.mark.parametrize(
    ("registry", "overrides", "found"),
    [
        (SERVER, (), (SERVER, "auto")),
        (SERVER, ("jobs.registry=http://10.0.0.7:5050",), ("http://10.0.0.7:5050", "auto")),
        (SERVER, ("servers.prefect=https://prefect.example/api",), (SERVER, "https://prefect.example/api")),
        (
            "sqlite:///.ridgeway/mlflow.db",
            ("jobs.registry=http://10.0.0.7:5050", "jobs.prefect=http://10.0.0.7:4200/api"),
            ("http://10.0.0.7:5050", "http://10.0.0.7:4200/api"),
        ),
    ],
)
def test_servers_as_pods_see_them(
    tmp_path: Path, registry: str, overrides: tuple[str, ...], found: tuple[str, str]
) -> None:
    servers = prepared(made(tmp_path, *overrides, registry=registry)).servers
    assert (servers.registry, servers.prefect) == found


@pytest.mark.parametrize(
    ("registry", "setting"),
    [
        ("sqlite:///.ridgeway/mlflow.db", "registry.uri"),
        ("http://127.0.0.1:5050", "registry.uri"),
        (SERVER, "jobs.registry"),
    ],
)
def test_a_registry_that_pods_cannot_reach_is_refused(tmp_path: Path, registry: str, setting: str) -> None:
    more = ("jobs.registry=http://localhost:5050",) if setting == "jobs.registry" else ()
    with pytest.raises(UsageError, match="cannot reach the registry") as found:
        prepared(made(tmp_path, *more, registry=registry))
    assert found.value.exit_code == 2
    assert found.value.where.startswith(setting)
    assert "ridgeway up --host" in found.value.next_step


def test_a_flow_run_needs_its_own_server(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot reach the Prefect server"):
        prepared(made(tmp_path), flow_run_id="1")


def test_instance_types_that_are_nearly_right(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no instance type 'gpu-smal'") as found:
        prepare(made(tmp_path), RemoteCall("gpu-smal"), {})
    assert found.value.problem == "did you mean gpu-small?"


@pytest.mark.parametrize(
    ("overrides", "source", "where"),
    [
        ((), "", ""),
        ((), "https://data.example/november.csv", ""),
        ((), "data/diabetes.csv", ""),
        ((), "/somewhere/november.csv", "--data"),
        ((), "local.csv", "--data"),
        (("data.source=local.csv",), "", "data.source"),
        (("data.source=s3://bucket/rows",), "", ""),
    ],
)
def test_data_that_pods_cannot_see_is_refused(
    tmp_path: Path, overrides: tuple[str, ...], source: str, where: str
) -> None:
    project = made(tmp_path, *overrides)
    if not where:
        assert prepared(project, parameters={"source": source})
        return
    with pytest.raises(UsageError, match="cannot see this machine's data") as found:
        prepared(project, parameters={"source": source})
    assert found.value.where.startswith(where)


def test_secrets_are_in_the_secret_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("quiet-river\n")
    project = made(tmp_path / "p", 'jobs.secrets=["WAREHOUSE"]')
    environ = {"MLFLOW_TRACKING_TOKEN": "quiet-river", "WAREHOUSE_FILE": str(tmp_path / "password"), "OTHER": "x"}
    ready = prepared(project, environ)
    assert ready.secrets == {
        "MLFLOW_TRACKING_TOKEN": "quiet-river",
        "WAREHOUSE": "quiet-river",
    }
    request = job_request(ready, IMAGE, "3f2a")
    assert request.secrets == ("MLFLOW_TRACKING_TOKEN", "WAREHOUSE")
    assert "quiet-river" not in repr(request) + repr(ready)
    with pytest.raises(UsageError, match="WAREHOUSE has no value"):
        prepared(project, {})


def test_the_password_of_this_machines_servers_goes_to_those_that_operations_named(tmp_path: Path) -> None:
    named = ("jobs.registry=http://10.0.0.7:5050", "jobs.prefect=http://10.0.0.7:4200/api")
    project = made(tmp_path, *named)
    password = make_password(project.state)
    assert prepared(project).secrets == {
        "MLFLOW_TRACKING_USERNAME": "ridgeway",
        "MLFLOW_TRACKING_PASSWORD": password,
        "PREFECT_API_AUTH_STRING": f"ridgeway:{password}",
    }
    assert prepared(made(tmp_path)).secrets == {}


def test_settings_that_decide_the_outcome_go_along(tmp_path: Path) -> None:
    overrides = ("training.seed=7", 'training.parameters={ alpha = 2.5, "a b" = [1, "x"] }', "servers.idle_minutes=3")
    project = made(tmp_path, *overrides)
    given = [*carried(project)]
    assert given == ["training.seed=7", 'training.parameters={ "alpha" = 2.5, "a b" = [1, "x"] }']
    again = Project(tmp_path, load(tmp_path, overrides=given, environ={}))
    assert again.settings.training == project.settings.training


def test_the_same_command_asks_for_the_same_job(tmp_path: Path) -> None:
    project = made(tmp_path)
    first = job_request(prepared(project), IMAGE, "1")
    assert first.name == job_request(prepared(project), IMAGE, "2").name
    assert first.name.startswith("diabetes-retraining-")
    assert len(first.name) <= 52
    others = [
        job_request(prepared(project, flow_run_id="", parameters={"source": "data/diabetes.csv"}), IMAGE, "1"),
        job_request(prepare(project, RemoteCall("cpu-small"), {}), IMAGE, "1"),
        job_request(prepared(made(tmp_path, "training.seed=7")), IMAGE, "1"),
    ]
    assert len({first.name, *(one.name for one in others)}) == 4
    assert str(tmp_path) not in repr(first)


def test_settings_of_this_machine_do_not_reach_the_flow(tmp_path: Path) -> None:
    parameters = {"overrides": ["registry.uri=sqlite:///x.db", "training.seed=9"]}
    request = job_request(prepared(made(tmp_path), parameters=parameters), IMAGE, "1")
    assert json.loads(request.arguments[0])["parameters"] == {"overrides": ["training.seed=9"]}


# ---- what the pod tells ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        Said(1767225600.25, "WARNING", "ridgeway.check_data", "check_data", "age: shifted\nby much"),
        Steps((StepRecord("load_data", "finished", "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:01.000Z"),)),
        Begun("3f2a", "id", "http://prefect.example/runs/flow-run/id"),
        Ended(3, {"outcome": "reject", "exit_code": 3}),
        Ended(65, error={"kind": "BadData", "summary": "no rows"}, run="3f2a"),
    ],
)
def test_what_is_written_is_read(event: remote_story.Event) -> None:
    line = remote_story.write(event)
    assert "\n" not in line
    assert remote_story.read(line) == event


@pytest.mark.parametrize("line", ["", "Killed", "{}", '{"ridgeway": "song"}', '{"ridgeway": "log"}', "{broken", "[1]"])
def test_what_others_write_is_no_event(line: str) -> None:
    assert remote_story.read(line) is None


def test_a_log_record_comes_back_as_it_was() -> None:
    record = logging.LogRecord("ridgeway.train_model", logging.WARNING, "", 0, "%d rows", (3,), None)
    again = remote_story.record_of(remote_story.said_by(record, "train_model"))
    assert (again.name, again.levelno, again.getMessage()) == ("ridgeway.train_model", logging.WARNING, "3 rows")
    assert again.created == record.created


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (BadData("no rows", where="data.csv:1", next_step="mend it"), BadData, 65),
        (type("Own", (Transient,), {})("away"), Transient, 75),
        (KeyError("x"), Permanent, 1),
    ],
)
def test_an_error_comes_back_as_it_was_raised(error: Exception, kind: type[Exception], code: int) -> None:
    again = remote_story.error_of(Ended(code, error=remote_story.facts_of(error)))
    assert type(again) is kind
    assert again.exit_code == code
    if isinstance(error, BadData):
        assert str(again) == str(error)


def test_lines_that_a_node_has_lost_come_from_the_log_that_the_run_has_kept() -> None:
    kept = remote_story.read_kept(
        "2026-01-01T00:00:00.250Z INFO    load_data: 3 rows\n"
        "2026-01-01T00:00:01.000Z WARNING check_data: shifted\n"
        f"{' ' * 26}by much\n"
        "2026-01-01T00:00:02.000Z WARNING -: a library's\n"
        "2026-01-01T00:00:03.000Z INFO    -: 3 rows\n"
    )
    assert [(said.time, said.level, said.part, said.step, said.message) for said in kept] == [
        (1767225600.25, "INFO", "ridgeway.load_data", "load_data", "3 rows"),
        (1767225601.0, "WARNING", "ridgeway.check_data", "check_data", "shifted\nby much"),
        (1767225602.0, "WARNING", "ridgeway.job", "", "a library's"),
        (1767225603.0, "INFO", "ridgeway.job", "", "3 rows"),
    ]
    heard = [Said(0, "INFO", "ridgeway.load_data", "load_data", "3 rows")]
    assert [said.message for said in remote_story.unheard(kept, heard)] == ["shifted\nby much", "3 rows"]
    assert remote_story.unheard(kept, kept) == []


@pytest.mark.parametrize("setting", ["jobs.registry", "jobs.prefect"])
def test_passwords_do_not_stand_in_addresses(tmp_path: Path, setting: str) -> None:
    with pytest.raises(UsageError, match=f"a password stands in {setting}"):
        made(tmp_path, f"{setting}=https://me:quiet-river@example.org")


def test_a_published_clone_is_the_same_home(tmp_path: Path) -> None:
    project = made(tmp_path / "home")
    (project.root / ".ridgeway").mkdir()
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / ".ridgeway").symlink_to(project.root / ".ridgeway")
    (clone / "ridgeway.toml").write_text((project.root / "ridgeway.toml").read_text())
    assert remote_request.home_of(open_project(clone)) == remote_request.home_of(project)
