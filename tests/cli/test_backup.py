from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Command


def test_help(ridgeway: Command) -> None:
    code, out, err = ridgeway("backup", "--help")
    assert (code, err) == (0, "")
    for option in ("--without-keys", "--plan", "--json"):
        assert option in out


def test_nothing_yet(project: Path, ridgeway: Command, tmp_path: Path) -> None:
    code, out, err = ridgeway("backup", str(tmp_path / "b.tar.gz"))
    assert (code, out) == (2, "")
    assert err.startswith("error: there is nothing to back up yet\n")


def test_a_backup_and_its_plan(project: Path, ended: str, ridgeway: Command) -> None:
    code, planned, _ = ridgeway("backup", "b.tar.gz", "--plan", "--json")
    paths = [file["path"] for file in json.loads(planned)["files"]]
    assert (code, f"runs/{ended}/run.json" in paths) == (0, True)
    assert not (project / "b.tar.gz").exists()
    code, out, err = ridgeway("backup", "b.tar.gz")
    assert (code, out) == (0, "b.tar.gz\n")
    assert err == f"{len(paths)} files, 0.0 MiB, in b.tar.gz\n"
    record = json.loads(ridgeway("backup", "b.tar.gz", "--json")[1])
    assert {**record, "bytes": 0} == {
        "schema": 1,
        "file": "b.tar.gz",
        "files": len(paths),
        "bytes": 0,
        "not_in_it": [],
    }


def test_what_lies_on_a_server_is_named(project: Path, ended: str, ridgeway: Command) -> None:
    code, _, err = ridgeway("backup", "b.tar.gz", "--plan", "--set", "registry.uri=https://mlflow.example")
    assert code == 0
    assert err.startswith("  not in it: models and runs: on the tracking server")
