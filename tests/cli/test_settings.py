from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command


def test_one_setting_is_shown_with_its_help(project: Path, ridgeway: Command) -> None:
    assert ridgeway("settings", "training.seed") == (
        0,
        "training.seed  3  ridgeway.toml\n\nHanded to steps/make_model.py.\n",
        "",
    )


def test_a_section_and_an_override(project: Path, ridgeway: Command) -> None:
    code, out, _ = ridgeway("settings", "triggers", "--set", "triggers.poll_seconds=1")
    assert code == 0
    assert out.splitlines() == [
        "triggers.data              false  default",
        'triggers.watch             ""     default',
        "triggers.debounce_seconds  30.0   default",
        "triggers.poll_seconds      1.0    --set",
    ]


def test_all_settings_as_json(project: Path, ridgeway: Command) -> None:
    code, out, _ = ridgeway("settings", "--json")
    record = json.loads(out)
    assert (code, record["schema"]) == (0, 1)
    assert {"setting": "project.name", "value": "churn", "origin": "ridgeway.toml"}.items() <= record["settings"][
        0
    ].items()


def test_an_unknown_setting(project: Path, ridgeway: Command) -> None:
    code, out, err = ridgeway("settings", "training.sed")
    assert (code, out) == (2, "")
    assert "did you mean training.seed?" in err


def test_outside_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ridgeway: Command) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = ridgeway("settings")
    assert code == 2
    assert "is not inside a project" in err
    assert "ridgeway new" in err
