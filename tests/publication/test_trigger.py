"""Runs asked for by REST: once for a key, and refused with the parameter that is wrong."""

from __future__ import annotations

import json
import urllib.error
from typing import Any

import pytest

from ridgeway.actions import publication
from ridgeway.errors import NotFound, Permanent, Transient, Unreachable, UsageError
from ridgeway.orchestrator import rest
from ridgeway.orchestrator.publication import trigger
from ridgeway.project import Project

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("looked_here")]


@pytest.fixture
def deployment(project: Project) -> str:
    publication.publish(project)
    return f"tell/{project.name}"


def test_a_key_asks_once(deployment: str, server_url: str) -> None:
    first = trigger(server_url, deployment, {"times": 3}, idempotency_key="november")
    again = trigger(server_url, deployment, {"times": 3}, idempotency_key="november")
    other = trigger(server_url, deployment, {}, idempotency_key="december")
    plain = [trigger(server_url, deployment, {}).flow_run_id for _ in range(2)]
    assert (first.is_new, again.is_new, other.is_new) == (True, False, True)
    assert first.flow_run_id == again.flow_run_id
    assert len({first.flow_run_id, other.flow_run_id, *plain}) == 4
    assert first.page == f"{server_url.removesuffix('/api')}/runs/flow-run/{first.flow_run_id}"
    run = rest.call(f"{server_url}/flow_runs/{first.flow_run_id}")
    assert (run["parameters"], run["state_type"], run["work_pool_name"]) == ({"times": 3}, "SCHEDULED", "ridgeway")


@pytest.mark.parametrize(
    ("parameters", "name", "reason"),
    [
        ({"times": "many"}, "times", "'many' is not of type 'integer'"),
        ({"tmies": 3}, "tmies", "Additional properties are not allowed ('tmies' was unexpected)"),
    ],
)
def test_a_wrong_parameter_is_named(
    parameters: dict[str, Any], name: str, reason: str, deployment: str, server_url: str
) -> None:
    """Also to whoever speaks REST without us: a 4xx with the name in it."""
    with pytest.raises(UsageError) as refused:
        trigger(server_url, deployment, parameters)
    assert (refused.value.where, refused.value.problem) == (f"parameter {name}", reason)
    found = rest.call(f"{server_url}/deployments/name/{deployment}")
    with pytest.raises(urllib.error.HTTPError) as plain:
        rest.call(f"{server_url}/deployments/{found['id']}/create_flow_run", {"parameters": parameters})
    assert plain.value.code == 409
    assert f"'{name}'" in json.loads(plain.value.read())["detail"]


def test_a_missing_parameter_is_named(project: Project, server_url: str) -> None:
    path = project.root / "flows" / "tell.py"
    path.write_text(path.read_text().replace('source: str = ""', "source: str"), encoding="utf-8")
    from tests.publication.toy import commit_all

    settings = project.root / "ridgeway.toml"
    settings.write_text(settings.read_text().partition("[schedules]")[0], encoding="utf-8")
    commit_all(project.root)
    publication.publish(project)
    with pytest.raises(UsageError) as refused:
        trigger(server_url, f"tell/{project.name}", {"times": 1})
    assert (refused.value.where, refused.value.problem) == ("parameter source", "'source' is a required property")


def test_what_is_not_published(server_url: str) -> None:
    with pytest.raises(NotFound, match="tell/nowhere is not published"):
        trigger(server_url, "tell/nowhere", {})


def test_a_server_that_does_not_answer() -> None:
    with pytest.raises(Unreachable):
        trigger("http://127.0.0.1:9/api", "tell/toy", {})


@pytest.mark.parametrize(("code", "kind"), [(401, Permanent), (503, Transient), (422, UsageError)])
def test_what_a_server_answers_is_an_error_of_ours(code: int, kind: type[Exception]) -> None:
    import io
    from email.message import Message

    body = json.dumps({"detail": [{"loc": ["body", "name"], "msg": "too long"}]}).encode()
    error = urllib.error.HTTPError("http://x", code, "", Message(), io.BytesIO(body))
    found = rest.explained(error, "cannot publish", "http://x")
    assert type(found) is kind
    assert found.problem == f"status {code}: name: too long"
    error.close()
