from __future__ import annotations

import json
from pathlib import Path

import pytest

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
