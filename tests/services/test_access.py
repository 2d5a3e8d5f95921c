"""Who may ask the servers of `ridgeway up`, as the settings have it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ridgeway import credentials
from ridgeway.credentials import Credentials
from ridgeway.errors import UsageError
from ridgeway.services.access import Access, client_variables, decide, mlflow_variables, prefect_variables, prepare
from ridgeway.services.locks import Locks
from ridgeway.services.plan import Plan, make_plan
from ridgeway.settings import ServersSection, Settings

ME = Credentials("ridgeway", "quiet-river-7431")


def test_on_loopback_nobody_is_asked(tmp_path: Path) -> None:
    access = prepare(Settings(), tmp_path, environ={"RIDGEWAY_SERVERS__PASSWORD": "quiet-river-7431"})
    assert access.credentials is None
    assert list(tmp_path.iterdir()) == []
    assert client_variables(access) == {}


def test_beyond_it_everybody_is_with_a_password_that_is_made(tmp_path: Path) -> None:
    chosen = Settings(servers=ServersSection(host="0.0.0.0"))
    said: list[str] = []
    assert prepare(chosen, tmp_path, only_plan=True, environ={}).credentials is None
    assert list(tmp_path.iterdir()) == []
    access = prepare(chosen, tmp_path, environ={}, say=said.append)
    assert access.credentials is not None
    assert said == [f"made a password for both servers: {credentials.password_file(tmp_path)}"]
    assert prepare(chosen, tmp_path, environ={}, say=said.append) == access
    given = prepare(chosen, tmp_path, environ={"RIDGEWAY_SERVERS__PASSWORD": "quiet-river-7431"})
    assert given.credentials == ME


def test_off_only_when_said_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    chosen = Settings(servers=ServersSection(host="0.0.0.0", authentication="off"))
    assert prepare(chosen, tmp_path, environ={}).credentials is None
    assert "anyone who reaches 0.0.0.0 may use both servers" in caplog.text


@pytest.mark.parametrize("password", ["short", "password1234", "quiet-rïver-7431", "quiet\triver-7431"])
def test_passwords_that_are_refused(password: str) -> None:
    with pytest.raises(UsageError) as caught:
        decide(ServersSection(authentication="on"), Credentials("ridgeway", password))
    assert password not in str(caught.value)


@pytest.mark.parametrize("name", ["https://mlflow.example", "*", "MLflow.example", "", "a b"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(UsageError, match="names in small letters"):
        decide(ServersSection(allowed_hosts=(name,)), None)


def test_what_each_server_is_told() -> None:
    access = Access(ME, ("localhost", "hub", "mlflow.example"), ("mlflow.example",))
    prefect = prefect_variables(access, addresses=("http://127.0.0.1:4200",))
    assert prefect["PREFECT_SERVER_API_AUTH_STRING"] == ME.text
    expected = "http://127.0.0.1:4200,http://mlflow.example,https://mlflow.example"
    assert prefect["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == expected
    assert prefect["PREFECT_SERVER_UI_API_URL"] == "/api"
    # Prefect asks itself: a browser must get its pages before it can ask for a password.
    assert json.loads(prefect["_RIDGEWAY_GUARD"])["secret"] == ""
    mlflow = json.loads(mlflow_variables(access)["_RIDGEWAY_GUARD"])
    assert (mlflow["secret"], mlflow["names"]) == (ME.text, ["localhost", "hub", "mlflow.example"])


def planned(root: Path, settings: Settings, access: Access, **environ: str) -> Plan:
    return make_plan(root, settings, environ, locks=Locks(access, "river-of-data-22"))


def test_secrets_reach_those_who_need_them_and_nobody_else(tmp_path: Path) -> None:
    database = {"database": "postgresql://ridgeway@db.example/team"}
    chosen = Settings(servers=ServersSection(**database), registry={"uri": "http://127.0.0.1:5050"})
    inherited = {"RIDGEWAY_SERVERS__DATABASE_PASSWORD": "river-of-data-22", "PGPASSWORD": "river-of-data-22"}
    plan = planned(tmp_path, chosen, Access(ME), **inherited)
    holders = {one.name for one in plan.services if "river-of-data-22" in json.dumps(dict(one.environment))}
    assert holders == {"prefect", "mlflow"}
    assert "river-of-data-22" not in json.dumps(dict(plan.zygote_environment))
    by_name = {one.name: one for one in plan.services}
    assert by_name["worker"].environment["PREFECT_API_AUTH_STRING"] == ME.text
    for one in plan.services:
        assert "quiet-river" not in json.dumps([one.arguments, one.address, one.health])
    mlflow = by_name["mlflow"].environment
    assert mlflow["_MLFLOW_SERVER_FILE_STORE"] == "postgresql+psycopg://ridgeway@db.example:5432/team_mlflow"
    assert mlflow["_MLFLOW_SERVER_ARTIFACT_DESTINATION"] == str(tmp_path / ".ridgeway" / "artifacts")
    url = "postgresql+asyncpg://ridgeway@db.example:5432/team_prefect"
    assert by_name["prefect"].environment["PREFECT_API_DATABASE_CONNECTION_URL"] == url


def test_a_registry_elsewhere_needs_no_server_here(tmp_path: Path) -> None:
    servers = ServersSection(database="postgresql://ridgeway@db.example/team")
    chosen = Settings(servers=servers, registry={"uri": "https://mlflow.example"})
    assert "mlflow" not in {one.name for one in planned(tmp_path, chosen, Access()).services}
