"""The clone of a commit: whole, shared, held, removed, and never in the way of the working tree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ridgeway.artifacts import Origin
from ridgeway.errors import Permanent, StorageError, UsageError
from ridgeway.orchestrator.publication import checkout, git, origin_of, prune, shared, unsaved
from ridgeway.places import home_of, living, state_of
from ridgeway.project import commit, open_project, prepare_state
from ridgeway.settings import operations_file
from tests.publication.toy import commit_all, write_project
from tests.publication.toy import git as run_git

IN_A_PROCESS = """
import sys
from ridgeway.artifacts import Origin
from ridgeway.orchestrator.publication import checkout
print(checkout(Origin(*sys.argv[1:5])), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    root = write_project(tmp_path / "home")
    prepare_state(open_project(root))
    return root


def test_the_clone_is_the_commit_whatever_becomes_of_the_tree(home: Path) -> None:
    origin = origin_of(home)
    (home / "steps" / "text.py").write_text("edited", encoding="utf-8")
    (home / "steps" / "__init__.py").unlink()
    place = checkout(origin)
    assert (place / "steps" / "text.py").read_text() == 'TEXT = "first"\n'
    assert commit(place).id == origin.commit
    assert commit(place).clean  # neither the link nor what Python keeps is a change
    (place / "steps" / "__pycache__").mkdir()
    (place / "steps" / "__pycache__" / "text.pyc").touch()
    assert commit(place).clean
    run_git(home, "commit", "--quiet", "--amend", "--all", "--message", "Other")
    run_git(home, "gc", "--quiet", "--prune=now")
    assert checkout(origin) == place
    assert run_git(place, "log", "--format=%s", "-1") == "First"


def test_state_and_what_operations_own_are_homes(home: Path) -> None:
    (home / "operations.toml").write_text("[servers]\nidle_minutes = 3\n", encoding="utf-8")
    place = checkout(origin_of(home))
    (place / "operations.toml").write_text("[servers]\nidle_minutes = 99\n", encoding="utf-8")
    published = open_project(place)
    assert (published.home, published.state) == (home, home / ".ridgeway")
    assert operations_file(place) == home / "operations.toml"
    assert published.settings.servers.idle_minutes == 3
    assert operations_file(place, {"RIDGEWAY_OPERATIONS": "operations.toml"}) == home / "operations.toml"
    assert (home_of(home), state_of(home)) == (home, home / ".ridgeway")


def test_data_of_the_commit_is_the_commits_and_all_other_data_lives_in_home(home: Path) -> None:
    (home / "data").mkdir()
    (home / "data" / "kept.csv").write_text("old", encoding="utf-8")
    (home / "lake").mkdir()
    (home / "lake" / "README.md").write_text("grows", encoding="utf-8")
    commit_all(home)
    (home / "data" / "kept.csv").write_text("new", encoding="utf-8")
    (home / "data" / "living.csv").write_text("new", encoding="utf-8")
    (home / "lake" / "one.parquet").touch()
    place = checkout(origin_of(home))
    assert living(place, "data/kept.csv").read_text() == "old"
    assert living(place, "data/living.csv").read_text() == "new"
    project = open_project(place, overrides=["data.source=data/living.csv"])
    assert project.source == home / "data" / "living.csv"
    assert open_project(place, overrides=["data.source=lake"]).source == home / "lake"
    assert open_project(place, overrides=["data.source=data/kept.csv"]).source == place / "data" / "kept.csv"


def test_a_project_in_a_folder_of_its_repository(tmp_path: Path) -> None:
    home = tmp_path / "repo" / "ml" / "toy"
    write_project(home)
    (home / ".git").rename(tmp_path / "elsewhere")
    run_git(tmp_path / "repo", "init", "--quiet")
    commit_all(tmp_path / "repo")
    prepare_state(open_project(home))
    origin = origin_of(home)
    assert (origin.repository, origin.folder) == (str(tmp_path / "repo"), "ml/toy")
    place = checkout(origin)
    assert place == home / ".ridgeway" / "published" / origin.commit / "ml" / "toy"
    assert (open_project(place).home, commit(place).clean) == (home, True)
    (tmp_path / "repo" / "other.txt").touch()  # another team's
    (home / "mine.txt").touch()
    assert unsaved(home) == ("mine.txt",)


def test_state_that_lies_elsewhere(home: Path, tmp_path: Path) -> None:
    (home / ".ridgeway").rename(tmp_path / "disk")
    (home / ".ridgeway").symlink_to(tmp_path / "disk")
    assert home_of(home) == home
    place = checkout(origin_of(home))
    assert place.is_relative_to(tmp_path / "disk")
    assert (home_of(place), state_of(place)) == (home, tmp_path / "disk")


def test_many_at_once_make_one_clone(home: Path) -> None:
    origin = origin_of(home)
    told = [origin.repository, origin.commit, origin.folder, origin.home]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", IN_A_PROCESS, *told], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    places = {process.communicate("")[0] for process in processes}
    assert places == {f"{home}/.ridgeway/published/{origin.commit}\n"}
    assert sorted(path.name for path in (home / ".ridgeway" / "published").iterdir()) == sorted([origin.commit, "home"])


@pytest.mark.slow
def test_what_is_old_goes_and_what_is_held_stays(home: Path) -> None:
    """In a process of its own, because this one holds whatever it asks for."""
    commits = [commit_all(home, str(number)) for number in range(6)]
    origin = origin_of(home, commits[0])
    holder = subprocess.Popen(
        [sys.executable, "-c", IN_A_PROCESS, origin.repository, commits[0], "", str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    for age, one in enumerate(commits[1:]):
        subprocess.run(
            [sys.executable, "-c", IN_A_PROCESS, origin.repository, one, "", str(home)], check=True, input=b""
        )
        place = home / ".ridgeway" / "published" / one
        place.with_suffix(".json").touch()
        os.utime(place, (age + 1, age + 1))
    os.utime(home / ".ridgeway" / "published" / commits[0], (0, 0))
    assert prune(home, {commits[1]}) == (commits[2],)
    left = {path.name for path in (home / ".ridgeway" / "published").iterdir() if path.is_dir()}
    assert left == set(commits) - {commits[2]}
    assert not (home / ".ridgeway" / "published" / f"{commits[2]}.json").exists()
    holder.communicate("")
    assert prune(home, {commits[1]}) == (commits[0],)


def test_a_clone_that_somebody_edited_is_made_anew_unless_a_run_works_in_it(home: Path) -> None:
    origin = origin_of(home)
    told = [origin.repository, origin.commit, origin.folder, origin.home]
    holder = subprocess.Popen(
        [sys.executable, "-c", IN_A_PROCESS, *told], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    place = Path(holder.stdout.readline().strip())
    (place / "steps" / "text.py").write_text("", encoding="utf-8")  # or a machine lost power
    with pytest.raises(Permanent, match="were changed while a run works in it"):
        checkout(origin)
    holder.communicate("")
    assert (checkout(origin) / "steps" / "text.py").read_text() == 'TEXT = "first"\n'


def test_leftovers_of_a_killed_clone_are_swept(home: Path) -> None:
    left = home / ".ridgeway" / "published" / ".partial-0123456789ab-1"
    left.mkdir(parents=True)
    checkout(origin_of(home))
    assert not left.exists()


def test_within_a_hook_of_another_repository(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_git(tmp_path, "init", "--quiet", "--bare", "bare.git")
    expected = origin_of(home)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "bare.git"))
    assert origin_of(home) == expected
    assert commit(checkout(expected)).id == expected.commit


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_no_repository_no_commit_no_such_commit(tmp_path: Path, home: Path) -> None:
    with pytest.raises(UsageError) as none:
        origin_of(tmp_path)
    assert none.value.next_step == "git init && git add . && git commit -m 'First'"
    empty = tmp_path / "empty"
    run_git(tmp_path, "init", "--quiet", "empty")
    with pytest.raises(UsageError, match="there is no commit yet"):
        origin_of(empty)
    with pytest.raises(UsageError, match="no commit 'v9'"):
        origin_of(home, "v9")
    with pytest.raises(UsageError, match="no commit '--all'"):
        origin_of(home, "--all")


def test_a_project_that_was_never_added(tmp_path: Path, home: Path) -> None:
    run_git(home, "rm", "--quiet", "--cached", "ridgeway.toml")
    run_git(home, "commit", "--quiet", "--message", "Without")
    with pytest.raises(UsageError, match="does not hold the project"):
        origin_of(home)


def test_without_git(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(home))
    with pytest.raises(UsageError, match="git is not installed"):
        origin_of(home)


def test_a_commit_that_holds_state_is_refused(home: Path) -> None:
    run_git(home, "add", "--force", ".ridgeway/.gitignore")
    commit_all(home)
    with pytest.raises(UsageError) as refused:
        checkout(origin_of(home))
    assert refused.value.next_step == "git rm -r --cached .ridgeway && git commit"


def test_on_another_machine(tmp_path: Path, home: Path) -> None:
    origin = origin_of(home)
    with pytest.raises(UsageError, match="the project's folder is not on this machine"):
        checkout(Origin(origin.repository, origin.commit, "", str(tmp_path / "nowhere")))


def test_what_ci_has_published_is_cloned_from_the_remote_into_the_workers_own_home(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_git(tmp_path, "clone", "--quiet", "--bare", str(home), "remote.git")
    run_git(home, "remote", "add", "origin", f"file://{tmp_path}/remote.git")
    origin = shared(origin_of(home))
    assert (origin.repository, origin.home) == (f"file://{tmp_path}/remote.git", "")
    monkeypatch.setenv("RIDGEWAY_HOME", str(home))
    place = checkout(origin)
    assert (home_of(place), commit(place).id) == (home, origin.commit)


def test_a_full_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As git tells of it; nothing half-made is left for the next one to find."""
    real = git.do

    def full(doing: str, folder: Path, *arguments: str) -> str:
        if "checkout" in arguments:
            raise git._failed(doing, folder, "error: unable to write file: No space left on device")
        return real(doing, folder, *arguments)

    monkeypatch.setattr(git, "do", full)
    with pytest.raises(StorageError, match="cannot make a clone"):
        checkout(origin_of(home))
    monkeypatch.setattr(git, "do", real)
    assert commit(checkout(origin_of(home))).clean
