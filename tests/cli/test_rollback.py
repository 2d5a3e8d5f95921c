from __future__ import annotations

import json
from pathlib import Path

from tests.actions.conftest import Workshop, Yard
from tests.cli.conftest import Command


def test_help(ridgeway: Command) -> None:
    code, out, err = ridgeway("rollback", "--help")
    assert (code, err) == (0, "")
    for option in ("--to MODEL", "--reason TEXT", "--plan", "--ci", "--json"):
        assert option in out


def test_nothing_to_go_back_to(yard: Yard, ridgeway: Command) -> None:
    assert ridgeway("rollback", "production") == (
        2,
        "",
        (
            "error: there is nothing to go back to on production\n"
            "  problem   no other image was ever proven there\n"
            "  next      ridgeway list releases     or     ridgeway run release MODEL\n"
        ),
    )


def test_ci_refuses_a_registry_on_this_machine(project: Path, ridgeway: Command) -> None:
    code, out, err = ridgeway("rollback", "production", "--ci")
    assert (code, out) == (2, "")
    assert err.startswith("error: a registry on this machine cannot be used with --ci\n")


def test_the_way_back(yard: Yard, ridgeway: Command) -> None:
    yard.edit(
        "rollout = { bake_seconds = 0 }\n[approvers]", "approval = { count = 0 }\nrollout.bake_seconds = 0\n[approvers]"
    )
    assert yard.released()["outcome"] == "released"
    Workshop(yard.root).retrained()
    assert yard.released("models:/diabetes/2")["outcome"] == "released"
    code, out, err = ridgeway("rollback", "production", "--plan")
    first, change, champion = out.splitlines()
    assert (code, err, champion) == (0, "", "champion → models:/diabetes/1")
    assert first.startswith("production: back to models:/diabetes/1, folder/diabetes@sha256:")
    assert change.startswith("replace place diabetes: ")
    assert json.loads(ridgeway("rollback", "production", "--plan", "--json")[1])["plan"] == out.splitlines()
    code, out, err = ridgeway("rollback", "production", "--reason", "complaints", "--json")
    record = json.loads(out)
    assert (code, record) == (
        0,
        {
            "schema": 1,
            "handle": "releases:/diabetes/3",
            "outcome": "released",
            "sentence": "models:/diabetes/1 is back on production: complaints",
            "model": "models:/diabetes/1",
            "exit_code": 0,
        },
    )
    assert err.endswith(
        "models:/diabetes/1 is back on production: complaints\n  more      ridgeway show releases:/diabetes/3\n"
    )
    listed = ridgeway("list", "releases", "--json")[1]
    assert [one["release"] for one in json.loads(listed)["releases"]] == [f"releases:/diabetes/{n}" for n in (3, 2, 1)]
    first_model = json.loads(ridgeway("list", "models", "--json")[1])["models"][-1]
    assert (first_model["model"], first_model["aliases"]) == ("models:/diabetes/1", "champion")
    code, out, err = ridgeway("rollback", "production", "--to", "models:/diabetes/9")
    assert (code, out) == (2, "")
    assert err.startswith("error: there is no models:/diabetes/9\n")
