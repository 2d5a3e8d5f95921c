from __future__ import annotations

import json
from pathlib import Path

import pytest

from ridgeway import orchestrator
from tests.cli.conftest import Command


def test_nothing_to_stop(project: Path, ridgeway: Command) -> None:
    assert ridgeway("down") == (0, "", "nothing runs here\n")


def test_a_plan_says_what_it_would_stop(project: Path, monkeypatch: pytest.MonkeyPatch, ridgeway: Command) -> None:
    server = orchestrator.Server("http://127.0.0.1:4999/api", project, pid=1, is_lasting=False)
    stopped: list[Path] = []
    monkeypatch.setattr(orchestrator, "running_server", lambda _: server, raising=False)
    monkeypatch.setattr(orchestrator, "stop_server", stopped.append, raising=False)
    code, out, err = ridgeway("down", "--plan", "--json")
    assert (code, err) == (0, f"would stop the Prefect server at {server.url}\n")
    line = f"the Prefect server at {server.url}"
    assert json.loads(out) == {"schema": 1, "stopped": [], "would_stop": [line]}
    assert stopped == []
    code, out, err = ridgeway("down", "--json")
    assert (code, err) == (0, f"stopped the Prefect server at {server.url}\n")
    assert json.loads(out) == {"schema": 1, "stopped": [line], "would_stop": []}
    assert stopped == [project]
