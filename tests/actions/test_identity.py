"""Who approves in a CI job: recorded answers of three systems, served by a server of the test's own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ridgeway.actions import approval
from ridgeway.artifacts import Person
from ridgeway.ci.approvers import approvers
from ridgeway.errors import Permanent
from ridgeway.rules.approval import Policy, may_approve
from tests.actions.conftest import Yard

STAGE, CHECKPOINT, ASKED = "5d1f", "77aa", "ee14f612-6838-43c0-b445-db238ef14153"
TIMELINE = {
    "id": "1",
    "records": [
        {"id": "0001", "parentId": None, "type": "Stage", "name": "Trial", "identifier": "QA"},
        {"id": "0002", "parentId": "0001", "type": "Checkpoint", "name": "Checkpoint"},
        {"id": "0b0b", "parentId": "0002", "type": "Checkpoint.Approval", "name": "Checkpoint.Approval"},
        {"id": STAGE, "parentId": None, "type": "Stage", "name": "Production", "identifier": "Production"},
        {"id": CHECKPOINT, "parentId": STAGE, "type": "Checkpoint", "name": "Checkpoint"},
        {"id": ASKED, "parentId": CHECKPOINT, "type": "Checkpoint.Approval", "name": "Checkpoint.Approval"},
        {"id": "9999", "parentId": STAGE, "type": "Phase", "name": "production", "identifier": "Production.production"},
    ],
}


def azure_approval(*people: tuple[str, str]) -> dict[str, Any]:
    """As the page "Approvals - Get" has it with ``$expand=steps``, shortened."""
    steps = [
        {
            "assignedApprover": {"displayName": "Release managers", "uniqueName": "[ml]\\\\Release managers"},
            "actualApprover": {"displayName": name.title(), "uniqueName": name, "id": "3b5f0c34"},
            "status": status,
            "comment": "looks good",
            "order": 1,
        }
        for name, status in people
    ]
    return {"id": ASKED, "steps": steps, "status": "approved", "minRequiredApprovers": 1, "blockedApprovers": []}


GITHUB_REVIEWS = [
    {
        "state": "approved",
        "comment": "Ship it!",
        "environments": [{"id": 161088068, "name": "production", "html_url": "https://git.example/p"}],
        "user": {"login": "ada", "id": 1, "type": "User"},
    },
    {"state": "approved", "comment": "", "environments": [{"name": "qa"}], "user": {"login": "quinn"}},
    {"state": "rejected", "comment": "", "environments": [{"name": "production"}], "user": {"login": "rex"}},
]
GITLAB_JOB = {"id": 8, "status": "running", "name": "production", "user": {"id": 1, "username": "eve", "name": "Eve"}}


@dataclass
class Api:
    """A CI system's API: answers by the path and query, and what was asked with which token."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = self.headers.get("Authorization") or self.headers.get("JOB-TOKEN") or ""
            made.asked.append((self.path, token))
            answer = made.answers.get(self.path)
            if isinstance(answer, str) and answer.startswith("to "):
                self.send_response(302)
                self.send_header("Location", answer[3:])
                self.end_headers()
                return
            body = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: the test reads ``asked``."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def azure(api: Api, answer: Any = None) -> dict[str, str]:
    api.answers |= {
        "/my%20team/_apis/build/builds/77/timeline?api-version=7.1": TIMELINE,
        f"/my%20team/_apis/pipelines/approvals/{ASKED}?$expand=steps&api-version=7.1": answer
        or azure_approval(("ada@example.com", "approved"), ("bob@example.com", "skipped")),
    }
    return {
        "TF_BUILD": "True",
        "BUILD_BUILDID": "77",
        "BUILD_REQUESTEDFOREMAIL": "carol@example.com",
        "SYSTEM_COLLECTIONURI": f"{api.url}/",
        "SYSTEM_TEAMPROJECT": "my team",
        "SYSTEM_STAGENAME": "Production",
        "SYSTEM_ACCESSTOKEN": "t0ken",
    }


def github(api: Api) -> dict[str, str]:
    api.answers["/repos/team/ml/actions/runs/9/approvals"] = GITHUB_REVIEWS
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_RUN_ID": "9",
        "GITHUB_ACTOR": "carol",
        "GITHUB_API_URL": api.url,
        "GITHUB_REPOSITORY": "team/ml",
        "GITHUB_SERVER_URL": "https://git.example",
        "GITHUB_TOKEN": "t0ken",
        "RIDGEWAY_CI_ENVIRONMENT": "production",
    }


def gitlab(api: Api) -> dict[str, str]:
    api.answers["/api/v4/job"] = GITLAB_JOB
    return {
        "GITLAB_CI": "true",
        "CI_PIPELINE_ID": "5",
        "CI_PIPELINE_URL": "https://lab.example/5",
        "CI_JOB_ID": "8",
        "CI_JOB_MANUAL": "true",
        "CI_JOB_TOKEN": "t0ken",
        "CI_API_V4_URL": f"{api.url}/api/v4",
        "GITLAB_USER_LOGIN": "carol",
    }


@pytest.mark.parametrize(
    ("system", "name", "link"),
    [
        (azure, "ada@example.com", "_build/results?buildId=77"),
        (github, "ada", "https://git.example/team/ml/actions/runs/9"),
        (gitlab, "eve", "https://lab.example/5"),
    ],
)
def test_the_system_names_who_was_asked_and_not_who_started(
    system: Callable[[Api], dict[str, str]], name: str, link: str, api: Api
) -> None:
    (person,) = approvers(system(api))
    assert (person.name, person.source, person.strength) == (name, "ci", "signed-in")
    assert person.link.endswith(link)
    assert {token.removeprefix("Bearer ") for _, token in api.asked} == {"t0ken"}


def test_such_a_person_may_approve_on_a_cluster_when_operations_name_them(api: Api) -> None:
    (person,) = approvers(azure(api))
    carol = Person("carol@example.com", "ci", "ci-environment")
    assert may_approve(person, Policy("boss", ("ci:ada@example.com",), "kubernetes"), carol) == ""
    assert may_approve(person, Policy("boss", ("ci:bob@example.com",), "kubernetes"), carol).startswith("ci:ada@")
    assert "is not proven" in may_approve(carol, Policy("boss", ("ci:carol@example.com",), "kubernetes"), person)


def test_everybody_who_said_yes_is_named_once(api: Api) -> None:
    answer = azure_approval(
        ("ada@example.com", "approved"), ("bob@example.com", "approved"), ("ada@example.com", "approved")
    )
    assert [person.name for person in approvers(azure(api, answer))] == ["ada@example.com", "bob@example.com"]


@pytest.mark.parametrize(
    ("system", "missing", "words"),
    [
        (azure, "SYSTEM_ACCESSTOKEN", "no SYSTEM_ACCESSTOKEN"),
        (github, "GITHUB_TOKEN", "no GITHUB_TOKEN"),
        (github, "RIDGEWAY_CI_ENVIRONMENT", "no RIDGEWAY_CI_ENVIRONMENT"),
        (gitlab, "CI_JOB_TOKEN", "no CI_JOB_TOKEN"),
        (gitlab, "CI_JOB_MANUAL", "no manual job"),
    ],
)
def test_without_what_it_needs_it_names_nobody_and_says_so(
    system: Callable[[Api], dict[str, str]], missing: str, words: str, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    environ = system(api)
    del environ[missing]
    assert approvers(environ) == ()
    assert words in caplog.text
    assert api.asked == []


@pytest.mark.parametrize("answer", ["<html>sign in</html>", "to https://login.example/", {"records": 7}, [1], {}])
def test_an_answer_of_another_kind_names_nobody(answer: Any, api: Api) -> None:
    environ = azure(api)
    api.answers["/my%20team/_apis/build/builds/77/timeline?api-version=7.1"] = answer
    assert approvers(environ) == ()


def test_a_stage_without_an_approval_has_no_approver(api: Api) -> None:
    assert approvers({**azure(api), "SYSTEM_STAGENAME": "Rollback"}) == ()


def test_the_answer_for_another_job_counts_for_nothing(api: Api) -> None:
    assert approvers({**gitlab(api), "CI_JOB_ID": "7"}) == ()


def test_a_token_goes_nowhere_without_tls(caplog: pytest.LogCaptureFixture) -> None:
    environ = {**gitlab(Api()), "CI_API_V4_URL": "http://lab.example/api/v4"}
    assert approvers(environ) == ()
    assert "http://lab.example would be sent a token without TLS" in caplog.text
    assert "t0ken" not in caplog.text


def test_jenkins_and_no_system_have_no_such_api() -> None:
    assert approvers({"JENKINS_URL": "https://j.example", "BUILD_USER_ID": "joe"}) == ()
    assert approvers({}) == ()


# ---- in a release ----------------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(yard: Yard) -> Yard:
    assert yard.released()["outcome"] == "waiting"
    return yard


def enter(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


def test_the_record_names_the_approver_with_a_link_to_the_run(
    waiting: Yard, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(azure(api), monkeypatch)
    said = approval.say_yes(waiting.project(), "releases:/diabetes/1")
    assert (said.approval.person.name, said.approval.person.strength) == ("ada@example.com", "signed-in")
    assert said.approval.person.link.endswith("buildId=77")
    again = approval.say_yes(waiting.project(), "releases:/diabetes/1")
    assert again.approval == said.approval


def test_two_approvers_of_one_check_are_two_words(waiting: Yard, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting.edit("rollout = { bake_seconds = 0 }\n[approvers]", "approval = { count = 2 }\n[approvers]")
    answer = azure_approval(("ada@example.com", "approved"), ("bob@example.com", "approved"))
    enter(azure(api, answer), monkeypatch)
    assert approval.say_yes(waiting.project(), "releases:/diabetes/1").decision.granted
    words = waiting.releases().approvals(waiting.releases().read(1))
    assert sorted(word.person.name for word in words) == ["ada@example.com", "bob@example.com"]


def test_who_is_not_in_the_role_approves_nothing(waiting: Yard, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting.edit('["*"]', '["ci:zoe@example.com"]')
    enter(azure(api), monkeypatch)
    with pytest.raises(Permanent, match=r"ci:ada@example\.com cannot approve"):
        approval.say_yes(waiting.project(), "releases:/diabetes/1")
    assert waiting.releases().approvals(waiting.releases().read(1)) == ()


def test_where_it_cannot_be_had_the_record_says_so(waiting: Yard, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = azure(api)
    del environ["SYSTEM_ACCESSTOKEN"]
    enter(environ, monkeypatch)
    person = approval.say_yes(waiting.project(), "releases:/diabetes/1").approval.person
    assert (person.name, person.strength) == ("carol@example.com", "ci-environment")
    assert person.link.endswith("buildId=77")
