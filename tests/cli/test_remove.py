from __future__ import annotations

import json

from tests.cli.conftest import Command, deployed
from tests.cli.test_keys import Places


def test_help(ridgeway: Command) -> None:
    code, out, err = ridgeway("remove", "--help")
    assert (code, err) == (0, "")
    assert "--yes" in out
    assert "ridgeway remove qa" in out


def test_what_runs_and_then_nothing(places: Places, ridgeway: Command) -> None:
    deployed(places["qa"], "qa")
    assert ridgeway("remove", "qa", "--plan") == (0, "would remove memory://qa/churn\n", "")
    assert places["qa"].deployment is not None
    assert ridgeway("remove", "qa") == (0, "removed place churn\n", "")
    assert (places["qa"].deployment, places["qa"].key_pair) == (None, None)
    assert ridgeway("remove", "qa") == (0, "nothing runs on qa\n", "")
    assert ridgeway("remove", "qa", "--plan") == (0, "nothing runs on qa\n", "")


def test_as_json(places: Places, ridgeway: Command) -> None:
    deployed(places["qa"], "qa")
    _, out, _ = ridgeway("remove", "qa", "--plan", "--json")
    assert json.loads(out) == {"schema": 1, "target": "qa", "would_remove": ["memory://qa/churn"]}
    _, out, _ = ridgeway("remove", "qa", "--json")
    assert json.loads(out) == {"schema": 1, "target": "qa", "removed": ["place churn"]}


def test_production_only_with_yes(places: Places, ridgeway: Command) -> None:
    deployed(places["production"], "production")
    assert ridgeway("remove", "production") == (
        2,
        "",
        (
            "error: production is the last stage: clients would lose their answers\n"
            "  problem   models:/churn/7 answers there\n"
            "  next      ridgeway remove production --yes     or     ridgeway rollback production\n"
        ),
    )
    assert places["production"].deployment is not None
    assert ridgeway("remove", "production", "--yes")[0] == 0
    assert places["production"].deployment is None


def test_while_a_release_works_on_it(places: Places, ridgeway: Command) -> None:
    deployed(places["qa"], "qa")
    places["qa"].held_by = "releases:/churn/8"
    code, out, err = ridgeway("remove", "qa")
    assert (code, out) == (75, "")
    assert "held by releases:/churn/8" in err
    assert places["qa"].deployment is not None
