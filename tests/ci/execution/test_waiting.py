"""A run that waits for an approval is carried on by another command: nothing is done twice, nothing is lost."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.ci.execution.conftest import git, repository

FILE = """
parameters:
- {name: word, type: string, default: none}
variables:
- group: team
- {name: own, value: of the file}
stages:
- stage: QA
  jobs:
  - deployment: qa
    environment: qa
    strategy:
      runOnce:
        deploy:
          steps:
          - checkout: none
          - script: |
              echo "qa ran" >>"$PLACE"
              echo "##vso[task.setvariable variable=handle;isOutput=true]releases:/7"
              echo kept >"$(Build.ArtifactStagingDirectory)/a.txt"
            name: tries
          - publish: $(Build.ArtifactStagingDirectory)
            artifact: from_qa
- stage: Production
  dependsOn: QA
  condition: and(succeeded(), eq(dependencies.QA.outputs['qa.qa.tries.handle'], 'releases:/7'))
  jobs:
  - deployment: production
    environment: production
    variables: {RELEASE: "$[stageDependencies.QA.qa.outputs['qa.tries.handle']]"}
    strategy:
      runOnce:
        deploy:
          steps:
          - checkout: self
          - script: |
              cat "$(Pipeline.Workspace)/from_qa/a.txt" file.txt
              echo "$RELEASE ${{ parameters.word }} $ADDRESS $(own) $BUILD_BUILDID $BUILD_SOURCEBRANCHNAME [$KEY]"
              echo "production ran" >>"$PLACE"
            name: goes
            env: {KEY: $(key)}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "team.env").write_text(f"ADDRESS=http://mlflow\nPLACE={tmp_path}/ran\n", encoding="utf-8")
    return repository(tmp_path / "project", {"ci.yml": FILE, "file.txt": "committed\n", ".gitignore": ".ridgeway/\n"})


def ridgeway(project: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "import ridgeway.cli as c; c.main()", "ci", "run", *words],
        cwd=project,
        env={**os.environ, "COLUMNS": "200", "KEY": "s3cret-word", **environment},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


STARTED = ("ci.yml", "-p", "word=given", "--group", "team=../team.env", "--secret", "key", "--approve", "qa")


def waits(project: Path) -> subprocess.CompletedProcess[str]:
    done = ridgeway(project, *STARTED)
    assert done.returncode == 5, done.stderr
    return done


def test_it_goes_on_where_it_stopped(project: Path, tmp_path: Path) -> None:
    first = waits(project)
    assert "next       ridgeway ci run ci.yml --continue 1 --approve production\n" in first.stdout
    # Meanwhile somebody works on: the run is one of the commit that it began with.
    (project / "file.txt").write_text("later\n", encoding="utf-8")
    git(project, "commit", "--quiet", "--all", "-m", "Second")
    again = ridgeway(project, "ci.yml", "--continue", "1", "--approve", "production", "--json")
    assert again.returncode == 0, again.stderr
    record = json.loads(again.stdout)
    ends = {end["path"]: end["result"] for end in record["ends"]}
    assert (record["number"], record["state"], record["artifacts"]) == (1, "succeeded", ["from_qa"])
    assert (ends["QA"], ends["QA/qa/tries"], ends["Production"]) == ("Succeeded", "Succeeded", "Succeeded")
    assert (tmp_path / "ran").read_text() == "qa ran\nproduction ran\n"
    log = next((project / ".ridgeway/ci/1/logs/Production/production").glob("*_goes.log")).read_text()
    assert log == "kept\ncommitted\nreleases:/7 given http://mlflow of the file 1 main [***]\n"
    for kept in (project / ".ridgeway").rglob("*"):
        assert kept.is_dir() or "s3cret-word" not in kept.read_text(encoding="utf-8")


def test_it_may_wait_again_but_ends_once(project: Path, tmp_path: Path) -> None:
    waits(project)
    assert ridgeway(project, "ci.yml", "--continue", "1").returncode == 5
    assert ridgeway(project, "ci.yml", "--continue", "1", "--approve", "production").returncode == 0
    over = ridgeway(project, "ci.yml", "--continue", "1", "--approve", "production")
    assert over.returncode == 2
    assert "run 1 waits for nothing" in over.stderr
    assert (tmp_path / "ran").read_text() == "qa ran\nproduction ran\n"


def test_what_cannot_be(project: Path) -> None:
    waits(project)
    for words, *told in (
        (("ci.yml", "--continue", "7"), "run 7 waits for nothing", "there is no such run", "one of 1"),
        (("ci.yml", "--continue", "1", "-p", "word=other"), "leave out --parameter"),
        (("ci.yml", "--continue", "1", "--commit", "HEAD", "--group", "team=x"), "leave out --group, --commit"),
        (("other.yml", "--continue", "1"), "run 1 is of ci.yml"),
    ):
        done = ridgeway(project, *words)
        assert done.returncode == 2
        for word in told:
            assert word in done.stderr


def test_a_file_that_has_changed(project: Path) -> None:
    waits(project)
    (project / "ci.yml").write_text(FILE.replace("of the file", "otherwise"), encoding="utf-8")
    done = ridgeway(project, "ci.yml", "--continue", "1", "--approve", "production")
    assert done.returncode == 2
    assert "ci.yml or one of its templates has changed since it began" in done.stderr
    (project / "ci.yml").write_text(FILE, encoding="utf-8")
    assert ridgeway(project, "ci.yml", "--continue", "1", "--approve", "production").returncode == 0


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("isOutput=true]", "isOutput=true;isSecret=true]", "holds a secret, which is kept nowhere"),
        ("value: of the file", "value: '$[counter(1, 1)]'", "is a counter"),
    ],
)
def test_a_run_that_cannot_be_carried_on_says_why(project: Path, old: str, new: str, told: str) -> None:
    (project / "ci.yml").write_text(FILE.replace(old, new), encoding="utf-8")
    waits(project)
    done = ridgeway(project, "ci.yml", "--continue", "1", "--approve", "production")
    assert done.returncode == 2
    assert told in done.stderr


def at_a_terminal(project: Path, question: str, *words: str) -> tuple[int, str]:
    """A run on a terminal, with Ctrl-C in the place of the answer to a question."""
    here, there = pty.openpty()
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "import sys, ridgeway.cli as c; sys.exit(c.invoke(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "ci", "run", *words],
        cwd=project,
        env={**os.environ, "KEY": "s3cret-word"},
        stdin=there,
        stdout=there,
        stderr=there,
        start_new_session=True,
    )
    os.close(there)
    timer = threading.Timer(60, process.kill)
    timer.start()
    shown = b""
    asked = False
    try:
        while piece := os.read(here, 4096):
            shown += piece
            if not asked and question in shown.decode(errors="replace"):
                asked = True
                process.send_signal(signal.SIGINT)
    except OSError:  # the other end is closed
        pass
    finally:
        timer.cancel()
        os.close(here)
    return process.wait(), shown.decode(errors="replace")


def test_who_leaves_the_question_open_answers_it_later(project: Path, tmp_path: Path) -> None:
    code, shown = at_a_terminal(project, "Approve? [yes/no]", *STARTED)
    assert code == 130, shown
    assert "the question stays open: ridgeway ci run ci.yml --continue 1" in shown
    code, _ = at_a_terminal(project, "Approve? [yes/no]", "ci.yml", "--continue", "1")
    assert code == 130
    assert ridgeway(project, "ci.yml", "--continue", "1", "--approve", "production").returncode == 0
    assert (tmp_path / "ran").read_text() == "qa ran\nproduction ran\n"
