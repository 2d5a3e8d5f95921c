"""A retraining on an instance type of a real cluster, as a person or a worker has it carried out: nothing is left."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ridgeway.registry import glance_file
from tests.targets.kubernetes.conftest import BASE, REGISTRY, Lab, until

ALONE = (pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(1800))
pytestmark = [*ALONE, pytest.mark.kubernetes, pytest.mark.docker]
HERE = os.environ.get("LAB_ADDRESS", "10.97.0.1")
"""This machine as pods see it."""
MLFLOW_PORT, UP_PREFECT_PORT, UP_MLFLOW_PORT = 18341, 18342, 18343
BIN = Path(sys.executable).parent


@contextlib.contextmanager
def serving(command: list[str], port: int, folder: Path, **environment: str) -> Iterator[None]:
    """A server of this machine while the block runs."""
    with (folder / f"{port}.log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **environment}
        )
    try:
        until(lambda: _answers(port), 180)
        yield
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2):
        return True
    return False


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow")
    command = [str(BIN / "mlflow"), "server", "--host", "0.0.0.0", "--port", str(MLFLOW_PORT), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--serve-artifacts"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    command += ["--allowed-hosts", f"{HERE}:{MLFLOW_PORT},127.0.0.1:{MLFLOW_PORT}"]
    with serving(command, MLFLOW_PORT, folder, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"):
        yield f"http://{HERE}:{MLFLOW_PORT}"


@dataclass
class Home:
    """A project in a git repository, whose retrainings go to the cluster."""

    root: Path
    namespace: str
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(BIN / "ridgeway"), *words],
            cwd=self.root,
            env={**os.environ, **self.environment},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *words: str) -> tuple[int, str, str]:
        process = self.start(*words)
        said, story = process.communicate(timeout=900)
        return process.returncode, said, story

    def change(self, alpha: float) -> None:
        """A commit with another model."""
        file = self.root / "ridgeway.toml"
        file.write_text(re.sub(r"alpha = [\d.]+", f"alpha = {alpha}", file.read_text()))
        commit(self.root)

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(file.read_text()) for file in (self.root / ".ridgeway/runs").glob("*/run.json")]


def commit(root: Path) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", "-C", str(root), "add", "."], check=True)
    subprocess.run(["git", "-C", str(root), *identity, "commit", "-qm", "change"], check=True)


@pytest.fixture(scope="module")
def home(lab: Lab, mlflow: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    root = tmp_path_factory.mktemp("home") / "diabetes"
    subprocess.run([str(BIN / "ridgeway"), "new", str(root)], check=True, capture_output=True)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    commit(root)
    namespace = f"ridgeway-job-story-{os.getpid()}"
    for name in ("namespace.yaml", "job-runner.yaml"):
        lab.kubectl("apply", "-f", "-", stdin=lab.template(name, namespace))
    made = Home(
        root,
        namespace,
        {
            "RIDGEWAY_REGISTRY__URI": mlflow,
            "RIDGEWAY_IMAGE__REPOSITORY": f"{REGISTRY}/ridgeway-test-job/diabetes",
            "RIDGEWAY_IMAGE__BASE": BASE,
            "RIDGEWAY_JOBS__NAMESPACE": namespace,
            "MLFLOW_TRACKING_TOKEN": "quiet-river",
        },
    )
    try:
        yield made
    finally:
        lab.kubectl("delete", "namespace", namespace, "--wait=false")


def left(lab: Lab, home: Home) -> str:
    return lab.kubectl("-n", home.namespace, "get", "jobs,pods,secrets", "-o", "name")


def test_a_model_is_trained_judged_and_registered_in_the_cluster(home: Home, lab: Lab) -> None:
    code, said, story = home.run("run", "retraining", "--on", "gpu-small")
    assert code == 0, story
    assert said.strip() == "models:/diabetes/1"
    for line in (
        "load_data         data/diabetes.csv: 442 rows",
        "check_data        57 expectations hold",
        "register_model    models:/diabetes/1",
    ):
        assert line in story, story
    assert left(lab, home) == ""
    (record,) = home.records()
    here = messages((home.root / ".ridgeway/runs" / record["id"] / "run.log").read_text())
    there = messages(kept_log(home, str(record["produced"][0])))
    assert there <= here, story
    assert (record["state"], record["exit_code"]) == ("finished", 0)
    steps = [step["name"] for step in record["steps"]]
    assert steps == ["build_image", "start_job", "load_data", "check_data", "train_model", "judge_candidate",
                     "register_model"]  # fmt: skip
    run = f"runs:/{record['id'][:12]}"
    assert "ACCEPTED" in home.run("show", run)[1]
    assert "354 training rows" in home.run("logs", run, "--only", "train_model")[1]
    assert run in home.run("list", "runs")[1]
    version = json.loads(home.run("show", "models:/diabetes/1", "--json")[1])
    head = subprocess.check_output(["git", "-C", str(home.root), "rev-parse", "HEAD"], text=True).strip()
    assert version["lineage"]["commit"] == head
    assert version["lineage"]["clean"] is True
    everything = "".join(
        file.read_text(errors="replace") for file in (home.root / ".ridgeway").rglob("*") if file.is_file()
    )
    assert "quiet-river" not in everything + said + story


def messages(log: str) -> set[str]:
    """What Ridgeway said in a run, without times; libraries' warnings stay with the run in the registry."""
    return {line[25:] for line in log.splitlines() if line[25:].startswith("INFO")}


def kept_log(home: Home, run: str) -> str:
    """The log of a run as the registry keeps it."""
    found = glance_file(
        home.environment["RIDGEWAY_REGISTRY__URI"], home.root, run.removeprefix("runs:/"), "logs/run.log"
    )
    assert found is not None
    return found.decode()


def test_a_refusal_of_the_data_comes_back_as_here(home: Home, lab: Lab) -> None:
    data = home.root / "data/diabetes.csv"
    before = data.read_text()
    header, first, *rest = before.splitlines()
    data.write_text("\n".join([header, ",".join(["-5", *first.split(",")[1:]]), *rest]) + "\n")
    commit(home.root)
    code, _, story = home.run("run", "retraining", "--on", "gpu-small")
    data.write_text(before)
    commit(home.root)
    assert code == 65, story
    assert "age" in story
    assert left(lab, home) == ""
    assert max(home.records(), key=lambda one: one["started_at"])["exit_code"] == 65


def test_an_evicted_one_is_tried_again_and_a_cancelled_one_is_gone(home: Home, lab: Lab) -> None:
    home.change(2.0)
    story = []
    with home.start("run", "retraining", "--on", "gpu-small") as process:
        assert process.stderr is not None
        for line in process.stderr:
            story.append(line)
            if any(step in line for step in ("load_data", "check_data", "train_model")) and not any(
                "evicted" in one for one in story
            ):
                evict(lab, home)
                story.append("evicted by the test\n")
    assert process.returncode in (0, 3, 4), "".join(story)
    text = "".join(story)
    assert "taken away by the cluster (EvictionByEvictionAPI" in text
    assert text.count("runs on") == 2
    assert left(lab, home) == ""

    home.change(3.0)
    process = home.start("run", "retraining", "--on", "gpu-small")
    until(lambda: any(one["state"] == "running" and len(one["steps"]) >= 3 for one in home.records()), 600)
    running = next(one for one in home.records() if one["state"] == "running")
    assert "is told to end" in home.run("cancel", f"runs:/{running['id'][:12]}")[1]
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert left(lab, home) == ""


def test_a_killed_command_leaves_a_job_that_the_next_one_goes_on_with(home: Home, lab: Lab) -> None:
    home.change(4.0)
    process = home.start("run", "retraining", "--on", "gpu-small")
    until(lambda: any(one["state"] == "running" and len(one["steps"]) >= 2 for one in home.records()), 600)
    until(lambda: "jobs" in left(lab, home) or "job.batch" in left(lab, home), 60)
    process.kill()
    process.communicate()
    assert left(lab, home) != ""
    code, _, story = home.run("run", "retraining", "--on", "gpu-small")
    assert code in (0, 3, 4), story
    assert "going on with job" in story
    assert left(lab, home) == ""


def evict(lab: Lab, home: Home) -> None:
    name = lab.kubectl("-n", home.namespace, "get", "pods", "-o", "name").split("\n")[0].removeprefix("pod/")
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    lab.cluster.request("POST", f"api/v1/namespaces/{home.namespace}/pods/{name}/eviction", body=body)


def test_a_published_flow_is_carried_out_in_the_cluster(home: Home, lab: Lab) -> None:
    """By the worker of `ridgeway up`, on its own servers, which ask for a password that no setting holds."""
    settings = {
        "RIDGEWAY_REGISTRY__URI": "sqlite:///.ridgeway/mlflow.db",
        "RIDGEWAY_JOBS__REGISTRY": f"http://{HERE}:{UP_MLFLOW_PORT}",
        "RIDGEWAY_JOBS__PREFECT": f"http://{HERE}:{UP_PREFECT_PORT}/api",
        "RIDGEWAY_SERVERS__HOST": "0.0.0.0",
        "RIDGEWAY_SERVERS__PREFECT_PORT": str(UP_PREFECT_PORT),
        "RIDGEWAY_SERVERS__MLFLOW_PORT": str(UP_MLFLOW_PORT),
        "RIDGEWAY_FLOWS__POOLS": '{"retraining": "gpu-small"}',
    }
    up = Home(home.root, home.namespace, {**home.environment, **settings})
    del up.environment["MLFLOW_TRACKING_TOKEN"]
    known = {one["id"] for one in up.records()}
    code, _, story = up.run("up", "--detach")
    assert code == 0, story
    try:
        code, said, story = up.run("publish")
        assert code == 0, said + story
        code, said, story = up.run("run", "retraining", "--detach")
        assert code == 0, said + story
        until(lambda: ended(up, known), 900)
    finally:
        code, _, story = up.run("down", "--force")
    (record,) = ended(up, known)
    log = (up.root / ".ridgeway/runs" / record["id"] / "run.log").read_text()
    assert record["exit_code"] in (0, 3, 4), log
    assert "register_model: models:/diabetes/" in log or "judge_candidate" in log
    assert record["flow_run_url"].startswith(f"http://{HERE}:{UP_PREFECT_PORT}/runs/flow-run/")
    assert code == 0, story
    assert left(lab, home) == ""


def ended(home: Home, known: set[str]) -> list[dict[str, Any]]:
    """Records of retrainings that are new, and over."""
    return [
        one
        for one in home.records()
        if one["id"] not in known and one["flow"] == "retraining" and one["state"] != "running"
    ]
