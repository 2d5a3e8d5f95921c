from __future__ import annotations

import json
from pathlib import Path

from ridgeway.targets.memory import Place
from tests.cli.conftest import Command, deployed

Places = dict[str, Place]


def test_help(ridgeway: Command) -> None:
    code, out, err = ridgeway("keys", "--help")
    assert (code, err) == (0, "")
    for option in ("--rotate [primary|secondary]", "--plan", "--json", "ridgeway keys production --rotate primary"):
        assert option in out


def test_keys_and_a_request_to_paste(places: Places, ridgeway: Command) -> None:
    deployed(places["qa"], "qa")
    held = places["qa"].key_pair
    assert held is not None
    code, out, err = ridgeway("keys", "qa")
    assert (code, err) == (0, "")
    assert out.splitlines()[:3] == [f"primary    {held.primary}", f"secondary  {held.secondary}", ""]
    assert out.splitlines()[3].startswith(f"curl -H 'Authorization: Bearer {held.primary}' -d ")


def test_as_json(places: Places, ridgeway: Command) -> None:
    deployed(places["qa"], "qa", address="http://127.0.0.1:18099")
    held = places["qa"].key_pair
    assert held is not None
    code, out, _ = ridgeway("keys", "qa", "--json")
    record = json.loads(out)
    assert (code, record.pop("example").startswith("curl ")) == (0, True)
    assert record == {
        "schema": 1,
        "target": "qa",
        "address": "http://127.0.0.1:18099",
        "primary": held.primary,
        "secondary": held.secondary,
    }


def test_a_new_key_in_one_place_only(places: Places, ridgeway: Command) -> None:
    deployed(places["qa"], "qa")
    before = places["qa"].key_pair
    assert before is not None
    assert ridgeway("keys", "qa", "--rotate", "secondary", "--plan") == (
        0,
        "put a new secondary key in place on qa\n",
        "",
    )
    assert places["qa"].key_pair == before
    code, out, err = ridgeway("keys", "qa", "--rotate", "secondary")
    after = places["qa"].key_pair
    assert after is not None
    assert (code, err) == (0, "  targets           secondary key made\n")
    assert f"secondary  {after.secondary}\n" in out
    assert (after.primary == before.primary, after.secondary == before.secondary) == (True, False)


def test_no_key_is_in_the_story_or_a_plan(places: Places, ridgeway: Command) -> None:
    deployed(places["qa"], "qa")
    _, planned, _ = ridgeway("keys", "qa", "--plan")
    _, _, story = ridgeway("keys", "qa", "--rotate", "primary", "--debug")
    held = places["qa"].key_pair
    assert held is not None
    assert not [key for key in (held.primary, held.secondary) if key in planned + story]


def test_where_there_are_none(places: Places, project: Path, ridgeway: Command) -> None:
    assert ridgeway("keys", "qa") == (
        2,
        "",
        (
            "error: nothing runs on qa\n"
            "  problem   nothing was ever released there, or it was removed\n"
            "  next      ridgeway run release MODEL\n"
        ),
    )
    deployed(places["qa"], "qa", access="none")
    code, out, err = ridgeway("keys", "qa")
    assert (code, out) == (2, "")
    assert err.startswith("error: qa has no keys\n  where     targets.qa.access.mode = 'none'\n")


def test_an_unknown_target_with_a_plan_too(places: Places, ridgeway: Command) -> None:
    for options in ([], ["--plan"], ["--rotate", "primary", "--plan"]):
        code, out, err = ridgeway("keys", "qaa", *options)
        assert (code, out) == (2, "")
        assert err.startswith("error: there is no target 'qaa'\n  problem   did you mean qa?\n")
