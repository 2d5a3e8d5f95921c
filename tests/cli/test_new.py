from __future__ import annotations

import json
from pathlib import Path

import pytest

from ridgeway import scaffold, settings
from tests.cli.conftest import Command


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_project_that_knows_its_files(tmp_path: Path, ridgeway: Command) -> None:
    planned = ridgeway("new", "diabetes", "--plan")[1].splitlines()
    assert not (tmp_path / "diabetes").exists()
    code, out, err = ridgeway("new", "diabetes")
    assert (code, out) == (0, "diabetes\n")
    assert f"{len(planned)} files in diabetes" in err
    assert "cd diabetes && ridgeway run retraining" in err
    assert sorted(
        str(path.relative_to(tmp_path / "diabetes")) for path in (tmp_path / "diabetes").rglob("*.*") if path.is_file()
    ) == sorted(name for name in planned if "." in name)


def test_around_data_of_ones_own(tmp_path: Path, ridgeway: Command) -> None:
    rows = "\n".join(f"{age},{'yes' if age % 3 else 'no'}" for age in range(100))
    (tmp_path / "members.csv").write_text(f"age,churned\n{rows}\n", encoding="utf-8")
    code, out, err = ridgeway("new", "churn", "--data", "members.csv", "--label", "churned", "--json")
    assert code == 0
    assert json.loads(out)["directory"] == "churn"
    assert "'churned' is taken for a class" in err
    suite = json.loads((tmp_path / "churn" / "data" / "suite.json").read_text(encoding="utf-8"))
    # The label is no part of a row's identity.
    assert suite["meta"]["ridgeway"]["key"]["columns"] == [{"name": "age", "type": "integer"}]
    assert 'task = "classification"' in (tmp_path / "churn" / "ridgeway.toml").read_text(encoding="utf-8")


def test_data_without_a_label_and_a_label_that_is_not_there(tmp_path: Path, ridgeway: Command) -> None:
    (tmp_path / "members.csv").write_text("age\n1\n", encoding="utf-8")
    code, _, err = ridgeway("new", "churn", "--data", "members.csv")
    assert (code, "--data and --label go together" in err) == (2, True)
    code, _, err = ridgeway("new", "churn", "--data", "members.csv", "--label", "gone")
    assert (code, "has no label column" in err) == (65, True)
    assert not (tmp_path / "churn").exists()


@pytest.fixture
def codes(tmp_path: Path) -> Path:
    """A file with a column that is nearly all numbers, and one that a person would call a class."""
    rows = "".join(f"{10000 + row},{row % 40},{row * 3 % 17}\n" for row in range(100))
    (tmp_path / "z.csv").write_text(f"zip,my age,y\n{rows}AB123,7,3\n", encoding="utf-8")
    return tmp_path / "z.csv"


def test_what_was_inferred_wrongly_is_set_from_the_start(codes: Path, tmp_path: Path, ridgeway: Command) -> None:
    around = ("new", "zp", "--data", "z.csv", "--label", "y")
    code, _, err = ridgeway(*around)
    assert (code, "--set data.types.zip=string" in err) == (65, True)
    assert not (tmp_path / "zp").exists()
    chosen = ("data.types.zip=string", "data.types.my age=number", "training.task=classification")
    code, _, err = ridgeway(*around, *(part for text in (*chosen, "project.name=zippy") for part in ("--set", text)))
    assert code == 0, err
    made = settings.load(tmp_path / "zp", environ={}).settings
    assert made.data.types == {"zip": "string", "my age": "number"}
    assert (made.training.task, made.rules.loss, made.project.name) == ("classification", "log_loss", "zippy")
    suite = json.loads((tmp_path / "zp/data/suite.json").read_text(encoding="utf-8"))
    types = {column["name"]: column["type"] for column in suite["meta"]["ridgeway"]["columns"]}
    assert types == {"zip": "string", "my age": "number", "y": "integer"}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("training.seed=2", "`new` does not take --set training.seed"),
        ("data.types.zpi=string", "did you mean zip?"),
        ("data.types.zip=strin", "setting data.types.zip has a wrong value"),
        ("data.typs.zip=string", "unknown setting data.typs"),
    ],
)
def test_what_cannot_be_set(codes: Path, tmp_path: Path, setting: str, words: str, ridgeway: Command) -> None:
    code, _, err = ridgeway("new", "zp", "--data", "z.csv", "--label", "y", "--set", setting)
    assert (code, words in err) == (2, True), err
    assert not (tmp_path / "zp").exists()


def test_the_example_takes_a_name_and_nothing_else(tmp_path: Path, ridgeway: Command) -> None:
    assert ridgeway("new", "other", "--set", "project.name=sugar")[0] == 0
    assert settings.load(tmp_path / "other", environ={}).settings.project.name == "sugar"
    code, _, err = ridgeway("new", "another", "--set", "data.types.zip=string")
    assert (code, "--data FILE --label COLUMN" in err) == (2, True)


@pytest.mark.parametrize("is_working_copy", [True, False])
def test_who_runs_a_working_copy_is_told_of_the_wheel(
    is_working_copy: bool, monkeypatch: pytest.MonkeyPatch, ridgeway: Command
) -> None:
    monkeypatch.setattr(scaffold, "is_working_copy", lambda: is_working_copy)
    assert ("make test RIDGEWAY_WHEEL=" in ridgeway("new", "diabetes")[2]) == is_working_copy
