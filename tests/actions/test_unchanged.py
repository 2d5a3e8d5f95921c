"""What counts as "the very same inputs": all that a model can be made of, and nothing that only stands beside it."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ridgeway import project, scaffold
from ridgeway.actions import unchanged
from ridgeway.artifacts import Verdict, to_json
from ridgeway.project import Project, open_project

Edit = Callable[[Path], object]
VERDICT = Verdict("reject", "no_worthwhile_gain", "no gain", "", "runs:/abcd/model", "c", "mean", "o", "k", "loss")


@pytest.fixture
def made(tmp_path: Path) -> Project:
    """The example as `ridgeway new` makes it, in which nothing has run."""
    template = scaffold.read_template(scaffold.template_root())
    scaffold.write(scaffold.plan(template, name="p", version="1"), tmp_path / "p")
    return open_project(tmp_path / "p")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("steps/make_model.py", "def make_model(parameters, seed): ..."),
        ("steps/params.json", '{"alpha": 2}'),
        ("steps/deep/er/table.csv", "1,2"),
        ("features.py", "def ratio(a, b): return a / b"),
        ("mylib/__init__.py", ""),
        ("flows/steps.json", "[]"),
        ("data/diabetes.csv", "a\n1\n"),
        ("data/suite.json", "{}"),
        ("ridgeway.toml", '[project]\nname = "p"\n[training]\nseed = 7\n'),
    ],
)
def test_what_a_model_is_made_of_changes_the_inputs(made: Project, name: str, content: str) -> None:
    source = made.root / "data/diabetes.csv"
    before = unchanged.inputs(made, source)
    assert before.startswith("sha256:")
    (made.root / name).parent.mkdir(parents=True, exist_ok=True)
    (made.root / name).write_text(content, encoding="utf-8")
    assert unchanged.inputs(open_project(made.root), source) not in ("", before)


@pytest.mark.parametrize(
    "name", ["steps/__pycache__/make_model.cpython-311.pyc", "README.md", "notes/features.py", ".ridgeway/x/y.py"]
)
def test_what_stands_beside_it_does_not(made: Project, name: str) -> None:
    source = made.root / "data/diabetes.csv"
    before = unchanged.inputs(made, source)
    (made.root / name).parent.mkdir(parents=True, exist_ok=True)
    (made.root / name).write_text("x", encoding="utf-8")
    assert unchanged.inputs(made, source) == before


def test_what_the_steps_read_is_part_of_the_candidates_inputs_too(made: Project) -> None:
    """Training asks the registry by the same digest: what is missed there is taken for trained before."""
    before = project.steps_digest(made.root)
    (made.root / "steps/params.json").write_text("{}", encoding="utf-8")
    after = project.steps_digest(made.root)
    (made.root / "features.py").write_text("", encoding="utf-8")
    assert len({before, after, project.steps_digest(made.root)}) == 3


def test_a_names_end_is_not_mistaken_for_a_contents_beginning(tmp_path: Path) -> None:
    for name, files in {"one": {"a": "b\0c\0d"}, "other": {"a": "b", "c": "d"}}.items():
        for file, content in files.items():
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / file).write_text(content, encoding="utf-8")
    assert project.folder_digest(tmp_path / "one") != project.folder_digest(tmp_path / "other")


# ---- the environment -------------------------------------------------------------------------------------------------


def distribution(site: Path, name: str, record: str, origin: object = None) -> None:
    """What an installer leaves of a distribution."""
    folder = site / f"{name}.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "RECORD").write_text(record, encoding="utf-8")
    if origin is not None:
        (folder / "direct_url.json").write_text(json.dumps(origin), encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment with nothing in it."""
    folder = tmp_path / "site-packages"
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(folder))
    return folder


FROM_FILE = {"url": "file:///wheels/own-1.whl", "archive_info": {}}


@pytest.mark.parametrize(("name", "origin"), [("own-1", FROM_FILE), ("ridgeway-1", None)])
def test_a_wheel_built_anew_under_its_version_is_another(site: Path, name: str, origin: object) -> None:
    distribution(site, name, "own/a.py,sha256=AAAA,3\n", origin)
    before = project.environment_packages()
    distribution(site, name, "own/a.py,sha256=BBBB,3\n", origin)
    after = project.environment_packages()
    assert before != after
    assert before[0].startswith(f"{name}+")


def test_the_same_wheel_is_the_same_in_another_place_and_by_another_installer(site: Path) -> None:
    noise = (
        "../../../bin/own,sha256=CCCC,9\nown/__pycache__/a.cpython-311.pyc,,\nown-1.dist-info/INSTALLER,sha256=DD,3\n"
    )
    distribution(site, "own-1", "own/a.py,sha256=AAAA,3\n", FROM_FILE)
    before = project.environment_packages()
    distribution(site, "own-1", noise + "own/a.py,sha256=AAAA,3\n", {"url": "file:///elsewhere/own-1.whl"})
    assert project.environment_packages() == before


def test_an_editable_installation_is_its_sources(site: Path, tmp_path: Path) -> None:
    sources = tmp_path / "with space" / "src"
    sources.mkdir(parents=True)
    (sources / "a.py").write_text("1", encoding="utf-8")
    distribution(site, "own-1", "", {"url": sources.parent.as_uri(), "dir_info": {"editable": True}})
    before = project.environment_packages()
    (sources / "a.py").write_text("2", encoding="utf-8")
    assert project.environment_packages() != before


def test_a_distribution_from_an_index_is_its_version(site: Path) -> None:
    distribution(site, "plain-2.0", "plain.py,sha256=AAAA,3\n")
    assert project.environment_packages() == ["plain-2.0"]


# ---- what is remembered ----------------------------------------------------------------------------------------------


@pytest.fixture
def run_with(made: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[[Edit], list[Path]]:
    """Runs a retraining whose flow is only an edit of the project; gives what was remembered of it."""

    def run(edit: Edit) -> list[Path]:
        def flow(*_: object) -> dict[str, object]:
            edit(made.root)
            return {
                "run": "runs:/abcd",
                "exit_code": 3,
                "sentence": "no",
                "next_step": "",
                "handle": "runs:/abcd/model",
            }

        # By name: the package's own function `run` hides the package of that name.
        module = importlib.import_module("ridgeway.cli.run.retraining")
        monkeypatch.setattr(module, "_flow", flow)
        monkeypatch.setattr(module, "_record", lambda *_: {"verdict": to_json(VERDICT)})
        monkeypatch.chdir(made.root)
        assert importlib.import_module("ridgeway.cli.run").command.main(["retraining"], standalone_mode=False) == 3
        return list((made.state / "outcomes").glob("*.json"))

    return run


def test_an_outcome_is_remembered(run_with: Callable[[Edit], list[Path]]) -> None:
    assert len(run_with(lambda _: None)) == 1


@pytest.mark.parametrize(
    ("name", "content"), [("steps/make_model.py", "x = 1"), ("ridgeway.toml", "[broken"), ("data/diabetes.csv", "a\n")]
)
def test_an_outcome_of_files_that_changed_meanwhile_is_not(
    name: str, content: str, run_with: Callable[[Edit], list[Path]]
) -> None:
    assert run_with(lambda root: (root / name).write_text(content, encoding="utf-8")) == []
