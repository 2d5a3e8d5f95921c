"""A project made by `ridgeway new`, brought up, retrained and released without a person but for the approval."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ridgeway.orchestrator import rest
from ridgeway.run_log import RunLog
from tests.services.ups import Ups, git, processes_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def new_project(root: Path) -> Ups:
    up = Ups(root, 18240, "diabetes")
    done = Ups(root.parent, 18240).command("new", root.name, "--set", "project.name=diabetes")
    if done.returncode:
        done = Ups(root.parent, 18240).command("new", root.name)
    assert done.returncode == 0, done.stderr
    settings = root / "ridgeway.toml"
    text = (
        settings.read_text().replace("127.0.0.1:8081", "127.0.0.1:18244").replace("127.0.0.1:8082", "127.0.0.1:18245")
    )
    text = re.sub(r"(?m)^probe = .*$", "probe = { rows = 20, load_seconds = 0, load_on = [] }", text)
    settings.write_text(text)
    up.environment |= {"RIDGEWAY_SERVERS__PREFECT_PORT": "18240", "RIDGEWAY_SERVERS__MLFLOW_PORT": "18241"}
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "First")
    return up


def test_from_new_to_production(tmp_path: Path) -> None:
    up = new_project(tmp_path / "diabetes")
    try:
        up.up()
        done = up.command("run", "retraining", "--detach", "--json")
        assert done.returncode == 0, done.stderr
        retraining = json.loads(done.stdout)["flow_run"]
        up.becomes(retraining, "COMPLETED", seconds=120)
        up.eventually(lambda: up.record(retraining).state == "finished")
        record = up.record(retraining)
        assert record.exit_code == 0
        assert "models:/diabetes/1" in record.produced
        # The MLflow server shows what the worker has registered.
        found = rest.call("http://127.0.0.1:18241/api/2.0/mlflow/model-versions/get?name=diabetes&version=1")
        assert found["model_version"]["run_id"] in json.dumps([one.produced for one in RunLog(up.root).records()])

        done = up.command("run", "release", "models:/diabetes/1", "--detach", "--json")
        assert done.returncode == 0, done.stderr
        release = json.loads(done.stdout)["flow_run"]
        up.becomes(release, "PAUSED", seconds=180)
        up.eventually(lambda: up.record(release).exit_code == 5)

        # Resumed on the page, the worker carries it on, and it asks again: resuming is no approval.
        rest.call(f"{up.url}/flow_runs/{release}/resume", {})
        up.eventually(lambda: len(up._records(release)) == 2, 60)
        up.becomes(release, "PAUSED", seconds=180)
        up.eventually(lambda: all(one.state == "finished" for one in up._records(release)))

        # A person's yes carries the same flow run on, here and now, as of the commit: the folder has moved on since.
        (up.root / "flows" / "release.py").write_text("raise SystemExit('not what was published')\n")
        toml = up.root / "ridgeway.toml"
        toml.write_text(toml.read_text().replace("alpha = ", "alpha = 9"))
        done = up.command("approve", "releases:/diabetes/1", seconds=240)
        assert done.returncode == 0, done.stderr
        assert "goes on as of commit" in done.stderr
        assert up.state_of(release) == "COMPLETED"
        shown = up.command("show", "production", "--json")
        assert "models:/diabetes/1" in shown.stdout
    finally:
        ended = up.down("--force")
    assert ended.returncode == 0
    up.eventually(lambda: not processes_of(up.root), 20)
