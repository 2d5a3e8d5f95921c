"""`ridgeway new --ci`: the files of each system where it looks for them, and never over somebody's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ridgeway import settings
from ridgeway.ci.azure import Folder, Inputs, plan
from tests.cli.conftest import Command

FILES = {
    "azure": ["templates/azure-pipelines/build.yml", "templates/azure-pipelines/steps/ridgeway.yml"],
    "github": [".github/workflows/release.yml", ".github/actions/install/action.yml"],
    "gitlab": [".gitlab-ci.yml", ".gitlab/ci/production.yml"],
    "jenkins": ["jenkins/build.Jenkinsfile", "jenkins/release.Jenkinsfile"],
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "ridgeway.toml").write_text("[project]\nname = 'churn'\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("system", FILES)
def test_a_new_project_has_the_systems_files_and_is_released_by_it(
    system: str, tmp_path: Path, ridgeway: Command
) -> None:
    code, _, err = ridgeway("new", "p", "--ci", system)
    assert code == 0, err
    assert [path for path in FILES[system] if not (tmp_path / "p" / path).is_file()] == []
    others = [path for other, paths in FILES.items() if other != system for path in paths]
    assert [path for path in others if (tmp_path / "p" / path).exists()] == []
    assert settings.load(tmp_path / "p", environ={}).settings.release.started_by == "ci"
    assert f"docs/ci-{system}.md" in err
    # Killed before its end or typed again, the same command finds its own work.
    (tmp_path / "p" / FILES[system][0]).unlink()
    (tmp_path / "p/steps/make_model.py").unlink()
    code, _, err = ridgeway("new", "p", "--ci", system)
    assert (code, (tmp_path / "p" / FILES[system][0]).is_file()) == (0, True), err
    assert (tmp_path / "p/steps/make_model.py").is_file()


def test_without_it_there_is_no_pipeline(tmp_path: Path, ridgeway: Command) -> None:
    assert ridgeway("new", "p")[0] == 0
    assert not (tmp_path / "p/templates/azure-pipelines").exists()
    assert settings.load(tmp_path / "p", environ={}).settings.release.started_by == "person"


@pytest.mark.parametrize("system", FILES)
def test_into_a_project_that_is_there(system: str, project: Path, ridgeway: Command) -> None:
    planned = ridgeway("new", ".", "--ci", system, "--plan")[1].splitlines()
    assert set(FILES[system]) <= set(planned)
    assert sorted(path.name for path in project.iterdir()) == ["ridgeway.toml"]
    code, out, err = ridgeway("new", ".", "--ci", system, "--json")
    assert (code, sorted(json.loads(out)["files"])) == (0, sorted(planned))
    assert 'release.started_by = "ci"' in err
    assert (project / "ridgeway.toml").read_text(encoding="utf-8") == "[project]\nname = 'churn'\n"
    assert not (project / "steps").exists()
    assert f"0 files in ., {len(planned)} were there" in ridgeway("new", ".", "--ci", system)[2]


def test_a_file_of_ones_own_is_named_and_kept(project: Path, ridgeway: Command) -> None:
    (project / ".gitlab-ci.yml").write_text("mine: {script: make}\n", encoding="utf-8")
    code, _, err = ridgeway("new", ".", "--ci", "gitlab")
    assert code == 2
    assert ".gitlab-ci.yml" in err
    assert (project / ".gitlab-ci.yml").read_text(encoding="utf-8") == "mine: {script: make}\n"
    assert not (project / ".gitlab").exists()


def test_a_system_that_is_nearly_right(ridgeway: Command) -> None:
    code, _, err = ridgeway("new", "p", "--ci", "azur")
    assert code == 2
    assert "azure" in err


def test_the_files_of_a_made_project_plan(tmp_path: Path, ridgeway: Command) -> None:
    ridgeway("new", "p", "--ci", "azure")
    for name, parameters in (("build", {}), ("retraining", {}), ("release", {"model": "models:/p/1"})):
        made = plan(f"templates/azure-pipelines/{name}.yml", Inputs(parameters=parameters), Folder(tmp_path / "p"))
        assert made.pipeline.stages
