"""Who is judged against whom, under which rule, on which rows: over a real registry, with real models."""

from __future__ import annotations

import datetime
from typing import Any

import pandas as pd
import pytest

from ridgeway.actions import demand, judgement, retraining
from ridgeway.actions.models import verdict_of
from ridgeway.actions.retraining import Retraining, settings_digest
from ridgeway.errors import Busy, EvidenceError, UsageError
from ridgeway.project import digest_of, open_project
from ridgeway.registry import Registry
from ridgeway.registry.look import COMPLETE_TAG
from ridgeway.rules import promotion
from tests.actions.conftest import FEW_COLUMNS, Workshop

WORSE = "training.parameters.alpha=1e4"
"""A model of all columns that is hardly better than the mean."""
HIGH_FLOOR, LOW_FLOOR = "rules.floors.r2=0.9", "rules.floors.r2=0.1"

EVERY_RULE = (
    "rules.alpha=0.02",
    "rules.strict=true",
    "rules.minimum_rows=31",
    "rules.slice_margin=0.06",
    "rules.worthwhile=0.02",
    "rules.pooled=false",
    "rules.refresh=true",
    "rules.floors.r2=0.31",
    "rules.ceilings.mean_squared_error=4000.0",
    'rules.required_slices=["older"]',
)


def test_every_setting_of_the_rule_reaches_the_rule(made: Workshop) -> None:
    assert judgement.policy(open_project(made.root, overrides=EVERY_RULE)) == promotion.Policy(
        alpha=0.02,
        strict=True,
        minimum_rows=31,
        slice_margin=0.06,
        worthwhile=0.02,
        pooled=False,
        refresh=True,
        floors={"r2": 0.31},
        ceilings={"mean_squared_error": 4000.0},
        required_slices=("older",),
    )


def test_every_setting_that_decides_makes_another_policy(made: Workshop) -> None:
    job = made.trained(FEW_COLUMNS)
    assert job.candidate is not None
    changes = (
        *EVERY_RULE,
        'rules.slices.older="age > 60"',
        'rules.slices.older="age > 70"',
        "rules.loss=absolute_error",
    )
    digests = [
        judgement.policy_digest(open_project(made.root, overrides=change), job.candidate)
        for change in ((), *((one,) for one in changes))
    ]
    assert len(set(digests)) == len(changes) + 1
    for same in ("rules.loss=squared_error", "rules.against=mean", "flows.retries=3"):
        assert judgement.policy_digest(open_project(made.root, overrides=(same,)), job.candidate) == digests[0]


# ---- which verdicts count --------------------------------------------------------------------------------------------


def test_a_judgement_on_demand_lets_nothing_in(workshop: Workshop) -> None:
    rejected = workshop.judged(HIGH_FLOOR)
    assert rejected.candidate is not None
    assert rejected.verdict is not None
    assert rejected.verdict.reason == "below_floor"
    project = open_project(workshop.root, overrides=[LOW_FLOOR])
    on_demand = demand.judge(project, rejected.candidate.handle, None)
    assert on_demand.accepted
    # Under the project's own rule, and even under the very one of the judgement on demand, a retraining judges itself.
    again = workshop.retrained(HIGH_FLOOR)
    assert (again.unchanged, again.version) == (True, None)
    loose = workshop.retrained(LOW_FLOOR)
    assert loose.unchanged is False
    assert loose.verdict is not None
    assert (loose.verdict.accepted, loose.verdict.looks) == (True, on_demand.looks + 1)


@pytest.mark.slow
def test_a_changed_rule_judges_anew_but_takes_no_model_back(workshop: Workshop) -> None:
    assert workshop.judged(HIGH_FLOOR).unchanged is False
    assert workshop.judged(HIGH_FLOOR).unchanged is True
    accepted = workshop.retrained()
    assert accepted.unchanged is False
    assert accepted.version is not None
    assert accepted.version.number == 2
    strict = workshop.retrained(HIGH_FLOOR)
    assert strict.unchanged is True
    assert strict.version is not None
    assert strict.version.number == 2
    # What let it in is the accepting verdict of the run that registered it, not the first one on it.
    assert verdict_of(workshop.registry, accepted.version) == accepted.verdict


def test_a_run_killed_before_registering_is_gone_on_with(workshop: Workshop) -> None:
    killed = workshop.judged()
    later = workshop.retrained()
    assert later.unchanged is False
    assert later.verdict == killed.verdict
    assert later.version is not None
    assert verdict_of(workshop.registry, later.version) == killed.verdict


# ---- starting anew ---------------------------------------------------------------------------------------------------


def test_the_mean_is_no_way_round_a_better_model(workshop: Workshop) -> None:
    with pytest.raises(UsageError, match="starts anew only where the key rule changed") as caught:
        workshop.judged(WORSE, "rules.against=mean")
    assert caught.value.next_step == "ridgeway run retraining --set rules.against=auto"
    job = workshop.trained(WORSE)
    assert job.candidate is not None
    project = open_project(workshop.root, overrides=["rules.floors.r2=0.01"])
    assert demand.judge(project, job.candidate.handle, "mean").accepted
    assert [version.number for version in workshop.registry.versions()] == [1]


def test_the_mean_is_allowed_where_the_model_there_cannot_score_the_rows(made: Workshop) -> None:
    job = made.trained(FEW_COLUMNS)
    assert job.candidate is not None
    assert job.dataset is not None
    without_bmi = [column for column in job.dataset.columns if column.name != "bmi"]
    judgement.check_new_start(job.candidate, without_bmi, registry=job.registry)
    with pytest.raises(UsageError):
        judgement.check_new_start(job.candidate, job.dataset.columns, registry=job.registry)


@pytest.mark.slow
def test_after_a_change_of_the_key_rule_the_mean_is_met_once(workshop: Workshop) -> None:
    workshop.registry.set_alias("champion", 1)
    anew = ("data.holdout=0.3", "rules.against=mean")
    with pytest.raises(EvidenceError, match="another rule"):
        workshop.judged(anew[0])
    begun = workshop.retrained(*anew)
    assert begun.version is not None
    assert begun.version.number == 2
    assert workshop.retrained(*anew).unchanged is True
    # The champion is still of the old rule, the challenger is of the new one.
    with pytest.raises(UsageError) as caught:
        workshop.judged(*anew, WORSE)
    assert caught.value.next_step == "ridgeway run retraining --set rules.against=challenger"
    worse = workshop.judged(anew[0], "rules.against=challenger", WORSE)
    assert worse.verdict is not None
    assert worse.verdict.outcome == "reject"


# ---- registering -----------------------------------------------------------------------------------------------------


def test_a_model_registered_meanwhile_is_the_one_to_beat(workshop: Workshop) -> None:
    slow = workshop.judged("training.parameters.alpha=5")
    assert slow.candidate is not None
    assert slow.verdict is not None
    assert slow.verdict.accepted
    assert workshop.retrained().version is not None
    with pytest.raises(Busy, match="the opponent changed meanwhile") as caught:
        slow.register(slow.candidate, slow.verdict)
    assert caught.value.exit_code == 75
    assert [version.number for version in workshop.registry.versions()] == [1, 2]
    again = workshop.retrained("training.parameters.alpha=5")
    assert again.verdict is not None
    assert again.verdict.opponent == "models:/diabetes/2"


@pytest.mark.parametrize("step", ["alias", "complete"])
def test_a_crash_while_registering_is_no_changed_opponent(
    workshop: Workshop, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the alias is set, and after it, when the half-registered version itself is the challenger."""

    class Killed(BaseException):
        pass

    def die(*_: Any) -> Any:
        raise Killed

    job = workshop.judged()
    assert job.candidate is not None
    assert job.verdict is not None
    call = Registry._call

    def dying_call(self: Registry, doing: str, method: str, *arguments: Any, **keywords: Any) -> Any:
        return die() if COMPLETE_TAG in arguments else call(self, doing, method, *arguments, **keywords)

    with monkeypatch.context() as patch:
        if step == "alias":
            patch.setattr(Registry, "set_alias", die)
        else:
            patch.setattr(Registry, "_call", dying_call)
        with pytest.raises(Killed):
            job.register(job.candidate, job.verdict)
    assert COMPLETE_TAG not in workshop.registry.all_versions()[-1].tags
    completed = job.register(job.candidate, job.verdict) if step == "alias" else workshop.retrained().version
    assert completed is not None
    assert (completed.number, completed.aliases, completed.tags[COMPLETE_TAG]) == (2, ("challenger",), "1")


def test_a_version_leads_to_the_settings_it_was_made_under(workshop: Workshop) -> None:
    version = workshop.retrained("flows.retries=3").version
    assert version is not None
    project = open_project(workshop.root, overrides=["flows.retries=3"])
    assert version.tags["ridgeway.settings"] == settings_digest(project)
    assert version.tags["ridgeway.settings"] != settings_digest(open_project(workshop.root))


def test_a_run_keeps_the_settings_that_were_in_force(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workshop.root)
    with retraining.start(overrides=["flows.retries=3"]) as job:
        pass
    kept = workshop.registry.read_json(job.record.id, "settings.json")["settings"]
    assert kept["flows.retries"] == 3
    assert digest_of(kept) == settings_digest(job.project)


# ---- evidence --------------------------------------------------------------------------------------------------------


def evidence(job: Retraining) -> judgement._Evidence:
    assert job.candidate is not None
    opponent = judgement.choose_opponent(job.registry, "auto")
    return judgement._Evidence(job.project, job.candidate, opponent, job._rows_of(job.candidate), job.registry)


@pytest.mark.slow
def test_the_anchor_of_a_refresh_is_the_last_winner_under_the_same_key_rule(workshop: Workshop) -> None:
    """The opponent, number 3, came in by a refresh; 2 won under this key rule, 1 under another one."""
    refresh = ("data.holdout=0.3", "rules.refresh=true")
    winner = workshop.retrained(*refresh, "rules.against=mean")
    refreshed = workshop.judged(*refresh, "training.parameters.alpha=1.0001")
    assert winner.candidate is not None
    assert refreshed.verdict is not None
    assert refreshed.verdict.reason == "refresh_not_worse"
    assert refreshed.candidate is not None
    refreshed.register(refreshed.candidate, refreshed.verdict)
    found = evidence(workshop.trained(*refresh, WORSE))
    anchor = found._anchor()
    assert anchor is not None
    assert promotion.same_predictions(anchor, found._theirs(found.data.sealed, winner.candidate))
    # Where nobody won under this rule there is no anchor: the winner of the other one was trained on sealed rows.
    registry = workshop.registry
    registry._call("cannot tag", "set_model_version_tag", registry.name, "2", "ridgeway.key", "another")
    assert evidence(workshop.trained(*refresh, WORSE))._anchor() is None
    # What the tags say is not all: the rows that a model has seen are looked at.
    key = refreshed.candidate.key.digest
    registry._call("cannot tag", "set_model_version_tag", registry.name, "1", "ridgeway.key", key)
    with pytest.raises(EvidenceError, match="not sound"):
        evidence(workshop.trained(*refresh, WORSE))._anchor()


def test_the_inflow_is_counted_in_sealed_rows_a_week(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    source = workshop.root / "data" / "diabetes.csv"
    frame = pd.read_csv(source)
    pd.concat([frame, frame.assign(age=frame.age + 0.5)]).to_csv(source, index=False)
    job = workshop.trained()
    found = evidence(job)
    assert job.candidate is not None
    arrived = job.candidate.sealed_rows - 88
    assert arrived > 50
    now = judgement._now()
    for days, rate in ((6, None), (14, arrived / 2), (28, arrived / 4)):
        monkeypatch.setattr(judgement, "_now", lambda days=days: now + datetime.timedelta(days=days))
        assert found._inflow() == (None if rate is None else pytest.approx(rate, rel=1e-3))
