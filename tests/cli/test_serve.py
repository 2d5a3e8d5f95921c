from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command


def test_help(ridgeway: Command) -> None:
    code, out, err = ridgeway("serve", "--help")
    assert (code, err) == (0, "")
    assert "--port INTEGER RANGE" in out
    assert "without keys, until Ctrl-C" in " ".join(out.split())


def test_a_plan_writes_nothing(project: Path, ridgeway: Command) -> None:
    before = sorted(project.rglob("*"))
    what = "compile models:/churn/1 if it is not, and serve it on http://127.0.0.1:8123"
    assert ridgeway("serve", "models:/churn/1", "--port", "8123", "--plan") == (0, f"{what}\n", "")
    code, out, err = ridgeway("serve", "models:/churn/1", "--port", "8123", "--plan", "--json")
    assert (code, json.loads(out), err) == (0, {"schema": 1, "plan": what}, "")
    assert sorted(project.rglob("*")) == before


@pytest.mark.parametrize("port", ["65536", "-1", "http"])
def test_what_is_no_port(project: Path, port: str, ridgeway: Command) -> None:
    code, out, err = ridgeway("serve", "models:/churn/1", f"--port={port}")
    assert (code, out) == (2, "")
    assert err.startswith("error: Invalid value for '--port': ")
    assert err.endswith("  next      ridgeway serve --help\n")


def test_without_a_model(project: Path, ridgeway: Command) -> None:
    code, out, err = ridgeway("serve")
    assert (code, out, err) == (2, "", "error: Missing argument 'MODEL'.\n  next      ridgeway serve --help\n")
