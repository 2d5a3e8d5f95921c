"""Every noun comes back from its JSON form as it was, and every handle from its text."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from ridgeway.artifacts import (
    NOUNS,
    Approval,
    Deployment,
    Endpoint,
    Finding,
    Image,
    InstanceType,
    Person,
    ProbeReport,
    Release,
    ReleaseStep,
    Rollout,
    from_json,
    parse_handle,
    to_json,
)

IMAGE = Image("registry.example/d", "sha256:1", "models:/d/1", "sha256:2", "sha256:3", "sha256:4", "r@sha256:5", "b")
MACHINE = InstanceType("gpu", 1, 512, {"nvidia.com/gpu": 1}, {"pool": "gpu"}, ({"operator": "Exists"},))
DEPLOYMENT = Deployment("qa", "docker", "d", IMAGE, "releases:/d/1", MACHINE, server={"workers": 2})
FINDING = Finding("disk", "warn", "it is nearly full", "make room", 0.1)
REPORT = ProbeReport("docker://qa/d", IMAGE.handle, (FINDING,), 50, 1e-12, 1000, 0, 0.4, 1.2)
PERSON = Person("alice", "ci", "signed-in", "https://ci.example/1")
ROLLOUT = Rollout("docker://qa/d", DEPLOYMENT, DEPLOYMENT, "returned", "surge", 0.0, "crashed", REPORT, REPORT)
RELEASE = Release(
    "d", 1, "0" * 32, "rollback", "models:/d/1", "sha256:2", ("qa", "production"), "rolled_back", PERSON, "2026-01-01",
    steps=(ReleaseStep("build_image", "", "sha256:6", "2026", "2026", "built", to_json(IMAGE)),),
    image=IMAGE, rollout=ROLLOUT,
)  # fmt: skip
APPROVAL = Approval("releases:/d/1", "yes", PERSON, "release-manager", "2026", "2027", "sha256:7", IMAGE.handle, "fine")
ENDPOINT = Endpoint("qa", "docker", "d", "healthy", "http://127.0.0.1:1", IMAGE.handle, "models:/d/1", "releases:/d/1")


@pytest.mark.parametrize(
    "noun",
    [IMAGE, MACHINE, DEPLOYMENT, FINDING, REPORT, PERSON, ROLLOUT, RELEASE, APPROVAL, ENDPOINT],
    ids=lambda noun: type(noun).__name__,
)
def test_a_noun_of_a_release_comes_back_from_json(noun: Any) -> None:
    record = json.loads(json.dumps(to_json(noun)))
    assert record["kind"] == type(noun).__name__
    assert record["kind"] in NOUNS
    assert from_json(record) == noun


def test_handles() -> None:
    assert str(parse_handle(RELEASE.handle)) == "releases:/d/1"
    assert IMAGE.handle == "registry.example/d@sha256:1"
    assert ENDPOINT.handle == "docker://qa/d"
    assert ENDPOINT.image_digest == "sha256:1"


@pytest.mark.parametrize("change", [{"replicas": 2}, {"access": "none"}, {"address": "http://x"}, {"server": {}}])
def test_what_changes_what_runs_changes_a_deployments_digest(change: dict[str, Any]) -> None:
    assert dataclasses.replace(DEPLOYMENT, **change).digest != DEPLOYMENT.digest


def test_who_asked_and_how_long_it_may_take_does_not() -> None:
    other = dataclasses.replace(DEPLOYMENT, release="releases:/d/2", deadline_seconds=1, when_full="refuse")
    assert other.digest == DEPLOYMENT.digest


def test_every_state_of_a_release_has_an_exit_code() -> None:
    import typing

    from ridgeway.artifacts import State

    assert set(Release.EXIT_CODES) == set(typing.get_args(State))
