"""Which services there are, and what each is told; nothing is started."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from ridgeway.errors import UsageError
from ridgeway.run_log import Process
from ridgeway.services import launch
from ridgeway.services import state as states
from ridgeway.services.claims import Claims
from ridgeway.services.plan import Plan, from_json, make_plan, to_json
from ridgeway.services.state import ServiceState, UpState
from ridgeway.settings import load


def plan_of(root: Path, *overrides: str, inherited: dict[str, str] | None = None) -> Plan:
    (root / "ridgeway.toml").write_text('[project]\nname = "toy"\n')
    return make_plan(root, load(root, overrides=overrides).settings, {"LANG": "C"} if inherited is None else inherited)


def names(plan: Plan) -> list[str]:
    return [service.name for service in plan.services]


def test_everything_by_default(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert names(plan) == ["prefect", "mlflow", "worker", "watcher", "publisher"]
    assert plan.prefect_url == "http://127.0.0.1:4200/api"
    assert {one.name: (one.host, one.port) for one in plan.services if one.port} == {
        "prefect": ("127.0.0.1", 4200),
        "mlflow": ("127.0.0.1", 5050),
    }


def test_servers_named_by_their_addresses_are_not_started(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "servers.prefect=http://p.example:4200", "registry.uri=http://m.example:5000")
    assert names(plan) == ["worker", "watcher", "publisher"]
    assert plan.prefect_url == "http://p.example:4200/api"
    assert not plan.is_prefect_ours
    assert all(not one.after for one in plan.services)


def test_the_servers_do_what_they_are_for(tmp_path: Path) -> None:
    """All of Prefect's services; MLflow without its runner of jobs, its files beside its database."""
    prefect, mlflow = plan_of(tmp_path).services[:2]
    assert not [name for name in prefect.environment if name.endswith("_ENABLED") and "SERVICES" in name]
    assert mlflow.environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert mlflow.environment["_MLFLOW_SERVER_ARTIFACT_DESTINATION"] == str(tmp_path / ".ridgeway" / "artifacts")


def test_another_servers_settings_are_not_inherited(tmp_path: Path) -> None:
    """Whoever is signed in elsewhere by Prefect's variables does not hand that on to servers of this machine."""
    plan = plan_of(tmp_path, inherited={"PREFECT_API_KEY": "elsewhere", "PREFECT_API_URL": "https://elsewhere.example"})
    for service in plan.services[:2]:
        assert "elsewhere" not in json.dumps(dict(service.environment))


def test_a_plan_passes_through_a_pipe(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert from_json(json.loads(json.dumps(to_json(plan)))) == plan


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """Who holds it is said, and nothing was started or stopped."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} is taken") as refusal:
            launch.start(plan_of(tmp_path, f"servers.prefect_port={port}"))
    assert "servers.prefect_port" in refusal.value.where
    assert f"process {os.getpid()}" in refusal.value.problem
    assert not (tmp_path / ".ridgeway").exists()


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot listen for Prefect server"):
        launch.start(plan_of(tmp_path, 'servers.host="203.0.113.7"', "servers.authentication=off"))


def test_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    states.folder(tmp_path).mkdir(parents=True)
    service = ServiceState("prefect", "ready", "http://127.0.0.1:4200", "prefect.log", Process.current(), 1, "a note")
    state = UpState(Process.current(), "1", (service, ServiceState("publisher", "done")))
    states.write_state(tmp_path, state)
    assert states.read_state(tmp_path) == states.running(tmp_path) == state
    states.write_state(tmp_path, UpState(Process(1, "another boot", Process.current().host), "1"))
    assert states.running(tmp_path) is None
    states.forget(tmp_path)
    assert states.read_state(tmp_path) is None


def test_claims_outlive_the_worker(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    claim = claims.intend("f1", "brave-fox")
    assert claims.all() == [claim]
    handed = claims.hand_to(claim, Process(1, "another boot", claim.process.host))
    (known,) = Claims(tmp_path).all()
    assert (known, known.is_alive, claim.is_alive) == (handed, False, True)
    claims.drop(known)
    assert not (states.folder(tmp_path) / "claims").exists()


def test_a_damaged_claim_is_left_out(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    claims.intend("f1", "brave-fox")
    (states.folder(tmp_path) / "claims" / "half.json").write_text('{"schema": 1,')
    assert len(claims.all()) == 1
