"""Nobody types anything: rows arrive and a model is trained; a model is registered and its release begins, or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ridgeway.orchestrator import rest
from ridgeway.registry import Registry
from ridgeway.run_log import RunLog, RunRecord
from tests.services.ups import Ups, git, processes_of
from tests.story.conftest import ridgeway

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]

PREFECT, MLFLOW, QA, PRODUCTION = range(18270, 18274)
EDITS = {
    "[schedules]": "[triggers]\ndata = true\ndebounce_seconds = 1\npoll_seconds = 0.5\n[schedules]",
    'started_by = "person"': 'started_by = "server"',
    "[servers]\n": f"[servers]\nprefect_port = {PREFECT}\nmlflow_port = {MLFLOW}\n",
    "127.0.0.1:8081": f"127.0.0.1:{QA}",
    "127.0.0.1:8082": f"127.0.0.1:{PRODUCTION}",
    "load_seconds = 2": "load_seconds = 0.5",
}


def project(root: Path) -> Ups:
    made = ridgeway("new", root, folder=root.parent)
    assert made.code == 0, made.err
    text = (root / "ridgeway.toml").read_text(encoding="utf-8")
    for old, new in EDITS.items():
        assert old in text, old
        text = text.replace(old, new)
    (root / "ridgeway.toml").write_text(text, encoding="utf-8")
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "First")
    return Ups(root, PREFECT, name="diabetes")


def runs(ups: Ups, flow: str) -> list[RunRecord]:
    return [record for record in RunLog(ups.root).records() if record.flow == flow]


def ended(ups: Ups, flow: str, number: int) -> RunRecord:
    """The newest record of a flow, once there are so many that have ended."""

    def found() -> bool:
        records = runs(ups, flow)
        return len(records) >= number and all(record.state != "running" for record in records)

    ups.eventually(found, 240)
    return runs(ups, flow)[0]


def flow_runs(ups: Ups, deployment: str) -> list[dict[str, Any]]:
    flow, _, name = deployment.partition("/")
    wanted = {"deployments": {"name": {"any_": [name]}}, "flows": {"name": {"any_": [flow]}}}
    found: list[dict[str, Any]] = rest.call(f"{ups.url}/flow_runs/filter", wanted)
    return [run for run in found if not run["auto_scheduled"]]


def test_rows_arrive_and_models_are_registered(tmp_path: Path) -> None:
    ups = project(tmp_path / "diabetes")
    file = ups.root / "data" / "diabetes.csv"
    try:
        ups.up()
        ups.eventually((ups.root / ".ridgeway" / "triggers.json").exists, 60)
        rows = pd.read_csv(file)
        for _ in range(3):  # in a burst, and the tree is dirty from now on
            more = rows.sample(40, random_state=1)
            more.to_csv(file, mode="a", header=False, index=False)

        trained = ended(ups, "retraining", 1)
        assert (trained.state, trained.exit_code, trained.command.split()[0]) == ("finished", 0, "worker"), ups.logs()
        assert "models:/diabetes/1" in trained.produced
        (asked,) = flow_runs(ups, "retraining/diabetes")
        assert asked["parameters"] == {"source": str(file)}

        # Its registration is a trigger too: the release has come as far as it can without a person.
        tried = ended(ups, "release", 1)
        assert (tried.state, tried.exit_code) == ("finished", 5), ups.logs()
        (asked,) = flow_runs(ups, "release/diabetes")
        assert (asked["parameters"], asked["state_name"]) == ({"model": "models:/diabetes/1"}, "Suspended")

        # By a person's hand it is refused, with the word whose it is.
        refused = ups.command("run", "release", "models:/diabetes/1")
        assert refused.returncode == 2
        assert "releases of diabetes are started by server, and this is a person" in refused.stderr

        # Somebody registers a model of his own, and has never heard of Ridgeway.
        registry = Registry("sqlite:///.ridgeway/mlflow.db", name="diabetes", root=ups.root)
        registry._connection.client.create_model_version("diabetes", "s3://notebooks/model")
        judged = ended(ups, "release", 2)
        assert (judged.state, judged.exit_code) == ("failed", 4), ups.logs()
        assert "models:/diabetes/2 may not be released" in judged.sentence
        released = json.loads(ups.command("list", "releases", "--json").stdout)["releases"]
        assert [one["model"] for one in released] == ["models:/diabetes/1"]  # nothing was begun, nothing built
        assert len(flow_runs(ups, "release/diabetes")) == 2
        assert len(flow_runs(ups, "retraining/diabetes")) == 1
    finally:
        ups.down("--force")
    ups.eventually(lambda: not processes_of(ups.root), 20)
