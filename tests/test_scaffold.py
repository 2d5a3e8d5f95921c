"""A project is planned from the scaffold and written without ever touching what is there."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ridgeway import scaffold, settings
from ridgeway.errors import StorageError, UsageError
from ridgeway.scaffold import OwnData, PlannedFile

SMALL = {
    "ridgeway.toml": b"""\
[project]
name = "diabetes"       # models:/diabetes/N
[data]
source = "data/d.csv"   # "a # in quotes" is no comment
label = "progression"
[training]
task = "regression"     # | "classification"
parameters = { alpha = 1.0 }
[rules]
loss = "squared_error"  # | log_loss
floors = { r2 = 0.30 }
slices = { women = "sex == 2" }
[image]
repository = "127.0.0.1:5000/diabetes"
""",
    "data/d.csv": b"a,progression\n1,2\n",
    "flows/retraining.py": b"",
    "steps/make_model.py": b"example",
    "env/conda.yml": b"name: ridgeway\n  - --editable ..\n",
    "templates/project/gitignore": b".venv/\n",
    "templates/project/README.md": b"# @NAME@ @VERSION@\n",
    "templates/own_data/any/data/README.md": b"the label is @LABEL@\n",
    "templates/own_data/regression/steps/make_model.py": b"regressor",
    "templates/own_data/classification/steps/make_model.py": b"classifier",
}


@pytest.fixture(scope="module")
def template() -> dict[str, bytes]:
    return scaffold.read_template(scaffold.template_root())


def test_the_example_is_the_repositorys_own_files_with_the_templates_over_them() -> None:
    assert scaffold.plan(SMALL, name="my-project", version="1.2.3") == (
        PlannedFile(".gitignore", b".venv/\n"),
        PlannedFile("README.md", b"# my-project 1.2.3\n"),
        PlannedFile("data/d.csv", b"a,progression\n1,2\n"),
        PlannedFile("env/conda.yml", b"name: my-project\n  - ridgeway==1.2.3\n"),
        PlannedFile("flows/retraining.py", b""),
        PlannedFile("ridgeway.toml", SMALL["ridgeway.toml"]),
        PlannedFile("steps/make_model.py", b"example"),
    )


def test_own_data_brings_its_label_its_task_and_a_model_that_fits_it() -> None:
    own = OwnData("churn.parquet", (("churn.parquet", Path("/somewhere/churn.parquet")),), "churned", "classification")
    planned = {file.path: file for file in scaffold.plan(SMALL, name="churn", version="1.2.3", own_data=own)}
    assert sorted(planned) == [
        ".gitignore",
        "README.md",
        "data/README.md",
        "data/churn.parquet",
        "env/conda.yml",
        "flows/retraining.py",
        "ridgeway.toml",
        "steps/make_model.py",
    ]
    assert planned["data/churn.parquet"].source == Path("/somewhere/churn.parquet")
    assert planned["data/README.md"].content == b"the label is churned\n"
    assert planned["steps/make_model.py"].content == b"classifier"
    assert planned["ridgeway.toml"].content.decode() == (
        "[project]\n"
        'name = "churn"          # models:/diabetes/N\n'
        "[data]\n"
        'source = "data/churn.parquet"  # "a # in quotes" is no comment\n'
        'label = "churned"\n'
        "[training]\n"
        'task = "classification"  # | "classification"\n'
        "parameters = { learning_rate = 0.1, max_iter = 100 }\n"
        "[rules]\n"
        'loss = "log_loss"       # | log_loss\n'
        "floors = {}\n"
        "slices = {}\n"
        "[image]\n"
        'repository = "127.0.0.1:5000/churn"\n'
    )


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_the_real_settings_file_takes_own_data_and_stays_valid(
    template: dict[str, bytes], task: scaffold.Task, tmp_path: Path
) -> None:
    own = OwnData("churn.parquet", (), 'a "label"', task)
    planned = {file.path: file for file in scaffold.plan(template, name="churn", version="1.2.3", own_data=own)}
    (tmp_path / "ridgeway.toml").write_bytes(planned["ridgeway.toml"].content)
    loaded = settings.load(tmp_path, environ={}).settings
    assert loaded.project.name == "churn"
    assert (loaded.data.source, loaded.data.label) == ("data/churn.parquet", 'a "label"')
    assert (loaded.training.task, loaded.rules.slices, loaded.rules.floors) == (task, {}, {})
    assert planned["ridgeway.toml"].content.count(b"#") == template["ridgeway.toml"].count(b"#")


def test_the_real_project_has_the_promised_folders_and_pins_the_version_that_made_it(
    template: dict[str, bytes],
) -> None:
    planned = {file.path: file.content for file in scaffold.plan(template, name="p", version="9.8.7")}
    tops = {path.partition("/")[0] for path in planned}
    promised = "ridgeway.toml README.md Makefile pyproject.toml .gitignore data steps flows tests env templates"
    assert tops == set(promised.split())
    project = tomllib.loads(planned["pyproject.toml"].decode())
    assert project["project"]["dependencies"] == ["ridgeway==9.8.7"]
    assert b"- ridgeway==9.8.7\n" in planned["env/conda.yml"]
    assert b"@" not in planned["README.md"]


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_the_model_for_own_data_takes_numbers_texts_truths_times_and_gaps(
    template: dict[str, bytes], task: str
) -> None:
    import numpy as np
    import pandas as pd

    frame = pd.DataFrame(
        {
            "number": [1.0, np.nan, 3.0, 4.0] * 10,
            "count": [1, 2, 3, 4] * 10,
            "plan": ["basic", None, "pro", "pro"] * 10,
            "active": [True, False, True, True] * 10,
            "since": pd.to_datetime(["2026-01-01"] * 40),
        }
    )
    target = np.array(["no", "yes"] * 20) if task == "classification" else np.arange(40.0)
    module: dict[str, object] = {}
    exec(template[f"templates/own_data/{task}/steps/make_model.py"], module)
    model = module["make_model"]({"max_iter": 5}, seed=0).fit(frame, target)  # type: ignore[operator]
    unseen = frame.head(2).assign(plan=["never seen", "pro"])
    assert model.predict(unseen).shape == (2,)


def test_a_setting_that_is_not_in_the_file_is_not_added_in_silence() -> None:
    with pytest.raises(KeyError, match=r"data\.lable"):
        scaffold.with_values("[data]\nlabel = 1\n", {"data.lable": "x"})


def test_writing_makes_every_file_and_writing_again_keeps_them(tmp_path: Path) -> None:
    data = tmp_path / "d.csv"
    data.write_text("a\n1\n")
    planned = (PlannedFile("a/b.txt", b"b"), PlannedFile("data/d.csv", source=data))
    target = tmp_path / "new" / "project"
    assert scaffold.write(planned, target).made == ("a/b.txt", "data/d.csv")
    assert (target / "a/b.txt").read_bytes() == b"b"
    assert (target / "data/d.csv").read_text() == "a\n1\n"
    assert scaffold.write(planned, target) == scaffold.Written((), ("a/b.txt", "data/d.csv"))


def test_half_a_project_is_finished_by_the_same_command(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / ".b.partial").write_bytes(b"half of")
    assert scaffold.write([PlannedFile("a", b"a"), PlannedFile("b", b"b")], tmp_path).made == ("b",)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_folder_with_other_files_is_added_to(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("mine")
    scaffold.write([PlannedFile("a", b"a")], tmp_path)
    assert (tmp_path / "LICENSE").read_text() == "mine"


def test_nothing_is_written_when_a_single_file_would_be_overwritten(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("mine")
    with pytest.raises(UsageError) as refused:
        scaffold.write([PlannedFile("a", b"a"), PlannedFile("b", b"b")], tmp_path)
    assert str(refused.value) == (
        f"ridgeway new: {tmp_path} already holds files that a new project would overwrite\n"
        "  where     b\n"
        "  expected  a new or an empty folder, or one without these files\n"
        "  next      name another folder, or move these files away"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert (tmp_path / "b").read_text() == "mine"


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "steps").write_text("a file")
    with pytest.raises(UsageError, match=r"steps/make_model\.py"):
        scaffold.write([PlannedFile("steps/make_model.py", b"")], tmp_path)
    with pytest.raises(UsageError, match="is a file"):
        scaffold.write([PlannedFile("a", b"")], tmp_path / "steps")


def test_a_link_is_not_followed_out_of_the_project(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "a").symlink_to(outside)
    with pytest.raises(UsageError, match="would overwrite"):
        scaffold.write([PlannedFile("a", b"new")], tmp_path / "project")
    assert not outside.exists()


def test_a_disk_that_takes_no_more_ends_with_one_message_and_no_half_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        scaffold.write([PlannedFile("d.csv", source=tmp_path / "vanished.csv")], tmp_path / "project")
    assert list((tmp_path / "project").iterdir()) == []


def test_own_data_that_is_already_in_its_place_is_left_there(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    data = tmp_path / "data" / "d.csv"
    data.write_text("a\n1\n")
    own = scaffold.find_own_data(data, label="a", task="regression")
    planned = scaffold.plan(SMALL, name="p", version="1", own_data=own)
    assert "data/d.csv" in scaffold.write(planned, tmp_path).kept


def test_a_folder_of_parquet_comes_with_all_its_files(tmp_path: Path) -> None:
    for name in ("orders/2025/a.parquet", "orders/2026/b.parquet", "orders/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    own = scaffold.find_own_data(tmp_path / "orders", label="y", task="regression")
    assert own.name == "orders"
    assert [path for path, _ in own.files] == ["orders/2025/a.parquet", "orders/2026/b.parquet"]
    scaffold.write(scaffold.plan(SMALL, name="p", version="1", own_data=own), tmp_path / "p")
    assert (tmp_path / "p/data/orders/2026/b.parquet").read_bytes() == b"orders/2026/b.parquet"


@pytest.mark.parametrize(("name", "problem"), [("nothing.csv", "no such file"), ("empty", "no .parquet file")])
def test_data_that_is_not_there_is_named(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=problem):
        scaffold.find_own_data(tmp_path / name, label="y", task="regression")


def test_leftovers_of_tools_are_not_part_of_a_project(tmp_path: Path) -> None:
    for name in (
        "steps/a.py",
        "steps/__pycache__/a.pyc",
        "flows/.ruff_cache/x",
        "templates/project/README.md",
        "src/x.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert sorted(scaffold.read_template(tmp_path)) == ["steps/a.py", "templates/project/README.md"]


@pytest.mark.parametrize("directory", ["churn", "My Churn 2", "2026", "…", "a" * 80, "-x-", "Zürich", "a_b"])
def test_every_folder_gives_a_name_that_the_settings_accept(directory: str) -> None:
    name = scaffold.project_name(directory)
    assert settings.ProjectSection(name=name).name == name


@pytest.mark.parametrize("task", [None, "regression", "classification"])
def test_a_new_project_is_linted_and_formatted(template: dict[str, bytes], task: Any, tmp_path: Path) -> None:
    own = OwnData("churn.parquet", (), "churned", task) if task else None
    scaffold.write(scaffold.plan(template, name="churn", version="1.2.3", own_data=own), tmp_path)
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
        done = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_coverage_leaves_out_the_steps_that_are_ridgeways_own(template: dict[str, bytes]) -> None:
    written = tomllib.loads(template["templates/project/pyproject.toml"].decode().replace("@", ""))
    steps = {path for path in template if path.startswith("steps/")}
    ours = steps - {"steps/__init__.py", "steps/load_data.py", "steps/make_model.py"}
    assert sorted(written["tool"]["coverage"]["run"]["omit"]) == sorted(ours)
