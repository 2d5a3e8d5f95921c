from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.cli.conftest import Command


def test_help(ridgeway: Command) -> None:
    code, out, err = ridgeway("restore", "--help")
    assert (code, err) == (0, "")
    for option in ("--force", "--plan", "--json"):
        assert option in out


def test_a_state_comes_back(project: Path, ended: str, ridgeway: Command) -> None:
    assert ridgeway("backup", "b.tar.gz")[0] == 0
    code, out, err = ridgeway("restore", "b.tar.gz")
    assert (code, out) == (2, "")
    assert err.startswith("error: there is a state here already\n")
    shutil.rmtree(project / ".ridgeway")
    code, out, err = ridgeway("restore", "b.tar.gz", "--plan")
    assert (code, err.startswith("would restore ")) == (0, True)
    assert not (project / ".ridgeway").exists()
    code, out, err = ridgeway("restore", "b.tar.gz", "--json")
    assert code == 0
    assert json.loads(out)["files"] > 0
    assert "\n  next      ridgeway list     and     ridgeway up" in err
    assert [run["run"] for run in json.loads(ridgeway("list", "runs", "--json")[1])["runs"]] == [f"runs:/{ended[:12]}"]


def test_no_backup(project: Path, ridgeway: Command) -> None:
    assert ridgeway("restore", "ridgeway.toml")[0] == 65
    assert ridgeway("restore", "nothing.tar.gz")[0] == 2
    assert not (project / ".ridgeway").exists()
