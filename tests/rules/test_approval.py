"""Whose yes counts, and what a yes is about."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from typing import Any

import pytest

from ridgeway.artifacts import (
    Approval,
    Deployment,
    Endpoint,
    Finding,
    Image,
    InstanceType,
    Person,
    ProbeReport,
    Release,
    Verdict,
)
from ridgeway.errors import Permanent, UsageError
from ridgeway.rules.approval import (
    Change,
    Decision,
    Policy,
    Question,
    Uncounted,
    check_policy,
    decide,
    evidence,
    evidence_digest,
    expires_at,
    is_same,
    may_approve,
    require_approver,
)

NOW = datetime.datetime(2026, 11, 20, 16, tzinfo=datetime.UTC)
IMAGE = "registry.example/diabetes@sha256:aa"
ADA = Person("ada@example.com", "kubernetes", "cluster")
BOB = Person("bob@example.com", "kubernetes", "cluster")
EVE = Person("eve@example.com", "kubernetes", "cluster")
ROOT = Person("root", "system", "local")
CLUSTER = Policy("boss", ("kubernetes:ada@example.com", "kubernetes:bob@example.com"), "kubernetes")
LOCAL = Policy("boss", ("*",), "process")
QUESTION = Question("releases:/d/12", "models:/d/2", BOB, "sha256:e", IMAGE, "2026-11-20T14:00:00.000Z")


def yes(person: Person = ADA, at: str = "2026-11-20T15:00:00.000Z", **changes: Any) -> Approval:
    facts = {
        "release": "releases:/d/12",
        "decision": "yes",
        "person": person,
        "role": "boss",
        "at": at,
        "expires_at": "2026-11-23T15:00:00.000Z",
        "evidence": "sha256:e",
        "image": IMAGE,
    }
    return Approval(**{**facts, **changes})


def decided(*said: Approval, policy: Policy = CLUSTER, question: Question = QUESTION) -> Decision:
    return decide(question, policy, said, now=NOW)


# ---- decisions -------------------------------------------------------------------------------------------------------


def test_a_yes_that_counts() -> None:
    assert decided(yes()) == Decision(
        "granted", "approved by kubernetes:ada@example.com as boss", "", counted=(yes(),), uncounted=(), missing=0
    )
    assert (decided(yes()).granted, decided(yes()).state) == (True, "approved")


def test_nobody_has_said_anything() -> None:
    found = decided()
    assert found == Decision(
        "missing",
        "releases:/d/12 waits for a yes of the role boss: kubernetes:ada@example.com, kubernetes:bob@example.com",
        "ridgeway approve releases:/d/12",
        missing=1,
    )
    assert (found.granted, found.state) == (False, "waiting")


def test_two_are_asked_for() -> None:
    two = replace(CLUSTER, count=2)
    assert "waits for 2 yeses of" in decided(policy=two).sentence
    one = decided(yes(), policy=two)
    assert (one.outcome, one.missing, one.counted) == ("missing", 1, (yes(),))
    assert "waits for another yes of" in one.sentence
    assert decided(yes(), yes(BOB), policy=two).sentence == (
        "approved by kubernetes:ada@example.com and kubernetes:bob@example.com as boss"
    )
    assert "waits for 2 more yeses" in decided(yes(), policy=replace(CLUSTER, count=3)).sentence


def test_twice_by_the_same_person_counts_once() -> None:
    two = replace(CLUSTER, count=2)
    again = yes(at="2026-11-20T15:30:00.000Z")
    assert decided(yes(), again, policy=two).missing == 1
    other = Person("Ada@Example.com", "ci", "signed-in")
    both = replace(two, approvers=("kubernetes:ada@example.com", "ci:Ada@Example.com"))
    assert decided(yes(), yes(other), policy=both).missing == 1, "the same name from another source is the same person"


def test_none_is_asked_for() -> None:
    assert decided(policy=replace(CLUSTER, count=0)) == Decision("granted", "no approval is asked for", "")


def test_a_no_ends_it() -> None:
    no = yes(decision="no", reason="the older are worse off", at="2026-11-20T15:10:00.000Z")
    found = decided(yes(), yes(BOB), no)
    assert found == Decision(
        "refused",
        "releases:/d/12 was refused by kubernetes:ada@example.com: the older are worse off",
        "ridgeway show releases:/d/12",
        counted=(no,),
    )
    assert found.state == "refused"
    assert decided(replace(no, evidence="sha256:other", image="other")).outcome == "refused", "whatever it was shown"
    assert decided(no, policy=replace(CLUSTER, count=0)).outcome == "refused"
    own = yes(BOB, decision="no")
    assert decided(own, policy=replace(CLUSTER, own_release=False)).outcome == "refused", "one's own, too"


def test_a_no_of_somebody_else_ends_nothing() -> None:
    found = decided(yes(), yes(EVE, decision="no"))
    assert found.granted
    assert [each.why for each in found.uncounted] == [
        "kubernetes:eve@example.com does not act as boss: kubernetes:ada@example.com, kubernetes:bob@example.com"
    ]


@pytest.mark.parametrize(
    ("change", "what"), [({"evidence": "sha256:old"}, "evidence"), ({"image": f"{IMAGE}bb"}, "image")]
)
def test_a_yes_to_something_else_is_void(change: dict[str, Any], what: str) -> None:
    old = yes(**change)
    found = decided(old)
    assert (found.outcome, found.state, found.uncounted) == (
        "void",
        "waiting",
        (Uncounted(old, f"the {what} changed"),),
    )
    assert found.sentence.startswith(
        f"the {what} changed after the yes of kubernetes:ada@example.com: releases:/d/12 waits for a yes of"
    )
    assert decided(old, yes(at="2026-11-20T15:30:00.000Z")).granted


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (yes(release="releases:/d/11"), "said about releases:/d/11"),
        (yes(expires_at="2026-11-20T16:00:00.000Z"), "expired"),
        (yes(at="2026-11-17T16:00:00.000Z", expires_at="2030-01-01T00:00:00Z"), "expired"),
        (yes(expires_at=""), "expired"),
        (yes(at="2026-11-20T16:05:01.000Z"), "said in the future"),
        (yes(at=""), "said in the future"),
        (yes(EVE), "kubernetes:eve@example.com does not act as boss: " + CLUSTER.names),
    ],
)
def test_a_yes_that_does_not_count(said: Approval, why: str) -> None:
    found = decided(said)
    assert (found.outcome, [each.why for each in found.uncounted]) == ("missing", [why])


def test_clocks_may_differ_a_little() -> None:
    assert decided(yes(at="2026-11-20T16:04:59.000Z")).granted


def test_waiting_ends() -> None:
    late = replace(QUESTION, asked_at="2026-11-17T16:00:00.000Z")
    assert decided(question=late) == Decision(
        "expired",
        "releases:/d/12 was not approved within 72 h",
        "ridgeway run release models:/d/2",
        missing=1,
    )
    assert decided(yes(), question=late).granted, "a yes in time stays one until it expires itself"
    assert decided(question=replace(late, asked_at="")).outcome == "missing"
    assert decided(question=replace(late, asked_at="2026-11-17T16:00:00.001Z")).outcome == "missing"


def test_an_end_is_told_in_the_form_of_its_beginning() -> None:
    assert expires_at("2026-11-20T15:00:00+01:00", CLUSTER) == "2026-11-23T14:00:00.000Z"


# ---- who may ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("person", "policy", "why"),
    [
        (ADA, CLUSTER, ""),
        (EVE, CLUSTER, "does not act as boss"),
        (replace(ADA, source="ci", strength="signed-in"), CLUSTER, "does not act as boss"),
        (replace(ADA, name="ADA@example.com"), CLUSTER, "does not act as boss"),
        (ROOT, LOCAL, ""),
        (BOB, LOCAL, ""),
        (ROOT, replace(LOCAL, approvers=()), "does not act as boss: nobody"),
        (ROOT, replace(LOCAL, kind="docker"), "does not act as boss"),
        (ROOT, Policy("boss", ("system:root",), "docker"), ""),
        (ROOT, Policy("boss", ("system:root",), "kubernetes"), "only an account of some machine vouches"),
        (Person("x", "ci", "ci-environment"), Policy("boss", ("ci:x",), "kubernetes"), "only variables of a CI job"),
        (Person("x", "ci", "ci-environment"), Policy("boss", ("ci:x",), "docker"), ""),
        (Person("x", "ci", "signed-in"), Policy("boss", ("ci:x",), "kubernetes"), ""),
        (BOB, replace(CLUSTER, own_release=False), "started this release"),
        (ADA, replace(CLUSTER, own_release=False), ""),
        (
            Person("bob@example.com", "ci", "signed-in"),
            Policy("boss", ("ci:bob@example.com",), "kubernetes", own_release=False),
            "started this release",
        ),
    ],
)
def test_whose_yes_counts(person: Person, policy: Policy, why: str) -> None:
    found = may_approve(person, policy, BOB)
    assert why in found
    assert bool(why) == bool(found)


def test_a_weak_identity_may_stop_what_it_may_not_start() -> None:
    policy = Policy("boss", ("system:root",), "kubernetes")
    assert may_approve(ROOT, policy, BOB)
    assert may_approve(ROOT, policy, BOB, decision="no") == ""


def test_the_wrong_person_is_told_who_may() -> None:
    with pytest.raises(Permanent) as caught:
        require_approver(EVE, CLUSTER, QUESTION)
    assert str(caught.value) == (
        "kubernetes:eve@example.com cannot approve releases:/d/12\n"
        "  problem   kubernetes:eve@example.com does not act as boss: kubernetes:ada@example.com, "
        "kubernetes:bob@example.com\n"
        "  expected  kubernetes:ada@example.com, kubernetes:bob@example.com, in the role boss\n"
        "  next      ask one of them: ridgeway approve releases:/d/12"
    )
    require_approver(ADA, CLUSTER, QUESTION)
    with pytest.raises(Permanent, match="cannot refuse"):
        require_approver(EVE, CLUSTER, QUESTION, decision="no")
    with pytest.raises(Permanent, match="an identity that the cluster or the CI system proves"):
        require_approver(ROOT, Policy("boss", ("system:root",), "kubernetes"), QUESTION)


def test_one_person() -> None:
    assert is_same(ADA, replace(ADA, source="ci"))
    assert not is_same(ADA, BOB)


# ---- where the policy comes from -------------------------------------------------------------------------------------

OPERATIONS = {
    "approvers.boss": "operations.toml",
    "targets.production.approval.role": "operations.toml",
    "targets.production.approval.count": "RIDGEWAY_TARGETS__PRODUCTION__APPROVAL__COUNT",
}


def check(policy: Policy, *, stages: Any = ("qa", "production"), in_tree: Any = (), **origins: Any) -> None:
    changed = {name.replace("__", "."): origin for name, origin in origins.items()}
    check_policy(policy, stages=stages, origins={**OPERATIONS, **changed}, in_tree=in_tree)


def test_a_policy_of_operations() -> None:
    check(CLUSTER)
    check(replace(CLUSTER, kind="docker"))
    check(CLUSTER, approvers__other="ridgeway.toml", targets__qa__kind="ridgeway.toml", training__seed="--set")


@pytest.mark.parametrize("path", ["approvers__boss", "targets__production__approval__count"])
@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_the_tree_does_not_choose_who_lets_it_in(path: str, kind: Any) -> None:
    with pytest.raises(UsageError, match=r"approvers are not taken from ridgeway\.toml") as caught:
        check(replace(CLUSTER, kind=kind), **{path: "ridgeway.toml"})
    assert path.replace("__", ".") in caught.value.where
    check(replace(CLUSTER, kind="process"), **{path: "ridgeway.toml"})


def test_a_committed_file_of_operations_is_the_trees() -> None:
    with pytest.raises(UsageError, match=r"approvers are not taken from operations\.toml"):
        check(CLUSTER, in_tree=("operations.toml",))
    check(LOCAL, in_tree=("operations.toml",))


@pytest.mark.parametrize("kind", ["process", "docker", "kubernetes"])
@pytest.mark.parametrize("path", ["approvers__boss", "targets__production__approval__own_release"])
def test_the_command_line_never_does(kind: Any, path: str) -> None:
    with pytest.raises(UsageError, match="approvers are not taken from --set"):
        check(replace(CLUSTER, kind=kind), **{path: "--set"})


def test_anyone_is_only_for_a_process_of_this_machine() -> None:
    check(LOCAL)
    for kind in ("docker", "kubernetes"):
        with pytest.raises(UsageError, match=f'"\\*" is no approver where the last stage is of kind {kind}'):
            check(replace(LOCAL, kind=kind))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ada", "it has no source"),
        ("github:ada", "it has no source"),
        ("ci:", "it has no source"),
        ("", "it has no source"),
        ("system:serviceaccount:team:ada", "kubernetes:system:serviceaccount:team:ada"),
    ],
)
def test_a_name_that_is_not_qualified(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        check(replace(LOCAL, approvers=(name,)))


def test_production_cannot_become_a_trial() -> None:
    """The order of the stages is the tree's: a target that asks for approval must not be reached before anyone is."""
    with pytest.raises(UsageError, match="production asks for an approval, but is not the last stage"):
        check(LOCAL, stages=("production", "qa"))
    check(LOCAL, stages=("production",))
    check_policy(LOCAL, stages=("a", "b"), origins={"targets.a.approval.count": "ridgeway.toml"})


# ---- evidence --------------------------------------------------------------------------------------------------------

OWN_IMAGE = Image("registry.example/d", "sha256:aa", "models:/d/2", "sha256:m2", "sha256:p2", "sha256:i2", "r@1", "b@1")
AFTER = Deployment(
    "production", "kubernetes", "d", OWN_IMAGE, "releases:/d/12", InstanceType("gpu", 1, 512), replicas=2
)
BEFORE = replace(AFTER, image=replace(OWN_IMAGE, digest="sha256:a0", model="models:/d/1"), release="releases:/d/11")
SERVING = Endpoint("production", "kubernetes", "d", "healthy", "https://d", BEFORE.image.handle, "models:/d/1")
CHANGE = Change(AFTER, BEFORE, SERVING, "surge", actions=("change Deployment d",), notes=("room for 2",))
PROBE = ProbeReport(
    "process://qa/d",
    OWN_IMAGE.handle,
    (Finding("golden rows", "pass", "50 rows", seconds=0.5), Finding("latency", "warn", "p99 60 ms")),
    rows=50,
    largest_error=1e-16,
    p99_ms=60.0,
)
RELEASE = Release(
    "d", 12, "ab", "release", "models:/d/2", "sha256:m2", ("qa", "production"), "started", BOB, "2026-11-20T14:00:00Z"
)
VERDICT = Verdict(
    outcome="accept",
    reason="superior_on_sealed",
    sentence="13 % better",
    next_step="",
    candidate="runs:/ab/model",
    candidate_digest="sha256:m2",
    opponent="models:/d/1",
    opponent_digest="sha256:m1",
    key="sha256:k",
    loss="squared_error",
    policy="sha256:pol",
)


def gathered(change: Change = CHANGE, verdict: Verdict | None = VERDICT, probe: ProbeReport = PROBE) -> dict[str, Any]:
    return evidence(RELEASE, change.after.image, change, verdict=verdict, probes={"qa": probe})


def test_the_evidence_is_plain_json_and_complete() -> None:
    shown = gathered()
    assert json.loads(json.dumps(shown)) == shown
    assert shown["verdict"]["sentence"] == "13 % better"
    assert shown["probes"][0]["stage"] == "qa"
    assert shown["probes"][0]["largest_error"] == 1e-16
    assert shown["image"]["handle"] == OWN_IMAGE.handle
    assert shown["image"]["form"] == "container"
    assert (shown["change"]["before"]["model"], shown["change"]["after"]["model"]) == ("models:/d/1", "models:/d/2")
    assert shown["change"]["serving"]["image"] == BEFORE.image.handle


def test_the_digest_is_that_of_the_stored_file() -> None:
    stored = {"schema": 1, **json.loads(json.dumps(gathered()))}
    assert evidence_digest(stored) == evidence_digest(gathered())
    assert evidence_digest(stored).startswith("sha256:")


@pytest.mark.parametrize(
    "other",
    [
        gathered(replace(CHANGE, after=replace(AFTER, image=replace(OWN_IMAGE, digest="sha256:bb")))),
        gathered(replace(CHANGE, after=replace(AFTER, replicas=3))),
        gathered(replace(CHANGE, before=replace(BEFORE, replicas=1))),
        gathered(replace(CHANGE, before=None)),
        gathered(replace(CHANGE, serving=replace(SERVING, image="someone/else@sha256:cc"))),
        gathered(replace(CHANGE, gap_seconds=20.0)),
        gathered(verdict=replace(VERDICT, policy="sha256:laxer")),
        gathered(verdict=replace(VERDICT, opponent_digest="sha256:m0")),
        gathered(verdict=None),
        gathered(probe=replace(PROBE, findings=(replace(PROBE.findings[0], outcome="fail"), PROBE.findings[1]))),
        gathered(probe=replace(PROBE, findings=PROBE.findings[:1])),
    ],
)
def test_what_a_yes_is_about(other: dict[str, Any]) -> None:
    assert evidence_digest(other) != evidence_digest(gathered())


@pytest.mark.parametrize(
    "other",
    [
        gathered(replace(CHANGE, notes=("room for 3",), strategy="in_place", actions=())),
        gathered(replace(CHANGE, serving=replace(SERVING, state="starting", memory_mib=77.0, since="2026"))),
        gathered(replace(CHANGE, after=replace(AFTER, deadline_seconds=10, release="releases:/d/13"))),
        gathered(verdict=replace(VERDICT, sentence="told otherwise", looks=9)),
        gathered(probe=replace(PROBE, p99_ms=70.0, largest_error=2e-16, findings=PROBE.findings[::-1])),
        gathered(probe=replace(PROBE, findings=tuple(replace(each, seconds=9.0) for each in PROBE.findings))),
    ],
)
def test_what_it_is_not_about(other: dict[str, Any]) -> None:
    assert evidence_digest(other) == evidence_digest(gathered())


def test_a_gap_may_be_longer_but_not_new() -> None:
    with_gap = gathered(replace(CHANGE, gap_seconds=20.0))
    assert evidence_digest(with_gap) == evidence_digest(gathered(replace(CHANGE, gap_seconds=30.0)))
