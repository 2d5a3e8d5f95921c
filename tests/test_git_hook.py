"""The hook of a bare repository: real pushes with git, to a program that notes its arguments, and to the real one."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from ridgeway import scaffold
from ridgeway.orchestrator import rest
from tests.services.ups import PROGRAM as RIDGEWAY
from tests.services.ups import Ups

ROOT = Path(__file__).parents[1]
HOOK = ROOT / "templates" / "git-hooks" / "post-receive"
PROGRAM = """#!/bin/sh
printf '%s\\n' "$PWD" "$@" "GIT_DIR=${GIT_DIR-unset}" >> "$0.calls"
"""
ENVIRONMENT = {
    **{name: text for name, text in os.environ.items() if not name.startswith("GIT_")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    **{f"GIT_{who}_{what}": "ada@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


def git(folder: Path, *arguments: str) -> str:
    """What git says, on either stream."""
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return (done.stdout + done.stderr).strip()


@dataclass(frozen=True)
class Team:
    """A bare repository with the hook, a working copy that pushes to it, and the home of the project."""

    bare: Path
    copy: Path
    home: Path

    def push(self, *what: str) -> list[str]:
        """What the hook says to a push."""
        told = git(self.copy, "push", "origin", *(what or ("main",)))
        return [
            line.removeprefix("remote: ").rstrip() for line in told.splitlines() if line.startswith("remote: ridge")
        ]

    def commit(self, text: str) -> str:
        """A new commit."""
        (self.copy / "note.txt").write_text(text, encoding="utf-8")
        git(self.copy, "add", ".")
        git(self.copy, "commit", "-qm", text)
        return git(self.copy, "rev-parse", "HEAD")

    def configure(self, name: str, value: str | Path) -> None:
        """Says it in the bare repository."""
        git(self.bare, "config", f"ridgeway.{name}", str(value))

    @property
    def program(self) -> Path:
        """The stub."""
        return self.home / "bin" / "ridgeway"

    def stub(self, text: str = PROGRAM) -> Path:
        """Makes the program one that does this."""
        self.program.parent.mkdir(exist_ok=True)
        self.program.write_text(text, encoding="utf-8")
        self.program.chmod(0o755)
        self.configure("program", self.program)
        return self.program

    @property
    def calls(self) -> str:
        """How the stub was called."""
        path = self.program.with_name("ridgeway.calls")
        return path.read_text(encoding="utf-8") if path.exists() else ""


def install(bare: Path) -> None:
    """As the documentation says."""
    subprocess.run(["install", "-m", "755", HOOK, bare / "hooks" / "post-receive"], check=True)


@pytest.fixture
def team(tmp_path: Path) -> Team:
    """All of it, nothing pushed yet; the project's home is not the copy that pushes."""
    made = Team(tmp_path / "team.git", tmp_path / "copy", tmp_path / "home of it")
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(made.bare))
    git(tmp_path, "init", "-q", "-b", "main", str(made.copy))
    git(made.copy, "remote", "add", "origin", str(made.bare))
    install(made.bare)
    made.home.mkdir()
    (made.home / "ridgeway.toml").write_text("[project]\nname = 'churn'\n", encoding="utf-8")
    made.configure("home", made.home)
    made.stub()
    return made


def test_a_push_asks_for_a_build_of_what_was_pushed(team: Team) -> None:
    team.stub(PROGRAM + "echo http://127.0.0.1:4200/runs/flow-run/1\n")
    commit = team.commit("one")
    assert team.push() == [f"ridgeway: a build of {commit[:12]} is asked for: http://127.0.0.1:4200/runs/flow-run/1"]
    wanted = [team.home, "run", "build", "--detach", "--commit", commit, "--repository", team.bare, "GIT_DIR=unset"]
    assert team.calls.splitlines() == [str(word) for word in wanted]


def test_other_branches_tags_and_deletions_are_told_and_not_built(team: Team) -> None:
    team.commit("one")
    team.push()
    before = team.calls
    git(team.copy, "branch", "other")
    git(team.copy, "tag", "v1")
    said = team.push("other", "v1")
    assert said == [
        "ridgeway: refs/heads/other is not built: that is main",
        "ridgeway: refs/tags/v1 is not built: that is main",
    ]
    assert team.push(":other") == ["ridgeway: refs/heads/other is deleted: nothing to build"]
    assert team.calls == before


def test_several_refs_at_once_are_one_build(team: Team) -> None:
    commit = team.commit("one")
    git(team.copy, "branch", "other")
    said = team.push("main", "other")
    assert len(said) == 2
    assert team.calls.count("--commit") == 1
    assert commit in team.calls


def test_another_branch_may_be_the_one(team: Team) -> None:
    team.configure("branch", "production")
    team.commit("one")
    assert team.push() == ["ridgeway: refs/heads/main is not built: that is production"]
    team.push("main:production")
    assert team.calls.count("--commit") == 1


def test_a_repository_whose_head_names_no_branch_builds_main_or_master(team: Team) -> None:
    git(team.bare, "symbolic-ref", "HEAD", "refs/heads/never-pushed")
    team.commit("one")
    team.push("main:master")
    assert team.calls.count("--commit") == 1
    team.push("main:other")
    assert team.calls.count("--commit") == 1


def test_a_repository_without_a_project_says_so(team: Team) -> None:
    git(team.bare, "config", "--unset", "ridgeway.home")
    team.commit("one")
    next_step = f"git -C {team.bare} config ridgeway.home /path/to/project"
    assert team.push() == [f"ridgeway: nothing is built: no project is named here; {next_step}"]
    team.configure("home", team.copy)
    team.commit("two")
    assert "holds no ridgeway.toml" in team.push()[0]


def test_a_program_that_is_nowhere_says_so(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    git(team.bare, "config", "--unset", "ridgeway.program")
    tools = team.home / "tools"
    tools.mkdir()
    for name in ("git", "git-receive-pack", "sh", "cut", "sed", "mktemp", "rm", "cat", "tail", "head", "sleep"):
        (tools / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setitem(ENVIRONMENT, "PATH", str(tools))
    team.commit("one")
    assert "ridgeway is not found" in team.push()[0]
    shutil.move(str(team.program), tools / "ridgeway")
    team.commit("two")
    assert "is asked for" in team.push()[0], "the one on the PATH"
    (team.home / ".venv" / "bin").mkdir(parents=True)
    (team.home / ".venv" / "bin" / "ridgeway").write_text("#!/bin/sh\necho from the project\n", encoding="utf-8")
    (team.home / ".venv" / "bin" / "ridgeway").chmod(0o755)
    team.commit("three")
    assert team.push()[0].endswith("is asked for: from the project"), "the project's own comes first"


def test_where_ridgeway_is_down_the_push_goes_through_and_one_line_says_so(team: Team) -> None:
    commit = team.commit("one")
    team.stub("#!/bin/sh\necho 'error: the server does not answer' >&2\necho '  problem   refused' >&2\nexit 75\n")
    (line,) = team.push()
    assert line.startswith(f"ridgeway: no build of {commit[:12]}: the server does not answer; when that is mended: ")
    assert f"ridgeway run build --detach --commit {commit[:12]}" in line
    assert git(team.bare, "rev-parse", "main") == commit


def test_a_program_that_hangs_holds_nobody_up_for_long(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "TMPDIR", str(team.home))
    commit = team.commit("one")
    hook = team.bare / "hooks" / "post-receive"
    hook.write_text(
        hook.read_text(encoding="utf-8").replace("patience_seconds=10", "patience_seconds=1"), encoding="utf-8"
    )
    team.stub(f"#!/bin/sh\necho $$ > '{team.home}/pid'\nexec sleep 30\n")
    started = time.monotonic()
    (line,) = team.push()
    assert time.monotonic() - started < 6
    assert line.startswith(f"ridgeway: no answer yet to a build of {commit[:12]}")
    os.kill(int((team.home / "pid").read_text()), 15)


def test_the_hook_is_part_of_a_new_project_and_may_be_run(tmp_path: Path) -> None:
    template = scaffold.read_template(scaffold.template_root())
    planned = scaffold.plan(template, name="churn", version="1.0")
    scaffold.write([file for file in planned if "git-hooks" in file.path], tmp_path)
    made = tmp_path / "templates" / "git-hooks" / "post-receive"
    assert made.read_bytes() == HOOK.read_bytes()
    assert stat.S_IMODE(made.stat().st_mode) == 0o755


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_the_hook_is_plain_posix_shell() -> None:
    checked = subprocess.run(["shellcheck", "-s", "sh", HOOK], capture_output=True, text=True, check=False)
    assert checked.stdout == ""


@pytest.mark.slow
def test_a_push_is_built_and_published_by_the_real_program(tmp_path: Path) -> None:
    home, port = tmp_path / "diabetes", 18280
    subprocess.run([*RIDGEWAY, "new", str(home)], check=True, capture_output=True)
    text = (home / "ridgeway.toml").read_text(encoding="utf-8")
    assert "[servers]\n" in text
    text = text.replace("[servers]\n", f"[servers]\nprefect_port = {port}\nmlflow_port = {port + 1}\n")
    if "[build]" in text:
        text = text.partition("[build]")[0] + "[release]" + text.partition("[build]")[2].partition("[release]")[2]
    (home / "ridgeway.toml").write_text(f'{text}\n[build]\nchecks = ["ruff"]\n', encoding="utf-8")
    git(home, "init", "-q", "-b", "main")
    git(home, "add", ".")
    git(home, "commit", "-qm", "First")
    team = Team(tmp_path / "team.git", tmp_path / "copy", home)
    git(tmp_path, "clone", "-q", "--bare", str(home), str(team.bare))
    git(tmp_path, "clone", "-q", str(team.bare), str(team.copy))
    install(team.bare)
    team.configure("home", home)
    program = tmp_path / "ridgeway"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(RIDGEWAY)} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    team.configure("program", program)
    first = team.commit("while it is down")
    (line,) = team.push()
    assert line.startswith(f"ridgeway: no build of {first[:12]}: ")
    ups = Ups(home, port)
    try:
        ups.up()
        second = team.commit("pushed")
        (line,) = team.push()
        assert line.startswith(f"ridgeway: a build of {second[:12]} is asked for: http://127.0.0.1:{port}/")
        ups.eventually(lambda: _published(ups.url) == second, 240)
    finally:
        ups.down("--force")


def _published(url: str) -> str:
    """The commit of which the retraining flow is published."""
    return str(rest.call(f"{url}/deployments/name/retraining/diabetes")["version"])
