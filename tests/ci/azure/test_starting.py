"""Which events start a pipeline."""

from __future__ import annotations

import pytest

from ridgeway.ci.azure import Inputs, plan
from ridgeway.ci.azure.pipeline import Filter, Pipeline, Schedule, Trigger, Upstream
from ridgeway.ci.azure.starting import on_pull_request, on_push, path_chosen


def pipeline(text: str) -> Pipeline:
    return plan("a.yml", Inputs(), {"a.yml": f"{text}\nsteps: [{{script: a}}]"}).pipeline


def test_without_a_word_every_push_and_pull_request_starts_it() -> None:
    made = pipeline("name: x")
    assert on_push(made, "anything").starts
    assert on_pull_request(made, "anything").starts
    assert not on_push(made, "refs/tags/v1").starts


@pytest.mark.parametrize("text", ["trigger: none", "trigger: [none]"])
def test_none_means_none(text: str) -> None:
    assert not on_push(pipeline(text), "main").starts
    assert on_pull_request(pipeline(text), "main").starts


@pytest.mark.parametrize(
    ("branch", "starts"),
    [("main", True), ("refs/heads/main", True), ("releases/1", True), ("releases/old/1", False), ("Main", False)],
)
def test_branches_are_included_and_excluded(branch: str, starts: bool) -> None:
    made = pipeline("trigger: {branches: {include: [main, refs/heads/releases/*], exclude: [releases/old*]}}")
    assert on_push(made, branch).starts is starts


def test_an_exclusion_alone_includes_the_rest() -> None:
    made = pipeline("pr: {branches: {exclude: [wip/*]}, drafts: false}")
    assert on_pull_request(made, "main").starts
    assert not on_pull_request(made, "wip/a").starts
    assert not on_pull_request(made, "main", draft=True).starts


def test_paths_decide_among_included_branches() -> None:
    made = pipeline("trigger: {branches: [main], paths: {include: [src], exclude: [src/docs]}}")
    assert on_push(made, "main", ["src/a.py"]).why == "src/a.py has changed"
    assert not on_push(made, "main", ["src/docs/a.md", "README.md"]).starts
    assert not on_push(made, "other", ["src/a.py"]).starts


def test_tags() -> None:
    made = pipeline("trigger: {tags: {include: [v*]}}")
    assert on_push(made, "refs/tags/v2").starts
    assert not on_push(made, "refs/tags/x").starts


@pytest.mark.parametrize(
    ("path", "pattern", "chosen"),
    [
        ("a/b/c.py", "a", True),
        ("a/b/c.py", "/a/b", True),
        ("ab/c.py", "a", False),
        ("a/b/c.py", "a/*.py", False),
        ("a/b/c.py", "a/**/*.py", True),
        ("a/c.py", "a/**/*.py", True),
        ("a/b/c.py", "*", True),
        ("A/b", "a", False),
    ],
)
def test_path_patterns(path: str, pattern: str, chosen: bool) -> None:
    assert path_chosen(path, Filter(include=(pattern,))) is chosen


def test_other_pipelines_and_time_tables() -> None:
    made = pipeline(
        """\
schedules: [{cron: 0 4 * * 1, displayName: weekly, branches: {include: [main]}, always: true}]
resources:
  repositories: [{repository: self}]
  pipelines:
  - {pipeline: a, source: A, trigger: true}
  - {pipeline: b, source: B, trigger: none, branch: main, tags: [x, y]}
  - {pipeline: c, source: C, project: P, trigger: {branches: [main], stages: [build], tags: [good]}}
  - {pipeline: d, source: D, trigger: {enabled: false}}
"""
    )
    assert made.schedules == (Schedule("0 4 * * 1", "weekly", Filter(("main",)), always=True),)
    assert made.upstream == (
        Upstream("a", "A", trigger=Trigger()),
        Upstream("b", "B", settings=(("branch", "main"), ("tags", "x,y"))),
        Upstream("c", "C", "P", Trigger(branches=Filter(("main",)), tags=Filter(("good",))), stages=("build",)),
        Upstream("d", "D"),
    )
