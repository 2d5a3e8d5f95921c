"""A build, step by step in this process: what it looks at, what it comes to, and what is left of it."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ridgeway import scaffold
from ridgeway.actions import build, publication
from ridgeway.actions.build import Request
from ridgeway.actions.build_subject import refuse_moved, subject
from ridgeway.artifacts import GateReport, Publication
from ridgeway.errors import GateFound, Unreachable, UsageError
from ridgeway.orchestrator import Server
from ridgeway.project import open_project
from ridgeway.run_log import RunLog, RunRecord

QUICK = ("build.checks=['ruff']",)


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(root), *who, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new project in a repository, all of it committed; the working directory is in it."""
    template = scaffold.read_template(scaffold.template_root())
    root = tmp_path / "diabetes"
    scaffold.write(scaffold.plan(template, name="diabetes", version="1.0"), root)
    git(tmp_path, "init", "--quiet", str(root))
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "First")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def lasting(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a server were up."""
    monkeypatch.setattr(publication, "destination", lambda _: Server("http://127.0.0.1:1/api", root))


def record(root: Path) -> RunRecord:
    return RunLog(root).records()[0]


def report_of(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (root / ".ridgeway/runs" / record(root).id / "report/record.json").read_text(encoding="utf-8")
    )
    return found


def built(**asked: Any) -> dict[str, Any]:
    """What the flow's steps come to, one after the other, without an orchestrator."""
    with build.start(Request(**{"overrides": QUICK, "only": "gates", **asked})) as job:
        for step in job.steps:
            try:
                getattr(job, step)()
            except GateFound:
                continue
    return build.summary(job)


def test_a_clean_tree_passes(root: Path) -> None:
    summary = built()
    assert (summary["outcome"], summary["exit_code"]) == ("passed", 0)
    assert summary["sentence"] == "ruff passed; nothing was published"
    assert summary["commit"] == git(root, "rev-parse", "HEAD")
    assert (record(root).state, record(root).exit_code) == ("finished", 0)
    assert report_of(root)["lineage"]["clean"] is True
    assert git(root, "status", "--porcelain") == ""
    kept = sorted(path.name for path in (root / ".ridgeway/runs" / record(root).id).rglob("*") if path.is_file())
    assert kept == [
        "record.json",
        "report.html",
        "report.md",
        "ruff-check.out",
        "ruff-format.out",
        "run.json",
        "run.log",
    ]


def test_findings_are_the_error_of_the_whole_build(root: Path) -> None:
    (root / "steps/bad.py").write_text("import os\n")
    with pytest.raises(GateFound) as found:
        built()
    assert found.value.exit_code == 7
    assert str(found.value) == (
        "build: 1 finding by ruff\n  problem   ruff: 1 finding in 1 file\n  next      ruff check --fix ."
    )
    assert (record(root).state, record(root).exit_code, record(root).sentence) == (
        "failed",
        7,
        "build: 1 finding by ruff",
    )
    kept = report_of(root)
    assert (kept["outcome"]["code"], kept["gates"][0]["findings"][0]["file"]) == ("found", "steps/bad.py")
    assert kept["lineage"]["clean"] is False


def test_a_gate_that_cannot_look_does_not_hide_what_the_others_find(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ridgeway.code_gate.type_check.require", _missing)
    checks = ("build.checks=['ruff', 'types']",)

    def look() -> None:
        with build.start(Request("", "", "gates", overrides=checks)) as job, pytest.raises(UsageError):
            job.check_code()
        pytest.fail("it must not end well")

    with pytest.raises(UsageError, match="mypy is not installed"):
        look()
    assert record(root).exit_code == 2
    assert [gate["outcome"] for gate in report_of(root)["gates"]] == ["passed", "broken"]
    (root / "steps/bad.py").write_text("import os\n")
    with pytest.raises(GateFound):
        look()
    assert record(root).exit_code == 7
    assert [gate["outcome"] for gate in report_of(root)["gates"]] == ["found", "broken"]


def _missing(*_: str) -> None:
    raise UsageError("types: mypy is not installed", next_step="uv pip install mypy")


def test_what_may_pass_is_raised_to_be_tried_again_and_forgotten_when_it_has_passed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [Unreachable("load_data: away"), GateReport("data", "passed", (), "there")]

    def look(_: build.Building) -> GateReport:
        answer = answers.pop(0)
        if not isinstance(answer, GateReport):
            raise answer
        return answer

    monkeypatch.setattr(build.Building, "_data", look)
    with build.start(Request(only="data")) as job:
        with pytest.raises(Unreachable):
            job.check_examples()
        assert job.check_examples().sentence == "there"
        assert job.passed
    assert record(root).exit_code == 0


@pytest.mark.parametrize(
    ("only", "gates", "steps", "publishes"),
    [
        ("", ("ruff", "tests", "data"), ("check_code", "run_tests", "check_examples"), True),
        ("gates", ("ruff", "tests", "data"), ("check_code", "run_tests", "check_examples"), False),
        ("code", ("ruff",), ("check_code",), False),
        ("types", ("types",), ("check_code",), False),
        ("tests", ("tests",), ("run_tests",), False),
        ("data", ("data",), ("check_examples",), False),
        ("publish", (), (), True),
    ],
)
def test_parts(root: Path, only: str, gates: tuple[str, ...], steps: tuple[str, ...], publishes: bool) -> None:
    project = open_project(root)
    assert build.wanted_gates(project, only) == gates
    assert Request(only=only).publishes is publishes
    assert tuple(step for step, named in build.GATES.items() if set(named) & set(gates)) == steps


def test_slow_tests_alone_publish_nothing() -> None:
    assert not Request(tests="slow").publishes
    assert Request(tests="all").publishes


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"only": "test"}, "build has no part 'test'\n  problem   did you mean tests?"),
        ({"tests": "fast"}, "build has no tests 'fast'"),
        ({"ci": True, "only": ""}, "build: --ci would publish to a server on this machine"),
        ({"commit": "nothing"}, "no commit 'nothing'"),
        ({"commit": "abc", "repository": "https://example.org/x.git"}, "no commit 'abc'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_looked_at(
    root: Path, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as refused:
        built(**asked)
    assert str(refused.value).startswith(message)
    assert RunLog(root).records() == []


def test_nothing_is_looked_at_where_it_could_not_be_published(root: Path, lasting: None) -> None:
    (root / "README.md").write_text("changed")
    with pytest.raises(UsageError, match="the working tree is not as in the commit") as refused:
        built(only="")
    assert "README.md" in refused.value.problem
    assert "--only gates" in refused.value.next_step


def test_without_a_server_that_lasts_there_is_nothing_to_publish_on(root: Path) -> None:
    with pytest.raises(UsageError, match="no server is up that lasts") as refused:
        built(only="")
    assert "--only gates" in refused.value.next_step


def test_a_commit_is_looked_at_in_a_clone_whatever_the_tree_holds(root: Path) -> None:
    first = git(root, "rev-parse", "HEAD")
    (root / "steps/bad.py").write_text("import os\n")
    assert built(commit=first[:12])["commit"] == first
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Second")
    (root / "steps/bad.py").unlink()
    with pytest.raises(GateFound):
        built(commit="HEAD")
    assert built(commit="HEAD~1")["exit_code"] == 0
    assert len(RunLog(root).records()) == 3  # all of them are home's


def test_a_commit_of_another_repository(root: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(root), str(bare))
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", str(bare), str(other))
    (other / "steps/bad.py").write_text("import os\n")
    git(other, "add", "--all")
    git(other, "commit", "--quiet", "--message", "Pushed")
    git(other, "push", "--quiet")
    pushed = git(other, "rev-parse", "HEAD")
    with pytest.raises(GateFound):
        built(commit=pushed, repository=str(bare))
    assert not (root / "steps/bad.py").exists()


def test_what_was_looked_at_is_what_is_published(root: Path, lasting: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    def publish(project: Any, *, commit: Any, ci: bool) -> publication.Published:
        sent.append(commit.commit)
        return publication.Published(Publication(project.name), (), (), "")

    monkeypatch.setattr(publication, "publish", publish)
    head = git(root, "rev-parse", "HEAD")
    with build.start(Request(overrides=QUICK)) as job:
        job.check_code()
        assert job.publishes
        job.publish()
    assert sent == [head]
    assert build.summary(job)["outcome"] == "published"

    def publish_changed() -> None:
        with build.start(Request(overrides=QUICK)) as job:
            (root / "README.md").write_text("changed meanwhile")
            job.publish()

    with pytest.raises(UsageError, match="the working tree is not as in the commit"):
        publish_changed()
    assert sent == [head]
    git(root, "commit", "--quiet", "--all", "--message", "Second")
    looked = subject(open_project(root), rev="", repository="", publishes=True, overrides=())
    git(root, "reset", "--quiet", "--hard", "HEAD~1")
    with pytest.raises(UsageError, match="another commit was checked out meanwhile"):
        refuse_moved(looked)


@pytest.mark.slow
def test_an_interrupted_build_ends_its_programs(root: Path) -> None:
    (root / "tests/test_project.py").write_text("import time\n\n\ndef test_a():\n    time.sleep(60)\n")

    began = time.monotonic()
    ended: list[BaseException] = []

    def look(job: build.Building) -> None:
        try:
            job.run_tests()
        except BaseException as error:  # noqa: BLE001 - this is what is looked at
            ended.append(error)

    def work() -> None:
        with build.start(Request(only="tests", overrides=("build.coverage=0",))) as job:
            thread = threading.Thread(target=look, args=[job])
            thread.start()
            threads.append(thread)
            out = root / ".ridgeway/runs" / job.record.id / "gates/pytest.out"
            while not (out.is_file() and "::test_a" in out.read_text()) and time.monotonic() - began < 60:
                time.sleep(0.1)
            raise KeyboardInterrupt

    threads: list[threading.Thread] = []
    with pytest.raises(KeyboardInterrupt):
        work()
    threads[0].join(20)
    assert isinstance(ended[0], KeyboardInterrupt)
    assert (record(root).state, record(root).exit_code) == ("interrupted", 130)
    assert time.monotonic() - began < 55


def test_the_record_of_a_worker_is_taken_and_kept(root: Path) -> None:
    with RunLog(root).start("build") as opened:
        assert built()["run"] == f"runs:/{opened.id}"
    assert len(RunLog(root).records()) == 1


def test_a_plan_says_what_would_be_looked_at(root: Path, lasting: None) -> None:
    head = git(root, "rev-parse", "HEAD")
    assert build.plan(open_project(root), Request()) == [
        ("check_code", "lint and formatting, by ruff"),
        ("run_tests", "quick tests, by pytest; coverage at least 80 %"),
        ("check_examples", "data/diabetes.csv and examples, by data/suite.json"),
        ("publish_flows", f"commit {head[:12]} on http://127.0.0.1:1"),
    ]
    assert not (root / ".ridgeway/runs").exists()
