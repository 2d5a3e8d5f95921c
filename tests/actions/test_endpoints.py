"""From settings to what an endpoint shall be."""

from __future__ import annotations

from pathlib import Path

import pytest

from ridgeway.actions import endpoints
from ridgeway.artifacts import Deployment, Image, InstanceType
from ridgeway.errors import UsageError
from ridgeway.project import Project, open_project

DIGEST = "sha256:" + "1" * 64
IMAGE = Image("registry.example/churn", DIGEST, "models:/churn/7", DIGEST, DIGEST, DIGEST)
SETTINGS = """
[project]
name = "churn"
[instance_types]
gpu-small = { cpu = 2, memory_mib = 1024, gpus = { "nvidia.com/gpu" = 1 }, node_selector = { pool = "gpu" } }
cpu-small = {}
[targets.qa]
kind = "process"
address = "http://127.0.0.1:8081"
[targets.production]
kind = "kubernetes"
instance_type = "gpu-small"
replicas = 2
expose = "NodePort"
server = { workers = 2 }
access = { mode = "none" }
tls = { certificate = "tls/chain.pem", key = "tls/key.pem" }
rollout = { deadline_seconds = 60, when_full = "refuse" }
[approvers]
release-manager = ["kubernetes:ada"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "ridgeway.toml").write_text(SETTINGS, encoding="utf-8")
    return open_project(tmp_path)


def test_a_deployment_says_all_that_the_settings_say(project: Project) -> None:
    made = endpoints.deployment(project, "production", IMAGE, "releases:/churn/3")
    assert made == Deployment(
        target="production",
        kind="kubernetes",
        name="churn",
        image=IMAGE,
        release="releases:/churn/3",
        instance=InstanceType("gpu-small", 2, 1024, {"nvidia.com/gpu": 1}, {"pool": "gpu"}),
        replicas=2,
        address="",
        access="none",
        certificate="tls/chain.pem",
        certificate_key="tls/key.pem",
        expose="NodePort",
        server={"workers": 2},
        deadline_seconds=60,
        when_full="refuse",
    )


def test_who_asks_does_not_make_it_another_deployment(project: Project) -> None:
    one, other = (endpoints.deployment(project, "qa", IMAGE, f"releases:/churn/{number}") for number in (3, 4))
    assert one != other
    assert one.digest == other.digest


def test_an_unknown_target_with_a_suggestion(project: Project) -> None:
    with pytest.raises(UsageError, match="there is no target 'prodction'") as raised:
        endpoints.deployment(project, "prodction", IMAGE, "releases:/churn/3")
    assert raised.value.problem == "did you mean production?"
    assert raised.value.expected == "one of qa, production"


@pytest.mark.parametrize(
    ("stages", "needed"), [(("qa",), False), (("qa", "production"), True), (("production",), True), ((), False)]
)
def test_a_container_is_needed_where_any_stage_runs_one(
    project: Project, stages: tuple[str, ...], needed: bool
) -> None:
    assert endpoints.needs_container(project, stages) is needed
