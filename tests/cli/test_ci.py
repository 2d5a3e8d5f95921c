"""``ridgeway ci``: pipelines planned, carried out and checked by command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ridgeway.cli.ci.check import wrong_with
from ridgeway.cli.ci.given import groups, secret_values
from ridgeway.errors import UsageError
from tests.ci.execution.conftest import git, repository
from tests.cli.conftest import Command

PIPELINE = """
trigger: none
parameters:
- name: word
  type: string
  default: all
variables:
- group: team
- name: mine
  value: x
stages:
- stage: Build
  jobs:
  - job: make
    steps:
    - script: echo made ${{ parameters.word }} $(mine) $(url) $(token); cat file.txt
    - task: Docker@2
- stage: Production
  condition: and(succeeded(), eq(variables['Build.SourceBranch'], 'refs/heads/main'))
  jobs:
  - deployment: roll
    environment: production
    strategy:
      runOnce:
        deploy:
          steps:
          - script: echo out; exit $(code)
"""


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a pipeline; the working directory is in it."""
    root = repository(tmp_path / "repo", {"ci/release.yml": PIPELINE, "file.txt": "committed\n"})
    (tmp_path / "team.env").write_text("# the team's\nurl=http://mlflow.example\ncode=0\n")
    monkeypatch.chdir(root)
    monkeypatch.setenv("TOKEN", "s3cret")
    return root


GIVEN = ("--group", "team=../team.env", "--secret", "token")


def test_a_plan_runs_nothing(repo: Path, ridgeway: Command) -> None:
    code, out, err = ridgeway("ci", "run", "ci/release.yml", "--plan", "-p", "word=some", "--branch", "other", *GIVEN)
    assert code == 0, err
    assert out.splitlines() == [
        "ci/release.yml  Manual of refs/heads/other",
        "  parameter  word = some",
        "  starts on  no push, every pull request",
        "  variables  of group team",
        "  variable   mine = x",
        "stage Build  runs: nothing comes before it",
        "  job make  runs: nothing comes before it",
        "    checkout  checkout self (of itself)",
        "    1  script echo made some $(mine) $(url) $(token); cat file.txt",
        "    2  task Docker@2 (not executed here)",
        "stage Production  after Build  skipped: and(succeeded() of Build, eq('refs/heads/other',",
        "    'refs/heads/main'))",
        "  deployment roll  skipped: stage Production is skipped",
        "    environment production: its approvals and checks come first",
        "    deploy",
        "      download  download current (of itself)  skipped: its job is skipped",
        "      1  script echo out; exit $(code)  skipped: its job is skipped",
    ]
    assert not (repo / ".ridgeway").exists()


def test_a_plan_as_json_and_on_a_narrow_terminal(
    repo: Path, ridgeway: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out, _ = ridgeway("ci", "run", "ci/release.yml", "--plan", "--json", "--stage", "build", "--secret", "token")
    record = json.loads(out)
    assert [stage["stage"] for stage in record["stages"]] == ["Build"]
    assert "s3cret" not in out
    monkeypatch.setenv("COLUMNS", "50")
    _, out, _ = ridgeway("ci", "run", "ci/release.yml", "--plan")
    assert max(len(line) for line in out.splitlines()) <= 50


def test_a_run_in_a_clean_clone(repo: Path, ridgeway: Command) -> None:
    (repo / "file.txt").write_text("changed\n")
    code, out, err = ridgeway("ci", "run", "ci/release.yml", "--approve", "production", *GIVEN)
    assert code == 0, err
    assert "Build/make      |   made all x http://mlflow.example ***" in err
    assert "|   committed" in err
    assert "not what has changed since: file.txt" in err
    assert "production is approved by --approve" in err
    lines = out.splitlines()
    assert lines[0] == "run 1 of ci/release.yml: succeeded"
    assert [line.split()[:2] for line in lines[1:] if not line.startswith(" ")] == [
        ["not", "done"],
        ["kept", "in"],
    ]
    assert "not executed: task Docker@2" in out
    assert (repo / ".ridgeway/ci/1/logs/Production/roll/02_1.log").read_text() == "out\n"
    assert git(repo, "status", "--porcelain") == " M file.txt\n"


def test_codes_of_what_can_come_of_it(repo: Path, ridgeway: Command, tmp_path: Path) -> None:
    """Waiting without a terminal, failed, a wrong file; each with its exit code."""
    code, out, _ = ridgeway("ci", "run", "ci/release.yml", *GIVEN)
    assert code == 5
    assert "waits for  approval of production" in out
    (tmp_path / "team.env").write_text("code=7\n")
    code, out, err = ridgeway("ci", "run", "ci/release.yml", "--approve", "production", "--json", *GIVEN)
    assert code == 1
    record = json.loads(out)
    assert record["state"] == "failed"
    assert [end["notes"] for end in record["ends"] if end["path"] == "Production/roll/1"] == [["exit code 7"]]
    (repo / "ci/release.yml").write_text("steps:\n- script: a\n  condition: eq(1 2)\n")
    code, _, err = ridgeway("ci", "run", "ci/release.yml")
    assert code == 2
    assert "ci/release.yml:3:" in err
    assert "^" in err


def test_a_commit_is_taken_whole(repo: Path, ridgeway: Command) -> None:
    (repo / "ci/release.yml").write_text("steps: [script: echo changed]\n")
    _, out, _ = ridgeway("ci", "run", "ci/release.yml", "--plan", "--commit", "HEAD")
    assert "stage Production" in out
    code, _, err = ridgeway("ci", "run", "ci/release.yml")
    assert code == 0
    assert "note: ci/release.yml as it is now, not as committed" in err
    assert "|   changed" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--approve", "prod"], "did you mean production?"),
        (["--stage", "Prod"], "did you mean Production?"),
        (["-p", "word"], "expected  -p NAME=VALUE"),
        (["-p", "wrd=x"], "did you mean word?"),
        (["--secret", "missing"], "the environment has neither missing nor MISSING"),
        (["--group", "team=nowhere.env"], "cannot read a variable group"),
        (["--commit", "nowhere"], "no commit 'nowhere'"),
    ],
)
def test_wrong_options(repo: Path, ridgeway: Command, arguments: list[str], told: str) -> None:
    code, _, err = ridgeway("ci", "run", "ci/release.yml", *arguments)
    assert code == 2
    assert told in err
    assert not (repo / ".ridgeway/ci/1/run.json").exists()


def test_where_there_is_no_repository(tmp_path: Path, ridgeway: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ci.yml").write_text("steps: [script: echo]\n")
    assert ridgeway("ci", "run", "ci.yml", "--plan")[0] == 0
    code, _, err = ridgeway("ci", "run", "ci.yml")
    assert code == 2
    assert "in no git repository" in err
    code, _, err = ridgeway("ci", "run", "nowhere.yml", "--plan")
    assert code == 2
    assert "nowhere.yml" in err


def test_ctrl_c_stops_everything(repo: Path) -> None:
    """By a program of its own: the signal of a terminal is answered with 130, and no process is left."""
    (repo / "slow.yml").write_text("steps:\n- script: echo $$ > $(Agent.WorkFolder)/../pid; exec sleep 600\n")
    words = [sys.executable, "-m", "ridgeway", "ci", "run", "slow.yml"]
    program = [sys.executable, "-c", "from ridgeway.cli import main; main()", *words[3:]]
    started = subprocess.Popen(program, cwd=repo, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    pid = repo / ".ridgeway/ci/1/pid"
    until = time.monotonic() + 60
    while not (pid.exists() and pid.read_text().strip()) and time.monotonic() < until:
        time.sleep(0.1)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "interrupted: all is stopped" in err
    stat = Path(f"/proc/{pid.read_text().strip()}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_groups_in_all_their_forms(tmp_path: Path) -> None:
    forms = {
        "a.env": "x=1\n\n# no\ny=a=b\n",
        "b.yml": "x: 1\ny: a=b\n",
        "c.json": '{"x": 1, "y": "a=b"}',
        "d.json": '{"variables": {"x": {"isSecret": null, "value": "1"}, "y": {"isSecret": true, "value": "a=b"}}}',
    }
    for name, text in forms.items():
        (tmp_path / name).write_text(text)
        members, secrets = groups([f"g={tmp_path / name}"])
        assert members == {"g": {"x": "1", "y": "a=b"}}
        assert secrets == ({"y"} if name == "d.json" else set())
    (tmp_path / "e.json").write_text("[1]")
    with pytest.raises(UsageError, match="cannot read a variable group"):
        groups([f"g={tmp_path / 'e.json'}"])
    assert secret_values(["a.b-c"], {"A_B_C": "x"}, []) == {"a.b-c": "x"}
    assert secret_values(["known"], {}, ["KNOWN"]) == {}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("run release $MODEL --until qa --ci", ""),
        ("ci run file --plan", ""),
        ("--version", ""),
        ("run release --untl qa --ci", "No such option"),
        ("run relese --ci", "no flow 'relese'"),
        ("run retraining", "--ci is missing"),
        ("rolback production", "Did you mean rollback?"),
        ("ci chek", "Did you mean check?"),
        ("rollback", "Missing argument"),
        ("serve $MODEL --port many", "not a valid integer"),
        ("serve $MODEL --port $PORT", ""),
    ],
)
def test_calls_are_judged_by_the_commands_themselves(words: str, told: str) -> None:
    found = wrong_with(words.split())
    assert (told in found) if told else found == ""


def test_the_check_of_this_project(ridgeway: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    code, out, err = ridgeway("ci", "check", "--json")
    assert code == 0, (out, err)
    checks = {finding["check"]: finding["outcome"] for finding in json.loads(out)["findings"]}
    assert checks["the same in all"] == "pass"
    assert checks["Azure Pipelines commands"] == "pass"


def test_a_check_that_finds_something(repo: Path, ridgeway: Command) -> None:
    folder = repo / "templates/azure-pipelines"
    folder.mkdir(parents=True)
    (folder / "build.yml").write_text("steps:\n- script: ridgeway rn build --ci\n")
    code, out, _ = ridgeway("ci", "check")
    assert code == 7
    assert "no command 'rn'. Did you mean run?" in out
    assert ridgeway("ci", "check", "ci/release.yml")[0] == 0
    assert ridgeway("ci", "check", "file.txt")[0] == 2
    assert ridgeway("ci", "check", "../team.env")[0] == 2


def test_a_check_of_nothing_and_of_a_corpus(tmp_path: Path, ridgeway: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ridgeway("ci", "check")[0] == 2
    (tmp_path / "of-others").mkdir()
    (tmp_path / "of-others/a.yml").write_text("steps: [script: make]\n")
    (tmp_path / "of-others/b.yml").write_text("jobs:\n- job: a\n  strategy: {parallel: 2}\n")
    code, out, _ = ridgeway("ci", "check", "--corpus", "of-others")
    assert code == 0
    assert out.splitlines() == [
        "plans        a.yml  1 stages, 1 jobs, 2 steps",
        "unsupported  b.yml  b.yml:3:14: a strategy with parallel",
        "1 plan, 1 use what is outside of the grammar",
    ]
