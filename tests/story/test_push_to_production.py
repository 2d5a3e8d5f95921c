"""From a push to production by the three Azure Pipelines files, each carried out by `ridgeway ci run`.

Everything is real: a bare repository that is pushed to, servers of a team with a password, agents that install the
wheel, an image registry, a cluster with a pool of GPUs. Only Azure's answer to "who has approved?" is a recorded one.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from tests.actions.test_identity import TIMELINE, azure_approval
from tests.services.ups import git, processes_of
from tests.story.conftest import PROGRAM
from tests.story.release_cluster import PLACES, ClusterStory, forget
from tests.story.release_project import QUICK, free_ports
from tests.targets.kubernetes.conftest import BASE, REGISTRY, Bed, Lab, bed_in, lab
from tests.test_wheel import build

__all__ = ["lab"]  # a fixture

pytestmark = [pytest.mark.alone, pytest.mark.kubernetes, pytest.mark.slow, pytest.mark.timeout(1500)]

FILES = "templates/azure-pipelines"
REPOSITORY = f"{REGISTRY}/ridgeway-test-push"
PASSWORD, TOKEN = "copper-lantern-7731", "token-of-the-run-4410"
APPROVER = "ada@example.com"
SETTINGS = (
    PLACES
    + """\
[targets.qa]
kind = "kubernetes"
namespace = "{namespace}"
instance_type = "cpu-tiny"
address = ""
expose = "NodePort"
rollout = {{ deadline_seconds = 90, bake_seconds = 0 }}
[targets.production]
kind = "kubernetes"
namespace = "{namespace}"
instance_type = "gpu-tiny"
address = ""
expose = "NodePort"
rollout = {{ deadline_seconds = 90, bake_seconds = 1 }}
approval = {{ role = "release-manager", count = 1, own_release = false, expires_hours = 1 }}
[approvers]
release-manager = ["ci:{approver}"]
"""
)


@dataclass
class Azure:
    """A server that answers as Azure DevOps does when it is asked who has approved, and notes who asked for what."""

    asked: list[tuple[str, str]] = field(default_factory=list)

    def __enter__(self) -> Azure:
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append((self.path, self.headers.get("Authorization", "")))
                answer = TIMELINE if "/timeline?" in self.path else azure_approval((APPROVER, "approved"))
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing: the test reads ``asked``."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/"


@dataclass(frozen=True)
class Ran:
    """What a run of a pipeline came to."""

    code: int
    said: str
    folder: Path
    record: dict[str, Any]

    def result(self, path: str) -> str:
        return str(next(end["result"] for end in self.record["ends"] if end["path"] == path))

    def notes(self, path: str) -> str:
        return "; ".join(next(end["notes"] for end in self.record["ends"] if end["path"] == path))

    @property
    def results(self) -> dict[str, str]:
        """Of the stages."""
        good = {"SucceededWithIssues": "Succeeded"}  # this machine's Python may be another one than the file's
        return {
            end["path"]: good.get(end["result"], end["result"]) for end in self.record["ends"] if "/" not in end["path"]
        }

    def log(self, job: str) -> str:
        """What the job's command of Ridgeway printed."""
        (found,) = (self.folder / "logs" / job).glob("*_ridgeway.log")
        return found.read_text(encoding="utf-8")

    def summary(self, job: str) -> str:
        """What the job shows on the run's page."""
        return (self.folder / "summaries" / f"{job.replace('/', '.')}.ridgeway.summary.md").read_text(encoding="utf-8")


@dataclass
class Town:
    """A project in a repository, people and machines around it."""

    folder: Path
    bed: Bed
    azure: Azure
    wheel: Path
    ports: tuple[int, int]

    @property
    def origin(self) -> Path:
        """What is pushed to."""
        return self.folder / "origin.git"

    @property
    def desk(self) -> Path:
        """The working folder of who pushes."""
        return self.folder / "desk"

    @property
    def agent(self) -> Path:
        """The clone in which pipelines are carried out."""
        return self.folder / "agent"

    @property
    def environment(self) -> dict[str, str]:
        """What the terminal of whoever runs a pipeline holds: the two secrets."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("RIDGEWAY_", "KUBECONFIG"))}
        return {**own, "SERVERS_PASSWORD": PASSWORD, "SYSTEM_ACCESSTOKEN": TOKEN}

    def ridgeway(self, folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, *words],
            cwd=folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=900,
        )

    def found(self) -> None:
        """A new project, pushed for the first time."""
        made = self.ridgeway(self.folder, "new", "diabetes", "--ci", "azure")
        assert made.returncode == 0, made.stderr
        (self.folder / "diabetes").rename(self.desk)
        settings = self.desk / "ridgeway.toml"
        text = re.sub(r"(?m)^probe = .*$", QUICK, settings.read_text(encoding="utf-8"))
        assert 'started_by = "ci"' in text
        settings.write_text(text, encoding="utf-8")
        git(self.folder, "init", "--quiet", "--bare", "-b", "main", str(self.origin))
        git(self.desk, "init", "--quiet", "-b", "main")
        git(self.desk, "remote", "add", "origin", str(self.origin))
        self.push("A project")
        git(self.folder, "clone", "--quiet", str(self.origin), str(self.agent))
        (self.folder / "group.env").write_text(
            f"RIDGEWAY_REGISTRY__URI=http://127.0.0.1:{self.ports[1]}\n"
            f"RIDGEWAY_SERVERS__PREFECT=http://127.0.0.1:{self.ports[0]}/api\n"
        )
        (self.folder / "operations.toml").write_text(
            SETTINGS.format(repository=REPOSITORY, base=BASE, namespace=self.bed.namespace, approver=APPROVER)
        )

    def push(self, message: str) -> None:
        git(self.desk, "add", "--all")
        git(self.desk, "commit", "--quiet", "-m", message)
        git(self.desk, "push", "--quiet", "origin", "main")

    def hub(self, *words: str) -> None:
        """Brings the team's servers up, or down."""
        folder = self.folder / "hub"
        if not folder.exists():
            git(self.folder, "clone", "--quiet", str(self.origin), str(folder))
        ports = {
            "RIDGEWAY_SERVERS__PREFECT_PORT": str(self.ports[0]),
            "RIDGEWAY_SERVERS__MLFLOW_PORT": str(self.ports[1]),
        }
        done = self.ridgeway(folder, *words, **ports, RIDGEWAY_SERVERS__PASSWORD=PASSWORD)
        assert done.returncode == 0, done.stderr

    def run(self, file: str, *options: str) -> Ran:
        """A pipeline, carried out from what was pushed."""
        git(self.agent, "pull", "--quiet")
        return self.carry_out(file, *options, *self.given())

    def carry_out(self, file: str, *options: str) -> Ran:
        done = self.ridgeway(self.agent, "ci", "run", f"{FILES}/{file}.yml", *options, "--json")
        assert done.stdout, done.stderr
        record = json.loads(done.stdout)
        return Ran(done.returncode, done.stderr, Path(record["folder"]), record)

    def given(self) -> list[str]:
        """Group, secrets and variables, which Azure Pipelines would have itself."""
        return [
            *("--group", "ridgeway=../group.env"),
            *("--secret", "servers-password", "-p", "secrets={RIDGEWAY_SERVERS__PASSWORD: servers-password}"),
            *("--secret", "System.AccessToken", "--variable", f"System.CollectionUri={self.azure.url}"),
            *("--variable", "System.TeamProject=my team", "--variable", f"RIDGEWAY_WHEEL={self.wheel}"),
        ]

    @property
    def access(self) -> list[str]:
        """What a release needs beside that."""
        return [
            *("-p", "operationsFile=operations.toml", "--secure-file", "operations.toml=../operations.toml"),
            *("-p", "kubeconfigFile=clusters", "--secure-file", f"clusters={self.bed.kubeconfig}"),
        ]

    def patient(self) -> dict[str, float]:
        """One of the data's, with nothing but what is known of them beforehand."""
        with (self.desk / "data" / "diabetes.csv").open(encoding="utf-8", newline="") as rows:
            row = next(csv.DictReader(rows))
        return {name: float(value) for name, value in row.items() if name != "progression"}

    def answered(self) -> tuple[str, float]:
        """The model that answers a client in production, and what."""
        held = json.loads(self.story.ridgeway("keys", "production", "--json").out)
        answer = httpx.post(
            f"{held['address']}/score",
            json={"data": [[*self.patient().values()]]},
            headers={"Authorization": f"Bearer {held['primary']}"},
            timeout=20,
        )
        assert answer.status_code == 200, answer.text
        return answer.headers["Ridgeway-Model"], float(answer.json()["result"][0])

    def predicted(self, number: int) -> float:
        """The same of a model as it was trained."""
        registry = self.story.registry
        estimator = registry.load_model(registry.version(number).run_id)
        return float(estimator.predict(pd.DataFrame([self.patient()]))[0])

    @property
    def story(self) -> ClusterStory:
        """The same project, as somebody looks behind who has all access."""
        return ClusterStory(self.agent, "diabetes", self.folder / "operations.toml", {}, self.bed)


@pytest.fixture(scope="module")
def town(repository: Path, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    prefect, mlflow = free_ports(2)
    wheel = build(repository, "wheel", tmp_path_factory.mktemp("wheel"))
    with Azure() as azure, bed_in(lab, folder, "ridgeway-test-push") as bed, pytest.MonkeyPatch.context() as patch:
        made = Town(folder, bed, azure, wheel, (prefect, mlflow))
        patch.setenv("RIDGEWAY_REGISTRY__URI", f"http://127.0.0.1:{mlflow}")
        patch.setenv("RIDGEWAY_SERVERS__PASSWORD", PASSWORD)
        try:
            made.found()
            made.hub("up", "--detach")
            yield made
        finally:
            made.hub("down", "--force")
            forget(REPOSITORY)
    assert processes_of(folder) == []
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Day:
    """The three files, one after the other; the release in two parts, because nobody is there to approve at first."""

    town: Town
    build: Ran
    retraining: Ran
    asked: Ran
    release: Ran


@pytest.fixture(scope="module")
def day(town: Town) -> Day:
    build = town.run("build", "--reason", "push")
    assert build.code == 0, build.said
    retraining = town.run("retraining", "--reason", "resource", "-p", "release=false")
    assert retraining.code == 0, retraining.said
    asked = town.run("release", "-p", "model=models:/diabetes/1", *town.access, "--approve", "qa")
    assert asked.code == 5, asked.said
    assert town.azure.asked == []
    number = str(asked.record["number"])
    release = town.carry_out("release", "--continue", number, "--approve", "production")
    assert release.code == 0, release.said
    return Day(town, build, retraining, asked, release)


def test_from_a_push_to_production(day: Day) -> None:
    """Each file has done its part, outputs have passed between stages, and a client is answered by the new model."""
    check_the_runs(day)
    check_who_approved(day)
    check_production(day.town)


def check_the_runs(day: Day) -> None:
    assert day.build.results == {"Build": "Succeeded", "Publish": "Succeeded"}
    assert "tests: 4 tests, 0 failed" in json.dumps(day.build.record)
    assert {"gates-1", "publish-1"} <= set(day.build.record["artifacts"])
    assert "is published from commit" in day.build.log("Publish/run")

    assert day.retraining.results == {"Retraining": "Succeeded"}
    assert "outcome;isOutput=true]accept" in day.retraining.log("Retraining/run")

    assert day.asked.results == {"QA": "Succeeded", "Production": "Waiting", "Rollback": "NotStarted"}
    assert (day.asked.record["state"], day.asked.record["waits_for"]) == ("waiting", ["production"])
    assert "waits for a yes of the role release-manager" in day.asked.summary("QA/qa")
    assert day.release.results == {"QA": "Succeeded", "Production": "Succeeded", "Rollback": "Skipped"}
    assert "outcome;isOutput=true]waiting" in day.release.log("QA/qa")


def check_who_approved(day: Day) -> None:
    # What QA has made is what production was asked for, under the name of who was asked.
    assert f"{APPROVER} approves releases:/diabetes/1 as release-manager" in day.release.log("Production/production")
    assert "models:/diabetes/1 answers on production" in day.release.summary("Production/production")
    number = day.asked.record["number"]
    paths = [path for path, _ in day.town.azure.asked]
    assert paths[0].startswith(f"/my%20team/_apis/build/builds/{number}/timeline?")
    assert {token for _, token in day.town.azure.asked} == {f"Bearer {TOKEN}"}

    release = day.town.story.record(1)
    assert release.state == "released"
    (word,) = day.town.story.approvals(1)
    assert (word.person.name, word.person.source, word.person.strength) == (APPROVER, "ci", "signed-in")


def check_production(town: Town) -> None:
    story = town.story
    model, value = town.answered()
    assert (model, abs(value - town.predicted(1)) < 1e-6) == ("diabetes/1", True)
    assert story.champion() == 1
    (pod,) = [one for one in story.found("pods")["items"] if one["metadata"]["name"].startswith("diabetes-production-")]
    assert pod["spec"]["nodeName"] == "gpu-1"
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_no_secret_is_kept_and_no_job_left_anything(day: Day) -> None:
    runs = day.town.agent / ".ridgeway" / "ci"
    kept = [file for file in runs.rglob("*") if file.is_file() and "caches" not in file.parts]
    assert len(kept) > 50
    for file in kept:
        data = file.read_bytes()
        assert PASSWORD.encode() not in data, file
        assert TOKEN.encode() not in data, file
    assert not [*runs.glob("*/work")]
    # The first job has fetched the packages of the lock, all others have found them.
    notes = [
        day.retraining.notes("Retraining/run/3"),
        day.asked.notes("QA/qa/4"),
        day.release.notes("Production/production/4"),
    ]
    assert notes == ["cache: as it was kept for this key"] * 3
    assert processes_of(day.town.agent) == []


def test_a_worse_model_ends_green_and_the_summary_says_why(day: Day) -> None:
    town = day.town
    settings = town.desk / "ridgeway.toml"
    text = settings.read_text(encoding="utf-8")
    assert "parameters = { alpha = 1.0 }" in text
    settings.write_text(text.replace("alpha = 1.0", "alpha = 1000000.0"), encoding="utf-8")
    town.push("Far too smooth")
    ran = town.run("retraining", "--reason", "resource", *town.access)
    assert ran.code == 0, ran.said
    assert ran.results == {"Retraining": "Succeeded", "QA": "Skipped", "Production": "Skipped", "Rollback": "Skipped"}
    assert "eq('reject', 'accept')" in ran.notes("QA")
    assert "## ridgeway run retraining: reject" in ran.summary("Retraining/run")
    assert "rejected" in ran.summary("Retraining/run")
    assert (town.story.champion(), town.answered()[0]) == (1, "diabetes/1")
