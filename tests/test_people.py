"""Who is acting, from whichever source knows."""

from __future__ import annotations

import os
import pwd

import pytest

from ridgeway.artifacts import Person
from ridgeway.people import acting

AZURE = {
    "BUILD_BUILDID": "77",
    "SYSTEM_COLLECTIONURI": "https://dev.example/team/",
    "SYSTEM_TEAMPROJECT": "ml",
    "BUILD_REQUESTEDFOR": "Ada L.",
    "BUILD_REQUESTEDFOREMAIL": "ada@example.com",
}
GITHUB = {
    "GITHUB_RUN_ID": "9",
    "GITHUB_SERVER_URL": "https://git.example",
    "GITHUB_REPOSITORY": "team/ml",
    "GITHUB_ACTOR": "ada",
    "GITHUB_TRIGGERING_ACTOR": "bob",
}
CLUSTER = Person("system:serviceaccount:team:alice", "kubernetes", "cluster")
OWN = pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.parametrize(
    ("environ", "name", "link"),
    [
        (AZURE, "ada@example.com", "https://dev.example/team/ml/_build/results?buildId=77"),
        ({**AZURE, "BUILD_REQUESTEDFOREMAIL": " "}, "Ada L.", "https://dev.example/team/ml/_build/results?buildId=77"),
        (GITHUB, "bob", "https://git.example/team/ml/actions/runs/9"),
        ({**GITHUB, "GITHUB_TRIGGERING_ACTOR": ""}, "ada", "https://git.example/team/ml/actions/runs/9"),
        (
            {"CI_PIPELINE_ID": "5", "CI_PIPELINE_URL": "https://lab.example/5", "GITLAB_USER_LOGIN": "eve"},
            "eve",
            "https://lab.example/5",
        ),
        (
            {"BUILD_TAG": "j-1", "BUILD_URL": "https://j.example/1", "BUILD_USER_ID": "joe"},
            "joe",
            "https://j.example/1",
        ),
    ],
)
def test_a_ci_run_names_its_user(environ: dict[str, str], name: str, link: str) -> None:
    assert acting(environ) == Person(name, "ci", "ci-environment", link)
    assert acting(environ, from_target=CLUSTER).source == "ci"


def test_a_users_variable_outside_of_a_ci_run_says_nothing() -> None:
    assert acting({"GITHUB_ACTOR": "boss", "BUILD_USER_ID": "boss"}).source == "system"


def test_a_variable_of_another_ci_system_says_nothing() -> None:
    assert acting({"CI_PIPELINE_ID": "5", "GITHUB_ACTOR": "boss"}, from_target=CLUSTER) == CLUSTER


def test_a_cluster_counts_before_the_operating_system() -> None:
    assert acting({}, from_target=CLUSTER) == CLUSTER


def test_an_account_and_not_a_variable() -> None:
    assert acting({"USER": "boss", "LOGNAME": "boss", "USERNAME": "boss"}) == Person(OWN, "system", "local")


def test_sudo_is_noted_and_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert acting({"SUDO_UID": "1", "SUDO_USER": "boss"}) == Person(
        "root", "system", "local", f"sudo by {pwd.getpwuid(1).pw_name}"
    )
    for nonsense in ("", "-1", "x", "9" * 30):
        assert acting({"SUDO_UID": nonsense}) == Person("root", "system", "local")
    monkeypatch.setattr(os, "getuid", lambda: 1)
    assert acting({"SUDO_UID": "0"}).link == ""


def test_a_number_without_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1_234_567_891)
    assert acting({}) == Person("uid-1234567891", "system", "local")


def test_the_environment_of_this_process_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, text in GITHUB.items():
        monkeypatch.setenv(variable, text)
    assert acting().name == "bob"
