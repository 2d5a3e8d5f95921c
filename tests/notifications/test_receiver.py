from __future__ import annotations

import base64
from pathlib import Path

import pytest

from ridgeway.errors import UsageError
from ridgeway.notifications import Receiver, configured
from tests.notifications.conftest import KEY

URL = "https://ada:pw-7@hooks.example:8443/T0/secret?token=9c41"
OTHER = "whsec_" + base64.b64encode(b"n" * 32).decode()


def environ(**changes: str) -> dict[str, str]:
    names = {"url": "RIDGEWAY_NOTIFICATIONS__URL", "key": "RIDGEWAY_NOTIFICATIONS__KEY"}
    given = {"url": URL, "key": KEY, **changes}
    return {
        names[name.removesuffix("_file")] + ("_FILE" if name.endswith("_file") else ""): given[name] for name in given
    }


def test_no_address_no_receiver() -> None:
    assert configured({}) is None
    assert configured({"RIDGEWAY_NOTIFICATIONS__KEY": KEY}) is None


def test_address_and_keys_the_newest_first() -> None:
    assert configured(environ(key=f"{OTHER} {KEY}")) == Receiver(URL, (OTHER, KEY))


def test_from_files(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"{URL}\n")
    (tmp_path / "key").write_text(f"{OTHER} {KEY}\n")
    files = environ(url="", key="", url_file=str(tmp_path / "url"), key_file=str(tmp_path / "key"))
    assert configured(files) == Receiver(URL, (OTHER, KEY))


def test_what_shows_it_shows_no_secret() -> None:
    receiver = configured(environ())
    assert receiver is not None
    shown = f"{receiver!r} {receiver} {receiver.place} {receiver.mark}"
    assert "https://hooks.example:8443" in shown
    for word in ("ada", "pw-7", "T0", "token", KEY, KEY.removeprefix("whsec_")):
        assert word not in shown
    assert receiver.cleaned(f"cannot ask {URL} with {KEY}") == "cannot ask … with …"


def test_another_key_is_another_receiver() -> None:
    assert Receiver(URL, (KEY,)).mark != Receiver(URL, (OTHER, KEY)).mark


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"url": "hooks.example/T0"}, "address of the webhook cannot be used"),
        ({"url": "ftp://hooks.example"}, "address of the webhook cannot be used"),
        ({"url": "https:///T0"}, "address of the webhook cannot be used"),
        ({"url": "https://hooks.example:port/"}, "address of the webhook cannot be used"),
        ({"url": "https://hooks.example/a b"}, "address of the webhook cannot be used"),
        ({"key": ""}, "there is no key to sign with"),
        ({"key": "correct horse battery staple"}, "a key cannot be used"),
        ({"key": "whsec_" + base64.b64encode(b"short").decode()}, "5 bytes"),
        ({"key": f"{KEY} nonsense"}, "a key cannot be used"),
    ],
)
def test_what_cannot_be_used_is_refused_without_being_shown(changes: dict[str, str], problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        configured(environ(**changes))
    assert problem in str(caught.value)
    for text in (URL, KEY, *(word for value in changes.values() for word in value.split() if len(word) > 4)):
        assert text not in str(caught.value)
