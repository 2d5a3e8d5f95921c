"""A release and an endpoint as people see them: whole outputs, narrow and wide, and the page in a browser."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
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
    ReleaseStep,
    Rollout,
)
from ridgeway.report import (
    render_endpoint,
    render_release,
    render_release_markdown,
    render_release_page,
    render_served,
    write_release,
)
from tests.report.test_page import Outline

NEW, OLD = "sha256:" + "9c41d27a5be08f36" * 4, "sha256:" + "07fe31b2c88d4a95" * 4
SHOWN = "sha256:" + "e" * 64
BOB = Person("bob@example.com", "ci", "ci-environment", "https://ci.example/7")
ADA = Person("ada@example.com", "kubernetes", "cluster")
IMAGE = Image(
    "registry.example/diabetes",
    NEW,
    "models:/diabetes/2",
    "sha256:m2",
    "sha256:p2",
    "sha256:i2",
    "registry.example/r@1",
)
AFTER = Deployment(
    "production",
    "kubernetes",
    "diabetes",
    IMAGE,
    "releases:/diabetes/12",
    InstanceType("gpu-small", 1, 1024),
    replicas=2,
)
BEFORE = replace(AFTER, image=replace(IMAGE, digest=OLD, model="models:/diabetes/1"), release="releases:/diabetes/11")
PROBE = ProbeReport(
    "process://qa/diabetes",
    IMAGE.handle,
    (Finding("golden rows", "pass", "50 rows"), Finding("latency", "warn", "p99 61 ms is above 50 ms", "look")),
    rows=50,
    largest_error=2.2e-16,
    requests=4000,
    p50_ms=3.1,
    p99_ms=61.0,
)
STEPS = (
    ReleaseStep(
        "build_image",
        "",
        "sha256:1",
        "2026-11-20T14:00:00.000Z",
        "2026-11-20T14:00:03.200Z",
        f"registry.example/diabetes@{NEW}",
    ),
    ReleaseStep(
        "deploy_endpoint", "qa", "sha256:2", "2026-11-20T14:00:04Z", "2026-11-20T14:00:05.500Z", "at http://qa"
    ),
)
WAITING = Release(
    name="diabetes",
    number=12,
    run_id="3f2a9c1e7d5b4a6088c2e4f60718293a",
    kind="release",
    model="models:/diabetes/2",
    model_digest="sha256:m2",
    stages=("qa", "production"),
    state="waiting",
    requested_by=BOB,
    requested_at="2026-11-20T14:00:00.000Z",
    sentence="releases:/diabetes/12 waits for a yes of the role release-manager: kubernetes:ada@example.com",
    next_step="ridgeway approve releases:/diabetes/12",
    evidence=SHOWN,
    steps=STEPS,
    image=IMAGE,
    build_url="https://ci.example/7",
)
EVIDENCE: dict[str, Any] = {
    "schema": 1,
    "verdict": {
        "outcome": "accept",
        "reason": "superior_on_sealed",
        "sentence": "13 % better on 88 unseen rows",
        "opponent": "models:/diabetes/1",
        "loss": "squared_error",
        "candidate_metrics": {"r2": 0.52, "mean_squared_error": 2859.7},
        "opponent_metrics": {"r2": 0.45},
        "warnings": ["one row makes up 21 % of the gain"],
    },
    "probes": [
        {
            "stage": "qa",
            "ok": True,
            "sentence": PROBE.sentence,
            "rows": 50,
            "largest_error": 2.2e-16,
            "requests": 4000,
            "failed": 0,
            "p50_ms": 3.1,
            "p99_ms": 61.0,
            "findings": [
                {"check": each.check, "outcome": each.outcome, "sentence": each.sentence} for each in PROBE.findings
            ],
        }
    ],
    "change": {
        "endpoint": "kubernetes://production/diabetes",
        "before": {"model": "models:/diabetes/1", "image": f"registry.example/diabetes@{OLD}"},
        "after": {"model": "models:/diabetes/2", "image": IMAGE.handle, "instance_type": "gpu-small", "replicas": 2},
        "serving": {"image": f"registry.example/diabetes@{OLD}"},
        "strategy": "in_place",
        "gap_seconds": 20.0,
        "actions": ["change Deployment diabetes", "keep Service diabetes"],
        "notes": ["gpu-1: 8 nvidia.com/gpu, 8 in use"],
    },
}
YES = Approval(
    "releases:/diabetes/12",
    "yes",
    ADA,
    "release-manager",
    "2026-11-20T15:00:00.000Z",
    "2026-11-23T15:00:00.000Z",
    SHOWN,
    IMAGE.handle,
    "the older patients gain most",
)
VOID = replace(YES, person=BOB, evidence="sha256:" + "d" * 64, reason="", at="2026-11-20T14:30:00.000Z")
NO = replace(YES, decision="no", reason="wait for\nthe audit")
ROLLED_BACK = replace(
    WAITING,
    state="rolled_back",
    sentence="roll_out: models:/diabetes/2 did not hold on production; models:/diabetes/1 is back",
    next_step="ridgeway show releases:/diabetes/12     or     ridgeway logs releases:/diabetes/12",
    ended_at="2026-11-20T15:10:00.000Z",
    rollout=Rollout(
        "kubernetes://production/diabetes",
        BEFORE,
        AFTER,
        "returned",
        "surge",
        reason="CrashLoopBackOff: exit 137\nlast line of the log",
        probe=replace(PROBE, findings=(Finding("identity", "fail", "the endpoint names another image"),), requests=0),
        probe_back=replace(PROBE, findings=(Finding("golden rows", "pass", "50 rows"),), requests=0, p99_ms=None),
    ),
)
ENDPOINT = Endpoint(
    "production",
    "kubernetes",
    "diabetes",
    "healthy",
    "https://diabetes.example",
    IMAGE.handle,
    "models:/diabetes/2",
    "releases:/diabetes/12",
    "2026-11-20T15:05:00Z",
    2,
    2,
    memory_mib=77.4,
    memory_limit_mib=1024,
)

WIDE = """\
WAITS FOR APPROVAL  releases:/diabetes/12 waits for a yes of the role release-manager: kubernetes:ada@example.com
Next  ridgeway approve releases:/diabetes/12
releases:/diabetes/12 · models:/diabetes/2 · qa → production · requested by ci:bob@example.com, 2026-11-20 14:00:00 UTC

Endpoint  kubernetes://production/diabetes
From      models:/diabetes/1, registry.example/diabetes@sha256:07fe31b2c88d…
To        models:/diabetes/2, registry.example/diabetes@sha256:9c41d27a5be0…
Machine   gpu-small × 2
How       one by one in the place of the old; at most 20.0 s without an answer
Changes   change Deployment diabetes
          keep Service diabetes
Note      gpu-1: 8 nvidia.com/gpu, 8 in use

Verdict             accept: 13 % better on 88 unseen rows
Reason              superior_on_sealed
Against             models:/diabetes/1
r2                  0.52 (opponent 0.45)
mean squared error  2,860 (opponent –)
Note  one row makes up 21 % of the gain

passes  probe of qa  50 golden rows answered as trained within 2.2e-16, p99 61.0 ms over 4000 requests
    4,000 requests, 0 failed, p50 3.1 ms, p99 61.0 ms
    warning  latency: p99 61 ms is above 50 ms

yes ci:bob@example.com as release-manager  void: for other evidence
    2026-11-20 14:30:00 UTC · named by a CI job's variables · evidence sha256:dddddddddddd…
    https://ci.example/7
yes kubernetes:ada@example.com as release-manager
    2026-11-20 15:00:00 UTC · proven by the cluster · evidence sha256:eeeeeeeeeeee…
    the older patients gain most

step             stage   time  what came of it
build_image             3.2 s  registry.example/diabetes@sha256:9c41d27a5be0…
deploy_endpoint  qa     1.5 s  at http://qa

Image         registry.example/diabetes@sha256:9c41d27a5be08f369c41d27a5be08f369c41d27a5be08f369c41d27a5be08f36
Image before  registry.example/diabetes@sha256:07fe31b2c88d4a9507fe31b2c88d4a9507fe31b2c88d4a9507fe31b2c88d4a95
Model digest  sha256:m2
Package       sha256:p2
Runtime       registry.example/r@1
Evidence      sha256:eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee
Run           3f2a9c1e7d5b4a6088c2e4f60718293a
CI build      https://ci.example/7
"""

NARROW = """\
ROLLED BACK  roll_out: models:/diabetes/2 did not hold on
production; models:/diabetes/1 is back
Next  ridgeway show releases:/diabetes/12 or ridgeway logs
      releases:/diabetes/12
releases:/diabetes/12 · models:/diabetes/2 · qa → production
· requested by ci:bob@example.com, 2026-11-20 14:00:00 UTC ·
ended 2026-11-20 15:10:00 UTC

Endpoint  kubernetes://production/diabetes
From      models:/diabetes/1,
          registry.example/diabetes@sha256:07fe31b2c88d…
To        models:/diabetes/2,
          registry.example/diabetes@sha256:9c41d27a5be0…
Machine   gpu-small × 2
How       the new beside the old, then the old goes; no gap
Roll-out  the previous image is back
Reason    CrashLoopBackOff: exit 137
          last line of the log

Verdict             accept: 13 % better on 88 unseen rows
Reason              superior_on_sealed
Against             models:/diabetes/1
r2                  0.52 (opponent 0.45)
mean squared error  2,860 (opponent –)
Note  one row makes up 21 % of the gain

passes  probe of qa  50 golden rows answered as trained
within 2.2e-16, p99 61.0 ms over 4000 requests
    4,000 requests, 0 failed, p50 3.1 ms, p99 61.0 ms
    warning  latency: p99 61 ms is above 50 ms
fails  probe of production  the endpoint names another image
    fails  identity: the endpoint names another image
passes  probe of production, the way back  50 golden rows
answered as trained within 2.2e-16

no  kubernetes:ada@example.com as release-manager
    2026-11-20 15:00:00 UTC · proven by the cluster ·
    evidence sha256:eeeeeeeeeeee…
    wait for the audit

step             stage   time
build_image             3.2 s
deploy_endpoint  qa     1.5 s

Image         registry.example/diabetes@sha256:9c41d27a5be08
              f369c41d27a5be08f369c41d27a5be08f369c41d27a5be
              08f36
Image before  registry.example/diabetes@sha256:07fe31b2c88d4
              a9507fe31b2c88d4a9507fe31b2c88d4a9507fe31b2c88
              d4a95
Model digest  sha256:m2
Package       sha256:p2
Runtime       registry.example/r@1
Evidence      sha256:eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee
              eeeeeeeeeeeeeeeeeeeeeeeee
Run           3f2a9c1e7d5b4a6088c2e4f60718293a
CI build      https://ci.example/7
"""

ENDPOINT_TEXT = """\
HEALTHY  models:/diabetes/2 answers on production
kubernetes://production/diabetes
Address   https://diabetes.example
Image     registry.example/diabetes@sha256:9c41d27a5be08f369c41d27a5be08f369c41d27a5be08f369c41d27a5
          be08f36
Since     2026-11-20 15:05:00 UTC
Replicas  2 of 2 ready
Memory    77 of 1024 MiB

releases:/diabetes/12  models:/diabetes/2 is in production
models:/diabetes/2 · qa → production · requested by ci:bob@example.com, 2026-11-20 14:00:00 UTC

yes kubernetes:ada@example.com as release-manager
    2026-11-20 15:00:00 UTC · proven by the cluster · evidence sha256:eeeeeeeeeeee…
    the older patients gain most
"""

SERVED = """\
SERVED  models:/diabetes/2 served on production
Since  2026-11-20 15:05:00 UTC
Until  it still serves
Image  registry.example/diabetes@sha256:9c41d27a5be08f369c41d27a5be08f369c41d27a5be08f369c41d27a5be0
       8f36

releases:/diabetes/12  models:/diabetes/2 is in production
models:/diabetes/2 · qa → production · requested by ci:bob@example.com, 2026-11-20 14:00:00 UTC

yes kubernetes:ada@example.com as release-manager
    2026-11-20 15:00:00 UTC · proven by the cluster · evidence sha256:eeeeeeeeeeee…
    the older patients gain most
"""

MARKDOWN = (Path(__file__).parent / "release_waiting.md").read_text(encoding="utf-8")


def test_waiting_in_a_wide_terminal() -> None:
    assert render_release(WAITING, EVIDENCE, (VOID, YES), width=120, color=False) == WIDE.rstrip("\n")


def test_rolled_back_in_a_narrow_terminal() -> None:
    text = render_release(ROLLED_BACK, EVIDENCE, (NO,), width=60, color=False)
    assert text == NARROW.rstrip("\n")
    assert max(len(line) for line in text.splitlines()) <= 60


def test_an_endpoint() -> None:
    text = render_endpoint(ENDPOINT, replace(WAITING, state="released", sentence=""), (YES,), width=100, color=False)
    assert text == ENDPOINT_TEXT.rstrip("\n")


def test_what_served() -> None:
    span = {"target": "production", "since": "2026-11-20T15:05:00Z", "until": ""}
    done = replace(WAITING, state="released", sentence="")
    assert render_served(done, (YES,), span, width=100, color=False) == SERVED.rstrip("\n")
    ended = render_served(done, (), {**span, "until": "2026-11-21T15:05:00Z"}, width=100, color=False)
    assert "Until  2026-11-21 15:05:00 UTC" in ended
    frozen = render_served(replace(done, state="frozen"), (), span, width=100, color=False)
    assert frozen.startswith("FROZEN  on production neither models:/diabetes/2 nor the model before it is proven")


def test_markdown() -> None:
    assert render_release_markdown(WAITING, EVIDENCE, (VOID, YES)) == MARKDOWN


@pytest.mark.parametrize(
    ("changes", "first", "next_step"),
    [
        ({"state": "absent"}, "ABSENT  nothing runs on production", "Next  ridgeway run release MODEL"),
        (
            {"state": "unhealthy", "reason": "CrashLoopBackOff:\nexit 137"},
            "UNHEALTHY  models:/diabetes/2 on production: CrashLoopBackOff: exit 137",
            "Next  ridgeway logs production",
        ),
        (
            {"frozen": "releases:/diabetes/12: no way back"},
            "FROZEN  releases:/diabetes/12: no way back",
            "Next  ridgeway logs production, then ridgeway rollback production",
        ),
        (
            {"state": "starting", "model": ""},
            f"STARTING  registry.example/diabetes@{NEW} on production",
            "kubernetes://",
        ),
    ],
)
def test_an_endpoint_that_is_not_well(changes: dict[str, Any], first: str, next_step: str) -> None:
    lines = render_endpoint(replace(ENDPOINT, **changes), None, (), width=200, color=False).splitlines()
    assert lines[0] == first
    assert lines[1].startswith(next_step)


def test_without_colour_no_escape_and_with_it_the_same_words() -> None:
    plain = render_release(WAITING, EVIDENCE, (VOID, YES), width=100, color=False)
    bright = render_release(WAITING, EVIDENCE, (VOID, YES), width=100, color=True)
    assert "\x1b" not in plain
    assert "\x1b[" in bright
    words = re.sub(r"\x1b\[[0-9;]*m", "", bright)
    assert [line.rstrip() for line in words.splitlines()] == plain.splitlines()


def test_text_of_others_does_not_act() -> None:
    evil = replace(YES, reason="\x1b[2Jgone [link=http://x]y[/] <script>alert(1)</script> ![a](http://b)")
    text = render_release(WAITING, EVIDENCE, (evil,), width=100, color=True)
    assert "\x1b[2J" not in text
    assert "[link=http://x]" in text
    assert "<script>" not in render_release_page(WAITING, EVIDENCE, (evil,))
    assert "![a](http" not in render_release_markdown(WAITING, EVIDENCE, (evil,))
    script = replace(WAITING, build_url="javascript:alert(1)")
    linked = replace(YES, person=replace(ADA, link="javascript:alert(1)"))
    assert 'href="javascript' not in render_release_page(script, EVIDENCE, (linked,))


@pytest.mark.parametrize(
    "state",
    ["started", "waiting", "approved", "released", "rejected", "refused", "expired", "rolled_back", "failed", "frozen"],
)
def test_every_state_has_a_word_and_a_sentence(state: Any) -> None:
    bare = replace(WAITING, state=state, sentence="", next_step="", steps=(), image=None, evidence="", build_url="")
    first = render_release(bare, None, (), width=100, color=False).splitlines()[0]
    word = state.replace("_", " ").upper() if state not in ("started", "waiting") else first.partition("  ")[0]
    assert first.startswith(f"{word}  models:/diabetes/2 ")
    assert render_release_markdown(bare, None).startswith("## ")
    assert Outline(render_release_page(bare, None)).headings[0].startswith("models:/diabetes/2 ")


# ---- the page --------------------------------------------------------------------------------------------------------


def test_the_page_is_whole_and_asks_for_nothing() -> None:
    outline = Outline(render_release_page(ROLLED_BACK, EVIDENCE, (VOID, NO)))
    assert outline.open == []
    assert not {"script", "iframe", "img", "object", "form"} & set(outline.tags)
    assert outline.headings == [
        ROLLED_BACK.sentence,
        "What changed",
        "What the endpoints answered",
        "Why the model was let in",
        "Who said what",
        "Steps",
        "By content",
    ]
    words = " ".join(" ".join(outline.words).split())
    assert "kubernetes:ada@example.com release-manager proven by the cluster 2026-11-20 15:00:00 UTC" in words
    assert "yes, void" in words
    assert "wait for the audit" in words
    assert "production, the way back" in words
    assert f"registry.example/diabetes@{NEW}" in words, "the digests are there in full"


def test_it_is_written_whole(tmp_path: Path) -> None:
    page, markdown = write_release(WAITING, EVIDENCE, (YES,), tmp_path / "12")
    assert page.read_text(encoding="utf-8") == render_release_page(WAITING, EVIDENCE, (YES,))
    assert markdown.read_text(encoding="utf-8") == render_release_markdown(WAITING, EVIDENCE, (YES,))
    assert write_release(WAITING, EVIDENCE, (), tmp_path / "12") == (page, markdown)
    assert sorted(file.name for file in (tmp_path / "12").iterdir()) == ["release.html", "release.md"]


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1400, "light")])
def test_the_page_in_a_browser(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    page, _ = write_release(ROLLED_BACK, EVIDENCE, (VOID, NO), tmp_path)
    browser.open(page.as_uri(), width=width, scheme=scheme)
    browser.ask("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert browser.ask("document.documentElement.scrollWidth") == width
    ground = browser.ask("getComputedStyle(document.querySelector('header')).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(26, 30, 38)"}[scheme]
    assert browser.happened("Log.entryAdded", "Runtime.exceptionThrown") == []
    assert [event["request"]["url"] for event in browser.happened("Network.requestWillBeSent")] == [page.as_uri()]
