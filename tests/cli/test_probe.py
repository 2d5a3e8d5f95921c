from __future__ import annotations

import dataclasses
import json

from tests.actions.conftest import Yard
from tests.cli.conftest import Command, deployed
from tests.cli.test_keys import Places


def test_help(ridgeway: Command) -> None:
    code, out, err = ridgeway("probe", "--help")
    assert (code, err) == (0, "")
    assert "release.probe.load_on" in out


def test_a_plan_sends_nothing(places: Places, ridgeway: Command) -> None:
    deployed(places["qa"], "qa")
    line = "ask models:/churn/7 on qa: 50 golden rows, bad input, wrong keys; load for 2 s"
    assert ridgeway("probe", "qa", "--plan") == (0, f"{line}\n", "")
    assert json.loads(ridgeway("probe", "qa", "--plan", "--json")[1]) == {"schema": 1, "plan": [line]}
    deployed(places["production"], "production")
    more = ["--set", "release.probe.rows=200"]
    assert ridgeway("probe", "production", "--plan", *more)[1] == (
        "ask models:/churn/7 on production: 50 golden rows, bad input, wrong keys; no load\n"
    )


def test_where_nothing_runs(places: Places, ridgeway: Command) -> None:
    code, out, err = ridgeway("probe", "qa")
    assert (code, out) == (2, "")
    assert err.startswith("error: nothing runs on qa\n")


def test_good_and_bad_answers(yard: Yard, ridgeway: Command) -> None:
    yard.released()
    code, out, err = ridgeway("probe", "qa")
    assert code == 0
    assert out.splitlines()[1].startswith("ok    identity               it is diabetes/1 in image sha256:")
    assert err.splitlines()[-1].startswith("50 golden rows answered as trained within ")
    code, out, _ = ridgeway("probe", "qa", "--json")
    record = json.loads(out)
    assert (code, record["rows"], {one["outcome"] for one in record["findings"]}) == (0, 50, {"pass"})
    place = yard.place("qa")
    assert place.deployment is not None
    other = dataclasses.replace(place.deployment.image, digest="sha256:" + "7" * 64)
    place.deployment = dataclasses.replace(place.deployment, image=other)
    code, out, err = ridgeway("probe", "qa")
    assert code == 7
    assert "\nFAIL  identity " in out
    assert "\n                 next: " in out
    assert "golden rows" not in out
