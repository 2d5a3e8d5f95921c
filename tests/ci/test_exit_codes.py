"""Ends of commands through four systems, with the scripts of the templates really carried out.

Reject, hold and waiting are green, what comes behind is skipped, and the summary says why; 6, 7, 8 and 65 are red.
One thing stands in here: a `ridgeway` whose commands do nothing but end as told. What `--ci` makes of that is the real
thing. Azure's files are carried out by the runner; the others' scripts by the shell that each system starts, GitLab's
by gitlab-ci-local too where that is installed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ridgeway import scaffold
from ridgeway.ci.azure import Folder, Inputs, plan
from ridgeway.ci.execution import Machine, execute, prepare
from ridgeway.ci.execution.agent import inherited
from ridgeway.ci.execution.checkout import source
from tests.ci.execution.conftest import Told, git
from tests.ci.execution.conftest import repository as committed
from tests.ci.test_outputs import properties
from tests.ci.test_templates import (
    APPROVE,
    AZURE,
    CASES,
    GOOD,
    MODEL,
    QA,
    RELEASE,
    RETRAINING,
    ROLLBACK,
    End,
    Played,
    github,
    gitlab,
    jenkins,
    tool,
)

STAND_IN = """#!{python}
import json
import sys
from pathlib import Path

import click

from ridgeway.cli import console, options

ENDS = json.loads(Path(__file__).with_name("ends.json").read_text())


def ends(words, ci):
    record = ENDS[words]
    print("called:", *sys.argv[1:], file=sys.stderr)
    console.result(record["handle"], record, as_json=False)
    return console.soften(record["exit_code"], ci=ci)


@click.group()
def program():
    pass


@program.command("run")
@click.argument("flow")
@click.argument("model", required=False)
@click.option("--until")
@options.ci
@options.common
def run(**given):
    return ends("run " + given["flow"], given["ci"])


@program.command("approve")
@click.argument("release")
@options.ci
@options.common
def approve(**given):
    return ends("approve", given["ci"])


@program.command("rollback")
@click.argument("target")
@options.ci
@options.common
def rollback(**given):
    return ends("rollback " + given["target"], given["ci"])


sys.exit(program.main(standalone_mode=False) or 0)
"""
SHELLS = {
    "github": ("bash", "-e"),  # what `run` without `shell` gets
    "gitlab": ("bash", "-eo", "pipefail"),
    "jenkins": ("sh", "-xe"),
}
MARKS = {"github": "GITHUB_ACTIONS", "gitlab": "GITLAB_CI", "jenkins": "JENKINS_URL"}


def because(command: str, end: End) -> str:
    """The sentence that the summary must show."""
    return f"{command} ended as {end.outcome} for a reason"


def files(ends: Mapping[str, End]) -> dict[str, str]:
    """The stand-in, and an installation that has nothing to do."""
    told = {
        command: {
            "outcome": end.outcome,
            "exit_code": end.code,
            "handle": end.handle,
            "sentence": because(command, end),
        }
        for command, end in ends.items()
    }
    program = STAND_IN.replace("{python}", sys.executable)
    return {
        ".venv/bin/ridgeway": program,
        ".venv/bin/ends.json": json.dumps(told),
        "env/install.sh": ":\n",
        "env/requirements.txt": "",  # the caches' key
    }


@dataclass(frozen=True)
class Seen:
    """What a system has seen of a command: the exit code of its script, and the variables in the file it reads."""

    code: int
    variables: Mapping[str, str]

    @property
    def is_red(self) -> bool:
        return self.code != 0


@dataclass
class Carried(Played):
    """A pipeline whose scripts are carried out; each in a clean folder, as jobs are."""

    system: str = ""
    folder: Path = Path()
    called: list[str] = field(default_factory=list)
    summaries: dict[str, str] = field(default_factory=dict)
    said: str = ""

    def run(self, command: str, script: str, environ: Mapping[str, str]) -> Seen:
        self.ran.append(command)
        place = self.folder / str(len(self.ran))
        done = self._shell(script, place, environ)
        (called,) = re.findall(r"called: (.*)", done.stderr)
        self.called.append(called)
        page = place / ("page" if self.system == "github" else ".ridgeway/ci/summary.md")
        self.summaries[command] = page.read_text(encoding="utf-8")
        seen = Seen(done.returncode, self._variables(place))
        self.is_red |= seen.is_red
        return seen

    def passes(self, script: str, environ: Mapping[str, str]) -> None:
        done = self._shell(script, self.folder / "passing", environ)
        assert done.returncode == 0
        assert "called:" not in done.stderr
        self.said += done.stdout

    def _shell(self, script: str, place: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        for name, text in files(self.ends).items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text, encoding="utf-8")
        (place / ".venv/bin/ridgeway").chmod(0o755)
        (place / "script").write_text(f"{script}\n", encoding="utf-8")
        told = {
            MARKS[self.system]: "true",
            "GITHUB_OUTPUT": str(place / "out"),
            "GITHUB_STEP_SUMMARY": str(place / "page"),
        }
        return subprocess.run(
            [*SHELLS[self.system], "script"],
            cwd=place,
            env={**inherited(os.environ), **environ, **told},
            capture_output=True,
            text=True,
            check=False,
        )

    def _variables(self, place: Path) -> dict[str, str]:
        if self.system == "jenkins":
            return properties(place / ".ridgeway/ci/outputs.properties")
        file = place / ("out" if self.system == "github" else ".ridgeway/ci/outputs.env")
        return dict(line.split("=", 1) for line in file.read_text(encoding="utf-8").splitlines())


@dataclass
class OnAzure:
    """What Azure's files came to."""

    ran: list[str]
    is_red: bool
    called: list[str]
    summaries: dict[str, str]
    skipped: dict[str, str]


def on_azure(root: Path, folder: Path, ends: Mapping[str, End]) -> OnAzure:
    """`retraining.yml`, carried out by the runner; both environments are approved."""
    template = scaffold.ci_files(scaffold.read_template(root), "azure")
    texts = {file.path: file.content.decode() for file in template}
    made = committed(folder / "project", {**texts, **files(ends)})
    (made / ".venv/bin/ridgeway").chmod(0o755)
    git(made, "add", "--force", ".venv")
    git(made, "commit", "--quiet", "-m", "Second")
    found = source(made)
    planned = plan(f"{AZURE}/retraining.yml", Inputs(reason="schedule", commit=found.commit), Folder(made))
    told = Told({"qa": True, "production": True})
    machine = Machine(inherited(os.environ), sys.platform, Path(sys.executable))
    told.outcome = execute(planned, machine, found, prepare(made), told)
    return seen_on_azure(told)


def seen_on_azure(told: Told) -> OnAzure:
    where = {"Retraining/run": RETRAINING, "QA/qa": QA, "Production/production": APPROVE, "Rollback/run": ROLLBACK}
    results = {command: told.made.ends[f"{job}/ridgeway"].result for job, command in where.items()}
    ran = {command: job for job, command in where.items() if results[command] not in {"Skipped", "NotStarted"}}
    page = "{}/summaries/{}.ridgeway.summary.md"
    return OnAzure(
        ran=[*ran],
        is_red=told.made.state != "succeeded",
        called=re.findall(r"called: (.*)", "\n".join(told.lines)),
        summaries={
            command: Path(page.format(told.made.folder, job.replace("/", "."))).read_text(encoding="utf-8")
            for command, job in ran.items()
        },
        skipped={path: told.notes(path) for path, end in told.made.ends.items() if end.result == "Skipped"},
    )


def check(case: str, ends: Mapping[str, End], seen: OnAzure | Carried) -> None:
    """What every system must have shown."""
    _, ran, is_green = CASES[case]
    assert (seen.ran, not seen.is_red) == (ran, is_green)
    words = {RETRAINING: RETRAINING, QA: f"run release {MODEL} --until qa", APPROVE: f"approve {RELEASE}"}
    assert seen.called == [f"{words.get(command, command)} --ci" for command in ran]
    for command in ran:
        head, _, rest = seen.summaries[command].partition("\n")
        assert head.startswith("## ridgeway ")
        assert head.endswith(f": {ends[command].outcome}")
        assert because(command, ends[command]) in rest


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_azure_pipelines(case: str, repository: Path, tmp_path: Path) -> None:
    ends = {**GOOD, **CASES[case][0]}
    seen = on_azure(repository, tmp_path, ends)
    check(case, ends, seen)
    if RETRAINING in CASES[case][0] and CASES[case][2]:
        assert seen.skipped["QA"] == f"and(True, eq('{ends[RETRAINING].outcome}', 'accept'))"


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("play", [github, gitlab, jenkins], ids=lambda one: str(one.__name__))
def test_the_others(
    play: Callable[[Path, Any], Any], case: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = {**GOOD, **CASES[case][0]}
    seen = Carried(ends, system=play.__name__, folder=tmp_path)
    monkeypatch.setattr("tests.ci.test_templates.Played", lambda _: seen)
    play(repository, ends)
    check(case, ends, seen)
    if play is gitlab and RETRAINING in CASES[case][0] and CASES[case][2]:
        # Its pipelines cannot be empty, so a job is there to say it.
        assert seen.said == f"the retraining ended as {ends[RETRAINING].outcome}, so there is nothing to release\n"


# ---- GitLab's files by gitlab-ci-local -------------------------------------------------------------------------------

PRESSED = ("--manual", "production")
"""The button of the job of that name."""


@pytest.fixture
def gitlab_project(repository: Path, tmp_path: Path) -> Callable[[Mapping[str, End]], Path]:
    """A project for jobs without an image, because the shell of this machine carries them out."""
    tool("rsync")

    def make(ends: Mapping[str, End]) -> Path:
        template = scaffold.ci_files(scaffold.read_template(repository), "gitlab")
        texts = {file.path: file.content.decode() for file in template}
        texts[".gitlab/ci/job.yml"], count = re.subn(r"(?m)^  image: .*\n", "", texts[".gitlab/ci/job.yml"])
        assert count == 1
        made = committed(tmp_path / "project", {**texts, **files(ends)})
        (made / ".venv/bin/ridgeway").chmod(0o755)
        git(made, "add", "--force", ".venv")
        git(made, "commit", "--quiet", "-m", "Second")
        git(made, "remote", "add", "origin", "git@lab.example:team/ml.git")
        return made

    return make


def pipeline(project: Path, file: str, *options: str, **variables: str) -> tuple[int, str, dict[str, str]]:
    """Exit code, what was said, and what the jobs have put out for later pipelines."""
    words = [tool("gitlab-ci-local"), "--no-color", "--shell-isolation", "--file", file, *options]
    given = [f"{name}={value}" for name, value in {"GITLAB_CI": "true", **variables}.items()]
    done = subprocess.run(
        [*words, *(word for one in given for word in ("--variable", one))],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    told = {}
    for output in (project / ".gitlab-ci-local/artifacts").glob("*/.ridgeway/ci/outputs.env"):
        told |= {f"{output.parts[-4]}.{line.partition('=')[0]}": line.partition("=")[2]
                 for line in output.read_text(encoding="utf-8").splitlines()}  # fmt: skip
    return done.returncode, done.stdout, told


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_gitlab_ci_local(case: str, gitlab_project: Callable[[Mapping[str, End]], Path]) -> None:
    """Its jobs that start another pipeline do nothing here, so each of the three is started with what those hand on."""
    ends = {**GOOD, **CASES[case][0]}
    _, ran, is_green = CASES[case]
    project = gitlab_project(ends)
    code, said, told = pipeline(project, ".gitlab-ci.yml", FLOW="retraining")
    if code == 0:
        handed = {"RETRAINING_OUTCOME": told["retraining.outcome"], "REGISTERED_MODEL": told["retraining.model"]}
        code, more, told = pipeline(project, ".gitlab/ci/release.yml", **handed)
        said += more
    if code == 0 and "qa.outcome" in told:
        handed = {"QA_OUTCOME": told["qa.outcome"], "RELEASE_HANDLE": told["qa.release"]}
        pressed = PRESSED if told["qa.outcome"] in {"waiting", "approved"} else ()
        code, more, told = pipeline(project, ".gitlab/ci/production.yml", *pressed, **handed)
        said += more
    called = re.findall(r"(?m)^\w+ +> called: (.*)", said)  # what a job has said is repeated at its failure
    words = {RETRAINING: RETRAINING, QA: f"run release {MODEL} --until qa", APPROVE: f"approve {RELEASE}"}
    assert called == [f"{words.get(command, command)} --ci" for command in ran], said
    assert (code == 0) == is_green, said
    if is_green and RETRAINING in CASES[case][0]:
        assert f"the retraining ended as {ends[RETRAINING].outcome}, so there is nothing to release" in said
    if is_green and QA in CASES[case][0] and APPROVE not in ran:
        assert f"the trial ended as {ends[QA].outcome}, so there is nothing to approve" in said
