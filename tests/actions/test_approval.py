"""A yes and a no, from the evidence to the record."""

from __future__ import annotations

import pytest

from ridgeway.actions import approval
from ridgeway.errors import GateFound, NotAccepted, NotFound, Permanent, UsageError
from tests.actions.conftest import Yard

RELEASE = "releases:/diabetes/1"


@pytest.fixture
def waiting(yard: Yard) -> Yard:
    """A release that has been tried in QA and waits."""
    assert yard.released()["outcome"] == "waiting"
    return yard


def test_a_yes_is_bound_to_what_was_shown_and_carries_the_release_on(
    waiting: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = waiting.releases().read(1)
    said = approval.say_yes(waiting.project(), RELEASE, reason="why not", seen=release.evidence[:19])
    assert (said.decision.granted, said.approval.reason, said.approval.evidence) == (True, "why not", release.evidence)
    assert release.image is not None
    assert said.approval.image == release.image.handle
    assert waiting.place().deployment is None
    ended = waiting.released(RELEASE)
    assert (ended["outcome"], ended["exit_code"]) == ("released", 0)
    assert waiting.place().deployment is not None
    again = approval.say_yes(waiting.project(), RELEASE)  # the same person's, whose terminal was lost
    assert (again.approval, again.decision.sentence) == (said.approval, f"{RELEASE} is released already")
    monkeypatch.setenv("GITHUB_RUN_ID", "7")
    monkeypatch.setenv("GITHUB_ACTOR", "ada")
    with pytest.raises(NotAccepted, match="has ended: released"):
        approval.say_yes(waiting.project(), RELEASE)


def test_without_a_yes_the_same_command_waits_again_and_does_nothing_twice(waiting: Yard) -> None:
    applied = len(waiting.place("qa").applied)
    again = waiting.released()
    assert (again["outcome"], again["handle"]) == ("waiting", RELEASE)
    assert (len(waiting.place("qa").applied), waiting.place().deployment) == (applied, None)


def test_a_yes_to_other_evidence_is_none(waiting: Yard) -> None:
    with pytest.raises(Permanent, match="the evidence of releases:/diabetes/1 changed") as raised:
        approval.say_yes(waiting.project(), RELEASE, seen="0123456789ab")
    assert raised.value.next_step.startswith(f"ridgeway show {RELEASE}")
    assert waiting.releases().approvals(waiting.releases().read(1)) == ()


def test_a_yes_is_void_once_production_would_change_otherwise(waiting: Yard) -> None:
    approval.say_yes(waiting.project(), RELEASE)
    waiting.edit('[targets.production]\nkind = "memory"', '[targets.production]\nreplicas = 2\nkind = "memory"')
    assert waiting.released(RELEASE)["outcome"] == "waiting"
    assert waiting.place().deployment is None
    approval.say_yes(waiting.project(), RELEASE)
    assert waiting.released(RELEASE)["outcome"] == "released"


def test_a_change_since_the_question_is_told_before_a_yes_counts(waiting: Yard) -> None:
    before = waiting.releases().read(1).evidence
    waiting.edit('[targets.production]\nkind = "memory"', '[targets.production]\nreplicas = 2\nkind = "memory"')
    with pytest.raises(Permanent, match="changed"):
        approval.say_yes(waiting.project(), RELEASE)
    assert waiting.releases().read(1).evidence != before
    assert approval.say_yes(waiting.project(), RELEASE).decision.granted


def test_two_people_are_two_and_one_is_not(waiting: Yard) -> None:
    waiting.edit("rollout = { bake_seconds = 0 }\n[approvers]", "approval = { count = 2 }\n[approvers]")
    first = approval.say_yes(waiting.project(), RELEASE)
    assert not first.decision.granted
    assert waiting.released(RELEASE)["outcome"] == "waiting"


def test_who_is_not_listed_may_not(waiting: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting.edit('["*"]', '["ci:ada"]')
    for say in (lambda: approval.say_yes(waiting.project(), RELEASE), lambda: no(waiting)):
        with pytest.raises(Permanent, match=r"cannot (approve|refuse)"):
            say()
    assert " may not: " in approval.plan(waiting.project(), RELEASE)
    for name, value in {"GITHUB_RUN_ID": "7", "GITHUB_ACTOR": "ada"}.items():
        monkeypatch.setenv(name, value)
    assert approval.plan(waiting.project(), RELEASE).startswith(f"ci:ada would approve {RELEASE} (models:/diabetes/1)")
    assert waiting.releases().approvals(waiting.releases().read(1)) == ()
    assert approval.say_yes(waiting.project(), RELEASE).decision.granted


def no(yard: Yard) -> str:
    return approval.say_no(yard.project(), RELEASE, reason="the older patients").state


def test_a_no_ends_it_and_says_who_and_why(waiting: Yard) -> None:
    assert no(waiting) == "refused"
    ended = waiting.releases().read(1)
    assert (ended.state, ended.exit_code, bool(ended.ended_at)) == ("refused", 3, True)
    assert "the older patients" in ended.sentence
    assert waiting.place().deployment is None
    with pytest.raises(NotAccepted):
        waiting.released(RELEASE)
    assert waiting.released()["handle"] == "releases:/diabetes/2"


@pytest.mark.parametrize(
    ("handle", "error"),
    [("releases:/diabetes/9", NotFound), ("releases:/other/1", UsageError), ("models:/diabetes/1", UsageError)],
)
def test_what_is_no_release_here(waiting: Yard, handle: str, error: type[Exception]) -> None:
    for say in (approval.say_yes, approval.plan):
        with pytest.raises(error):
            say(waiting.project(), handle)


def test_before_its_trials_are_done_nobody_is_asked(yard: Yard) -> None:
    yard.place("qa").never_healthy = Everything("ImagePullBackOff")
    with pytest.raises(GateFound, match="does not become ready"):
        yard.released()
    with pytest.raises(NotAccepted, match="has ended: rejected"):
        approval.say_yes(yard.project(), RELEASE)


class Everything(dict[str, str]):
    """Any digest has this reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __contains__(self, _: object) -> bool:
        return True

    def __getitem__(self, _: str) -> str:
        return self.reason
