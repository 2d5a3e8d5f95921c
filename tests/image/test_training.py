"""The training image: what goes into it, when it is made anew, and that equal inputs make nothing."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ridgeway.errors import UsageError
from ridgeway.image import training, training_inputs, training_source
from ridgeway.image.base_image import Base
from ridgeway.image.needs import locks_of
from ridgeway.image.reference import parse_image
from ridgeway.image.training_inputs import TrainingInputs, TrainingRequest, closure, gather
from ridgeway.image.training_source import read_source
from ridgeway.project import SOURCE_NOTE, commit
from tests.image.conftest import Built, Gate

ROOT = Path(__file__).parents[2]
BASE = Base(parse_image(f"base@sha256:{'b' * 64}"), "amd64")


def git(folder: Path, *words: str) -> str:
    identity = {
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@t",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@t",
    }
    return subprocess.check_output(
        ["git", "-C", str(folder), *words], text=True, env={**os.environ, **identity}
    ).strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in a folder of a repository, beside something else."""
    root = tmp_path / "repository" / "models"
    (root / "steps").mkdir(parents=True)
    (root / "steps/make_model.py").write_text("model = 1\n")
    (root / "link.py").symlink_to("steps/make_model.py")
    (root / ".gitignore").write_text(".ridgeway/\nsecret.txt\n")
    (root / "secret.txt").write_text("quiet-river")
    (root.parent / "beside.txt").write_text("not the project's")
    git(root.parent, "init", "-q")
    git(root.parent, "add", ".")
    git(root.parent, "commit", "-qm", "first")
    return root


def content(root: Path, folder: Path, *, allow_dirty: bool = False) -> dict[str, str]:
    files = training_source.unpack(read_source(root, allow_dirty=allow_dirty), folder)
    return {name: (file if isinstance(file, bytes) else file.read_bytes()).decode() for name, file in files.items()}


def test_the_commits_files_and_where_they_come_from(project: Path, tmp_path: Path) -> None:
    found = content(project, tmp_path / "unpacked")
    note = json.loads(found.pop(f"project/{SOURCE_NOTE}"))
    assert note == {"schema": 1, "commit": git(project, "rev-parse", "HEAD"), "clean": True}
    assert found == {
        "project/.gitignore": ".ridgeway/\nsecret.txt\n",
        "project/link.py": "model = 1\n",
        "project/steps/make_model.py": "model = 1\n",
        "project/.ridgeway/.gitignore": "*\n",
    }


def test_the_note_is_the_commit_where_there_is_no_git(project: Path, tmp_path: Path) -> None:
    for name, text in content(project, tmp_path / "unpacked").items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = commit(tmp_path / "project")
    assert (found.id, found.clean) == (git(project, "rev-parse", "HEAD"), True)


def test_a_tree_that_differs_is_refused_unless_told(project: Path, tmp_path: Path) -> None:
    before = read_source(project)
    (project / "steps/make_model.py").write_text("model = 2\n")
    (project / "steps/features.py").write_text("")
    with pytest.raises(UsageError, match="differs") as found:
        read_source(project)
    assert found.value.exit_code == 2
    assert "steps/make_model.py" in found.value.problem
    assert "steps/features.py (not in git)" in found.value.problem
    source = read_source(project, allow_dirty=True)
    assert [*training_source.left_out(source)] == [
        f"not as in {source.commit[:12]}, taken as they are: steps/make_model.py",
        "not in git, left out: steps/features.py",
    ]
    taken = content(project, tmp_path / "unpacked", allow_dirty=True)
    assert taken["project/steps/make_model.py"] == "model = 2\n"
    assert "project/steps/features.py" not in taken
    assert json.loads(taken[f"project/{SOURCE_NOTE}"])["clean"] is False
    assert source.key != before.key


def test_without_a_commit_there_is_nothing_to_take(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is none") as found:
        read_source(tmp_path, allow_dirty=True)
    assert "git init" in found.value.next_step


def test_the_state_of_a_published_commits_clone_is_no_difference(project: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (project / ".ridgeway").symlink_to(tmp_path / "state")
    assert read_source(project).clean


def inputs(project: Path, **changes: object) -> TrainingInputs:
    request = TrainingRequest(read_source(project), "127.0.0.1:5000/toy", "base", locks=locks_of(ROOT))
    return gather(replace(request, **changes), BASE)  # type: ignore[arg-type]


def test_only_what_changed_is_made_anew(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = inputs(project)
    assert first == inputs(project)
    assert (first.tag, first.framework_tag, first.environment_tag) == (
        f"training-{first.whole[7:]}",
        f"training-ridgeway-{first.framework[7:]}",
        f"training-environment-{first.environment[7:]}",
    )
    (project / "steps/make_model.py").write_text("model = 3\n")
    git(project, "commit", "-qam", "second")
    commit_changed = inputs(project)
    assert commit_changed.framework == first.framework
    assert commit_changed.whole != first.whole
    monkeypatch.setattr(training_inputs, "framework_files", lambda: {"ridgeway/x.py": b"new"})
    ridgeway_changed = inputs(project)
    assert ridgeway_changed.environment == first.environment
    assert ridgeway_changed.framework != first.framework
    more = inputs(project, requirements=("pytest",))
    assert {pin.name for pin in more.pins} - {pin.name for pin in first.pins} >= {"pytest", "iniconfig"}
    assert more.environment != first.environment


def test_what_a_job_never_uses_is_left_out_unless_something_needs_it(project: Path) -> None:
    names = {pin.name for pin in inputs(project).pins}
    assert {"mlflow", "prefect", "great-expectations", "scikit-learn", "pandas"} <= names
    assert not {"kubernetes", "circus", "cyclonedx-python-lib", "ridgeway", "ruff", "hypothesis"} & names


def test_what_only_other_patch_levels_need_is_taken_from_the_lock() -> None:
    assert closure(["redis"], locked={"async-timeout": "5.0.1"})["async-timeout"] == "5.0.1"
    assert "async-timeout" not in closure(["redis"])


def test_what_the_project_needs_and_is_not_here_is_told(project: Path) -> None:
    with pytest.raises(UsageError, match="no-such-thing is not installed here") as found:
        inputs(project, requirements=("no-such-thing>=1",))
    assert "no-such-thing>=1" in found.value.where
    with pytest.raises(UsageError, match="is no requirement"):
        inputs(project, requirements=("???",))


def test_a_projects_own_requirements(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    assert training_inputs.project_requirements(file) == ()
    file.write_text('[project]\ndependencies = ["lightgbm>=4"]\n')
    assert training_inputs.project_requirements(file) == ("lightgbm>=4",)
    file.write_text("[project")
    with pytest.raises(UsageError, match="cannot read pyproject"):
        training_inputs.project_requirements(file)


@pytest.mark.docker
def test_a_project_on_what_is_there_is_one_thin_layer(
    project: Path,
    new_repository: Callable[[], str],
    base_image: str,
    gate: Gate,
    built: Built,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With one small dependency in place of all: their layer is made in the same way."""
    monkeypatch.setattr(training_inputs.metadata, "requires", lambda _name: ["idna"])
    monkeypatch.setattr(training_inputs, "framework_files", lambda: {"ridgeway/x.py": b"new = 1\n"})
    request = TrainingRequest(
        read_source(project), new_repository(), base_image, locks=locks_of(ROOT), state=built.request.state
    )
    said: list[str] = []
    assert training.find(request) is None
    first = training.build(request, say=said.append)
    assert any(line.startswith("fetching 1 dependencies for Python 3.11") for line in said)
    gate.forget()
    assert training.find(request) == first
    assert training.build(request, say=said.append) == first
    assert gate.writes == []
    assert training.size_bytes(first) > 0

    (project / "steps/make_model.py").write_text("model = 4\n")
    git(project, "commit", "-qam", "third")
    said.clear()
    second = training.build(replace(request, source=read_source(project)), say=said.append)
    assert second.digest != first.digest
    assert second.runtime == first.runtime
    assert gate.written_bytes < 20_000
    assert not any("fetching" in line for line in said)
