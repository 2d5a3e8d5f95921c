"""Published runs carried out for real: by Prefect's own worker, which knows nothing of Ridgeway, from a clone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ridgeway.actions import publication
from ridgeway.cli import invoke
from ridgeway.orchestrator import rest
from ridgeway.orchestrator.execution import import_file
from ridgeway.orchestrator.publication import origin_of, pull, trigger
from ridgeway.project import Project
from ridgeway.registry import glance
from ridgeway.run_log import RunLog
from tests.publication.toy import commit_all, git, open_at

pytestmark = pytest.mark.timeout(600)
QA = 18219


def test_what_a_worker_pulls_is_the_commit_and_not_the_tree(root: Path) -> None:
    """As a worker does it, in this process: the step that Prefect calls, and the flow that it then imports."""
    origin = origin_of(root)
    (root / "steps" / "text.py").write_text('TEXT = "edited"\n', encoding="utf-8")
    (root / "flows" / "tell.py").write_text("broken", encoding="utf-8")
    (root / ".ridgeway").mkdir()
    directory = Path(pull.checkout(origin.repository, origin.commit, origin.folder, origin.home)["directory"])
    os.chdir(directory)
    flow = import_file(directory, directory / "flows" / "tell.py").tell
    assert flow.fn(times=3) == {"text": "first", "times": 3}
    assert (root / ".ridgeway" / "told.txt").read_text() == f"first {directory}  3"


# ---- with Prefect's own worker ---------------------------------------------------------------------------------------


def work_once(server_url: str, folder: Path) -> str:
    """What the worker says, which carries out what is due, and ends."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("prefect")), "worker", "start", "--pool", "ridgeway", "--run-once"],
        cwd=folder,
        env={**os.environ, "PREFECT_API_URL": server_url, "PREFECT_HOME": str(folder / "prefect")},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout + done.stderr


@pytest.fixture
def alone(server_url: str) -> None:
    """No other test has left anything to do."""
    waiting = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    for run in rest.call(f"{server_url}/flow_runs/filter", waiting):
        rest.send("DELETE", f"{server_url}/flow_runs/{run['id']}")


def state(server_url: str, flow_run_id: str) -> Any:
    return rest.call(f"{server_url}/flow_runs/{flow_run_id}")["state"]


@pytest.mark.slow
@pytest.mark.usefixtures("alone", "looked_here")
def test_a_tree_that_is_edited_after_publication_changes_nothing(
    project: Project, server_url: str, tmp_path: Path
) -> None:
    done = publication.publish(project)
    (project.root / "steps" / "text.py").write_text('TEXT = "edited"\n', encoding="utf-8")
    asked = trigger(server_url, f"tell/{project.name}", {"source": "x"})
    said = work_once(server_url, tmp_path)
    assert state(server_url, asked.flow_run_id)["type"] == "COMPLETED", said
    clone = project.state / "published" / done.publication.commit
    assert (project.state / "told.txt").read_text() == f"first {clone} x 1"


@pytest.fixture
def example(tmp_path: Path, server_url: str) -> Iterator[Project]:
    """The worked example, as `ridgeway new` makes it, committed."""
    root = tmp_path / "example"
    assert invoke(["new", str(root)]) == 0
    settings = root / "ridgeway.toml"
    text = settings.read_text(encoding="utf-8")
    text = text.replace("127.0.0.1:8081", f"127.0.0.1:{QA}").replace(
        "p50_ms = 10, p99_ms = 50", "p50_ms = 1000, p99_ms = 5000"
    )
    settings.write_text(text, encoding="utf-8")
    git(root, "init", "--quiet")
    commit_all(root)
    yield open_at(root, server_url)
    os.chdir(root)
    invoke(["down"])


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
def test_a_retraining_and_a_release_from_a_clone_share_everything_with_home(
    example: Project, server_url: str, tmp_path: Path
) -> None:
    """Registry, run log, endpoint and its process are home's; the clone may go afterwards."""
    commit = publication.publish(example).publication.commit
    (example.root / "steps" / "load_data.py").write_text("broken", encoding="utf-8")
    (example.root / "flows" / "retraining.py").write_text("broken", encoding="utf-8")
    (example.root / "ridgeway.toml").write_text(
        (example.root / "ridgeway.toml").read_text().replace("holdout = 0.20", "holdout = 0.50"), encoding="utf-8"
    )
    asked = trigger(server_url, "retraining/diabetes", {"overrides": ["rules.floors={}"]})
    said = work_once(server_url, tmp_path)
    assert state(server_url, asked.flow_run_id)["type"] == "COMPLETED", said
    seen = glance("sqlite:///.ridgeway/mlflow.db", "diabetes", example.root)
    assert seen is not None
    (version,) = seen.versions
    assert (version.tags["ridgeway.commit"], version.tags["ridgeway.clean"]) == (commit, "true")
    (run,) = RunLog(example.root).records()
    assert (run.flow, run.state, run.exit_code, run.id) == ("retraining", "finished", 0, version.run_id)
    assert (example.state / "artifacts" / "diabetes" / version.run_id / "artifacts").is_dir()

    asked = trigger(server_url, "release/diabetes", {"model": "models:/diabetes/1", "until": "qa"})
    said = work_once(server_url, tmp_path)
    assert state(server_url, asked.flow_run_id)["type"] == "PAUSED", said  # tried, and waits for a yes
    shutil.rmtree(example.state / "published")
    daemon = json.loads((example.state / "targets" / "qa" / "state.json").read_text())["daemon"]["pid"]
    for link in ("cwd", "fd/1"):
        assert "published" not in str(Path(f"/proc/{daemon}/{link}").readlink())
    request = urllib.request.Request(
        f"http://127.0.0.1:{QA}/score",
        data=json.dumps({"data": [[50, 1, 26.0, 95, 190, 120, 45, 4, 4.6, 90]]}).encode(),
        headers={"Authorization": f"Bearer {(example.state / 'targets/qa/keys/primary').read_text()}"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert len(json.loads(answer.read())["result"]) == 1
    assert [record.flow for record in RunLog(example.root).records()] == ["release", "retraining"]
