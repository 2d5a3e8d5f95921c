"""What the settings say of notifications, and that no secret is ever a setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from ridgeway import settings
from ridgeway.cli import invoke
from ridgeway.errors import UsageError
from ridgeway.rules.notifications import EVENTS
from tests.notifications.conftest import KEY

URL = "https://hooks.example/T0/very-secret"


def refusal(root: Path, *overrides: str) -> str:
    with pytest.raises(UsageError) as caught:
        settings.load(root, overrides=overrides, environ={})
    return str(caught.value)


def test_the_usual_events_and_all_of_them(tmp_path: Path) -> None:
    loaded = settings.load(tmp_path, environ={})
    assert loaded.settings.notifications.events == ("failed", "waiting", "released", "rolled_back")
    every = ", ".join(f'"{event}"' for event in EVENTS)
    chosen = settings.load(tmp_path, overrides=[f"notifications.events=[{every}]"], environ={})
    assert chosen.settings.notifications.events == EVENTS


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('["failed", "relased"]', "'relased' is no event; did you mean released?"),
        ('["zzz"]', "'zzz' is no event; known: failed, waiting, "),
        ('"failed"', "valid tuple"),
        ("[1]", "1 is no event"),
    ],
)
def test_what_is_no_event(tmp_path: Path, value: str, expected: str) -> None:
    message = refusal(tmp_path, f"notifications.events={value}")
    assert expected in message
    assert "(from --set)" in message


@pytest.mark.parametrize("name", ["url", "key"])
def test_a_secret_in_a_file_of_settings_is_refused_and_not_shown(tmp_path: Path, name: str) -> None:
    (tmp_path / "ridgeway.toml").write_text(f'[notifications]\n{name} = "{URL}"\n', encoding="utf-8")
    message = refusal(tmp_path)
    assert f"RIDGEWAY_NOTIFICATIONS__{name.upper()}_FILE" in message
    assert "very-secret" not in message


def test_settings_show_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ridgeway.toml").write_text("[project]\nname = 'churn'\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIDGEWAY_NOTIFICATIONS__URL", URL)
    monkeypatch.setenv("RIDGEWAY_NOTIFICATIONS__KEY", KEY)
    for options in ([], ["--json"], ["notifications"], ["--debug"]):
        assert invoke(["settings", *options]) == 0
        shown = capsys.readouterr()
        assert "notifications.events" in shown.out
        assert "very-secret" not in shown.out + shown.err
        assert KEY not in shown.out + shown.err
